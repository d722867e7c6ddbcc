// Style as a test: who may include whom, fenced libraries, banned words, size limits. Reads the
// tree at LBD_SOURCE_DIR, needs no build of the project, and names file, line and replacement.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <regex>
#include <set>
#include <string>
#include <vector>

#include "tests/tidy/functions.h"
#include "tests/tidy/tree.h"

namespace lbd::tidy {
namespace {

const std::string kSelf = "tests/tidy/tidy_test.cc";
constexpr std::size_t kLineColumnsMax = 100;
constexpr std::size_t kFileLinesMax = 500;
constexpr std::size_t kFunctionLinesMax = 70;
constexpr std::size_t kParametersMax = 4;

// --- who may include whom: the table of ARCHITECTURE.md ---

std::string folder_of(const std::string& path) {
  const std::size_t slash = path.find('/');
  if (slash == std::string::npos) return {};
  const std::string first = path.substr(0, slash);
  if (first != "lbd") return first;
  const std::size_t second = path.find('/', slash + 1);
  return second == std::string::npos ? "lbd" : path.substr(0, second);
}

const std::map<std::string, std::set<std::string>>& include_table() {
  static const std::map<std::string, std::set<std::string>> table{
      {"lbd/base", {}},
      {"config", {"lbd/base"}},
      {"lbd/http", {"lbd/base"}},
      {"lbd/net", {"lbd/base", "lbd/http"}},
      {"lbd/route", {"lbd/base", "lbd/http", "config"}},
      {"lbd/balance", {"lbd/base", "lbd/http", "config"}},
      {"lbd/upstream", {"lbd/base", "lbd/http", "lbd/net", "lbd/route", "lbd/balance", "config"}},
      {"health", {"lbd/base", "lbd/http", "lbd/net", "config"}},
      {"scaler", {"lbd/base", "lbd/http", "lbd/net", "config"}},
      {"lbd/proxy",
       {"lbd/base", "lbd/http", "lbd/net", "lbd/route", "lbd/balance", "lbd/upstream", "config"}},
      {"lbd/worker",
       {"lbd/base", "lbd/http", "lbd/net", "lbd/route", "lbd/balance", "lbd/upstream", "config",
        "lbd/proxy"}},
  };
  return table;  // what is not named (control, cli, daemon, main, tests) may include everything
}

struct Include {
  std::size_t line;
  std::string name;
  bool own;  // "..." and not <...>
};

std::vector<Include> includes_of(const File& file) {
  static const std::regex pattern(R"(^\s*#\s*include\s*([<"])([^>"]+)[>"])");
  std::vector<Include> found;
  for (std::size_t i = 0; i < file.lines.size(); ++i) {
    std::smatch match;
    if (std::regex_search(file.lines[i], match, pattern))
      found.push_back({i + 1, match[2], match[1] == "\""});
  }
  return found;
}

TEST(Tidy, EachFolderIncludesOnlyWhatTheTableAllows) {
  for (const File& file : tree()) {
    const auto row = include_table().find(folder_of(file.path));
    if (!is_cpp(file.path) || row == include_table().end()) continue;
    for (const Include& include : includes_of(file)) {
      const std::string folder = folder_of(include.name);
      if (!include.own || folder == row->first || row->second.count(folder) != 0) continue;
      ADD_FAILURE() << at(file, include.line) << row->first << " may not include " << include.name;
    }
  }
}

TEST(Tidy, IncludesNameFilesOfTheTreeFromItsRoot) {
  for (const File& file : tree()) {
    if (!is_cpp(file.path)) continue;
    for (const Include& include : includes_of(file)) {
      if (!include.own || find(include.name) != nullptr) continue;
      ADD_FAILURE() << at(file, include.line) << include.name << " is no file of this tree";
    }
  }
}

struct Fence {
  std::string library;  // prefix of the include
  std::string inside;   // regular expression of the paths that may
};

TEST(Tidy, LibrariesStayBehindTheirFences) {
  static const std::vector<Fence> fences{
      {"yaml-cpp/", R"(config/\w+\.cc)"},
      {"llhttp", R"(lbd/http/h1_\w+\.cc)"},
      {"nghttp2/", R"(lbd/http/h2(\w*\.cc|_nghttp2\.h))"},
      {"openssl/", R"((lbd/net|scaler/aws)/\w+\.cc|lbd/net/tls_parts\.h)"},
      {"zlib", R"(lbd/http/encoder\.cc)"},
      {"brotli/", R"(lbd/http/encoder\.cc)"},
      {"zstd", R"(lbd/http/encoder\.cc)"},
      {"curl/", R"(lbd/net/curl_client\.cc)"},
      {"ares.h", R"(lbd/net/dns_client\.cc)"},
      {"prometheus/", R"(lbd/control/\w+\.(cc|h))"},
      {"sqlite3", R"(scaler/history\w*\.cc)"},
      {"pugixml", R"(scaler/(aws|ec2)/\w+\.cc)"},
      {"boost/asio",
       R"(lbd/(control|cli)/\w+\.cc|lbd/daemon\.cc|lbd/net/(loop_asio\.\w+|asio_impl\.cc))"},
      {"boost/beast", R"(lbd/(control|cli)/\w+\.cc)"},
      {"CLI/", R"(lbd/cli/\w+\.cc)"},
      {"re2/", R"(lbd/base/regex\.cc)"},
  };
  for (const File& file : tree()) {
    if (!is_cpp(file.path) || is_test(file.path)) continue;
    for (const Include& include : includes_of(file)) {
      for (const Fence& fence : fences) {
        if (include.own || !starts_with(include.name, fence.library)) continue;
        EXPECT_TRUE(std::regex_match(file.path, std::regex(fence.inside)))
            << at(file, include.line) << "<" << include.name << "> only in " << fence.inside;
      }
    }
  }
}

TEST(Tidy, AFileIncludesItsOwnHeaderFirstAndHeadersHaveAGuardAndAnIntroduction) {
  for (const File& file : tree()) {
    if (ends_with(file.path, ".h")) {
      EXPECT_NE(file.text.find("#pragma once"), std::string::npos) << file.path;
      EXPECT_TRUE(starts_with(file.text, "//")) << file.path << ": say what the file is for";
    }
    if (!ends_with(file.path, ".cc")) continue;
    const std::string own = file.path.substr(0, file.path.size() - 2) + "h";
    const std::vector<Include> includes = includes_of(file);
    if (find(own) == nullptr || includes.empty()) continue;
    EXPECT_EQ(includes.front().name, own) << file.path << ": its own header comes first";
  }
}

// --- banned words ---

struct Ban {
  std::string word;     // regular expression
  std::string instead;  // what to write
  std::string except;   // regular expression of the paths where it is right
};

const std::vector<Ban>& bans() {
  static const std::vector<Ban> list{
      // Time and randomness are dependencies; the loops and base/ make them.
      {R"((steady|system)_clock::now)", "a Clock from the constructor",
       R"(lbd/base/.*|lbd/net/loop\.cc|tests/.*)"},
      {R"(\b(random_device|rand|srand|mt19937)\b)", "an Rng from the constructor",
       R"(lbd/base/.*)"},
      {R"(this_thread::sleep|\busleep\b|\bnanosleep\b|::sleep\()", "sleep_until(clock, due)",
       R"(tests/.*)"},
      // g++ 12 destroys the captures of a lambda coroutine twice.
      {R"(co_await\s*\[)", "a named coroutine that takes its arguments by value", ""},
      {R"(asio::(detached|awaitable|co_spawn)|\bco_spawn\b)", "Task and TaskGroup", ""},
      {R"(\bdelete this\b)", "an owner", ""},
      // Asio's callbacks need an owner that outlives the socket; coroutines do not.
      {R"(shared_from_this)", "a frame that owns, a worker that outlives it",
       R"(lbd/net/acceptor\.cc|lbd/control/http_server\.cc|health/checker\.cc)"},
      // They accept signs, spaces and trailing text; from_chars does not. notify.cc and
      // process_stats.cc read what systemd and the kernel wrote.
      {R"(\b(ato[ifl]|atoll|strto[a-z]+|sscanf)\b|std::sto[a-z]+)", "std::from_chars",
       R"(lbd/control/(notify|process_stats)\.cc|tests/.*)"},
      {R"(\bthread_local\b)", "a member of the worker", R"(lbd/base/recycle\.cc|tests/.*)"},
      {R"(\bassert\()", "LBD_CHECK", ""},
      {R"(std::regex\b)", "a parser of one's own: std::regex recurses on its input", "tests/.*"},
      {R"(\bgoto\b|\bvolatile\b|\bNULL\b|std::endl|using namespace std;)", "nothing of the kind",
       ""},
      // The field's words for a target group and for the two sides of a request.
      {R"(\w*([Bb]ackend|[Dd]ownstream)\w*)", "target group, target, client, upstream", ""},
      // "service manager" is what systemd calls itself.
      {R"(\b(class|struct) (?!ServiceManager)\w*(Manager|Helper|Util|Utils|Impl)\b)",
       "a noun of the domain", ""},
  };
  return list;
}

TEST(Tidy, NoBannedWords) {
  for (const Ban& ban : bans()) {
    const std::regex word(ban.word);
    for (const File& file : tree()) {
      if (!is_cpp(file.path) || file.path == kSelf) continue;
      if (!ban.except.empty() && std::regex_match(file.path, std::regex(ban.except))) continue;
      const std::vector<std::string> lines = split(file.code);
      for (std::size_t i = 0; i < lines.size(); ++i) {
        std::smatch match;
        if (!std::regex_search(lines[i], match, word)) continue;
        ADD_FAILURE() << at(file, i + 1) << match[0] << ": use " << ban.instead;
      }
    }
  }
}

TEST(Tidy, NothingIsLeftToDoWithoutAnIssueNumber) {
  const std::regex word(R"(\b(FIX)(ME)\b|\bX(X)X\b|\bHA(CK)\b|\bTO(DO)\b(?!\(#\d+\)))");
  for (const File& file : tree()) {
    if (!is_program(file.path) || file.path == kSelf) continue;
    for (std::size_t i = 0; i < file.lines.size(); ++i) {
      EXPECT_FALSE(std::regex_search(file.lines[i], word)) << at(file, i + 1) << file.lines[i];
    }
  }
}

TEST(Tidy, NothingPointsOutOfTheTree) {
  const std::regex path(R"re((^|[\s"'`(=:])/(root|home/\w+)/|\bDESIGN( §|\.md)|\bfacts[/:])re");
  for (const File& file : tree()) {
    if (file.path == kSelf) continue;
    for (std::size_t i = 0; i < file.lines.size(); ++i) {
      EXPECT_FALSE(std::regex_search(file.lines[i], path)) << at(file, i + 1) << file.lines[i];
    }
  }
}

// --- sizes ---

std::size_t columns(const std::string& line) {
  return static_cast<std::size_t>(std::count_if(line.begin(), line.end(), [](char c) {
    return (static_cast<unsigned char>(c) & 0xC0U) != 0x80U;
  }));
}

TEST(Tidy, LinesAndFilesAreShort) {
  for (const File& file : tree()) {
    if (!is_program(file.path)) continue;
    EXPECT_LE(file.lines.size(), kFileLinesMax) << file.path;
    for (std::size_t i = 0; i < file.lines.size(); ++i) {
      EXPECT_LE(columns(file.lines[i]), kLineColumnsMax) << at(file, i + 1);
    }
  }
}

TEST(Tidy, NoLineEndsInSpaceAndEveryFileEndsInANewline) {
  for (const File& file : tree()) {
    if (ends_with(file.path, ".expected") || file.path.find("/wrong/") != std::string::npos)
      continue;
    EXPECT_TRUE(file.text.empty() || file.text.back() == '\n') << file.path;
    for (std::size_t i = 0; i < file.lines.size(); ++i) {
      const std::string& line = file.lines[i];
      EXPECT_FALSE(!line.empty() && (line.back() == ' ' || line.back() == '\t')) << at(file, i + 1);
    }
  }
}

TEST(Tidy, FunctionsAreShortAndTakeFewParameters) {
  std::size_t seen = 0;
  for (const File& file : tree()) {
    if (!is_cpp(file.path)) continue;
    for (const Function& function : functions_of(file.code)) {
      ++seen;
      const std::string name = at(file, function.first_line) + function.head;
      ASSERT_GE(function.last_line, function.first_line) << name << ": no end was found";
      EXPECT_LE(function.last_line - function.first_line + 1, kFunctionLinesMax) << name;
      // libcurl prescribes the parameters of its callbacks.
      if (function.head.find("CURL*") != std::string::npos) continue;
      EXPECT_LE(parameters_of(function.head), kParametersMax) << name;
    }
  }
  EXPECT_GT(seen, 500U) << "the scan finds no functions any more";
}

TEST(Tidy, TheScanForFunctionsSeesWhatItShould) {
  const std::string code = blank_all_but_code(
      "namespace a {\n"
      "struct B : C {\n"
      "  B(int x, std::map<int, int> y) : x_{x}, y_(y) {\n    f();\n  }\n"
      "  int z{1};\n"
      "};\n"
      "const int kRow[] = {1, 2};\n"
      "int f() { return '{' + \"{\"[0]; }  // {\n"
      "}\n");
  const std::vector<Function> found = functions_of(code);
  ASSERT_EQ(found.size(), 2U);
  EXPECT_EQ(found[0].first_line, 3U);
  EXPECT_EQ(found[0].last_line, 5U);
  EXPECT_EQ(parameters_of(found[0].head), 2U);
  EXPECT_EQ(found[1].first_line, 9U);
  EXPECT_EQ(parameters_of(found[1].head), 0U);
}

}  // namespace
}  // namespace lbd::tidy
