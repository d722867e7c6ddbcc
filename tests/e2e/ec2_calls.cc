// The EC2 provider alone, by hand: reads one call per line from stdin and prints its reply as one
// JSON line. Usage: ec2_calls REGION TEMPLATE SUBNET...
// Calls: start | launch ZONE TOKEN | terminate ID | describe | cpu ID... | calls
#include <boost/json.hpp>
#include <iostream>
#include <sstream>
#include <thread>

#include "config/files.h"
#include "lbd/net/curl_client.h"
#include "lbd/net/loop.h"
#include "scaler/ec2/ec2_provider.h"

namespace lbd::scaler::ec2 {
namespace {

namespace json = boost::json;

json::object to_json(const std::optional<CallFailure>& failure) {
  json::object made;
  if (failure) {
    made["error"] = static_cast<int>(failure->error);
    made["code"] = failure->code;
    made["message"] = failure->message;
  }
  return made;
}

json::object to_json(const ReportedInstance& instance) {
  return {{"id", instance.id},
          {"zone", instance.zone},
          {"state", static_cast<int>(instance.state)},
          {"address", instance.address},
          {"token", instance.client_token},
          {"reason", instance.state_reason},
          {"impaired", instance.status_impaired}};
}

Task<json::object> make_call(Ec2Provider& provider, std::vector<std::string> words) {
  json::object made;
  if (words[0] == "start") {
    const std::optional<CallFailure> failed = co_await provider.start();
    made = to_json(failed);
    made["zones"] = json::value_from(provider.zones());
  } else if (words[0] == "launch") {
    LaunchRequest request{"web", words.at(1), words.at(2)};
    const LaunchReply reply = co_await provider.launch(std::move(request));
    made = to_json(reply.failure);
    made["instance"] = to_json(reply.instance);
  } else if (words[0] == "terminate") {
    const TerminateReply reply = co_await provider.terminate(words.at(1));
    made = to_json(reply.failure);
  } else if (words[0] == "describe") {
    const DescribeReply reply = co_await provider.describe();
    made = to_json(reply.failure);
    json::array list;
    for (const ReportedInstance& each : reply.instances) list.push_back(to_json(each));
    made["instances"] = list;
  } else if (words[0] == "cpu") {
    words.erase(words.begin());
    const CpuReply reply = co_await provider.cpu(words);
    made = to_json(reply.failure);
    json::object samples;
    for (const CpuSample& each : reply.samples) samples[each.instance] = each.ratio;
    made["samples"] = samples;
  }
  co_return made;
}

Task<> answer(Ec2Provider& provider, std::vector<std::string> words) {
  const json::object reply = co_await make_call(provider, std::move(words));
  std::cout << json::serialize(reply) << '\n' << std::flush;
}

void print_calls(const aws::AwsShared& shared) {
  json::object made;
  for (const auto& [key, count] : shared.calls) {
    made[key.service + "/" + key.action + "/" + key.code] = count;
  }
  std::cout << json::serialize(made) << '\n' << std::flush;
}

int run(const std::vector<std::string>& arguments) {
  net::Loop loop;
  StderrLog log(LogLevel::debug);
  Rng rng(1);
  net::CurlClient http(loop);
  config::DiskReader machine;
  const Ec2Parts parts{loop.clock(), log, rng, http, machine, [] { return "by-hand"; }};
  config::Ec2Provider config;
  config.region = arguments.at(1);
  config.launch_template_name = arguments.at(2);
  config.subnets.assign(arguments.begin() + 3, arguments.end());
  config.tags["team"] = "shop & co";
  config::ScalingGroup group;
  group.name = "web";
  group.provider = config;
  Ec2Provider provider(parts, group, config);
  TaskGroup calls;
  std::thread reader([&] {
    for (std::string line; std::getline(std::cin, line);) {
      std::istringstream stream(line);
      std::vector<std::string> words;
      for (std::string word; stream >> word;) words.push_back(word);
      if (words.empty()) continue;
      loop.post([&, words] {
        if (words[0] == "calls") {
          print_calls(*parts.shared);
        } else {
          calls.spawn(answer(provider, words));
        }
      });
    }
    loop.post([&] { loop.stop(); });
  });
  loop.run();
  reader.join();
  http.close();
  return 0;
}

}  // namespace
}  // namespace lbd::scaler::ec2

int main(int argc, char** argv) {
  if (argc < 4) {
    std::cerr << "usage: ec2_calls REGION TEMPLATE SUBNET...\n";
    return 64;
  }
  return lbd::scaler::ec2::run({argv, argv + argc});
}
