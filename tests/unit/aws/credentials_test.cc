#include "scaler/aws/credentials.h"

#include <gtest/gtest.h>

#include "scaler/aws/encoding.h"
#include "tests/support/fake_http.h"
#include "tests/support/memory_reader.h"
#include "tests/support/run_task.h"

namespace lbd::aws {
namespace {

using std::chrono::minutes;
using std::chrono::seconds;

class CredentialsTest : public ::testing::Test {
 protected:
  CredentialsTest() {
    machine.variables["HOME"] = "/users/me";
    machine.variables["AWS_EC2_METADATA_DISABLED"] = "true";
  }
  void use_instance_metadata() { machine.variables.erase("AWS_EC2_METADATA_DISABLED"); }
  void push(int status, const std::string& body) {
    http.script.push_back(FakeHttp::answer(status, body));
  }
  /// Credentials as IMDS and the container endpoint send them.
  std::string document(const std::string& id, Duration lifetime) {
    const WallTime expires =
        clock.wall() + std::chrono::duration_cast<WallTime::duration>(lifetime);
    return R"({"Code":"Success","AccessKeyId":")" + id +
           R"(","SecretAccessKey":"s","Token":"t","Expiration":")" + iso_time(expires) + "\"}";
  }
  void push_role(const std::string& id, Duration lifetime) {
    push(200, "web-role");
    push(200, document(id, lifetime));
  }
  /// The key id, or the error in parentheses.
  std::string get(CredentialChain& chain) {
    const CredentialsReply reply = run_task(clock, chain.get());
    return reply.credentials ? reply.credentials->access_key_id : "(" + reply.error + ")";
  }
  std::string get_fresh(const std::string& profile = "") {
    CredentialChain chain(parts, profile);
    return get(chain);
  }

