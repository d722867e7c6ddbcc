#include "scaler/aws/endpoint.h"

#include <gtest/gtest.h>

#include "tests/support/memory_reader.h"

namespace lbd::aws {
namespace {

class EndpointTest : public ::testing::Test {
 protected:
  EndpointTest() {
    machine.variables["AWS_CONFIG_FILE"] = "/config";
    machine.variables["HOME"] = "/home/me";
  }
  std::string url(const std::string& region, Service service = kEc2,
                  const std::string& configured = "") {
    const Profile profile = load_profile(machine, "");
    Outcome<std::string> found = resolve_endpoint({service, region, configured}, machine, profile);
    return found ? *found : found.error().message;
  }
  config::MemoryReader machine;
};

TEST_F(EndpointTest, EachPartitionHasItsOwnSuffix) {
  EXPECT_EQ(url("us-east-1"), "https://ec2.us-east-1.amazonaws.com/");
  EXPECT_EQ(url("eu-west-1", kCloudWatch), "https://monitoring.eu-west-1.amazonaws.com/");
  EXPECT_EQ(url("cn-north-1"), "https://ec2.cn-north-1.amazonaws.com.cn/");
  EXPECT_EQ(url("us-gov-west-1", kSts), "https://sts.us-gov-west-1.amazonaws.com/");
  EXPECT_EQ(url("eusc-de-east-1"), "https://ec2.eusc-de-east-1.amazonaws.eu/");
  EXPECT_EQ(url("us-iso-east-1"), "https://ec2.us-iso-east-1.c2s.ic.gov/");
  EXPECT_EQ(url("us-isob-east-1"), "https://ec2.us-isob-east-1.sc2s.sgov.gov/");
}

TEST_F(EndpointTest, FipsAndDualStackChangeTheName) {
  machine.variables["AWS_USE_FIPS_ENDPOINT"] = "true";
  EXPECT_EQ(url("us-east-1"), "https://ec2-fips.us-east-1.amazonaws.com/");
  EXPECT_EQ(url("us-gov-west-1"), "https://ec2.us-gov-west-1.amazonaws.com/");
  machine.variables["AWS_USE_DUALSTACK_ENDPOINT"] = "true";
  EXPECT_EQ(url("us-east-1"), "https://ec2-fips.us-east-1.api.aws/");
  machine.variables.erase("AWS_USE_FIPS_ENDPOINT");
  EXPECT_EQ(url("us-east-1"), "https://ec2.us-east-1.api.aws/");
}

TEST_F(EndpointTest, TheMostParticularUrlWins) {
  machine.files["/config"] =
      "[default]\nendpoint_url = http://profile\nservices = local\n"
      "[services local]\nec2 =\n  endpoint_url = http://services\n";
  EXPECT_EQ(url("us-east-1", kSts), "http://profile/");
  EXPECT_EQ(url("us-east-1"), "http://services/");
  machine.variables["AWS_ENDPOINT_URL"] = "http://all:5000";
  EXPECT_EQ(url("us-east-1"), "http://all:5000/");
  machine.variables["AWS_ENDPOINT_URL_EC2"] = "http://ec2/path";
  EXPECT_EQ(url("us-east-1"), "http://ec2/path");
  EXPECT_EQ(url("us-east-1", kSts), "http://all:5000/");
  EXPECT_EQ(url("us-east-1", kEc2, "http://mine"), "http://mine/");
  machine.variables["AWS_IGNORE_CONFIGURED_ENDPOINT_URLS"] = "true";
  EXPECT_EQ(url("us-east-1"), "https://ec2.us-east-1.amazonaws.com/");
  EXPECT_EQ(url("us-east-1", kEc2, "http://mine"), "http://mine/");
}

TEST_F(EndpointTest, WhatCannotBeAnEndpointIsRefused) {
  EXPECT_EQ(url("us-east-1/evil"), "\"us-east-1/evil\" is no AWS region");
  EXPECT_EQ(url("us-east-1", kEc2, "ec2.local"),
            "the AWS endpoint URL ec2.local is neither http nor https");
  machine.variables["AWS_USE_FIPS_ENDPOINT"] = "true";
  EXPECT_EQ(url("us-east-1", kEc2, "http://mine"),
            "a custom AWS endpoint URL cannot be FIPS or dual stack");
}

TEST(Ini, ReadsWhatAwsToolsWrite) {
  const IniFile file = parse_ini(
      "# a comment\n; another\nstray = value\n[default]\nregion=us-east-1 # here\r\n"
      "KEY = a#b;c\n[ profile   my shop ]\nx = 1\n[broken\ny = 2\n[services s]\nec2 =\n"
      "  endpoint_url = http://x\nplain = 3\n");
  EXPECT_EQ(file.size(), 3U);
  EXPECT_EQ(file.at("default").at("region"), "us-east-1");
  EXPECT_EQ(file.at("default").at("key"), "a#b;c");
  EXPECT_EQ(file.at("profile my shop").at("x"), "1");
  EXPECT_FALSE(file.at("profile my shop").contains("y"));
  EXPECT_EQ(file.at("services s").at("ec2.endpoint_url"), "http://x");
  EXPECT_EQ(file.at("services s").at("plain"), "3");
}

}  // namespace
}  // namespace lbd::aws
