#include "config/scalars.h"

#include <gtest/gtest.h>

#include "config/suggest.h"
#include "config/utf8.h"

namespace lbd::config {
namespace {

using namespace std::chrono_literals;

TEST(Scalars, DurationsNeedAUnitAndKnowFive) {
  EXPECT_EQ(*parse_duration("250ms"), 250ms);
  EXPECT_EQ(*parse_duration("30s"), 30s);
  EXPECT_EQ(*parse_duration("1.5m"), 90s);
  EXPECT_EQ(*parse_duration("2h"), 2h);
  EXPECT_EQ(*parse_duration("1d"), 24h);
  EXPECT_EQ(*parse_duration("0"), 0s);
  for (const auto* text : {"", "5", "s", "5 s", "-5s", "5S", "1e3s", "5s5s", ".5s", "5.s", "05s",
                           "0.0001ms", "99999999999d", "1.2.3s"}) {
    EXPECT_FALSE(parse_duration(text)) << text;
  }
}

TEST(Scalars, SizesTellPowersOfTwoFromPowersOfTen) {
  EXPECT_EQ(*parse_size("512B"), 512U);
  EXPECT_EQ(*parse_size("16KiB"), 16384U);
  EXPECT_EQ(*parse_size("10MB"), 10'000'000U);
  EXPECT_EQ(*parse_size("1.5GiB"), 1610612736U);
  for (const auto* text : {"", "10", "10kb", "10M", "-1B", "99999999999GiB"}) {
    EXPECT_FALSE(parse_size(text)) << text;
  }
}

TEST(Scalars, RatiosArePercentagesOrPlain) {
  EXPECT_DOUBLE_EQ(*parse_ratio("90%"), 0.9);
  EXPECT_DOUBLE_EQ(*parse_ratio("0.9"), 0.9);
  EXPECT_DOUBLE_EQ(*parse_ratio("-10%"), -0.1);
  for (const auto* text : {"", "%", "90 %", "--1%", "nan", "inf", "1e2%"}) {
    EXPECT_FALSE(parse_ratio(text)) << text;
  }
}

TEST(Scalars, WholeNumbersAreDecimalOnly) {
  EXPECT_EQ(*parse_whole("0"), 0U);
  EXPECT_EQ(*parse_whole("755"), 755U);
  for (const auto* text :
       {"", "0755", "0x10", "1_000", "+1", "-1", "1.0", "1e3", " 1", "9999999999999999999"}) {
    EXPECT_FALSE(parse_whole(text)) << text;
  }
}

TEST(Scalars, AddressesAreLiteralAndCanonical) {
  EXPECT_EQ(parse_address("10.0.0.1:80", 0)->text(), "10.0.0.1:80");
  EXPECT_EQ(parse_address("[2001:DB8:0::1]:80", 0)->text(), "[2001:db8::1]:80");
  EXPECT_EQ(parse_address("10.0.0.1", 8080)->text(), "10.0.0.1:8080");
  EXPECT_EQ(parse_address("2001:db8::1", 8080)->text(), "[2001:db8::1]:8080");
  EXPECT_EQ(parse_address("[::1]", 8080)->text(), "[::1]:8080");
  for (const auto* text :
       {"", ":80", "10.0.0.1", "10.0.0.1:", "10.0.0:80", "10.0.0.1:65536", "localhost:80", "[::1]",
        "[::1]80", "[10.0.0.1]:80", "[::1]:", "::1:x"}) {
    EXPECT_FALSE(parse_address(text, 0)) << text;
  }
}

TEST(Scalars, CodesAreRangesInOrder) {
  const auto codes = parse_codes("200-299, 404");
  ASSERT_TRUE(codes);
  ASSERT_EQ(codes->size(), 2U);
  EXPECT_EQ((*codes)[0].last, 299);
  EXPECT_EQ((*codes)[1].first, 404);
  for (const auto* text : {"", "99", "600", "299-200", "200-", "200,,201", "2xx"}) {
    EXPECT_FALSE(parse_codes(text)) << text;
  }
}

TEST(Scalars, NetworksHaveAPrefixThatFits) {
  EXPECT_EQ(parse_cidr("10.0.0.0/8")->prefix_bits, 8);
  EXPECT_EQ(parse_cidr("fd00::/8")->ip, "fd00::");
  EXPECT_EQ(parse_cidr("10.0.0.1")->prefix_bits, 32);
  for (const auto* text : {"", "/8", "10.0.0.0/33", "fd00::/129", "10.0.0.0/", "lan/8"}) {
    EXPECT_FALSE(parse_cidr(text)) << text;
  }
}

TEST(Scalars, TextsAreWrittenAsOneWouldWriteThem) {
  EXPECT_EQ(duration_text(90s), "90s");
  EXPECT_EQ(duration_text(120s), "2m");
  EXPECT_EQ(duration_text(1500ms), "1500ms");
  EXPECT_EQ(duration_text(0s), "0s");
  EXPECT_EQ(size_text(16384), "16KiB");
  EXPECT_EQ(size_text(1000), "1000B");
  EXPECT_EQ(ratio_text(0.9), "90%");
}

TEST(Suggest, NearWordsAreFoundAndFarOnesAreNot) {
  const std::vector<std::string> keys{"health_check", "targets", "port", "min", "max"};
  EXPECT_EQ(nearest("healthcheck", keys), "health_check");
  EXPECT_EQ(nearest("Health-Check", keys), "health_check");
  EXPECT_EQ(nearest("tragets", keys), "targets");
  EXPECT_EQ(nearest("prot", keys), "port");
  EXPECT_EQ(nearest("zebra", keys), "");
  EXPECT_EQ(nearest("x", keys), "");
  EXPECT_EQ(edit_distance("kitten", "sitting"), 3U);
  EXPECT_EQ(edit_distance("ab", "ba"), 1U);
}

TEST(Utf8, RefusesOverlongSurrogatesAndControls) {
  EXPECT_FALSE(find_bad_utf8("grüße → 日本 \xF0\x9F\x98\x80\t\r\n"));
  EXPECT_EQ(find_bad_utf8("a\xC0\xAF"), 1U);
  EXPECT_EQ(find_bad_utf8("\xED\xA0\x80"), 0U);
  EXPECT_EQ(find_bad_utf8("ab\xE2\x82"), 2U);
  EXPECT_EQ(find_bad_utf8("\xF5\x80\x80\x80"), 0U);
  EXPECT_EQ(find_bad_utf8(std::string_view("a\0b", 3)), 1U);
  EXPECT_EQ(count_characters("grüße"), 5U);
}

}  // namespace
}  // namespace lbd::config
