#include "lbd/control/name_answers.h"

#include <gtest/gtest.h>

namespace lbd::control {
namespace {

using net::DnsAddresses;
using net::DnsFault;
using net::DnsService;
using std::chrono::minutes;
using std::chrono::seconds;

net::SocketAddress at(std::string_view ip) { return *net::SocketAddress::parse(ip, 0); }

DnsAddresses found(const std::vector<std::string_view>& ips, seconds ttl = seconds(60)) {
  DnsAddresses answer;
  for (const std::string_view ip : ips) answer.found.push_back(at(ip));
  answer.ttl = ttl;
  return answer;
}
DnsAddresses failed(DnsFault fault) { return {fault, {}, seconds(0)}; }

std::string text_of(const HostAddresses& known) {
  std::string text;
  for (const auto* family : {&known.v4, &known.v6}) {
    for (const net::SocketAddress& each : *family) text += each.ip() + " ";
  }
  return text;
}

const HostAddresses kBefore{{at("10.0.0.1")}, {at("fd00::1")}};

TEST(MergeFamilies, BothCountAndTheShorterTimeToLive) {
  const HostAnswer both =
      merge_families(kBefore, found({"10.0.0.2"}), found({"fd00::2"}, seconds(5)));
  EXPECT_EQ(text_of(both.known), "10.0.0.2 fd00::2 ");
  EXPECT_EQ(both.fault, DnsFault::none);
  EXPECT_EQ(both.ttl, seconds(5));
}

TEST(MergeFamilies, AFamilyWithoutRecordsIsGoneWhenTheOtherHasSome) {
  for (const DnsFault none : {DnsFault::no_records, DnsFault::no_such_name}) {
    const HostAnswer four = merge_families(kBefore, found({"10.0.0.2"}), failed(none));
    EXPECT_EQ(text_of(four.known), "10.0.0.2 ");
    EXPECT_EQ(four.fault, DnsFault::none);
    EXPECT_EQ(four.ttl, seconds(60));
  }
}

TEST(MergeFamilies, AFamilyThatFailedKeepsWhatItHad) {
  for (const DnsFault fault : {DnsFault::server_failure, DnsFault::timeout, DnsFault::malformed}) {
    const HostAnswer four = merge_families(kBefore, found({"10.0.0.2"}), failed(fault));
    EXPECT_EQ(text_of(four.known), "10.0.0.2 fd00::1 ");
    EXPECT_EQ(four.fault, fault);
    const HostAnswer six = merge_families(kBefore, failed(fault), found({"fd00::2"}));
    EXPECT_EQ(text_of(six.known), "10.0.0.1 fd00::2 ");
  }
}

TEST(MergeFamilies, NothingAtAllKeepsEverything) {
  const auto none = failed(DnsFault::no_records);
  const auto unknown = failed(DnsFault::no_such_name);
  EXPECT_EQ(merge_families(kBefore, unknown, unknown).fault, DnsFault::no_such_name);
  EXPECT_EQ(merge_families(kBefore, none, unknown).fault, DnsFault::no_records);
  EXPECT_EQ(text_of(merge_families(kBefore, none, none).known), "10.0.0.1 fd00::1 ");
  const HostAddresses four{{at("10.0.0.1")}, {}};
  const HostAnswer lost = merge_families(four, none, failed(DnsFault::timeout));
  EXPECT_EQ(text_of(lost.known), "10.0.0.1 ");
  EXPECT_EQ(lost.fault, DnsFault::timeout);
}

TEST(UsableServices, AreThoseOfTheLowestPriorityWithAHost) {
  const auto usable =
      usable_services({{"a", 1, 20, 1}, {"", 0, 0, 0}, {"b", 2, 10, 1}, {"c", 3, 10, 1}});
  ASSERT_EQ(usable.size(), 2U);
  EXPECT_EQ(usable[0].host, "b");
  EXPECT_EQ(usable[1].host, "c");
  EXPECT_TRUE(usable_services({{"", 0, 0, 0}}).empty());
  EXPECT_EQ(usable_services(std::vector<DnsService>(5000, {"a", 1, 1, 1})).size(),
            kNameServicesMax);
}

std::string addresses_of(const std::vector<DnsService>& services,
                         const std::map<std::string, HostAddresses>& hosts) {
  std::string text;
  for (const NameAddress& each : service_addresses(services, hosts)) {
    text += each.address.text() + "=" + std::to_string(each.weight) + " ";
  }
  return text;
}

TEST(ServiceAddresses, HaveThePortAndWeightOfTheirRecord) {
  const std::map<std::string, HostAddresses> hosts{{"a", kBefore}, {"b", {{at("10.0.0.9")}, {}}}};
  EXPECT_EQ(addresses_of({{"b", 80, 0, 7}, {"a", 81, 0, 3}, {"gone", 82, 0, 1}}, hosts),
            "10.0.0.1:81=3 10.0.0.9:80=7 [fd00::1]:81=3 ");
}

TEST(ServiceAddresses, WeightsAreScaledToOurs) {
  const std::map<std::string, HostAddresses> hosts{{"a", {{at("10.0.0.1")}, {}}},
                                                   {"b", {{at("10.0.0.2")}, {}}}};
  EXPECT_EQ(addresses_of({{"a", 1, 0, 0}, {"b", 1, 0, 0}}, hosts), "10.0.0.1:1=1 10.0.0.2:1=1 ");
  EXPECT_EQ(addresses_of({{"a", 1, 0, 0}, {"b", 1, 0, 5}}, hosts), "10.0.0.1:1=1 10.0.0.2:1=1000 ");
  EXPECT_EQ(addresses_of({{"a", 1, 0, 65535}, {"b", 1, 0, 1}}, hosts),
            "10.0.0.1:1=1000 10.0.0.2:1=1 ");
  EXPECT_EQ(addresses_of({{"a", 1, 0, 5}, {"a", 1, 0, 6}}, hosts), "10.0.0.1:1=11 ");
}

TEST(HostOf, IsTheNameOrTheDomainOfAService) {
  EXPECT_EQ(host_of("app.internal"), "app.internal");
  EXPECT_EQ(host_of("app.internal."), "app.internal");
  EXPECT_EQ(host_of("_http._tcp.app.internal"), "app.internal");
  EXPECT_EQ(host_of("_http"), "_http");
}

TEST(NextLook, IsWhenTheAnswerEndsWithinTheLimits) {
  const TtlLimits limits{seconds(5), minutes(5)};
  EXPECT_EQ(next_look(seconds(60), 0, limits, 0), seconds(60));
  EXPECT_EQ(next_look(seconds(60), 0, limits, 0.5), seconds(63));
  EXPECT_EQ(next_look(seconds(0), 0, limits, 0), seconds(5));
  EXPECT_EQ(next_look(seconds::max(), 0, limits, 0), minutes(5));
}

TEST(NextLook, AfterFailuresIsSoonAndThenEverLater) {
  const TtlLimits limits{seconds(5), minutes(5)};
  EXPECT_EQ(next_look(seconds(0), 1, limits, 0), seconds(1));
  EXPECT_EQ(next_look(seconds(0), 2, limits, 0), seconds(2));
  EXPECT_EQ(next_look(seconds(0), 5, limits, 0), seconds(16));
  EXPECT_EQ(next_look(seconds(0), 4'000'000'000, limits, 0), seconds(30));
  EXPECT_EQ(next_look(seconds(0), 9, {seconds(1), seconds(10)}, 0), seconds(10));
}

}  // namespace
}  // namespace lbd::control
