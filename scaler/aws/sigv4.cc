#include "scaler/aws/sigv4.h"

#include <fmt/format.h>
#include <openssl/evp.h>
#include <openssl/sha.h>

#include <algorithm>
#include <array>
#include <map>
#include <string_view>

#include "lbd/base/check.h"
#include "lbd/net/digest.h"
#include "scaler/aws/encoding.h"

namespace lbd::aws {
namespace {

constexpr std::string_view kAlgorithm = "AWS4-HMAC-SHA256";
constexpr std::array<std::string_view, 13> kUnsigned{"authorization",
                                                     "connection",
                                                     "expect",
                                                     "keep-alive",
                                                     "proxy-authenticate",
                                                     "proxy-authorization",
                                                     "te",
                                                     "trailer",
                                                     "transfer-encoding",
                                                     "upgrade",
                                                     "user-agent",
                                                     "x-amzn-trace-id",
                                                     "proxy-connection"};

struct UrlParts {
  std::string host;  // with the port, unless it is the scheme's own
  std::string path;
  std::string query;
};

UrlParts split(std::string_view url) {
  const std::size_t scheme = url.find("://");
  const bool tls = url.starts_with("https");
  std::string_view rest = scheme == std::string_view::npos ? url : url.substr(scheme + 3);
  rest = rest.substr(0, rest.find('#'));
  const std::size_t end = std::min(rest.find_first_of("/?"), rest.size());
  UrlParts parts;
  std::string_view host = rest.substr(0, end);
  host.remove_prefix(host.rfind('@') == std::string_view::npos ? 0 : host.rfind('@') + 1);
  const std::string_view own_port = tls ? ":443" : ":80";
  if (host.ends_with(own_port)) host.remove_suffix(own_port.size());
  parts.host = host;
  rest.remove_prefix(end);
  const std::size_t question = std::min(rest.find('?'), rest.size());
  parts.path = rest.substr(0, question);
  if (question < rest.size()) parts.query = rest.substr(question + 1);
  return parts;
}

std::string sha256_hex(std::string_view text) {
  std::array<unsigned char, SHA256_DIGEST_LENGTH> digest{};
  SHA256(reinterpret_cast<const unsigned char*>(text.data()), text.size(), digest.data());
  return hex({reinterpret_cast<const char*>(digest.data()), digest.size()});
}

/// RFC 3986's dot segments removed, runs of slashes made one.
std::string normalized(std::string_view path) {
  std::vector<std::string_view> kept;
  std::size_t at = 0;
  while (at < path.size()) {
    const std::size_t end = std::min(path.find('/', at), path.size());
    const std::string_view segment = path.substr(at, end - at);
    if (segment == ".." && !kept.empty()) kept.pop_back();
    if (!segment.empty() && segment != "." && segment != "..") kept.push_back(segment);
    at = end + 1;
  }
  std::string made;
  for (const std::string_view each : kept) made.append("/").append(each);
  const bool folder = path.ends_with('/') || path.ends_with("/.") || path.ends_with("/..");
  if (made.empty() || folder) made += '/';
  return made;
}

std::string canonical_path(const UrlParts& url, const std::string& service) {
  if (service == "s3") return url.path.empty() ? "/" : url.path;
  return uri_encode(normalized(url.path), "/");
}

std::string canonical_query(const std::string& query) {
  std::vector<std::pair<std::string, std::string>> pairs;
  std::string_view rest = query;
  while (!rest.empty()) {
    const std::string_view pair = rest.substr(0, rest.find('&'));
    rest.remove_prefix(std::min(pair.size() + 1, rest.size()));
    if (pair.empty()) continue;
    const std::size_t equals = std::min(pair.find('='), pair.size());
    const std::string_view value = equals < pair.size() ? pair.substr(equals + 1) : "";
    pairs.emplace_back(uri_encode(uri_decode(pair.substr(0, equals))),
                       uri_encode(uri_decode(value)));
  }
  std::sort(pairs.begin(), pairs.end());
  std::string made;
  for (const auto& [key, value] : pairs) {
    if (!made.empty()) made += '&';
    made.append(key).append("=").append(value);
  }
  return made;
}

std::string trimmed(std::string_view value) {
  std::string made;
  for (const char c : value) {
    const bool blank = c == ' ' || c == '\t';
    if (blank && (made.empty() || made.back() == ' ')) continue;
    made += blank ? ' ' : c;
  }
  while (!made.empty() && made.back() == ' ') made.pop_back();
  return made;
}

std::string lower(std::string_view text) {
  std::string made(text);
  for (char& c : made) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c + ('a' - 'A')) : c;
  return made;
}

struct CanonicalHeaders {
  std::string lines;  // "name:value\n"…
  std::string names;  // "a;b"
};

CanonicalHeaders canonical_headers(const Headers& headers) {
  std::map<std::string, std::string> by_name;
  for (const auto& [name, value] : headers) {
    const std::string key = lower(name);
    if (std::find(kUnsigned.begin(), kUnsigned.end(), key) != kUnsigned.end()) continue;
    const auto [at, fresh] = by_name.try_emplace(key, trimmed(value));
    if (!fresh) at->second += "," + trimmed(value);
  }
  CanonicalHeaders made;
  for (const auto& [name, value] : by_name) {
    made.lines.append(name).append(":").append(value).append("\n");
    made.names.append(made.names.empty() ? "" : ";").append(name);
  }
  return made;
}

std::string scope_text(const SigningScope& scope, const std::string& time) {
  return fmt::format("{}/{}/{}/aws4_request", time.substr(0, 8), scope.region, scope.service);
}

std::string signature(const std::string& canonical, const Credentials& credentials,
                      const SigningScope& scope) {
  const std::string time = basic_time(scope.at);
  const std::string to_sign = fmt::format("{}\n{}\n{}\n{}", kAlgorithm, time,
                                          scope_text(scope, time), sha256_hex(canonical));
  std::string key = net::keyed_digest("AWS4" + credentials.secret_access_key, time.substr(0, 8));
  key = net::keyed_digest(key, scope.region);
  key = net::keyed_digest(key, scope.service);
  key = net::keyed_digest(key, "aws4_request");
  return hex(net::keyed_digest(key, to_sign));
}

}  // namespace

