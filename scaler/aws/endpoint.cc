#include "scaler/aws/endpoint.h"

#include <fmt/format.h>

#include <array>

namespace lbd::aws {
namespace {

struct Partition {
  std::string_view region_prefix;
  std::string_view suffix;
  std::string_view dual_stack_suffix;
};

/// The first whose prefix fits; the last fits all.
constexpr std::array<Partition, 8> kPartitions{{
    {"cn-", "amazonaws.com.cn", "api.amazonwebservices.com.cn"},
    {"eusc-", "amazonaws.eu", "api.amazonwebservices.eu"},
    {"us-isob-", "sc2s.sgov.gov", "api.aws.scloud"},
    {"us-isof-", "csp.hci.ic.gov", "api.aws.hci.ic.gov"},
    {"us-iso-", "c2s.ic.gov", "api.aws.ic.gov"},
    {"eu-isoe-", "cloud.adc-e.uk", "api.cloud-aws.adc-e.uk"},
    {"us-gov-", "amazonaws.com", "api.aws"},
    {"", "amazonaws.com", "api.aws"},
}};

const Partition& partition_of(std::string_view region) {
  for (const Partition& each : kPartitions) {
    if (region.starts_with(each.region_prefix)) return each;
  }
  return kPartitions.back();
}

bool is_set(const config::FileReader& machine, const Profile& profile, std::string_view name) {
  std::string upper = "AWS_";
  for (const char c : name) {
    upper += c >= 'a' && c <= 'z' ? static_cast<char>(c - ('a' - 'A')) : c;
  }
  const std::string own = variable(machine, upper);
  return is_true(own.empty() ? profile.value(std::string(name)) : own);
}

std::string custom_url(const EndpointQuestion& question, const config::FileReader& machine,
                       const Profile& profile) {
  if (!question.configured.empty()) return question.configured;
  std::string ignore = variable(machine, "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS");
  if (ignore.empty()) ignore = profile.value("ignore_configured_endpoint_urls");
  if (is_true(ignore)) return {};
  std::string url =
      variable(machine, fmt::format("AWS_ENDPOINT_URL_{}", question.service.variable_name));
  if (url.empty()) url = variable(machine, "AWS_ENDPOINT_URL");
  if (!url.empty()) return url;
  const auto own =
      profile.services.find(fmt::format("{}.endpoint_url", question.service.profile_name));
  return own != profile.services.end() ? own->second : profile.value("endpoint_url");
}

bool is_region(std::string_view region) {
  return !region.empty() && region.size() < 64 &&
         region.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789-") ==
             std::string_view::npos;
}

}  // namespace

Outcome<std::string> resolve_endpoint(const EndpointQuestion& question,
                                      const config::FileReader& machine, const Profile& profile) {
  const bool fips = is_set(machine, profile, "use_fips_endpoint");
  const bool dual = is_set(machine, profile, "use_dualstack_endpoint");
  std::string url = custom_url(question, machine, profile);
  if (!url.empty()) {
    if (fips || dual) return failure("a custom AWS endpoint URL cannot be FIPS or dual stack");
    if (!url.starts_with("http://") && !url.starts_with("https://")) {
      return failure(fmt::format("the AWS endpoint URL {} is neither http nor https", url));
    }
    if (url.find('/', url.find("://") + 3) == std::string::npos) url += '/';
    return {boost::system::in_place_value, std::move(url)};
  }
  if (!is_region(question.region)) {
    return failure(fmt::format("\"{}\" is no AWS region", question.region));
  }
  const Partition& partition = partition_of(question.region);
  // GovCloud's ordinary EC2 endpoint is the FIPS one.
  const bool plain =
      question.region.starts_with("us-gov-") && question.service.signing_name == "ec2";
  return {boost::system::in_place_value,
          fmt::format("https://{}{}.{}.{}/", question.service.signing_name,
                      fips && !(plain && !dual) ? "-fips" : "", question.region,
                      dual ? partition.dual_stack_suffix : partition.suffix)};
}

}  // namespace lbd::aws
