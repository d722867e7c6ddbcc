// Scaling groups and their providers.
#include <fmt/format.h>

#include <algorithm>

#include "config/suggest.h"
#include "config/tables.h"

namespace lbd::config {
namespace {

using namespace std::chrono_literals;
namespace json = boost::json;

Table launch_template_table(Ec2Provider& ec2) {
  return {
      .doc = "The EC2 launch template: exactly one of id and name.",
      .fields =
          {
              {"id", required_text(ec2.launch_template_id, "a launch template id"), "Its id, lt-…"},
              {"name", required_text(ec2.launch_template_name, "a launch template name"),
               "Its name."},
              {"version", required_text(ec2.launch_template_version, "a launch template version"),
               "Its version: a number, `$Default` or `$Latest`."},
          },
      .later = {},
      .after = {},
      .one_of = {"id", "name"}};
}

Table ec2_table(Ec2Provider& ec2) {
  return {
      .doc = "Instances from Amazon EC2.",
      .fields =
          {
              {"region", text(ec2.region),
               "AWS region. Default: the environment's, the profile's, or this instance's own."},
              {"launch_template", object([&ec2] { return launch_template_table(ec2); }),
               "What to launch.", true},
              {"subnets", texts(ec2.subnets, "a subnet, or a list of them"),
               "Subnets to launch into, one per zone or several.", true},
              {"tags", text_map(ec2.tags, "a text"), "Tags of every instance."},
              {"profile", text(ec2.profile), "Profile of the shared credentials files."},
              {"endpoint_url", text(ec2.endpoint_url), "URL that replaces the EC2 endpoint."},
              {"describe_interval", duration(ec2.describe_interval, {.least = 100ms, .most = 1h}),
               "Time between two looks at the instances."},
          },
      .later = {},
      .after = {}};
}

Table process_table(ProcessProvider& process) {
  return {.doc = "Instances as processes of this host.",
          .fields =
              {
                  {"command", texts(process.command, "a command and its arguments"),
                   "Command and arguments; {port}, {address}, {zone} and {id} are replaced.", true},
                  {"environment", text_map(process.environment, "a text"),
                   "Environment variables of the processes."},
                  {"zones", texts(process.zones, "a zone, or a list of them"),
                   "Zones that instances are spread over."},
                  {"zone_addresses", text_map(process.zone_addresses, "an IP address"),
                   "Address that the instances of a zone listen on. Default: 127.0.0.1."},
                  {"working_dir", text(process.working_dir), "Folder that the processes start in."},
                  {"cpu_share", ratio(process.cpu_share, {0.01, 1024}),
                   "CPUs that an instance is given: `0.5` or `50%` is half of one."},
                  {"stop_timeout", duration(process.stop_timeout, {.least = 0s, .most = 1h}),
                   "Time between SIGTERM and SIGKILL."},
              },
          .later = {},
          .after = {}};
}

Kind cpu_sources(std::vector<CpuSource>& out) {
  static constexpr std::array<std::string_view, 4> kWords{"provider", "orca", "node_exporter",
                                                          "cloudwatch"};
  const std::vector<std::string> known(kWords.begin(), kWords.end());
  return {.read =
              [&out, known](Decoder& decoder, const Cursor& at) {
                std::vector<CpuSource> found;
                const auto read = list(
                    {.read =
                         [&](Decoder& d, const Cursor& item) {
                           Words words{.words = {kWords.begin(), kWords.end()}, .later = {}};
                           choice(std::move(words), kWords.size(), [&found](std::size_t index) {
                             found.push_back(static_cast<CpuSource>(index));
                           }).read(d, item);
                         },
                     .sample = {}});
                read.read(decoder, at);
                out = std::move(found);
              },
          .schema =
              [] {
                return json::object{
                    {"type", "array"},
                    {"items", json::object{{"enum", json::array(kWords.begin(), kWords.end())}}}};
              },
          .fallback = fmt::format("`[{}]`", fmt::join(known, ", "))};
}

Table node_exporter_table(ScalingGroup& group) {
  return {.doc = "Where instances serve CPU times in the format of node_exporter.",
          .fields =
              {
                  {"port", port(group.node_exporter_port), "Its port."},
                  {"path", required_text(group.node_exporter_path, "a path"), "Its path."},
              },
          .later = {},
          .after = {}};
}

Table cpu_table(ScalingGroup& group) {
  return {.doc = "Where the cpu signal comes from.",
          .fields =
              {
                  {"sources", cpu_sources(group.cpu_sources),
                   "In order of preference: the first with a fresh value wins."},
                  {"node_exporter", object([&group] { return node_exporter_table(group); }),
                   "The node_exporter source."},
              },
          .later = {},
          .after = {}};
}

/// Which provider section is there must agree with `provider`.
void check_provider(Decoder& decoder, const Cursor& at, const ScalingGroup& group) {
  const bool ec2 = std::holds_alternative<Ec2Provider>(group.provider);
  const std::string_view own = ec2 ? "ec2" : "process";
  const std::string_view other = ec2 ? "process" : "ec2";
  const auto provider = member_of(at, "provider");
  if (!provider || (provider->value.text != "ec2" && provider->value.text != "process")) return;
  if (!member_of(at, own)) {
    decoder.error(
        at.label, "E2004",
        fmt::format("{}: required key '{}' is missing (provider: {})", at.path, own, own));
  }
  if (const auto extra = member_of(at, other)) {
    decoder.error(extra->label, "E2010",
                  fmt::format("{}: '{}' has no meaning with provider: {}", at.path, other, own));
  }
}

void choose_provider(ScalingGroup& group, std::size_t index) {
  if (index == 1 && !std::holds_alternative<Ec2Provider>(group.provider)) {
    group.provider = Ec2Provider{};
  }
}

/// Reads into the variant's alternative when it is the chosen one, else only checks the section.
template <class Provider>
Kind provider_section(ScalingGroup& group, Table (*table)(Provider&)) {
  return {.read =
              [&group, table](Decoder& decoder, const Cursor& at) {
                Provider found;
                decode(decoder, at, table(found));
                if (std::holds_alternative<Provider>(group.provider)) group.provider = found;
              },
          .schema =
              [table] {
                Provider sample;
                return schema_of(table(sample));
              },
          .fallback = ""};
}

std::vector<Field> timing_fields(ScalingGroup& group) {
  return {
      {"warm_up", duration(group.warm_up, {.least = 0s, .most = 24h}),
       "How long an instance counts as warming once it is in service."},
      {"cooldown", duration(group.cooldown, {.least = 0s, .most = 24h}),
       "How long simple policies rest after an action."},
      {"drain_deadline", duration(group.drain_deadline, {.least = 0s, .most = 24h}),
       "How long requests in flight may take before an instance is terminated."},
      {"grace", duration(group.grace, {.least = 0s, .most = 24h}),
       "How long a launched instance may take to its first passing check."},
      {"launch_timeout", duration(group.launch_timeout, {.least = 1s, .most = 24h}),
       "How long a launch may take until it is given up and replaced."},
      {"zone_pause", duration(group.zone_pause, {.least = 1s, .most = 24h}),
       "How long a zone without capacity, or whose instances all went down, gets no launches; "
       "twice as long each time in a row."},
      {"zone_pause_max", duration(group.zone_pause_max, {.least = 1s, .most = 24h}),
       "Longest pause of a zone."},
  };
}

}  // namespace

Table scaling_group_table(ScalingGroup& group) {
  Table table{
      .doc = "One scaling group.",
      .fields =
          {
              {"provider",
               choice({.words = {"process", "ec2"}, .later = {}}, 2,
                      [&group](std::size_t index) { choose_provider(group, index); }),
               "Who launches the instances.", true},
              {"process", provider_section<ProcessProvider>(group, &process_table),
               "Instances as processes of this host."},
              {"ec2", provider_section<Ec2Provider>(group, &ec2_table),
               "Instances from Amazon EC2."},
              {"min", whole(group.min, {0, 10'000}),
               "Fewest instances. With 0 a group with policies rests once no request came for a "
               "minute; the next one is answered 503 and launches an instance.",
               true},
              {"max", whole(group.max, {0, 10'000}), "Most instances.", true},
              {"desired", optional_whole(group.desired), "Instances to start with. Default: min."},
          },
      .later = {"schedules", "instance_refresh", "warm_pool"},
      .after = [&group](Decoder& decoder, const Cursor& at) {
        check_provider(decoder, at, group);
      }};
  auto timing = timing_fields(group);
  std::move(timing.begin(), timing.end(), std::back_inserter(table.fields));
  table.fields.push_back({"replace_unhealthy", flag(group.replace_unhealthy),
                          "Whether an unhealthy instance is replaced."});
  table.fields.push_back(
      {"cpu", object([&group] { return cpu_table(group); }), "Where the cpu signal comes from."});
  table.fields.push_back({"policies", policies(group.policies), "When to launch and terminate."});
  return table;
}

}  // namespace lbd::config
