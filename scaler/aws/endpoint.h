// Which URL a service of a region is called at.
#pragma once

#include <string>
#include <string_view>

#include "config/files.h"
#include "lbd/base/result.h"
#include "scaler/aws/ini.h"

namespace lbd::aws {

struct Service {
  std::string_view signing_name;   // ec2
  std::string_view variable_name;  // EC2, as in AWS_ENDPOINT_URL_EC2
  std::string_view profile_name;   // ec2, as in a profile's services section
  std::string_view version;        // 2016-11-15
};
inline constexpr Service kEc2{"ec2", "EC2", "ec2", "2016-11-15"};
inline constexpr Service kSts{"sts", "STS", "sts", "2011-06-15"};
inline constexpr Service kCloudWatch{"monitoring", "CLOUDWATCH", "cloudwatch", "2010-08-01"};

struct EndpointQuestion {
  Service service;
  std::string region;
  std::string configured;  // from lbd's own configuration; goes before all else
};

/// Fails with a sentence: a URL that is none, or a custom one together with FIPS or dual stack.
/// The URL has a path ("/" at least).
[[nodiscard]] Outcome<std::string> resolve_endpoint(const EndpointQuestion& question,
                                                    const config::FileReader& machine,
                                                    const Profile& profile);

}  // namespace lbd::aws
