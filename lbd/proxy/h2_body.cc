#include "lbd/proxy/h2_body.h"

#include <algorithm>

namespace lbd::proxy {
namespace {

/// A piece up to this size is copied, so that the giver need not wait.
constexpr std::size_t kCopiedMax = 4096;
constexpr std::size_t kPendingMax = 16 * 1024;

}  // namespace

void H2Outgoing::clear() noexcept {
  drop();
  trailers_.clear();
  trailer_text_.release();
}

void H2Outgoing::drop() noexcept {
  copied_.release();
  piece_ = {};
}

bool H2Outgoing::give(const BodyPiece& piece) {
  if (piece.last && piece.trailers != nullptr) keep_trailers(*piece.trailers);
  const bool copied =
      piece.bytes.size() <= kCopiedMax && copied_.size() + piece.bytes.size() <= kPendingMax;
  if (copied) {
    copied_.append(piece.bytes);
  } else {
    piece_ = piece.bytes;
  }
  return copied;
}

void H2Outgoing::take(std::size_t size, Buffer& out) {
  const std::size_t copied = std::min(size, copied_.size());
  out.append(copied_.view().substr(0, copied));
  copied_.consume(copied);
  out.append(piece_.substr(0, size - copied));
  piece_.remove_prefix(size - copied);
  if (empty()) copied_.release();
}

/// The giver's views do not live as long as the stream.
void H2Outgoing::keep_trailers(const std::vector<http::Header>& trailers) {
  std::size_t room = 0;
  for (const http::Header& each : trailers) room += each.name.size() + each.value.size();
  trailer_text_.reserve(room);
  trailers_.clear();
  const auto keep = [this](std::string_view text) {
    const std::size_t at = trailer_text_.size();
    trailer_text_.append(text);
    return trailer_text_.view().substr(at);
  };
  for (const http::Header& each : trailers) {
    const std::string_view name = keep(each.name);
    trailers_.push_back({name, keep(each.value), each.id});
  }
}

}  // namespace lbd::proxy
