#include "lbd/net/dns_message.h"

#include <gtest/gtest.h>

namespace lbd::net {
namespace {

std::string two(std::size_t value) {
  return {static_cast<char>(value >> 8), static_cast<char>(value & 0xff)};
}
std::string four(std::size_t value) { return two(value >> 16) + two(value & 0xffff); }

std::string name(std::initializer_list<std::string> labels) {
  std::string out;
  for (const std::string& label : labels) out += static_cast<char>(label.size()) + label;
  return out + '\0';
}

const std::string kAsked = name({"_http", "_tcp", "app"}) + two(33) + two(1);

std::string message(std::size_t answers, const std::string& records) {
  return two(7) + two(0x8180) + two(1) + two(answers) + two(0) + two(0) + kAsked + records;
}

std::string record(std::size_t type, std::size_t ttl, const std::string& data) {
  return "\xc0\x0c" + two(type) + two(1) + four(ttl) + two(data.size()) + data;
}
std::string service(std::size_t ttl, const std::string& host) {
  return record(33, ttl, two(10) + two(5) + two(8080) + host);
}

std::optional<DnsServiceRecords> read(const std::string& bytes) {
  return read_services({reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size()});
}

TEST(DnsServices, AreReadWithTheLeastTimeToLive) {
  const auto found = read(
      message(2, service(300, name({"n1", "app"})) + service(60, name({"N2", "App", "Internal"}))));
  ASSERT_TRUE(found);
  const DnsService first{"n1.app", 8080, 10, 5};
  const DnsService second{"n2.app.internal", 8080, 10, 5};
  EXPECT_EQ(found->services, (std::vector<DnsService>{first, second}));
  EXPECT_EQ(found->ttl_seconds, 60U);
}

TEST(DnsServices, OtherRecordsOfTheAnswerCountOnlyWithTheirTime) {
  const auto found = read(message(2, record(5, 9, name({"alias"})) + service(60, name({"n1"}))));
  ASSERT_TRUE(found);
  EXPECT_EQ(found->services.size(), 1U);
  EXPECT_EQ(found->ttl_seconds, 9U);
  EXPECT_EQ(read(message(1, service(0xffffffff, name({"n1"}))))->ttl_seconds, 0U);  // RFC 2181 §8
}

TEST(DnsServices, ABareDotIsNoHost) {
  const auto found = read(message(1, service(60, name({}))));
  ASSERT_TRUE(found);
  EXPECT_TRUE(found->services.empty());
}

TEST(DnsServices, HostsMayPointBackToWhatWasSaid) {
  const std::string suffix = "\xc0\x17";  // "app" of the question
  EXPECT_EQ(read(message(1, service(60, "\x02n1" + suffix)))->services.at(0).host, "n1.app");
}

TEST(DnsServices, PointersInCirclesOrForwardAreRefused) {
  const std::size_t here = 12 + kAsked.size() + 12 + 6;  // where the record's host begins
  const std::string itself{static_cast<char>(0xc0), static_cast<char>(here)};
  EXPECT_FALSE(read(message(1, service(60, itself))));
  EXPECT_FALSE(read(message(1, service(60, "\x02n1" + itself))));
  EXPECT_FALSE(read(message(1, service(60, "\xff\xff"))));
}

TEST(DnsServices, WhatBreaksOffIsRefused) {
  const std::string whole = message(1, service(60, name({"n1", "app"})));
  ASSERT_TRUE(read(whole));
  for (std::size_t size = 0; size < whole.size(); ++size) {
    EXPECT_FALSE(read(whole.substr(0, size))) << size;
  }
  EXPECT_FALSE(read(message(2, service(60, name({"n1"})))));
}

TEST(DnsServices, ARecordThatIsNotAsLongAsItSaysIsRefused) {
  EXPECT_FALSE(read(message(1, service(60, name({"n1"}) + "x"))));
  EXPECT_FALSE(read(message(1, record(33, 60, two(10)))));
}

TEST(DnsServices, HostsThatAreNoneAreLeftOut) {
  for (const std::string& label : {std::string("a b"), std::string("a.b"), std::string("a\0b", 3),
                                   std::string("a/b"), std::string("\xc3\xa4")}) {
    const auto found =
        read(message(2, service(60, name({label})) + service(60, name({"n1", "app"}))));
    ASSERT_TRUE(found) << label;
    ASSERT_EQ(found->services.size(), 1U) << label;
    EXPECT_EQ(found->services[0].host, "n1.app") << label;
  }
  const std::string most(63, 'x');
  EXPECT_TRUE(read(message(1, service(60, name({most, most, most, std::string(60, 'x')})))));
  EXPECT_FALSE(read(message(1, service(60, name({most, most, most, most})))));
}

}  // namespace
}  // namespace lbd::net
