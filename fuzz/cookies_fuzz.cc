// Any bytes as the Cookie fields of a request, and as a token. Oracles: a second reader finds the
// same first value of each name; a token stands for a target only when it is one that was made,
// to the last byte; no other pair of the fields changes whom it stands for.
#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include "fuzz/require.h"
#include "lbd/route/request.h"
#include "lbd/upstream/sticky.h"

namespace {

using namespace lbd;
using lbd::fuzz::require;
using upstream::StickyTokens;

constexpr std::string_view kKey = "0123456789abcdef0123456789abcdef";
constexpr std::uint32_t kTargets = 5;

const StickyTokens& tokens() {
  static const StickyTokens made = [] {
    std::vector<std::string> all;
    for (std::uint32_t i = 0; i < kTargets; ++i) {
      all.push_back(upstream::sticky_token(kKey, "target", "10.0.0." + std::to_string(i)));
    }
    return StickyTokens({}, "lbd-web", std::move(all));
  }();
  return made;
}

/// Lines of the input are fields; "@1" in them is the token of target 1.
std::vector<std::string> fields_of(std::string_view text) {
  std::vector<std::string> fields(1);
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\n') {
      fields.emplace_back();
    } else if (text[i] == '@' && i + 1 < text.size() && text[i + 1] >= '0' && text[i + 1] < '5') {
      fields.back() += tokens().token(static_cast<std::uint32_t>(text[++i] - '0'));
    } else {
      fields.back() += text[i];
    }
  }
  return fields;
}

/// RFC 6265 §5.4 as servers read it: pairs between ';', spaces before a name are nothing.
std::string plain_first(const std::vector<std::string>& fields, const std::string& name) {
  for (const std::string& field : fields) {
    std::string pair;
    const std::string ended = field + ';';
    for (const char c : ended) {
      if (c != ';') {
        if (!pair.empty() || c != ' ') pair += c;
        continue;
      }
      const bool named = pair == name || pair.rfind(name + "=", 0) == 0;
      if (named && !pair.empty())
        return pair.size() > name.size() ? pair.substr(name.size() + 1) : "";
      pair.clear();
    }
  }
  return "";
}

std::uint32_t plain_find(const std::string& token) {
  for (std::uint32_t i = 0; i < kTargets; ++i) {
    if (tokens().token(i) == token) return i;
  }
  return StickyTokens::kNone;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const std::vector<std::string> fields = fields_of(text);
  std::vector<http::Header> headers;
  for (const std::string& each : fields) {
    headers.push_back({"Cookie", each, http::HeaderId::other});
  }
  for (const std::string& name : {tokens().cookie(), std::string("s")}) {
    const std::string_view found = route::first_cookie(headers, name);
    const std::string plain = plain_first(fields, name);
    require(found == plain, "the readers disagree on a cookie");
    require(tokens().find(found) == plain_find(plain), "a token stands for another target");
  }
  require(tokens().find(text) == plain_find(std::string(text)),
          "what is no token is taken for one");
  headers.insert(headers.begin(), {"X-Other", "lbd-web=1", http::HeaderId::other});
  const std::string plain = plain_first(fields, tokens().cookie());
  require(route::first_cookie(headers, tokens().cookie()) == plain, "another field changes it");
  return 0;
}
