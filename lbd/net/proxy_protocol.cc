#include "lbd/net/proxy_protocol.h"

#include <arpa/inet.h>
#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace lbd::net {
namespace {

constexpr std::string_view kLineStart = "PROXY ";
constexpr std::string_view kSignature("\r\n\r\n\0\r\nQUIT\n", 12);
constexpr std::size_t kFixed = 16;  // of version 2: signature, version, command, family, length
constexpr std::uint8_t kCrc32cType = 0x03;

std::uint8_t byte_at(std::string_view bytes, std::size_t at) noexcept {
  return static_cast<std::uint8_t>(bytes[at]);
}

std::uint16_t number_at(std::string_view bytes, std::size_t at) noexcept {
  return static_cast<std::uint16_t>(byte_at(bytes, at) << 8 | byte_at(bytes, at + 1));
}

std::span<const std::uint8_t> span_at(std::string_view bytes, std::size_t at, std::size_t count) {
  return {reinterpret_cast<const std::uint8_t*>(bytes.data()) + at, count};
}

/// RFC 3720 B.4: reflected, polynomial 0x1edc6f41.
std::uint32_t crc32c(std::string_view bytes) noexcept {
  std::uint32_t crc = 0xffffffff;
  for (const char c : bytes) {
    crc ^= static_cast<std::uint8_t>(c);
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1) != 0 ? 0x82f63b78U : 0U);
  }
  return ~crc;
}

// ---- to send

using IpBytes = std::array<std::uint8_t, 16>;

bool is_v4(const IpBytes& ip) noexcept {
  constexpr IpBytes kMapped{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
  return std::equal(ip.begin(), ip.begin() + 12, kMapped.begin());
}

std::array<char, INET6_ADDRSTRLEN> ip_text(const IpBytes& ip, std::size_t bytes) noexcept {
  std::array<char, INET6_ADDRSTRLEN> text{};
  ::inet_ntop(bytes == 4 ? AF_INET : AF_INET6, ip.data() + 16 - bytes, text.data(), text.size());
  return text;
}

// ---- version 1

std::optional<std::uint16_t> port_of(std::string_view text) {
  if (text.empty() || text.size() > 5 || (text[0] == '0' && text.size() > 1)) return std::nullopt;
  std::uint32_t port = 0;
  for (const char c : text) {
    if (c < '0' || c > '9') return std::nullopt;
    port = port * 10 + static_cast<std::uint32_t>(c - '0');
  }
  if (port > 65535) return std::nullopt;
  return static_cast<std::uint16_t>(port);
}

std::optional<SocketAddress> address_of(int family, std::string_view ip, std::string_view port) {
  const auto number = port_of(port);
  if (!number) return std::nullopt;
  auto address = SocketAddress::parse(ip, *number);
  if (address && address->family() != family) address.reset();
  return address;
}

/// A whole line without its CRLF. False: not to the letter.
bool read_line(std::string_view line, std::optional<ProxyEndpoints>& found) {
  line.remove_prefix(kLineStart.size());
  if (line == "UNKNOWN" || line.starts_with("UNKNOWN ")) return true;
  std::array<std::string_view, 5> words;
  std::size_t count = 0;
  for (std::size_t start = 0; start <= line.size(); ++count) {
    const std::size_t end = std::min(line.find(' ', start), line.size());
    if (count == words.size()) return false;
    words[count] = line.substr(start, end - start);
    start = end + 1;
  }
  const int family = words[0] == "TCP4" ? AF_INET : words[0] == "TCP6" ? AF_INET6 : AF_UNSPEC;
  if (count != words.size() || family == AF_UNSPEC) return false;
  const auto source = address_of(family, words[1], words[3]);
  const auto destination = address_of(family, words[2], words[4]);
  if (!source || !destination) return false;
  found = ProxyEndpoints{*source, *destination};
  return true;
}

// ---- version 2

/// The additions after the addresses: only a checksum is looked at.
ProxyFault check_additions(std::string_view header, std::size_t from) {
  bool checked = false;
  for (std::size_t at = from; at < header.size();) {
    if (header.size() - at < 3) return ProxyFault::malformed;
    const std::size_t size = number_at(header, at + 1);
    if (header.size() - at - 3 < size) return ProxyFault::malformed;
    if (byte_at(header, at) == kCrc32cType) {
      if (size != 4 || std::exchange(checked, true)) return ProxyFault::malformed;
      const std::uint32_t stated =
          static_cast<std::uint32_t>(number_at(header, at + 3)) << 16 | number_at(header, at + 5);
      std::string blank(header);
      blank.replace(at + 3, 4, 4, '\0');
      if (crc32c(blank) != stated) return ProxyFault::checksum;
    }
    at += 3 + size;
  }
  return ProxyFault::none;
}

/// A whole header of version 2.
ProxyFault read_binary(std::string_view header, std::optional<ProxyEndpoints>& found) {
  const std::uint8_t command = byte_at(header, 12) & 0x0f;
  if (command > 1) return ProxyFault::malformed;
  if (command == 0) return ProxyFault::none;  // LOCAL: whatever it holds counts for nothing
  const std::uint8_t family = byte_at(header, 13) >> 4;
  const std::uint8_t transport = byte_at(header, 13) & 0x0f;
  if (family > 3 || transport > 2) return ProxyFault::malformed;
  if (family == 0 || transport == 0) return ProxyFault::none;  // ends where its length says
  constexpr std::array<std::size_t, 4> kIpBytes{0, 4, 16, 108};
  const std::size_t ip = kIpBytes[family];
  const std::size_t ports = family == 3 ? 0 : 4;
  const std::size_t end = kFixed + 2 * ip + ports;
  if (header.size() < end) return ProxyFault::malformed;
  const ProxyFault fault = check_additions(header, end);
  if (fault != ProxyFault::none) return fault;
  if (family == 3 || transport == 2) return ProxyFault::none;  // no TCP: as if it were unknown
  const std::size_t port = kFixed + 2 * ip;
  found = ProxyEndpoints{
      SocketAddress::of(span_at(header, kFixed, ip), number_at(header, port)),
      SocketAddress::of(span_at(header, kFixed + ip, ip), number_at(header, port + 2))};
  return ProxyFault::none;
}

}  // namespace

