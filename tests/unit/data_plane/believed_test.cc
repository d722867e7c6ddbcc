#include "lbd/proxy/believed.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace lbd::proxy {
namespace {

using http::HeaderId;

const TrustedProxies kTrusted{{*net::SocketAddress::parse("10.0.0.0", 0), 8},
                              {*net::SocketAddress::parse("fd00::", 0), 8}};

std::string believed(const std::vector<std::string>& fields, bool trusted = true) {
  ClientInfo client;
  client.peer_ip = "10.0.0.1";
  client.trusted = trusted;
  http::RequestHead request;
  for (const std::string& field : fields) {
    request.headers.push_back({"X-Forwarded-For", field, HeaderId::x_forwarded_for});
  }
  return std::string(believed_address(client, request, kTrusted));
}

TEST(BelievedAddress, IsThePeersWhenThatIsNotTrusted) {
  EXPECT_EQ(believed({"192.0.2.1"}, false), "10.0.0.1");
}

TEST(BelievedAddress, IsTheLastThatIsNotATrustedProxy) {
  EXPECT_EQ(believed({}), "10.0.0.1");
  EXPECT_EQ(believed({"192.0.2.1"}), "192.0.2.1");
  EXPECT_EQ(believed({"198.51.100.9, 192.0.2.1, 10.9.9.9"}), "192.0.2.1");
  EXPECT_EQ(believed({"198.51.100.9", "192.0.2.1", "10.9.9.9"}), "192.0.2.1");
  EXPECT_EQ(believed({"192.0.2.1, fd00::7"}), "192.0.2.1");
}

TEST(BelievedAddress, IsTheFirstProxyWhenAllAreTrusted) {
  EXPECT_EQ(believed({"10.3.3.3, 10.2.2.2"}), "10.3.3.3");
}

TEST(BelievedAddress, MayComeWithAPort) {
  EXPECT_EQ(believed({"192.0.2.1:4711"}), "192.0.2.1");
  EXPECT_EQ(believed({"[2001:db8::1]:80"}), "2001:db8::1");
  EXPECT_EQ(believed({"2001:db8::1"}), "2001:db8::1");
}

TEST(BelievedAddress, StopsAtWhatIsNoAddress) {
  EXPECT_EQ(believed({"192.0.2.1, unknown, 10.2.2.2"}), "10.2.2.2");
  EXPECT_EQ(believed({"[::x"}), "10.0.0.1");
}

TEST(BelievedAddress, PassesOverEmptyMembers) {
  EXPECT_EQ(believed({"192.0.2.1,"}), "192.0.2.1");
  EXPECT_EQ(believed({"192.0.2.1, ,10.2.2.2"}), "192.0.2.1");
}

std::string scheme(std::string_view claim, bool trusted) {
  ClientInfo client;
  client.trusted = trusted;
  http::RequestHead request;
  request.headers.push_back({"X-Forwarded-Proto", claim, HeaderId::x_forwarded_proto});
  return std::string(believed_scheme(client, request));
}

TEST(BelievedScheme, IsWhatATrustedPeerSaysIfItIsOne) {
  EXPECT_EQ(scheme("HTTPS", true), "https");
  EXPECT_EQ(scheme("https", false), "http");
  EXPECT_EQ(scheme("gopher", true), "http");
}

}  // namespace
}  // namespace lbd::proxy
