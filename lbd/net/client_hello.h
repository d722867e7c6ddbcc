// What a ClientHello says about where it wants to go, without taking part in the handshake: for TLS
// that is passed through. Bytes only.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace lbd::net {

/// Of all bytes up to its end, record headers included. Those of today have about 2 KiB.
inline constexpr std::size_t kClientHelloMax = 16 * 1024;

/// Reads one ClientHello (RFC 8446 §4.1.2), in however many records, and refuses what servers could
/// read differently: the name that is found is the name that the target finds. What is accepted is
/// accepted however it was cut into pieces. It keeps the name and nothing else.
class ClientHelloReader {
 public:
  enum class State : std::uint8_t { reading, done, bad };

  /// Takes bytes until the ClientHello is whole or bad; returns how many.
  std::size_t step(std::span<const std::uint8_t> bytes);
  [[nodiscard]] State state() const noexcept { return state_; }
  /// The server's name (SNI) in lower case, without a dot at its end; empty when there is none.
  /// Lives as long as the reader.
  [[nodiscard]] std::string_view server_name() const noexcept { return {name_.data(), name_size_}; }

 private:
  /// In the order in which they come.
  enum class Part : std::uint8_t {
    type,
    size,
    version,
    random,
    session_size,
    session,
    suites_size,
    suites,
    methods_size,
    methods,
    extensions_size,
    extension_type,
    extension_size,
    extension,
    names_size,
    name_type,
    name_size,
    name,
  };

  void take(std::uint8_t byte);
  void take_header(std::uint8_t byte);
  void take_message(std::uint8_t byte);
  void end_part();
  void end_extension_part(std::uint32_t number);
  void enter(Part part, std::uint32_t bytes);
  void enter_if(bool holds, Part part, std::uint32_t bytes);
  void enter_next_extension();
  void end_name();
  void refuse() noexcept { state_ = State::bad; }

  State state_ = State::reading;
  Part part_ = Part::type;
  std::size_t taken_ = 0;
  std::uint32_t header_bytes_ = 0;  // of a record's header
  std::uint32_t record_size_ = 0;   // as far as its header says it
  std::uint32_t record_left_ = 0;
  std::uint32_t message_left_ = 0;  // once its size is known
  std::uint32_t part_left_ = 1;
  std::uint32_t number_ = 0;  // the part, as far as it has come
  std::uint32_t extension_type_ = 0;
  std::uint32_t names_bytes_ = 0;  // what the list of names must have
  bool named_ = false;
  std::size_t name_size_ = 0;
  std::array<char, 255> name_{};
};

}  // namespace lbd::net
