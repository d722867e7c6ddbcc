// Content codings (RFC 9110 §8.4.1): gzip, Brotli, Zstandard. Bytes only.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "lbd/base/buffer.h"
#include "lbd/http/message.h"

namespace lbd::http {

enum class Coding : std::uint8_t { identity, gzip, br, zstd, kCount };
[[nodiscard]] std::string_view coding_name(Coding coding) noexcept;

/// What the client's Accept-Encoding likes best; of equals the first of `preferred`. Identity when
/// it names none of them, or there is none (RFC 9110 §12.5.3).
[[nodiscard]] Coding choose_coding(std::span<const Coding> preferred,
                                   const std::vector<Header>& request) noexcept;

/// CPU against bytes.
enum class Effort : std::uint8_t { low, medium, high, kCount };

/// Encodes one message at a time. Memory: about 270 KiB (gzip), 1 MiB (br), 700 KiB (zstd).
class Encoder {
 public:
  Encoder(Coding coding, Effort effort) noexcept : coding_(coding), effort_(effort) {}
  virtual ~Encoder() = default;
  Encoder(const Encoder&) = delete;
  Encoder& operator=(const Encoder&) = delete;

  [[nodiscard]] Coding coding() const noexcept { return coding_; }
  [[nodiscard]] Effort effort() const noexcept { return effort_; }
  /// Appends all that `in` becomes, so that a reader of `out` can decode it at once. `last`: the
  /// message ends here. False: out of memory; only `restart` may follow.
  [[nodiscard]] virtual bool encode(std::string_view in, bool last, Buffer& out) = 0;
  /// For the next message. False: out of memory.
  [[nodiscard]] virtual bool restart() = 0;

 private:
  Coding coding_;
  Effort effort_;
};

/// Null: out of memory. Not for identity.
[[nodiscard]] std::unique_ptr<Encoder> make_encoder(Coding coding, Effort effort);

}  // namespace lbd::http
