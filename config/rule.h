// Rules: conditions, actions, and what is changed on the way.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "config/values.h"

namespace lbd::config {

/// What the header fields, query parameters or cookies of one name must hold: any of the values.
struct FieldMatch {
  std::string name;                 // of a query parameter also "*": whatever its name
  std::vector<std::string> values;  // with wildcards ("*": it is there), or regular expressions
  friend bool operator==(const FieldMatch&, const FieldMatch&) = default;
};

/// Conditions of one rule: all that are given must hold; within one, any value may match.
struct When {
  std::vector<std::string> hosts;  // exact, or one leading "*." or trailing ".*" wildcard, or
                                   // "*"/"?" anywhere; lower case
  std::vector<std::string> paths;  // exact "/a", prefix "/a/*", or "*"/"?" anywhere
  std::vector<std::string> hosts_regex;
  std::vector<std::string> paths_regex;
  std::vector<std::string> methods;
  std::vector<FieldMatch> headers;  // every one of them must match
  std::vector<FieldMatch> headers_regex;
  std::vector<FieldMatch> query;
  std::vector<FieldMatch> query_regex;
  std::vector<FieldMatch> cookies;
  std::vector<FieldMatch> cookies_regex;
  std::vector<Cidr> source_ips;
  std::string scheme;                     // "http", "https"; empty: either
  std::vector<std::string> server_names;  // TLS SNI; lower case, with wildcards
  std::vector<std::string> server_names_regex;
  std::optional<double> share;  // of requests, drawn by lot: 0..1
  std::vector<When> any;        // one of them must hold
  std::vector<When> all;        // each of them
  std::vector<When> none;       // none of them; YAML key `not`
  friend bool operator==(const When&, const When&) = default;
};
/// How deep any, all and not may be nested.
inline constexpr int kWhenDepthMax = 8;

struct WeightedGroup {
  std::string target_group;
  std::uint32_t weight = 0;  // 0..999
};
enum class SameSite : std::uint8_t { unset, none, lax, strict };

/// A cookie of lbd's own that keeps a client where it is.
struct StickyCookie {
  std::string cookie;                     // its name; empty: made of the group's or rule's
  std::chrono::seconds duration{86'400};  // from the last response on; 0: while the browser runs
  SameSite same_site = SameSite::unset;
};
/// A share of the requests is sent to another group as well, whose answers nobody gets.
struct Mirror {
  std::string target_group;
  double share = 1;                           // of the requests, each drawn by lot
  std::uint32_t body_bytes_max = 64 * 1024;   // requests with larger bodies are not mirrored
  std::chrono::milliseconds timeout{10'000};  // from the request's end to the end of the answer
};
struct Forward {
  std::string target_group;             // empty with several
  std::vector<WeightedGroup> weighted;  // drawn by lot for each request
  std::optional<StickyCookie> sticky;   // with several: once for each client
  std::optional<Mirror> mirror;
};
struct Redirect {  // ALB semantics: #{protocol} #{host} #{port} #{path} #{query}
  std::string protocol = "#{protocol}";
  std::string host = "#{host}";
  std::string port = "#{port}";
  std::string path = "/#{path}";
  std::string query = "#{query}";
  int status = 301;
};
struct FixedResponse {
  int status = 200;
  std::string content_type = "text/plain; charset=utf-8";
  std::string body;
};
using Action = std::variant<Forward, Redirect, FixedResponse>;

/// A name with the text that it gets, in the order of the file; `#{…}` as in a redirect.
struct NamedText {
  std::string name;
  std::string text;
};
/// What becomes of the request's URL on its way to the target. No rule is looked for again.
struct Rewrite {
  std::string host;  // empty: as it is
  std::string path_prefix_from;
  std::string path_prefix_to;
  std::string path_regex;
  std::string path_to;  // \0 … \9: what the groups of path_regex matched
  std::vector<std::string> query_remove;
  std::vector<NamedText> query_set;
  std::vector<NamedText> query_add;
};
/// Removes, then sets, then adds.
struct HeaderEdits {
  std::vector<std::string> remove;
  std::vector<NamedText> set;
  std::vector<NamedText> add;
};

/// Who may come in: nobody of `deny`; and if there is an `allow`, only whom that names.
struct AccessList {
  std::vector<Cidr> allow;
  std::vector<Cidr> deny;
};

enum class RateKey : std::uint8_t { source_ip, header, cookie, all };
/// A token bucket for each key.
struct RateLimit {
  RateKey by = RateKey::source_ip;  // IPv6: the first 64 bits
  std::string name;                 // of the header or cookie; those without it share a bucket
  std::uint32_t requests = 0;
  milliseconds per{1'000};
  std::uint32_t burst = 0;          // 0: as `requests`
  std::uint32_t keys_max = 65'536;  // that are known at once; 8 bytes each
};

/// Requests under way at once for each key.
struct InFlightLimit {
  RateKey by = RateKey::source_ip;  // as in RateLimit
  std::string name;
  std::uint32_t requests = 0;
  std::uint32_t keys_max = 16'384;  // that are known at once; 32 bytes each
};

struct Rule {
  std::string name;
  When when;
  Action then;
  Rewrite rewrite;
  HeaderEdits request_headers;
  HeaderEdits response_headers;
  // Absent: as the listener or the target group says.
  std::optional<milliseconds> total_timeout;
  std::optional<milliseconds> response_head_timeout;
  std::optional<std::uint32_t> attempts;
  std::optional<std::uint64_t> body_bytes_max;  // lowers the listener's
  AccessList access;                            // after the listener's
  std::vector<InFlightLimit> in_flight_limits;  // likewise
  std::vector<RateLimit> rate_limits;           // likewise
  Origin origin;
};

/// What a client sees instead of the plain text of an error that lbd itself answers.
struct ErrorPage {
  std::string content_type = "text/html; charset=utf-8";
  std::string body;  // knows #{status}, #{reason} and #{request_id}
};

}  // namespace lbd::config