std::string_view proxy_fault_name(ProxyFault fault) noexcept {
  constexpr std::array<std::string_view, static_cast<std::size_t>(ProxyFault::kCount)> kNames{
      "none", "untrusted", "timeout", "closed", "malformed", "too_long", "checksum"};
  return kNames[static_cast<std::size_t>(fault)];
}

std::size_t ProxyHeaderReader::step(std::span<const std::uint8_t> bytes) {
  std::size_t taken = 0;
  while (taken < bytes.size() && state_ == State::reading) take(bytes[taken++]);
  return taken;
}

void ProxyHeaderReader::take(std::uint8_t byte) {
  held_.push_back(static_cast<char>(byte));
  const bool line = held_[0] == kLineStart[0];
  const std::string_view start = line ? kLineStart : kSignature;
  if (held_.size() <= start.size()) {
    if (!start.starts_with(held_)) end(ProxyFault::malformed);
  } else if (line) {
    take_line(byte);
  } else {
    take_binary(byte);
  }
}

void ProxyHeaderReader::take_line(std::uint8_t byte) {
  const bool after_cr = held_[held_.size() - 2] == '\r';
  if (after_cr != (byte == '\n') || byte == '\0') return end(ProxyFault::malformed);
  if (!after_cr) {
    if (held_.size() >= kProxyLineMax) end(ProxyFault::malformed);
    return;
  }
  const std::string_view line(held_.data(), held_.size() - 2);
  end(read_line(line, endpoints_) ? ProxyFault::none : ProxyFault::malformed);
}

void ProxyHeaderReader::take_binary(std::uint8_t byte) {
  if (held_.size() == kSignature.size() + 1 && byte >> 4 != 2) return end(ProxyFault::malformed);
  if (held_.size() == kFixed) {
    whole_ = kFixed + number_at(held_, kFixed - 2);
    if (whole_ > kProxyHeaderMax) return end(ProxyFault::too_long);
  }
  if (held_.size() >= kFixed && held_.size() == whole_) end(read_binary(held_, endpoints_));
}

void ProxyHeaderReader::end(ProxyFault fault) noexcept {
  fault_ = fault;
  state_ = fault == ProxyFault::none ? State::done : State::bad;
}

ProxyHeader::ProxyHeader(ProxyVersion version) {
  if (version == ProxyVersion::v1) add("PROXY UNKNOWN\r\n");
  if (version != ProxyVersion::v2) return;
  add(kSignature);
  add(std::string_view("\x20\0\0\0", 4));
}

ProxyHeader::ProxyHeader(ProxyVersion version, const SocketAddress& source,
                         const SocketAddress& destination) {
  if (version == ProxyVersion::off) return;
  const std::array from = source.bytes();
  const std::array to = destination.bytes();
  const std::size_t ip = is_v4(from) && is_v4(to) ? 4 : 16;
  if (version == ProxyVersion::v1) {
    const auto end = fmt::format_to_n(bytes_.data(), bytes_.size(), "PROXY {} {} {} {} {}\r\n",
                                      ip == 4 ? "TCP4" : "TCP6", ip_text(from, ip).data(),
                                      ip_text(to, ip).data(), source.port(), destination.port());
    size_ = static_cast<std::uint8_t>(end.size);
    return;
  }
  add(kSignature);
  const auto length = static_cast<char>(2 * ip + 4);
  const std::array<char, 4> fixed{'\x21', ip == 4 ? '\x11' : '\x21', '\0', length};
  add({fixed.data(), fixed.size()});
  for (const IpBytes* each : {&from, &to}) {
    add({reinterpret_cast<const char*>(each->data()) + 16 - ip, ip});
  }
  for (const SocketAddress* each : {&source, &destination}) {
    const std::array<char, 2> port{static_cast<char>(each->port() >> 8),
                                   static_cast<char>(each->port() & 0xff)};
    add({port.data(), port.size()});
  }
}

void ProxyHeader::add(std::string_view bytes) noexcept {
  std::copy(bytes.begin(), bytes.end(), bytes_.begin() + size_);
  size_ = static_cast<std::uint8_t>(size_ + bytes.size());
}

}  // namespace lbd::net