  ManualClock clock;
  NullLog log;
  Rng rng{1};
  FakeHttp http{clock};
  config::MemoryReader machine;
  AwsParts parts{clock, log, rng, http, machine};
};

TEST_F(CredentialsTest, TheEnvironmentComesFirst) {
  machine.variables["AWS_ACCESS_KEY_ID"] = "ENV";
  machine.variables["AWS_SECRET_ACCESS_KEY"] = "s";
  machine.files["/users/me/.aws/credentials"] =
      "[default]\naws_access_key_id=FILE\naws_secret_access_key=s\n";
  EXPECT_EQ(get_fresh(), "ENV");
}

TEST_F(CredentialsTest, AProfileOfTheConfigurationGoesBeforeTheEnvironment) {
  machine.variables["AWS_ACCESS_KEY_ID"] = "ENV";
  machine.variables["AWS_SECRET_ACCESS_KEY"] = "s";
  machine.files["/users/me/.aws/config"] =
      "[profile shop]\naws_access_key_id = SHOP\naws_secret_access_key = s\n";
  EXPECT_EQ(get_fresh("shop"), "SHOP");
}

TEST_F(CredentialsTest, AnEmptyVariableIsAnUnsetOne) {
  machine.variables["AWS_ACCESS_KEY_ID"] = "";
  machine.variables["AWS_SECRET_ACCESS_KEY"] = "";
  machine.files["/users/me/.aws/credentials"] =
      "[default]\naws_access_key_id=FILE\naws_secret_access_key=s\n";
  EXPECT_EQ(get_fresh(), "FILE");
}

TEST_F(CredentialsTest, HalfAKeyIsAnErrorNotASilentNextStep) {
  machine.variables["AWS_ACCESS_KEY_ID"] = "ENV";
  EXPECT_EQ(get_fresh(), "(AWS_ACCESS_KEY_ID is set but AWS_SECRET_ACCESS_KEY is not)");
}

TEST_F(CredentialsTest, TheCredentialsFileWinsOverTheConfigFile) {
  machine.variables["AWS_PROFILE"] = "a";
  machine.files["/users/me/.aws/credentials"] =
      "[a]\naws_access_key_id=SECRETS\naws_secret_access_key=s # ours\n";
  machine.files["/users/me/.aws/config"] =
      "[profile a]\naws_access_key_id=SETTINGS\naws_secret_access_key=s\n";
  EXPECT_EQ(get_fresh(), "SECRETS");
}

TEST_F(CredentialsTest, AMissingNamedProfileIsAnError) {
  machine.variables["AWS_PROFILE"] = "nobody";
  EXPECT_EQ(get_fresh(), "(the profile nobody is in neither shared file)");
}

TEST_F(CredentialsTest, WhatIsNotSupportedYetSaysSo) {
  machine.files["/users/me/.aws/config"] = "[default]\nrole_arn = arn:aws:iam::1:role/x\n";
  EXPECT_EQ(get_fresh(), "(profile default: role_arn is not supported yet)");
}

TEST_F(CredentialsTest, TheContainerEndpointGetsItsTokenFromTheFile) {
  machine.variables["AWS_CONTAINER_CREDENTIALS_FULL_URI"] = "http://169.254.170.23/v1/credentials";
  machine.variables["AWS_CONTAINER_AUTHORIZATION_TOKEN"] = "old";
  machine.variables["AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"] = "/token";
  machine.files["/token"] = "fresh";
  push(200, document("POD", std::chrono::hours(6)));
  EXPECT_EQ(get_fresh(), "POD");
  EXPECT_EQ(http.requests.at(0).url, "http://169.254.170.23/v1/credentials");
  EXPECT_EQ(header_of(http.requests.at(0), "authorization"), "fresh");
}

TEST_F(CredentialsTest, TheContainerEndpointIsAskedThreeTimesASecondApart) {
  machine.variables["AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"] = "/v2/x";
  push(500, "");
  push(200, "nonsense");
  push(200, document("ECS", std::chrono::hours(6)));
  const TimePoint before = clock.now();
  EXPECT_EQ(get_fresh(), "ECS");
  EXPECT_EQ(clock.now() - before, seconds(2));
  EXPECT_EQ(http.requests.at(2).url, "http://169.254.170.2/v2/x");
}

TEST_F(CredentialsTest, AContainerUrlElsewhereIsRefused) {
  machine.variables["AWS_CONTAINER_CREDENTIALS_FULL_URI"] = "http://example.com/steal";
  EXPECT_EQ(get_fresh(),
            "(container credentials: http://example.com/steal is neither https nor local)");
  EXPECT_TRUE(http.requests.empty());
}

TEST_F(CredentialsTest, AContainerTokenWithALineBreakIsRefused) {
  machine.variables["AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"] = "/v2/x";
  machine.variables["AWS_CONTAINER_AUTHORIZATION_TOKEN"] = "a\r\nX-Evil: 1";
  EXPECT_EQ(get_fresh(), "(container credentials: the token holds a line break)");
}

TEST(ContainerUrl, OnlyHttpsAndLocalHostsMayBeAsked) {
  for (const char* url :
       {"https://example.com/x", "http://localhost/x", "http://127.0.0.1:80/x", "http://[::1]/x",
        "http://169.254.170.2/x", "http://169.254.170.23/x", "http://[fd00:ec2::23]/x"}) {
    EXPECT_TRUE(container_url_allowed(url)) << url;
  }
  for (const char* url :
       {"http://example.com/x", "http://127.evil.com/x", "http://localhost.evil.com/",
        "http://localhost@evil.com/", "ftp://localhost/", "//localhost/", "http://169.254.169.254/",
        "https:///x", "http://localhost:80@evil.com/"}) {
    EXPECT_FALSE(container_url_allowed(url)) << url;
  }
}

TEST_F(CredentialsTest, TheInstanceRoleIsReadWithASessionToken) {
  use_instance_metadata();
  push(200, "TOKEN");
  push_role("ROLE", std::chrono::hours(6));
  EXPECT_EQ(get_fresh(), "ROLE");
  ASSERT_EQ(http.requests.size(), 3U);
  EXPECT_EQ(http.requests[0].method, "PUT");
  EXPECT_EQ(http.requests[0].url, "http://169.254.169.254/latest/api/token");
  EXPECT_EQ(header_of(http.requests[0], "x-aws-ec2-metadata-token-ttl-seconds"), "21600");
  EXPECT_EQ(header_of(http.requests[2], "x-aws-ec2-metadata-token"), "TOKEN");
  EXPECT_TRUE(http.requests[2].url.ends_with("/iam/security-credentials/web-role"));
}

TEST_F(CredentialsTest, AMetadataServiceThatForgetsTheTokenIsAskedForAnother) {
  use_instance_metadata();
  push(200, "OLD");
  push(401, "");
  push(200, "NEW");
  push_role("ROLE", std::chrono::hours(6));
  EXPECT_EQ(get_fresh(), "ROLE");
  EXPECT_EQ(header_of(http.requests.at(3), "x-aws-ec2-metadata-token"), "NEW");
}

TEST_F(CredentialsTest, WithoutTokensVersionOneIsUsedUnlessItIsOff) {
  use_instance_metadata();
  push(404, "");
  push_role("ROLE", std::chrono::hours(6));
  EXPECT_EQ(get_fresh(), "ROLE");
  EXPECT_EQ(header_of(http.requests.at(1), "x-aws-ec2-metadata-token"), "");
  machine.variables["AWS_EC2_METADATA_V1_DISABLED"] = "true";
  push(404, "");
  EXPECT_NE(get_fresh().find("refuses a token: HTTP 404"), std::string::npos);
}

TEST_F(CredentialsTest, AnAnswerOf200WithAnotherCodeThanSuccessIsAnError) {
  use_instance_metadata();
  push(200, "TOKEN");
  push(200, "web-role");
  push(200, R"({"Code":"AssumeRoleUnauthorizedAccess","Message":"EC2 cannot assume the role"})");
  EXPECT_NE(get_fresh().find("AssumeRoleUnauthorizedAccess: EC2 cannot assume the role"),
            std::string::npos);
}

TEST_F(CredentialsTest, TheyAreKeptUntilFifteenMinutesBeforeTheirEnd) {
  use_instance_metadata();
  CredentialChain chain(parts, "");
  push(200, "TOKEN");
  push_role("ONE", minutes(60));
  EXPECT_EQ(get(chain), "ONE");
  clock.advance(minutes(44));
  EXPECT_EQ(get(chain), "ONE");
  EXPECT_EQ(http.requests.size(), 3U);
  clock.advance(minutes(2));
  push_role("TWO", minutes(60));
  EXPECT_EQ(get(chain), "TWO");
}

TEST_F(CredentialsTest, ARefreshThatFailsKeepsTheOldOnesAndRests) {
  use_instance_metadata();
  CredentialChain chain(parts, "");
  push(200, "TOKEN");
  push_role("ONE", minutes(60));
  EXPECT_EQ(get(chain), "ONE");
  clock.advance(minutes(46));
  const std::size_t before = http.requests.size();
  EXPECT_EQ(get(chain), "ONE");
  const std::size_t tried = http.requests.size();
  EXPECT_GT(tried, before);
  clock.advance(seconds(30));
  EXPECT_EQ(get(chain), "ONE");
  EXPECT_EQ(http.requests.size(), tried) << "asked again within the pause";
  clock.advance(seconds(31));
  push_role("TWO", minutes(60));
  EXPECT_EQ(get(chain), "TWO");
}

// AWS asks its clients for this: the metadata service may lag behind in a bad hour.
TEST_F(CredentialsTest, ExpiredInstanceCredentialsAreUsedOnWhenNoOthersAreToBeHad) {
  use_instance_metadata();
  CredentialChain chain(parts, "");
  push(200, "TOKEN");
  push_role("ONE", minutes(60));
  EXPECT_EQ(get(chain), "ONE");
  clock.advance(minutes(70));
  EXPECT_EQ(get(chain), "ONE");
  const std::size_t tried = http.requests.size();
  EXPECT_EQ(get(chain), "ONE");
  EXPECT_EQ(http.requests.size(), tried) << "a dead metadata service is asked on every call";
}

TEST_F(CredentialsTest, OtherExpiredCredentialsAreNotUsed) {
  machine.variables["AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"] = "/v2/x";
  CredentialChain chain(parts, "");
  push(200, document("ECS", minutes(60)));
  EXPECT_EQ(get(chain), "ECS");
  clock.advance(minutes(61));
  EXPECT_EQ(get(chain), "(container credentials: connection refused)");
}

TEST_F(CredentialsTest, DistrustedOnesAreLookedUpAgain) {
  machine.files["/users/me/.aws/credentials"] =
      "[default]\naws_access_key_id=OLD\naws_secret_access_key=s\n";
  CredentialChain chain(parts, "");
  EXPECT_EQ(get(chain), "OLD");
  machine.files["/users/me/.aws/credentials"] =
      "[default]\naws_access_key_id=NEW\naws_secret_access_key=s\n";
  EXPECT_EQ(get(chain), "OLD");
  chain.distrust({"OLD", "s", ""});
  EXPECT_EQ(get(chain), "NEW");
}

Task<> store_key(CredentialChain& chain, std::string& into) {
  const CredentialsReply reply = co_await chain.get();
  into = reply.credentials ? reply.credentials->access_key_id : reply.error;
}

TEST_F(CredentialsTest, CallsThatOverlapShareOneRefresh) {
  use_instance_metadata();
  http.delay = std::chrono::milliseconds(100);
  push(200, "TOKEN");
  push_role("ROLE", minutes(60));
  CredentialChain chain(parts, "");
  std::string first;
  std::string second;
  TaskGroup group;
  group.spawn(store_key(chain, first));
  group.spawn(store_key(chain, second));
  clock.advance(seconds(1));
  EXPECT_EQ(first, "ROLE");
  EXPECT_EQ(second, "ROLE");
  EXPECT_EQ(http.requests.size(), 3U);
}

TEST_F(CredentialsTest, TheZoneIsThisInstancesOrNothing) {
  use_instance_metadata();
  Imds imds(parts);
  push(200, "TOKEN");
  push(200, "us-east-1b");
  EXPECT_EQ(run_task(clock, imds.availability_zone()), "us-east-1b");
  push(200, "<html>log in</html>");
  EXPECT_EQ(run_task(clock, imds.availability_zone()), std::nullopt);
  machine.variables["AWS_EC2_METADATA_DISABLED"] = "TRUE";
  EXPECT_EQ(run_task(clock, imds.availability_zone()), std::nullopt);
  EXPECT_EQ(http.requests.size(), 3U);
}

TEST_F(CredentialsTest, TheMetadataEndpointCanBeElsewhere) {
  use_instance_metadata();
  machine.variables["AWS_EC2_METADATA_SERVICE_ENDPOINT"] = "http://127.0.0.1:1338/";
  Imds imds(parts);
  push(200, "TOKEN");
  push(200, "eu-west-1a");
  EXPECT_EQ(run_task(clock, imds.availability_zone()), "eu-west-1a");
  EXPECT_EQ(http.requests.at(0).url, "http://127.0.0.1:1338/latest/api/token");
  EXPECT_LE(http.requests.at(0).timeout, seconds(1));
}

TEST_F(CredentialsTest, TheRegionComesFromTheFirstPlaceThatNamesOne) {
  const auto region = [&](const std::string& configured) {
    Outcome<std::string> found = run_task(clock, resolve_region(parts, configured, ""));
    return found ? *found : found.error().message;
  };
  EXPECT_EQ(region(""), "no AWS region: set ec2.region, AWS_REGION or the profile's region");
  use_instance_metadata();
  push(200, "TOKEN");
  push(200, "ap-south-1");
  EXPECT_EQ(region(""), "ap-south-1");
  machine.files["/users/me/.aws/config"] = "[default]\nregion = eu-central-1\n";
  EXPECT_EQ(region(""), "eu-central-1");
  machine.variables["AWS_DEFAULT_REGION"] = "us-west-2";
  EXPECT_EQ(region(""), "us-west-2");
  machine.variables["AWS_REGION"] = "us-west-1";
  EXPECT_EQ(region(""), "us-west-1");
  EXPECT_EQ(region("sa-east-1"), "sa-east-1");
}

TEST_F(CredentialsTest, AreRenewedByAwssClockAndNotByThisHosts) {
  use_instance_metadata();
  push(200, "token");
  push_role("OLD", minutes(60));
  CredentialChain chain(parts, "");
  EXPECT_EQ(get(chain), "OLD");
  clock.advance(seconds(61));
  chain.correct_clock(minutes(46));  // this host is late: they end in 13 min
  push_role("NEW", minutes(120));
  EXPECT_EQ(get(chain), "NEW");
  EXPECT_TRUE(http.script.empty());
}

TEST_F(CredentialsTest, ThatAreValidByAwssClockAreTakenWhenThisHostsIsAhead) {
  machine.variables["AWS_CONTAINER_CREDENTIALS_FULL_URI"] = "http://127.0.0.1/role";
  CredentialChain chain(parts, "");
  chain.correct_clock(-minutes(120));
  push(200, document("AHEAD", -minutes(60)));
  EXPECT_EQ(get(chain), "AHEAD");
}

// The metadata service seemed to be behind only because this host's clock was ahead.
TEST_F(CredentialsTest, WhatWasKeptPastItsExpiryByAWrongClockIsJudgedAnew) {
  use_instance_metadata();
  push(200, "token");
  push_role("OLD", -minutes(60));
  CredentialChain chain(parts, "");
  EXPECT_EQ(get(chain), "OLD");
  chain.correct_clock(-minutes(70));  // ten minutes left
  clock.advance(seconds(61));
  push_role("NEW", minutes(120));
  EXPECT_EQ(get(chain), "NEW");
}

}  // namespace
}  // namespace lbd::aws