Headers sign(const SignableRequest& request, const Credentials& credentials,
             const SigningScope& scope) {
  const UrlParts url = split(request.url);
  const std::string time = basic_time(scope.at);
  const std::string payload = sha256_hex(request.body);
  Headers gained{{"host", url.host}, {"x-amz-date", time}};
  if (scope.service == "s3") gained.emplace_back("x-amz-content-sha256", payload);
  if (!credentials.session_token.empty()) {
    gained.emplace_back("x-amz-security-token", credentials.session_token);
  }
  Headers all = request.headers;
  std::erase_if(all, [](const auto& each) { return lower(each.first) == "host"; });
  all.insert(all.end(), gained.begin(), gained.end());
  const CanonicalHeaders headers = canonical_headers(all);
  const std::string canonical =
      fmt::format("{}\n{}\n{}\n{}\n{}\n{}", request.method, canonical_path(url, scope.service),
                  canonical_query(url.query), headers.lines, headers.names, payload);
  gained.emplace_back("authorization",
                      fmt::format("{} Credential={}/{}, SignedHeaders={}, Signature={}", kAlgorithm,
                                  credentials.access_key_id, scope_text(scope, time), headers.names,
                                  signature(canonical, credentials, scope)));
  return gained;
}

std::string presign(const SignableRequest& request, const Credentials& credentials,
                    const SigningScope& scope, std::chrono::seconds lifetime) {
  const UrlParts url = split(request.url);
  const std::string time = basic_time(scope.at);
  std::string query = url.query;
  if (!query.empty()) query += '&';
  query += fmt::format(
      "X-Amz-Algorithm={}&X-Amz-Credential={}&X-Amz-Date={}&X-Amz-Expires={}"
      "&X-Amz-SignedHeaders=host",
      kAlgorithm, uri_encode(credentials.access_key_id + "/" + scope_text(scope, time)), time,
      lifetime.count());
  if (!credentials.session_token.empty()) {
    query += "&X-Amz-Security-Token=" + uri_encode(credentials.session_token);
  }
  const std::string payload = scope.service == "s3" ? "UNSIGNED-PAYLOAD" : sha256_hex(request.body);
  const std::string canonical =
      fmt::format("{}\n{}\n{}\nhost:{}\n\nhost\n{}", request.method,
                  canonical_path(url, scope.service), canonical_query(query), url.host, payload);
  const std::string base = request.url.substr(0, request.url.find_first_of("?#"));
  return fmt::format("{}?{}&X-Amz-Signature={}", base, query,
                     signature(canonical, credentials, scope));
}

}  // namespace lbd::aws
