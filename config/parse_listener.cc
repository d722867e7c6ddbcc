// Listeners, their rules and actions.
#include <fmt/format.h>

#include <algorithm>
#include <cctype>

#include "config/scalars.h"
#include "config/tables.h"

namespace lbd::config {
namespace {

using namespace std::chrono_literals;
namespace json = boost::json;

Table forwarded_headers_table(ForwardedHeaders& headers) {
  return {.doc = "What targets learn about the client.",
          .fields =
              {
                  {"x_forwarded_for",
                   word(headers.x_forwarded_for,
                        {.words = {"append", "replace", "preserve", "remove"}, .later = {}}),
                   "What happens to X-Forwarded-For."},
                  {"trusted_proxies", networks(headers.trusted_proxies),
                   "Peers whose X-Forwarded-*, Forwarded and x-request-id are believed."},
                  {"forwarded", flag(headers.forwarded), "Whether to add Forwarded (RFC 7239)."},
                  {"via", flag(headers.via), "Whether to add Via."},
              },
          .later = {},
          .after = {}};
}

Table timeouts_table(ListenerTimeouts& timeouts) {
  return {.doc = "Deadlines of a client connection.",
          .fields =
              {
                  {"request_head", duration(timeouts.request_head, {.least = 1ms}),
                   "From the first byte of a request head to its end."},
                  {"body_idle", duration(timeouts.body_idle, {.least = 1ms}),
                   "Between two pieces of a request body."},
                  {"write_idle", duration(timeouts.write_idle, {.least = 1ms}),
                   "How long a client may read nothing of its response."},
                  {"idle", duration(timeouts.idle, {.least = 1ms}),
                   "Between two requests of a connection."},
                  {"total", duration(timeouts.total, {.least = 1ms, .off = true}),
                   "A whole request; `off` is no limit."},
                  {"tunnel_idle", duration(timeouts.tunnel_idle, {.least = 1ms, .off = true}),
                   "How long nothing may move in a tunnel (WebSocket); `off` is no limit."},
                  {"tunnel_total", duration(timeouts.tunnel_total, {.least = 1ms, .off = true}),
                   "A whole tunnel, from the response's head; `off` is no limit."},
              },
          .later = {},
          .after = {}};
}

Table limits_table(ListenerLimits& limits) {
  constexpr std::uint32_t kHeadMax = 16 * 1024 * 1024;
  return {
      .doc = "What a client may send.",
      .fields =
          {
              {"request_line_bytes_max", size(limits.request_line_bytes_max, {64, kHeadMax}),
               "Bytes of the request line."},
              {"header_bytes_max", size(limits.header_bytes_max, {64, kHeadMax}),
               "Bytes of one header line."},
              {"headers_bytes_max", size(limits.headers_bytes_max, {64, kHeadMax}),
               "Bytes of the whole request head."},
              {"headers_max", whole(limits.headers_max, {1, 10'000}), "Number of header lines."},
              {"body_bytes_max", size_or_off(limits.body_bytes_max),
               "Bytes of a request body; `off` is no limit."},
              {"body_bytes_per_second_min",
               whole_or(limits.body_bytes_per_second_min, "off", {1, 1'000'000'000}),
               "Bytes a second that a request body must bring on average, beyond a first "
               "`timeouts.body_idle` of waiting; `off` is no limit."},
              {"requests_per_connection_max",
               whole_or(limits.requests_per_connection_max, "off", {1, 1'000'000'000}),
               "Requests until a connection is closed; `off` is no limit."},
          },
      .later = {},
      .after = {}};
}

void check_hosts(Decoder& decoder, const Cursor& at, std::vector<std::string>& hosts) {
  for (auto& host : hosts) {
    for (auto& c : host) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    if (host.find_first_of("/ \t") == std::string::npos) continue;
    decoder.error(at.value.place, "E2005",
                  fmt::format("{}: '{}' is not a host name", at.path, host),
                  "neither scheme nor path: write it as 'shop.example.com'");
  }
}

void check_paths(Decoder& decoder, const Cursor& at, const std::vector<std::string>& paths) {
  for (const auto& path : paths) {
    if (path.starts_with('/') || path.starts_with('*')) {
      if (path.find('?') == std::string::npos || path.find('=') == std::string::npos) continue;
      decoder.warning(at.value.place, "W2001",
                      fmt::format("{}: '?' matches any one character of the path; the query is not "
                                  "part of it",
                                  at.path));
      continue;
    }
    decoder.error(
        at.value.place, "E2005",
        fmt::format("{}: path '{}' can match nothing: paths start with '/'", at.path, path),
        fmt::format("did you mean '/{}'?", path));
  }
}

/// A kind whose result is looked at once more; a secret is read but not judged.
Kind checked(Kind kind, std::function<void(Decoder&, const Cursor&)> check) {
  return {.read =
              [read = std::move(kind.read), check = std::move(check)](Decoder& decoder,
                                                                      const Cursor& at) {
                read(decoder, at);
                if (!at.value.secret && !at.value.broken) check(decoder, at);
              },
          .schema = std::move(kind.schema),
          .fallback = std::move(kind.fallback)};
}

Table when_table(When& when) {
  return {.doc = "Conditions: all that are given must hold; within one, any value may match.",
          .fields =
              {
                  {"host",
                   checked(texts(when.hosts, "a host name, or a list of them"),
                           [&when](Decoder& decoder, const Cursor& at) {
                             check_hosts(decoder, at, when.hosts);
                           }),
                   "Host names; `*` and `?` are wildcards."},
                  {"path",
                   checked(texts(when.paths, "a path, or a list of them"),
                           [&when](Decoder& decoder, const Cursor& at) {
                             check_paths(decoder, at, when.paths);
                           }),
                   "Paths: exact `/a`, prefix `/a/*`; `*` and `?` are wildcards."},
              },
          .later = {"method", "header", "query", "source_ip"},
          .after = {}};
}

/// 301, 302, 303, 307 or 308: what a redirect may answer.
Kind redirect_status(int& out) {
  return {.read =
              [&out](Decoder& decoder, const Cursor& at) {
                const auto* found = scalar_of(decoder, at, "301, 302, 303, 307 or 308");
                if (found == nullptr) return;
                for (const int status : {301, 302, 303, 307, 308}) {
                  if (*found == std::to_string(status)) {
                    out = status;
                    return;
                  }
                }
                decoder.expected(at, "301, 302, 303, 307 or 308");
              },
          .schema =
              [] {
                return json::object{{"enum", json::array{301, 302, 303, 307, 308}}};
              },
          .fallback = fmt::format("`{}`", out)};
}

Table redirect_table(Redirect& redirect) {
  return {
      .doc = "A redirect; #{protocol}, #{host}, #{port}, #{path} and #{query} are the request's.",
      .fields =
          {
              {"protocol", required_text(redirect.protocol, "http, https or #{protocol}"),
               "Scheme of the new URL."},
              {"host", required_text(redirect.host, "a host"), "Host of the new URL."},
              {"port", required_text(redirect.port, "a port"), "Port of the new URL."},
              {"path", required_text(redirect.path, "a path"),
               "Path of the new URL; starts with `/`."},
              {"query", text(redirect.query), "Query of the new URL, without `?`."},
              {"status", redirect_status(redirect.status), "Status of the answer."},
          },
      .later = {},
      .after = {}};
}

Table respond_table(FixedResponse& response) {
  return {.doc = "A fixed answer.",
          .fields =
              {
                  {"status", status(response.status, {200, 599}), "Status of the answer.", true},
                  {"content_type", required_text(response.content_type, "a media type"),
                   "Content-Type of the answer."},
                  {"body", text(response.body), "Body of the answer."},
              },
          .later = {},
          .after = {}};
}

/// All three actions at once: exactly one must be there.
struct ActionDraft {
  Forward forward;
  Redirect redirect;
  FixedResponse response;
};

Table action_table(ActionDraft& draft) {
  return {.doc = "What to do with a request: one of forward, redirect, respond.",
          .fields =
              {
                  {"forward", required_text(draft.forward.target_group, "a target group"),
                   "Target group that answers."},
                  {"redirect", object([&draft] { return redirect_table(draft.redirect); }),
                   "Redirect the client."},
                  {"respond", object([&draft] { return respond_table(draft.response); }),
                   "Answer it here."},
              },
          .later = {},
          .after = {}};
}

}  // namespace

Kind action(std::function<void(Action)> set) {
  return {.read =
              [set = std::move(set)](Decoder& decoder, const Cursor& at) {
                ActionDraft draft;
                decode(decoder, at, action_table(draft));
                if (at.value.kind != ValueKind::mapping) return;
                const auto* forward = find_member(at.value, "forward");
                const auto* redirect = find_member(at.value, "redirect");
                const auto* respond = find_member(at.value, "respond");
                const int count =
                    (forward != nullptr) + (redirect != nullptr) + (respond != nullptr);
                if (count != 1) {
                  decoder.error(at.label, count == 0 ? "E2004" : "E2010",
                                fmt::format("{}: exactly one of forward, redirect and respond is "
                                            "needed, found {}",
                                            at.path, count == 0 ? "none" : std::to_string(count)));
                } else if (forward != nullptr) {
                  set(draft.forward);
                } else if (redirect != nullptr) {
                  set(draft.redirect);
                } else {
                  set(draft.response);
                }
              },
          .schema =
              [] {
                ActionDraft sample;
                auto schema = schema_of(action_table(sample));
                schema["minProperties"] = 1;
                schema["maxProperties"] = 1;
                return schema;
              },
          .fallback = ""};
}

Table rule_table(Rule& rule) {
  return {.doc = "One rule.",
          .fields =
              {
                  {"name", required_text(rule.name, "a name"),
                   "Name in logs and in `lbd explain`. Default: `rule-1`, `rule-2`, …"},
                  {"when", object([&rule] { return when_table(rule.when); }),
                   "Conditions; without any the rule matches every request."},
                  {"then", action([&rule](Action found) { rule.then = std::move(found); }),
                   "What to do with a request that matches.", true},
              },
          .later = {},
          .after = {}};
}

Table listener_table(Listener& listener) {
  return {
      .doc = "One listener.",
      .fields =
          {
              {"listen", addresses(listener.listen),
               "Address and port to listen on, or a list of them.", true},
              {"protocol",
               word(listener.protocol, {.words = {"http", "https"}, .later = {"tcp", "tls", "h2"}}),
               "What clients speak."},
              {"tls", object([&listener] { return listener_tls_table(listener.tls.emplace()); }),
               "Certificates and how they are used; with protocol https."},
              {"http2", object([&listener] { return listener_http2_table(listener.http2); }),
               "HTTP/2 with clients."},
              {"rules", objects(listener.rules, &rule_table),
               "Rules, in order: the first that matches decides."},
              {"default",
               action([&listener](Action found) { listener.otherwise = std::move(found); }),
               "What to do when no rule matches; without it the answer is 404."},
              {"forwarded_headers",
               object([&listener] { return forwarded_headers_table(listener.forwarded_headers); }),
               "What targets learn about the client."},
              {"timeouts", object([&listener] { return timeouts_table(listener.timeouts); }),
               "Deadlines of a client connection."},
              {"limits", object([&listener] { return limits_table(listener.limits); }),
               "What a client may send."},
              {"upgrade", word(listener.upgrade, {.words = {"off", "websocket"}, .later = {}}),
               "What clients may switch their connections to, where a rule forwards."},
              {"desync",
               word(listener.desync, {.words = {"monitor", "defensive", "strictest"}, .later = {}}),
               "What becomes of requests that servers could read differently: see "
               "docs/operations/desync.md."},
              {"reason_header", flag(listener.reason_header),
               "Whether to add x-lbd-reason to answers that lbd makes itself."},
          },
      .later = {},
      .after = [&listener](Decoder&, const Cursor&) {
        for (std::size_t i = 0; i < listener.rules.size(); ++i) {
          auto& name = listener.rules[i].name;
          if (name.empty()) name = fmt::format("rule-{}", i + 1);
        }
      }};
}

}  // namespace lbd::config
