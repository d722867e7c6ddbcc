#include "lbd/route/networks.h"

#include <gtest/gtest.h>

#include <string>

#include "lbd/base/rng.h"

namespace lbd::route {
namespace {

bool admits(const config::AccessList& list, const char* address) {
  return AccessList(list).admits(ip_bytes(address));
}

TEST(AccessList, AnEmptyOneAdmitsEverybody) {
  EXPECT_TRUE(admits({}, "192.0.2.1"));
  EXPECT_TRUE(admits({}, "not known"));
}

TEST(AccessList, NobodyButThoseThatAreAllowedComesIn) {
  const config::AccessList list{.allow = {{"10.0.0.0", 8}, {"2001:db8::", 32}}};
  EXPECT_TRUE(admits(list, "10.255.0.1"));
  EXPECT_TRUE(admits(list, "2001:db8:1::1"));
  EXPECT_FALSE(admits(list, "11.0.0.1"));
  EXPECT_FALSE(admits(list, "not known"));
}

TEST(AccessList, WhoIsDeniedStaysOutEvenIfAllowed) {
  const config::AccessList list{.allow = {{"10.0.0.0", 8}}, .deny = {{"10.1.0.0", 16}}};
  EXPECT_TRUE(admits(list, "10.0.0.1"));
  EXPECT_FALSE(admits(list, "10.1.2.3"));
  EXPECT_TRUE(admits({.deny = {{"10.1.0.0", 16}}}, "192.0.2.1"));
  EXPECT_FALSE(admits({.deny = {{"10.1.0.0", 16}}}, "not known"));
}

/// Bit by bit, as the definition says.
bool in(const IpBytes& address, const Network& network) {
  for (int bit = 0; bit < network.prefix_bits; ++bit) {
    const auto byte = static_cast<std::size_t>(bit / 8);
    const int mask = 0x80 >> (bit % 8);
    if (((address[byte] ^ network.ip[byte]) & mask) != 0) return false;
  }
  return true;
}

TEST(NetworkSet, FindsWhatComparingBitByBitFinds) {
  Rng rng(5);
  for (int round = 0; round < 2'000; ++round) {
    std::vector<config::Cidr> networks(1 + rng.below(20));
    for (config::Cidr& each : networks) {
      // Few different bits, so that they overlap.
      each.ip = std::to_string(rng.below(2) * 128) + "." + std::to_string(rng.below(4)) + ".0." +
                std::to_string(rng.below(8));
      each.prefix_bits = static_cast<int>(rng.below(33));
    }
    const NetworkSet set(networks);
    const std::string asked = std::to_string(rng.below(2) * 128) + "." +
                              std::to_string(rng.below(4)) + ".0." + std::to_string(rng.below(8));
    const IpBytes address = *ip_bytes(asked);
    bool expected = false;
    for (const config::Cidr& each : networks) {
      expected |= in(address, *network_of(each.ip, each.prefix_bits));
    }
    ASSERT_EQ(set.has(address), expected) << asked;
  }
}

}  // namespace
}  // namespace lbd::route
