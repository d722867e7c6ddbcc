#include "lbd/net/proxy_protocol.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

namespace lbd::net {
namespace {

using State = ProxyHeaderReader::State;

constexpr std::string_view kSignature("\r\n\r\n\0\r\nQUIT\n", 12);

std::span<const std::uint8_t> bytes_of(std::string_view text) {
  return {reinterpret_cast<const std::uint8_t*>(text.data()), text.size()};
}

struct Read {
  State state = State::reading;
  ProxyFault fault = ProxyFault::none;
  std::size_t taken = 0;
  std::string source;
  std::string destination;
};

Read read_by(std::string_view text, std::size_t piece) {
  ProxyHeaderReader reader;
  Read read;
  while (read.taken < text.size() && reader.state() == State::reading) {
    read.taken += reader.step(bytes_of(text.substr(read.taken, piece)));
  }
  read.state = reader.state();
  read.fault = reader.fault();
  if (reader.endpoints()) {
    read.source = reader.endpoints()->source.text();
    read.destination = reader.endpoints()->destination.text();
  }
  return read;
}

/// The whole, and byte by byte: the same.
Read read(std::string_view text) {
  Read whole = read_by(text, text.size());
  const Read bytes = read_by(text, 1);
  EXPECT_EQ(whole.state, bytes.state);
  EXPECT_EQ(whole.fault, bytes.fault);
  EXPECT_EQ(whole.taken, bytes.taken);
  EXPECT_EQ(whole.source, bytes.source);
  return whole;
}

std::string number(std::size_t value) {
  return {static_cast<char>(value >> 8), static_cast<char>(value & 0xff)};
}

std::string binary(int version_command, int family_transport, const std::string& rest) {
  std::string header(kSignature);
  header += static_cast<char>(version_command);
  header += static_cast<char>(family_transport);
  return header + number(rest.size()) + rest;
}

const std::string kV4("\xc0\x00\x02\x01\xc6\x33\x64\x02\x04\xd2\x01\xbb", 12);

std::string addition(int type, const std::string& value) {
  return static_cast<char>(type) + number(value.size()) + value;
}

TEST(ProxyLine, NamesBothEndsOfATcpConnection) {
  const Read v4 = read("PROXY TCP4 192.0.2.1 198.51.100.2 1234 443\r\nGET / HTTP/1.1\r\n");
  EXPECT_EQ(v4.state, State::done);
  EXPECT_EQ(v4.source, "192.0.2.1:1234");
  EXPECT_EQ(v4.destination, "198.51.100.2:443");
  EXPECT_EQ(v4.taken, 44U);  // what follows is not its own
  const Read v6 = read("PROXY TCP6 2001:db8::1 2001:db8::2 65535 0\r\n");
  EXPECT_EQ(v6.state, State::done);
  EXPECT_EQ(v6.source, "[2001:db8::1]:65535");
  EXPECT_EQ(v6.destination, "[2001:db8::2]:0");
}

TEST(ProxyLine, OfAnUnknownConnectionNamesNobody) {
  const std::string f(4, 'f');
  const std::string ip = f + ":" + f + ":" + f + ":" + f + ":" + f + ":" + f + ":" + f + ":" + f;
  const std::string longest = "PROXY UNKNOWN " + ip + " " + ip + " 65535 65535\r\n";
  EXPECT_EQ(longest.size(), kProxyLineMax);
  for (const std::string& line : {std::string("PROXY UNKNOWN\r\n"), longest}) {
    const Read unknown = read(line);
    EXPECT_EQ(unknown.state, State::done) << line;
    EXPECT_EQ(unknown.source, "");
  }
}

TEST(ProxyLine, ThatIsNotToTheLetterIsRefused) {
  for (const std::string_view line : {
           "PROXY TCP4 192.0.2.1 198.51.100.2 1234 443\n",
           "PROXY TCP4 192.0.2.1 198.51.100.2 1234 443\r \n",
           "PROXY TCP4 192.0.2.1 198.51.100.2 1234\r\n",
           "PROXY TCP4 192.0.2.1 198.51.100.2 1234 443 5\r\n",
           "PROXY TCP4 192.0.2.1  198.51.100.2 1234 443\r\n",
           "PROXY TCP4 192.0.2.1 198.51.100.2 1234 443 \r\n",
           "PROXY TCP4 192.0.2.256 198.51.100.2 1234 443\r\n",
           "PROXY TCP4 192.0.2.1 198.51.100.2 01234 443\r\n",
           "PROXY TCP4 192.0.2.1 198.51.100.2 65536 443\r\n",
           "PROXY TCP4 192.0.2.1 198.51.100.2 -1 443\r\n",
           "PROXY TCP4 192.0.2.1 198.51.100.2 +1 443\r\n",
           "PROXY TCP4 2001:db8::1 2001:db8::2 1 2\r\n",
           "PROXY TCP6 192.0.2.1 198.51.100.2 1 2\r\n",
           "PROXY TCP4 localhost 198.51.100.2 1 2\r\n",
           "PROXY UDP4 192.0.2.1 198.51.100.2 1 2\r\n",
           "PROXY UNKNOWNS\r\n",
           "PROXY \r\n",
           "PROXY  TCP4 192.0.2.1 198.51.100.2 1 2\r\n",
           "proxy TCP4 192.0.2.1 198.51.100.2 1 2\r\n",
       }) {
    const Read bad = read(line);
    EXPECT_EQ(bad.state, State::bad) << line;
    EXPECT_EQ(bad.fault, ProxyFault::malformed) << line;
  }
}

TEST(ProxyLine, EndsWithinItsLongest) {
  const std::string endless = "PROXY UNKNOWN " + std::string(200, 'x');
  const Read bad = read(endless);
  EXPECT_EQ(bad.fault, ProxyFault::malformed);
  EXPECT_EQ(bad.taken, kProxyLineMax);
}

TEST(ProxyHeaderReader, RefusesAnythingElseAtItsFirstWrongByte) {
  for (const std::string_view text :
       {"GET / HTTP/1.1\r\n\r\n", "\x16\x03\x01", "POST / HTTP/1.1"}) {
    EXPECT_EQ(read(text).state, State::bad) << text;
    EXPECT_LE(read(text).taken, 2U);
  }
  EXPECT_EQ(read("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").state, State::bad);
}

TEST(ProxyBinary, NamesBothEndsOfATcpConnection) {
  const Read v4 = read(binary(0x21, 0x11, kV4) + "GET");
  EXPECT_EQ(v4.state, State::done);
  EXPECT_EQ(v4.source, "192.0.2.1:1234");
  EXPECT_EQ(v4.destination, "198.51.100.2:443");
  EXPECT_EQ(v4.taken, 28U);
  std::string ips("\x20\x01\x0d\xb8", 4);
  ips += std::string(11, '\0') + "\x01";
  const Read v6 = read(binary(0x21, 0x21, ips + ips + number(1) + number(65535)));
  EXPECT_EQ(v6.source, "[2001:db8::1]:1");
  EXPECT_EQ(v6.destination, "[2001:db8::1]:65535");
}

TEST(ProxyBinary, OfTheProxyItselfNamesNobodyWhateverItHolds) {
  for (const std::string& rest : {std::string(), kV4, std::string(4096, 'x')}) {
    const Read local = read(binary(0x20, 0xff, rest) + "GET");
    EXPECT_EQ(local.state, State::done);
    EXPECT_EQ(local.source, "");
    EXPECT_EQ(local.taken, 16 + rest.size());
  }
}

TEST(ProxyBinary, OfWhatIsNoTcpNamesNobody) {
  const std::string paths(216, 'p');
  for (const auto& [family, rest] :
       std::vector<std::pair<int, std::string>>{{0x00, ""},
                                                {0x00, "anything"},
                                                {0x01, ""},
                                                {0x10, ""},
                                                {0x12, kV4},
                                                {0x22, std::string(36, '\1')},
                                                {0x31, paths},
                                                {0x32, paths}}) {
    const Read unknown = read(binary(0x21, family, rest));
    EXPECT_EQ(unknown.state, State::done) << family;
    EXPECT_EQ(unknown.source, "") << family;
  }
}

TEST(ProxyBinary, OfAnotherVersionCommandOrFamilyIsRefused) {
  for (const int version_command : {0x11, 0x31, 0x01, 0x22, 0x2f}) {
    EXPECT_EQ(read(binary(version_command, 0x11, kV4)).fault, ProxyFault::malformed);
  }
  for (const int family : {0x41, 0xf1, 0x13, 0x1f}) {
    EXPECT_EQ(read(binary(0x21, family, kV4)).fault, ProxyFault::malformed);
  }
}

TEST(ProxyBinary, ShorterThanItsAddressesIsRefused) {
  EXPECT_EQ(read(binary(0x21, 0x11, kV4.substr(1))).fault, ProxyFault::malformed);
  EXPECT_EQ(read(binary(0x21, 0x21, std::string(35, '\1'))).fault, ProxyFault::malformed);
  EXPECT_EQ(read(binary(0x21, 0x31, std::string(215, 'p'))).fault, ProxyFault::malformed);
}

TEST(ProxyBinary, AdditionsAreSkippedWhenTheyFit) {
  const std::string fit = addition(0x01, "h2") + addition(0x04, "") + addition(0xea, "vpce");
  const Read good = read(binary(0x21, 0x11, kV4 + fit) + "GET");
  EXPECT_EQ(good.source, "192.0.2.1:1234");
  EXPECT_EQ(good.taken, 28 + fit.size());
  for (const std::string& cut :
       {std::string("\x04", 1), std::string("\x04\0", 2), std::string("\x04\0\x02x", 4)}) {
    EXPECT_EQ(read(binary(0x21, 0x11, kV4 + cut)).fault, ProxyFault::malformed);
  }
}

/// RFC 3720 B.4, by hand; the reader has its own.
std::uint32_t crc_of(const std::string& bytes) {
  std::uint32_t crc = ~0U;
  for (const char c : bytes) {
    crc ^= static_cast<std::uint8_t>(c);
    for (int i = 0; i < 8; ++i) crc = (crc & 1) != 0 ? (crc >> 1) ^ 0x82f63b78 : crc >> 1;
  }
  return ~crc;
}

TEST(ProxyBinary, AChecksumMustBeRightWhereThereIsOne) {
  ASSERT_EQ(crc_of("123456789"), 0xe3069283U);  // the check value of CRC-32C
  std::string header =
      binary(0x21, 0x11, kV4 + addition(0x04, "pad") + addition(0x03, std::string(4, '\0')));
  const std::uint32_t crc = crc_of(header);
  header.replace(header.size() - 4, 4, number(crc >> 16) + number(crc & 0xffff));
  EXPECT_EQ(read(header).source, "192.0.2.1:1234");
  for (const std::size_t changed : {16UL, 31UL, header.size() - 1}) {
    std::string other = header;
    other[changed] = static_cast<char>(other[changed] ^ 1);
    const Read bad = read(other);
    EXPECT_EQ(bad.fault, ProxyFault::checksum) << changed;
    EXPECT_EQ(bad.source, "");
  }
  const std::string small = binary(0x21, 0x11, kV4 + addition(0x03, std::string(3, '\0')));
  EXPECT_EQ(read(small).fault, ProxyFault::malformed);
}

TEST(ProxyBinary, LongerThanWeReadIsRefusedByItsLength) {
  std::string header = binary(0x21, 0x11, kV4 + addition(0x04, std::string(4096 - 15, 'x')));
  EXPECT_EQ(read(header).state, State::done);
  header = binary(0x21, 0x11, kV4 + addition(0x04, std::string(4097 - 15, 'x')));
  const Read bad = read(header);
  EXPECT_EQ(bad.fault, ProxyFault::too_long);
  EXPECT_EQ(bad.taken, 16U);
}

SocketAddress at(std::string_view ip, std::uint16_t port) {
  return *SocketAddress::parse(ip, port);
}

TEST(ProxyHeader, IsReadAsItWasWritten) {
  for (const ProxyVersion version : {ProxyVersion::v1, ProxyVersion::v2}) {
    const std::string_view longest = "2001:db8:1111:2222:3333:4444:5555:6666";
    const ProxyHeader v4(version, at("192.0.2.1", 1234), at("198.51.100.2", 65535));
    EXPECT_EQ(read(v4.view()).source, "192.0.2.1:1234");
    EXPECT_EQ(read(v4.view()).destination, "198.51.100.2:65535");
    EXPECT_EQ(read(v4.view()).taken, v4.view().size());
    const ProxyHeader v6(version, at(longest, 65535), at("::1", 0));
    EXPECT_EQ(read(v6.view()).source, "[" + std::string(longest) + "]:65535");
    EXPECT_EQ(read(v6.view()).destination, "[::1]:0");
    const ProxyHeader mapped(version, at("::ffff:192.0.2.1", 1), at("198.51.100.2", 2));
    EXPECT_EQ(read(mapped.view()).source, "192.0.2.1:1");
    const ProxyHeader mixed(version, at("192.0.2.1", 1), at("2001:db8::2", 2));
    EXPECT_EQ(read(mixed.view()).state, State::done);
    EXPECT_EQ(read(mixed.view()).source, "192.0.2.1:1");  // as the IPv6 it was sent as is shown
    EXPECT_EQ(read(mixed.view()).destination, "[2001:db8::2]:2");
    const ProxyHeader own(version);
    EXPECT_EQ(read(own.view()).state, State::done);
    EXPECT_EQ(read(own.view()).source, "");
  }
  EXPECT_EQ(ProxyHeader(ProxyVersion::v1, at("192.0.2.1", 1234), at("198.51.100.2", 443)).view(),
            "PROXY TCP4 192.0.2.1 198.51.100.2 1234 443\r\n");
  EXPECT_EQ(ProxyHeader(ProxyVersion::v2, at("192.0.2.1", 1234), at("198.51.100.2", 443)).view(),
            binary(0x21, 0x11, kV4));
  EXPECT_EQ(ProxyHeader(ProxyVersion::v2).view(), binary(0x20, 0x00, ""));
  EXPECT_EQ(ProxyHeader(ProxyVersion::off).view(), "");
  EXPECT_EQ(ProxyHeader(ProxyVersion::off, at("192.0.2.1", 1), at("192.0.2.2", 2)).view(), "");
}

}  // namespace
}  // namespace lbd::net
