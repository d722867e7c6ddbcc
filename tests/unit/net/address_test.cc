#include "lbd/net/address.h"

#include <gtest/gtest.h>

namespace lbd::net {
namespace {

SocketAddress at(std::string_view ip, std::uint16_t port = 80) {
  const auto parsed = SocketAddress::parse(ip, port);
  EXPECT_TRUE(parsed) << ip;
  return parsed.value_or(SocketAddress());
}

TEST(SocketAddress, BothFamiliesAreReadAndShownAlike) {
  EXPECT_EQ(at("192.0.2.1").text(), "192.0.2.1:80");
  EXPECT_EQ(at("2001:DB8::1", 443).text(), "[2001:db8::1]:443");
  EXPECT_EQ(at("::").text(), "[::]:80");
  EXPECT_EQ(at("::ffff:192.0.2.1").ip(), "192.0.2.1");  // a dual-stack socket's IPv4 client
}

TEST(SocketAddress, NamesAndMalformedAddressesAreNone) {
  for (const std::string_view text : {"", "localhost", "1.2.3", "1.2.3.4.5", "01.2.3.4x", "[::1]",
                                      ":::", "1.2.3.256", "fe80::1%lo"}) {
    EXPECT_FALSE(SocketAddress::parse(text, 1)) << text;
  }
}

TEST(SocketAddress, LiesInANetworkByItsLeadingBits) {
  EXPECT_TRUE(at("10.1.2.3").in(at("10.0.0.0"), 8));
  EXPECT_FALSE(at("11.1.2.3").in(at("10.0.0.0"), 8));
  EXPECT_TRUE(at("192.0.2.129").in(at("192.0.2.128"), 25));
  EXPECT_FALSE(at("192.0.2.127").in(at("192.0.2.128"), 25));
  EXPECT_TRUE(at("192.0.2.1").in(at("192.0.2.1"), 32));
  EXPECT_FALSE(at("192.0.2.2").in(at("192.0.2.1"), 32));
  EXPECT_TRUE(at("2001:db8::1").in(at("2001:db8::"), 32));
  EXPECT_FALSE(at("2001:db9::1").in(at("2001:db8::"), 32));
  EXPECT_TRUE(at("::ffff:10.1.2.3").in(at("10.0.0.0"), 8));
  EXPECT_TRUE(at("1.2.3.4").in(at("0.0.0.0"), 0));
  EXPECT_FALSE(at("2001:db8::1").in(at("0.0.0.0"), 0));  // all of IPv4 is not all of IPv6
}

TEST(Endpoint, IsAnIpAddressOrAUnixSocket) {
  const Endpoint ip = at("192.0.2.1");
  EXPECT_FALSE(ip.is_unix());
  EXPECT_EQ(ip.text(), "192.0.2.1:80");
  EXPECT_EQ(ip.family(), AF_INET);
  for (const std::string_view path : {"/run/app.sock", "@app"}) {
    const auto local = Endpoint::of_unix(path);
    ASSERT_TRUE(local);
    EXPECT_TRUE(local->is_unix());
    EXPECT_EQ(local->text(), "unix:" + std::string(path));
    EXPECT_EQ(local->family(), AF_UNIX);
  }
}

TEST(Endpoint, IsCalledByItsNameWhereItHasOne) {
  const Endpoint plain = at("192.0.2.1");
  EXPECT_EQ(plain.host(), "192.0.2.1");
  EXPECT_EQ(plain.authority(), "192.0.2.1:80");
  const Endpoint named = plain.named("app.internal");
  EXPECT_EQ(named.host(), "app.internal");
  EXPECT_EQ(named.authority(), "app.internal:80");
  EXPECT_EQ(named.text(), "192.0.2.1:80");
  EXPECT_FALSE(named.is_unix());
  EXPECT_EQ(Endpoint::of_unix("/run/app.sock")->authority(), "localhost");
}

TEST(Endpoint, APathHasRoomInItsAddressOrIsNone) {
  EXPECT_TRUE(Endpoint::of_unix("/" + std::string(106, 'x')));
  EXPECT_FALSE(Endpoint::of_unix("/" + std::string(107, 'x')));
  EXPECT_EQ(Endpoint::of_unix("@" + std::string(106, 'x'))->size(), sizeof(sa_family_t) + 107);
  EXPECT_FALSE(Endpoint::of_unix(""));
  EXPECT_FALSE(Endpoint::of_unix("@"));
}

}  // namespace
}  // namespace lbd::net
