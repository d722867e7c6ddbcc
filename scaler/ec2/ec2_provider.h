// Instances on EC2: one subnet or more per zone, launched from a template, found by tag.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "config/config.h"
#include "scaler/aws/client.h"
#include "scaler/breaker.h"
#include "scaler/ec2/replies.h"
#include "scaler/ec2/requests.h"
#include "scaler/provider.h"

namespace lbd::scaler::ec2 {

/// Lifetime: what is referred to outlives every provider made with it. Keep one for the process and
/// give it to each: `shared` holds the call counters and the account's launch rate.
struct Ec2Parts {
  Clock& clock;
  Log& log;
  Rng& rng;
  net::HttpClient& http;
  const config::FileReader& machine;
  /// The tag of every instance: a provider sees and ends only those with it. Empty: not known yet.
  std::function<std::string()> deployment;
  std::shared_ptr<aws::AwsShared> shared = std::make_shared<aws::AwsShared>();
  /// EC2 shows a new instance within seconds; a missed one would be launched twice.
  Duration visibility_delay = std::chrono::seconds(30);
};

/// Thread: the control loop. Lifetime: outlives its tasks. One call makes up to three attempts of
/// 20 s, so that each ends within about 75 s.
class Ec2Provider final : public Provider {
 public:
  Ec2Provider(const Ec2Parts& parts, const config::ScalingGroup& group,
              const config::Ec2Provider& config);

  [[nodiscard]] const std::vector<std::string>& zones() const override { return zones_; }
  /// Fails while the deployment is not known. GetCallerIdentity, then DescribeSubnets: the zones,
  /// in the order of the configured subnets. Warns of instances that run for a group of this name
  /// but belong to another deployment.
  Task<std::optional<CallFailure>> start() override;
  /// A token always goes to the same subnet of its zone, unless that has no free address: then the
  /// zone's others take its launches for `zone_pause`, doubled each time up to `zone_pause_max`. A
  /// failure after which an instance may exist is CallError::unknown.
  Task<LaunchReply> launch(LaunchRequest request) override;
  Task<TerminateReply> terminate(std::string instance) override;
  /// DescribeInstances by its tags, all pages; twice a minute also the status checks, whose failure
  /// fails nothing.
  Task<DescribeReply> describe() override;
  /// CloudWatch, once a minute at most and only when the group's cpu_sources name it; empty in
  /// between. Each instance in the period EC2 measures it in, by the last `describe`. With a
  /// failure too, whatever figures did come.
  Task<CpuReply> cpu(std::vector<std::string> instances) override;
  [[nodiscard]] Duration describe_interval() const override { return config_.describe_interval; }
  [[nodiscard]] Duration visibility_delay() const override { return visibility_delay_; }

  [[nodiscard]] std::vector<std::string> take_remarks() override { return client_.take_remarks(); }

  [[nodiscard]] const aws::Client& client() const noexcept { return client_; }

 private:
  Task<std::optional<CallFailure>> find_zones();
  Task<> warn_of_namesakes();
  Task<LaunchReply> find_launch(LaunchRequest request, CallFailure refused);
  void note_status(std::string error);
  Task<> refresh_status(std::vector<std::string> instances);
  [[nodiscard]] std::string subnet_for(const LaunchRequest& request);
  void close_subnet(const std::string& subnet, const std::string& zone, CallFailure& failure);
  [[nodiscard]] WallTime aws_time() const;
  Task<> read_metrics(std::vector<CpuQuery> queries, CpuReply& reply);
  void keep_cpu(const CpuPage& page, const std::vector<CpuQuery>& queries, CpuReply& reply);
  [[nodiscard]] TimePoint time_of(WallTime at);

  Clock& clock_;
  Log& log_;
  config::Ec2Provider config_;
  std::function<std::string()> deployment_;
  Owner owner_;
  bool wants_cloudwatch_;
  Duration pause_;  // of a full subnet
  Duration pause_max_;
  Duration visibility_delay_;
  aws::Client client_;
  std::vector<std::string> zones_;
  std::map<std::string, std::vector<std::string>> subnets_;  // by zone
  std::map<std::string, ZoneBreaker> full_subnets_;          // by id: those without free addresses
  std::map<std::string, std::string> sent_to_;  // subnets by token, of launches not settled
  std::set<std::string> impaired_;
  std::set<std::string> detailed_;  // with detailed monitoring
  std::string status_error_;
  bool status_running_ = false;
  TimePoint status_next_{};
  TimePoint cpu_next_{};
  std::optional<Duration> aws_epoch_;  // our clock's reading at AWS's time 0, see time_of
};

/// For a group whose provider is ec2.
[[nodiscard]] std::unique_ptr<Provider> make_ec2_provider(const Ec2Parts& parts,
                                                          const config::ScalingGroup& group);

}  // namespace lbd::scaler::ec2
