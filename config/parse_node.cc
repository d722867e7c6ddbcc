// The root of a configuration and its `node` section.
#include <fmt/format.h>

#include "config/scalars.h"
#include "config/tables.h"

namespace lbd::config {
namespace {

using namespace std::chrono_literals;

constexpr std::string_view kDeploymentLetters =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-";
constexpr std::size_t kDeploymentBytesMax = 64;

/// `metrics: 127.0.0.1:9600 | off`.
Kind metrics_address(std::optional<Address>& out) {
  return {.read =
              [&out](Decoder& decoder, const Cursor& at) {
                if (is_off(at.value)) {
                  out.reset();
                  return;
                }
                const auto* found = scalar_of(decoder, at, "an address such as 127.0.0.1:9600");
                if (found == nullptr) return;
                auto address = parse_address(*found, 0);
                if (!address) return decoder.expected(at, address.error().message + ", or off");
                out = std::move(*address);
              },
          .schema =
              [] {
                return boost::json::object{
                    {"anyOf", boost::json::array{
                                  boost::json::object{{"enum", boost::json::array{"off", false}}},
                                  boost::json::object{
                                      {"type", "string"},
                                      {"pattern", R"(^([0-9.]+|\[[0-9a-fA-F:.]+\]):[0-9]+$)"}}}}};
              },
          .fallback = out ? "`" + out->text() + "`" : "`off`"};
}

Table admin_table(Admin& admin) {
  return {.doc = "How an operator reaches the daemon.",
          .fields =
              {
                  {"socket", required_text(admin.socket, "a path"),
                   "Path of the admin API's unix socket."},
                  {"metrics", metrics_address(admin.metrics),
                   "Address of /metrics, /healthz and /readyz, or `off`."},
              },
          .later = {},
          .after = {}};
}

/// Servers whose port is 53 unless it is written.
Kind resolvers(std::vector<Address>& out) {
  constexpr std::uint16_t kDnsPort = 53;
  constexpr std::string_view kWhat = "an address such as 10.0.0.2 or 10.0.0.2:53";
  return list(
      {.read =
           [&out, kWhat](Decoder& decoder, const Cursor& at) {
             const auto* found = scalar_of(decoder, at, kWhat);
             if (found == nullptr) return;
             auto address = parse_address(*found, kDnsPort);
             if (!address || address->port == 0) return decoder.expected(at, kWhat);
             out.push_back(std::move(*address));
           },
       .sample =
           [] {
             return boost::json::object{{"type", "string"}, {"pattern", "^[][0-9a-fA-F:.]+$"}};
           }});
}

Table dns_table(Dns& dns) {
  return {.doc = "How names of targets are looked up.",
          .fields =
              {
                  {"resolvers", resolvers(dns.resolvers),
                   "DNS servers that are asked, instead of those of the host and its hosts file."},
                  {"min_ttl", duration(dns.min_ttl, {.least = 100ms, .most = 24h}),
                   "Answers hold at least this long, whatever their time to live says."},
                  {"max_ttl", duration(dns.max_ttl, {.least = 100ms, .most = 24h}),
                   "And at most this long."},
              },
          .later = {},
          .after = [&dns](Decoder& decoder, const Cursor& at) {
            if (dns.min_ttl <= dns.max_ttl) return;
            const auto own = member_of(at, "min_ttl");
            decoder.error(
                own ? own->value.place : at.label, "E3051",
                "node.dns: min_ttl is longer than max_ttl (" + duration_text(dns.max_ttl) + ")");
          }};
}

Table access_log_table(AccessLog& log) {
  return {.doc = "One line per request, or `off`.",
          .fields =
              {
                  {"enabled", flag(log.enabled), "Whether requests are logged."},
                  {"path", required_text(log.path, "a path"),
                   "File to append to; `-` is standard output, `unix:PATH` a stream socket."},
                  {"format",
                   word(log.format, {.words = {"json", "clf", "combined", "alb"}, .later = {}}),
                   "What a line holds: see docs/operations/access-log.md."},
                  {"sample", ratio(log.sample, {0, 1}),
                   "Share of requests that are logged; answers from 500 on, cut ones and slow ones "
                   "always are."},
                  {"slow", duration(log.slow, {.least = 1ms}),
                   "From which duration on a request is slow."},
              },
          .later = {},
          .after = {}};
}

/// A tag value that stays readable in a console and needs no quoting in an IAM policy.
Kind deployment(std::string& out) {
  return {
      .read =
          [&out](Decoder& decoder, const Cursor& at) {
            constexpr std::string_view kWhat = "1 to 64 letters, digits, '.', '_' and '-'";
            const auto* found = scalar_of(decoder, at, kWhat);
            if (found == nullptr) return;
            const bool good = !found->empty() && found->size() <= kDeploymentBytesMax &&
                              found->find_first_not_of(kDeploymentLetters) == std::string::npos;
            if (!good) return decoder.expected(at, kWhat);
            out = *found;
          },
      .schema =
          [] {
            return boost::json::object{{"type", "string"}, {"pattern", "^[A-Za-z0-9._-]{1,64}$"}};
          },
      .fallback = ""};
}

constexpr std::size_t kKeyBytesMin = 32;

Kind cookie_key(std::string& out) {
  Kind kind = text(out);
  const auto read = kind.read;
  kind.read = [&out, read](Decoder& decoder, const Cursor& at) {
    read(decoder, at);
    if (out.size() < kKeyBytesMin && !at.value.broken) {
      decoder.error(
          at.value.place, "E2005",
          fmt::format("{}: a key of at least {} characters is needed", at.path, kKeyBytesMin));
    }
  };
  return kind;
}

/// `version: 1`, the only one there is.
Kind version(int& out) {
  return {.read =
              [&out](Decoder& decoder, const Cursor& at) {
                const auto* found = scalar_of(decoder, at, "1");
                if (found == nullptr) return;
                if (at.value.plain && *found == "1") {
                  out = 1;
                  return;
                }
                decoder.error(
                    at.value.place, "E2001", "version: expected 1, found " + describe(at.value),
                    *found == "1" ? "remove the quotes" : "this release reads version 1 only");
              },
          .schema =
              [] {
                return boost::json::object{{"const", 1}};
              },
          .fallback = ""};
}

/// `include` was followed before decoding; here it only has its place and its schema.
Kind include() {
  return {.read = [](Decoder&, const Cursor&) {},
          .schema =
              [] {
                return boost::json::object{
                    {"anyOf",
                     boost::json::array{
                         boost::json::object{{"type", "string"}},
                         boost::json::object{{"type", "array"},
                                             {"items", boost::json::object{{"type", "string"}}}}}}};
              },
          .fallback = ""};
}

}  // namespace

Table node_table(Node& node) {
  return {
      .doc = "This process and this host.",
      .fields =
          {
              {"zone", required_text(node.zone, "a zone"),
               "Availability Zone of this host; `auto` asks the instance metadata service."},
              {"workers", whole_or(node.workers, "auto", {1, 1024}),
               "Worker threads; `auto` is one per usable CPU."},
              {"state_dir", required_text(node.state_dir, "a path"),
               "Folder of the scaler's plan and history."},
              {"cookie_key", cookie_key(node.cookie_key),
               "Signs sticky cookies: the same on all hosts whose clients are to stay with their "
               "targets. 32 characters or more, best from `${file:}`. Default: a random one kept "
               "in `state_dir`."},
              {"deployment", deployment(node.deployment),
               "Name that EC2 instances are owned under (tag `lbd:deployment`): lbd sees and "
               "ends only those of its own. Default: a random id kept in `state_dir`."},
              {"admin", object([&node] { return admin_table(node.admin); }),
               "Admin API and metrics."},
              {"dns", object([&node] { return dns_table(node.dns); }),
               "How names of targets are looked up."},
              {"access_log", or_off(node.access_log.enabled, object([&node] {
                                      return access_log_table(node.access_log);
                                    })),
               "One line per request, or `off`."},
              {"connections_max", whole(node.connections_max, {1, 10'000'000}),
               "Client connections of the process; above it new ones are closed at once."},
              {"drain_deadline", duration(node.drain_deadline, {.least = 0s, .most = 24h}),
               "How long requests in flight may take to finish after SIGTERM."},
              {"log_level", word(node.log_level, {"debug", "info", "warning", "error"}),
               "Least severity that is logged."},
          },
      .later = {},
      .after = {}};
}

Table config_table(Config& config) {
  return {.doc = "",
          .fields =
              {
                  {"version", version(config.version), "Version of this format.", true},
                  {"include", include(),
                   "Files or globs to read as well, relative to this file, in lexical order. A "
                   "glob that cannot be read is an error."},
                  {"node", object([&config] { return node_table(config.node); }),
                   "This process and this host."},
                  {"listeners", named_objects(config.listeners, &listener_table),
                   "Addresses that clients connect to, and where their requests go; by name."},
                  {"target_groups", named_objects(config.target_groups, &target_group_table),
                   "Targets that are balanced over together; by name."},
                  {"scaling_groups", named_objects(config.scaling_groups, &scaling_group_table),
                   "Instances that are launched and terminated with the load; by name."},
              },
          .later = {"notifications", "coordination"},
          .after = {}};
}

}  // namespace lbd::config
