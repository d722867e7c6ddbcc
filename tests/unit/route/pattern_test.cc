#include "lbd/route/pattern.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace lbd::route {
namespace {

TEST(Glob, StarsAndQuestionMarksMatchAsInAShell) {
  EXPECT_TRUE(matches_glob("*", ""));
  EXPECT_TRUE(matches_glob("", ""));
  EXPECT_FALSE(matches_glob("", "a"));
  EXPECT_TRUE(matches_glob("a?c", "abc"));
  EXPECT_FALSE(matches_glob("a?c", "ac"));
  EXPECT_TRUE(matches_glob("*.a.*", "x.a.y"));
  EXPECT_TRUE(matches_glob("*ab*ab*", "xababy"));
  EXPECT_FALSE(matches_glob("*ab*ab", "xabay"));
  EXPECT_TRUE(matches_glob("a**b", "ab"));
}

TEST(Glob, AHostilePatternTakesNoExponentialTime) {
  std::string pattern;
  for (int i = 0; i < 50; ++i) pattern += "a*";
  pattern += "b";
  EXPECT_FALSE(matches_glob(pattern, std::string(20'000, 'a')));  // hangs when it backtracks
}

TEST(Pattern, EveryKindMatchesWhatItSays) {
  EXPECT_TRUE(Pattern("*").matches("anything"));
  EXPECT_TRUE(Pattern("/a").matches("/a"));
  EXPECT_FALSE(Pattern("/a").matches("/a/"));
  EXPECT_TRUE(Pattern("/a/*").matches("/a/"));
  EXPECT_TRUE(Pattern("/a/*").matches("/a/b/c"));
  EXPECT_FALSE(Pattern("/a/*").matches("/a"));
  EXPECT_FALSE(Pattern("/a/*").matches("/ab"));
  EXPECT_TRUE(Pattern("*.jpg").matches("/x/y.jpg"));
  EXPECT_FALSE(Pattern("*.jpg").matches("/x/y.jpgx"));
  EXPECT_TRUE(Pattern("/v?/x").matches("/v1/x"));
  EXPECT_TRUE(Pattern("/*/x").matches("/a/b/x"));
  EXPECT_FALSE(Pattern("?").matches(""));
}

TEST(Pattern, LettersMatchInEitherCaseWhereThatIsAskedFor) {
  for (const char* pattern : {"Mobile", "Mob*", "*BILE", "m?b*E"}) {
    EXPECT_TRUE(Pattern(pattern, Letters::any_case).matches("mOBILe")) << pattern;
    EXPECT_FALSE(Pattern(pattern).matches("mOBILe")) << pattern;
  }
  EXPECT_FALSE(Pattern("a[", Letters::any_case).matches("A{")) << "only letters have a case";
}

TEST(PatternSet, LongListsMatchAsShortOnesDo) {
  std::vector<std::string> many{"*.jpg", "/a?c"};
  for (int i = 0; i < 100; ++i) {
    many.push_back("/exact" + std::to_string(i));
    many.push_back("/prefix" + std::to_string(i) + "/*");
  }
  const PatternSet set(many);
  for (const char* text : {"/exact0", "/exact99", "/prefix7/", "/prefix42/x/y", "/x.jpg", "/abc"}) {
    EXPECT_TRUE(set.matches(text)) << text;
  }
  for (const char* text : {"", "/", "/exact100", "/exact", "/exact0/", "/prefix7", "/prefix100/"}) {
    EXPECT_FALSE(set.matches(text)) << text;
  }
}

}  // namespace
}  // namespace lbd::route
