// Responses that go out in a content coding that the client accepts.
#include <algorithm>

#include "lbd/proxy/exchange.h"
#include "lbd/proxy/headers.h"

namespace lbd::proxy {
namespace {

using http::Coding;
static_assert(static_cast<std::size_t>(Coding::kCount) == upstream::kCodings);
using http::Header;

const Header* find_named(const std::vector<Header>& headers, std::string_view name) noexcept {
  const auto found = std::find_if(headers.begin(), headers.end(), [name](const Header& each) {
    return http::equals_ignoring_case(each.name, name);
  });
  return found == headers.end() ? nullptr : &*found;
}

/// A status whose body is the whole of what it says it is.
bool is_whole(int status) noexcept {
  return status >= 200 && status != 204 && status != 205 && status != 206 && status != 304;
}

bool forbids_transform(const std::vector<Header>& headers) noexcept {
  return std::any_of(headers.begin(), headers.end(), [](const Header& each) {
    return http::equals_ignoring_case(each.name, "cache-control") &&
           http::list_has(each.value, "no-transform");
  });
}

/// Coded already, a part of something, or not to be touched (RFC 9110 §7.7).
bool must_stay(const std::vector<Header>& headers) noexcept {
  return forbids_transform(headers) || find_named(headers, "content-encoding") != nullptr ||
         find_named(headers, "content-range") != nullptr;
}

/// Fields that are about the bytes as the target sent them.
bool is_of_identity(std::string_view name) noexcept {
  for (const std::string_view each : {"accept-ranges", "content-md5", "content-digest", "digest"}) {
    if (http::equals_ignoring_case(name, each)) return true;
  }
  return false;
}

bool is_compressible(const route::Compression& settings, const http::ResponseHead& response,
                     const std::vector<Header>& headers) {
  const std::string_view type = http::first_value(headers, http::HeaderId::content_type);
  const std::string_view media = http::trimmed(type.substr(0, type.find(';')));
  const bool small = response.framing.kind == http::Framing::Kind::length &&
                     response.framing.length < settings.bytes_min;
  return !media.empty() && !small && is_whole(response.status) && settings.types.matches(media) &&
         !must_stay(headers);
}

void add_vary(std::vector<Header>& headers) {
  for (const Header& each : headers) {
    if (!http::equals_ignoring_case(each.name, "vary")) continue;
    if (http::list_has(each.value, "accept-encoding") || http::list_has(each.value, "*")) return;
  }
  headers.push_back({"Vary", "Accept-Encoding", http::HeaderId::other});
}

}  // namespace

/// The validator of other bytes with the same meaning (RFC 9110 §8.8.3.3).
void Exchange::weaken_etag() {
  std::vector<Header>& headers = state_->client_headers;
  const auto tag = std::find_if(headers.begin(), headers.end(), [](const Header& each) {
    return http::equals_ignoring_case(each.name, "etag");
  });
  if (tag == headers.end() || tag->value.starts_with("W/")) return;
  state_->etag.clear();
  state_->etag.append("W/");
  state_->etag.append(tag->value);
  tag->value = state_->etag.view();
}

/// The coding that this client would get of the listener.
Coding Exchange::wanted_coding() const noexcept {
  const http::RequestHead& request = client_.head();
  // An HTTP/1.0 client knows no chunks: it could not tell an end from a break.
  const bool never =
      request.version == http::Version::http_1_0 || forbids_transform(request.headers);
  if (never) return Coding::identity;
  return http::choose_coding(listener_.compression->codings, request.headers);
}

/// Changes the response's fields when its body will be coded, or would be if there were one: the
/// answer to HEAD, and 304, tell of what GET would give (RFC 9110 §9.3.2, §15.4.5).
void Exchange::start_encoding(ResponseOut& out) {
  if (!listener_.compression) return;
  std::vector<Header>& headers = state_->client_headers;
  if (state_->response.status == 304) {
    if (find_named(headers, "etag") == nullptr || wanted_coding() == Coding::identity) return;
    add_vary(headers);
    weaken_etag();
    return;
  }
  if (!is_compressible(*listener_.compression, state_->response, headers)) return;
  add_vary(headers);
  const Coding coding = wanted_coding();
  if (coding == Coding::identity) return;
  const bool head = client_.head().method == http::Method::head;
  if (!head && out.body.kind == http::Framing::Kind::none) return;
  if (!head && !take_encoder(coding)) return;
  std::erase_if(headers, [](const Header& each) { return is_of_identity(each.name); });
  weaken_etag();
  headers.push_back({"Content-Encoding", http::coding_name(coding), http::HeaderId::other});
  out.state_length = false;
  if (!head) out.body = {http::Framing::Kind::until_close, 0};
}

/// False: too many are in use.
bool Exchange::take_encoder(Coding coding) {
  upstream::CompressionCounts& counts = listener_.live->loads[worker_.index].compression;
  encoder_ = worker_.take_encoder(coding, listener_.compression->effort);
  if (encoder_ == nullptr) {
    counts.skipped.add(1);
    return false;
  }
  counts.responses[static_cast<std::size_t>(coding)].add(1);
  record_.coding = coding;
  return true;
}

/// What goes out for a piece that came. No bytes, and not the last: nothing yet.
Result<BodyPiece> Exchange::encoded(const BodyPiece& piece) {
  record_.response_bytes += encoder_ == nullptr ? piece.bytes.size() : 0;
  if (encoder_ == nullptr || (piece.bytes.empty() && !piece.last)) return piece;
  Buffer& out = state_->encoded;
  out.clear();
  if (!encoder_->encode(piece.bytes, piece.last, out)) {
    return Error{Fault::overload_shed, Side::self, false};
  }
  const auto coding = static_cast<std::size_t>(encoder_->coding());
  upstream::CompressionCounts& counts = listener_.live->loads[worker_.index].compression;
  counts.bytes_in[coding].add(piece.bytes.size());
  counts.bytes_out[coding].add(out.size());
  record_.plain_bytes += piece.bytes.size();
  record_.response_bytes += out.size();
  return BodyPiece{out.view(), piece.last, piece.trailers};
}

}  // namespace lbd::proxy
