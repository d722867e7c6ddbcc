// A ClientHello, whole and in pieces, against a second reader that has all of it before it looks.
#include <algorithm>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "fuzz/require.h"
#include "lbd/net/client_hello.h"

namespace {

using lbd::fuzz::require;
using lbd::net::ClientHelloReader;
using State = ClientHelloReader::State;
using Bytes = std::span<const std::uint8_t>;

/// What the records hold, joined.
std::vector<std::uint8_t> join(Bytes bytes) {
  std::vector<std::uint8_t> joined;
  while (bytes.size() > 5) {
    const std::size_t size = std::size_t{bytes[3]} << 8 | bytes[4];
    const Bytes body = bytes.subspan(5, std::min(size, bytes.size() - 5));
    joined.insert(joined.end(), body.begin(), body.end());
    bytes = bytes.subspan(5 + body.size());
  }
  return joined;
}

/// Takes a vector with a size of `size_bytes` off the front.
Bytes take(Bytes& from, std::size_t size_bytes) {
  std::size_t size = 0;
  require(from.size() >= size_bytes, "the second reader finds no size");
  for (std::size_t i = 0; i < size_bytes; ++i) size = size << 8 | from[i];
  require(from.size() >= size_bytes + size, "the second reader finds less than a size says");
  const Bytes taken = from.subspan(size_bytes, size);
  from = from.subspan(size_bytes + size);
  return taken;
}

/// Of a message that the first reader takes for whole.
std::string second_name(const std::vector<std::uint8_t>& joined) {
  Bytes rest(joined);
  require(rest[0] == 1, "no ClientHello");
  rest = rest.subspan(1);
  Bytes body = take(rest, 3);
  body = body.subspan(34);
  take(body, 1);
  take(body, 2);
  take(body, 1);
  if (body.empty()) return {};
  Bytes extensions = take(body, 2);
  require(body.empty(), "bytes behind the extensions");
  std::optional<std::string> name;
  while (!extensions.empty()) {
    const std::size_t type = std::size_t{extensions[0]} << 8 | extensions[1];
    extensions = extensions.subspan(2);
    Bytes extension = take(extensions, 2);
    if (type != 0) continue;
    require(!name, "two names");
    Bytes list = take(extension, 2);
    require(extension.empty() && list[0] == 0, "another list");
    list = list.subspan(1);
    const Bytes found = take(list, 2);
    require(list.empty() && !found.empty(), "another entry");
    name.emplace(found.begin(), found.end());
  }
  if (!name) return {};
  for (char& c : *name) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
  if (name->back() == '.') name->pop_back();
  return *name;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  ClientHelloReader whole;
  const std::size_t taken = whole.step({data, size});
  require(taken == size || whole.state() != State::reading, "bytes left though it reads on");
  require(taken <= lbd::net::kClientHelloMax + 1, "longer than the longest");
  for (const std::size_t piece : {std::size_t{1}, std::size_t{7}}) {
    ClientHelloReader split;
    std::size_t at = 0;
    while (at < size && split.state() == State::reading) {
      at += split.step({data + at, std::min(piece, size - at)});
    }
    require(at == taken && split.state() == whole.state(), "a split changed the verdict");
    require(split.server_name() == whole.server_name(), "a split changed the name");
  }
  if (whole.state() == State::done) {
    require(second_name(join({data, taken})) == whole.server_name(), "another name is in it");
  }
  return 0;
}
