#include "lbd/net/client_hello.h"

#include <utility>

namespace lbd::net {
namespace {

constexpr std::uint8_t kHandshake = 22;
constexpr std::uint32_t kClientHello = 1;
constexpr std::uint32_t kServerName = 0;  // the extension, and the one type of name (RFC 6066 §3)
constexpr std::uint32_t kRecordMax = 16 * 1024;
constexpr std::uint32_t kHeaderBytes = 5;

}  // namespace

std::size_t ClientHelloReader::step(std::span<const std::uint8_t> bytes) {
  std::size_t count = 0;
  while (count < bytes.size() && state_ == State::reading) take(bytes[count++]);
  return count;
}

void ClientHelloReader::take(std::uint8_t byte) {
  if (++taken_ > kClientHelloMax) return refuse();
  if (record_left_ == 0) return take_header(byte);
  --record_left_;
  take_message(byte);
}

/// Its type, the version (of which RFC 8446 §5.1 has the second byte ignored), and its size. A
/// message that is not over goes on in the next record; nothing may come between.
void ClientHelloReader::take_header(std::uint8_t byte) {
  const std::uint32_t at = header_bytes_++;
  if (at == 0 && byte != kHandshake) return refuse();
  if (at == 1 && byte != 3) return refuse();
  if (at >= 3) record_size_ = record_size_ << 8 | byte;
  if (header_bytes_ < kHeaderBytes) return;
  header_bytes_ = 0;
  record_left_ = std::exchange(record_size_, 0);
  if (record_left_ == 0 || record_left_ > kRecordMax) refuse();
}

void ClientHelloReader::take_message(std::uint8_t byte) {
  if (part_ > Part::size) --message_left_;
  if (part_ == Part::name) name_[name_size_++] = static_cast<char>(byte);
  number_ = number_ << 8 | byte;
  if (--part_left_ == 0) end_part();
  // Nothing is left of the message, but it is not over.
  if (state_ == State::reading && part_ > Part::size && message_left_ == 0) refuse();
}

void ClientHelloReader::end_part() {
  const std::uint32_t number = std::exchange(number_, 0);
  switch (part_) {
    case Part::type:
      return enter_if(number == kClientHello, Part::size, 3);
    case Part::size:
      message_left_ = number;
      return enter_if(number <= kClientHelloMax, Part::version, 2);
    case Part::version:
      return enter_if(number >> 8 == 3, Part::random, 32);
    case Part::random:
      return enter(Part::session_size, 1);
    case Part::session_size:
      return enter_if(number <= 32, Part::session, number);
    case Part::session:
      return enter(Part::suites_size, 2);
    case Part::suites_size:
      return enter_if(number >= 2 && number % 2 == 0, Part::suites, number);
    case Part::suites:
      return enter(Part::methods_size, 1);
    case Part::methods_size:
      return enter_if(number >= 1, Part::methods, number);
    case Part::methods:
      if (message_left_ > 0) return enter(Part::extensions_size, 2);
      state_ = State::done;  // as before TLS 1.2: without extensions
      return;
    default:
      return end_extension_part(number);
  }
}

void ClientHelloReader::end_extension_part(std::uint32_t number) {
  switch (part_) {
    case Part::extensions_size:
      if (number != message_left_) return refuse();
      return enter_next_extension();
    case Part::extension_type:
      extension_type_ = number;
      return enter(Part::extension_size, 2);
    case Part::extension_size:
      if (number > message_left_) return refuse();
      if (extension_type_ != kServerName) return enter(Part::extension, number);
      names_bytes_ = number - 2;
      return enter_if(number >= 2 && !std::exchange(named_, true), Part::names_size, 2);
    case Part::extension:
      return enter_next_extension();
    case Part::names_size:
      return enter_if(number == names_bytes_, Part::name_type, 1);
    case Part::name_type:
      return enter_if(number == kServerName, Part::name_size, 2);
    case Part::name_size:
      // One name, and it is the whole list.
      return enter_if(number > 0 && number <= name_.size() && number + 3 == names_bytes_,
                      Part::name, number);
    default:
      end_name();
      return enter_next_extension();
  }
}

void ClientHelloReader::enter(Part part, std::uint32_t bytes) {
  part_ = part;
  part_left_ = bytes;
  if (bytes == 0) end_part();
}

void ClientHelloReader::enter_if(bool holds, Part part, std::uint32_t bytes) {
  return holds ? enter(part, bytes) : refuse();
}

void ClientHelloReader::enter_next_extension() {
  if (state_ == State::bad) return;
  if (message_left_ > 0) return enter(Part::extension_type, 2);
  state_ = State::done;
}

/// Visible ASCII, as names and rules have it.
void ClientHelloReader::end_name() {
  for (std::size_t i = 0; i < name_size_; ++i) {
    char& c = name_[i];
    if (c <= ' ' || c > '~') return refuse();
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c + ('a' - 'A'));
  }
  if (name_[name_size_ - 1] == '.') --name_size_;
  if (name_size_ == 0) refuse();
}

}  // namespace lbd::net
