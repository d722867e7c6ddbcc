#include "lbd/http/chunked.h"

#include <algorithm>

#include "lbd/http/message.h"

namespace lbd::http {
namespace {

int hex(char byte) noexcept {
  if (byte >= '0' && byte <= '9') return byte - '0';
  const char low = static_cast<char>(byte | 0x20);
  if (low >= 'a' && low <= 'f') return low - 'a' + 10;
  return -1;
}

bool is_text(char byte) noexcept {
  const auto value = static_cast<unsigned char>(byte);
  return (value >= 0x20 && value != 0x7f) || byte == '\t';
}

}  // namespace

void ChunkFramer::size_digit(char byte) noexcept {
  const int digit = hex(byte);
  if (digit >= 0) {
    // 15 digits hold any size below 2^60: no overflow, and no padding with zeros beyond it.
    if (++digits_ > 15) {
      state_ = State::bad;
      return;
    }
    remaining_ = remaining_ * 16 + static_cast<std::uint64_t>(digit);
    state_ = State::size;
  } else if (state_ == State::size_first) {
    state_ = State::bad;
  } else if (byte == ';') {
    state_ = State::extension;
  } else if (byte == '\r') {
    state_ = State::size_lf;
  } else {
    state_ = State::bad;
  }
}

void ChunkFramer::trailer_byte(char byte) noexcept {
  const bool begins = state_ == State::trailer_start;
  if (++extra_bytes_ > kTrailerBytesMax || (begins && ++trailers_ > kTrailersMax)) {
    state_ = State::bad;
  } else if (state_ == State::trailer) {
    if (byte == '\r') {
      state_ = State::trailer_lf;
    } else if (!is_text(byte)) {
      state_ = State::bad;
    }
  } else if (byte == ':' && !begins) {
    state_ = State::trailer;
  } else {
    state_ = is_token({&byte, 1}) ? State::trailer_name : State::bad;
  }
}

void ChunkFramer::control(char byte) noexcept {
  switch (state_) {
    case State::size_first:
    case State::size:
      size_digit(byte);
      break;
    case State::extension:
      if (byte == '\r') {
        state_ = State::size_lf;
      } else if (++extra_bytes_ > kExtensionBytesMax || !is_text(byte)) {
        state_ = State::bad;
      }
      break;
    case State::size_lf:
      digits_ = 0;
      if (byte != '\n') {
        state_ = State::bad;
      } else if (remaining_ > 0) {
        state_ = State::data;
      } else {
        extra_bytes_ = trailers_ = 0;
        state_ = State::trailer_start;
      }
      break;
    case State::data_cr:
      state_ = byte == '\r' ? State::data_lf : State::bad;
      break;
    case State::data_lf:
      state_ = byte == '\n' ? State::size_first : State::bad;
      break;
    case State::trailer_start:
      if (byte == '\r') {
        state_ = State::end_lf;
      } else {
        trailer_byte(byte);
      }
      break;
    case State::trailer_name:
    case State::trailer:
      trailer_byte(byte);
      break;
    case State::trailer_lf:
      state_ = byte == '\n' ? State::trailer_start : State::bad;
      break;
    case State::end_lf:
      state_ = byte == '\n' ? State::done : State::bad;
      break;
    case State::data:
    case State::done:
    case State::bad:
      break;
  }
}

ChunkFramer::Step ChunkFramer::step(std::string_view bytes) noexcept {
  Step step;
  std::size_t trailer = 0;  // where it begins
  while (step.consumed < bytes.size() && state_ != State::done && state_ != State::bad) {
    if (state_ == State::data) {
      const std::size_t run = static_cast<std::size_t>(
          std::min<std::uint64_t>(remaining_, bytes.size() - step.consumed));
      step.data = bytes.substr(step.consumed, run);
      step.consumed += run;
      remaining_ -= run;
      if (remaining_ == 0) state_ = State::data_cr;
      return step;
    }
    control(bytes[step.consumed]);
    ++step.consumed;
    if (!in_trailer() && state_ != State::done) trailer = step.consumed;
    if (state_ == State::trailer_start && extra_bytes_ == 0) trailer = step.consumed;
  }
  step.trailer = bytes.substr(trailer, step.consumed - trailer);
  return step;
}

}  // namespace lbd::http
