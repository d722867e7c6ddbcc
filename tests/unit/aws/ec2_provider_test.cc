#include "tests/unit/aws/ec2_cloud.h"

namespace lbd::scaler::ec2 {
namespace {

using std::chrono::minutes;
using std::chrono::seconds;

TEST_F(Ec2Test, StartFindsTheZonesInTheOrderOfTheConfiguredSubnets) {
  start();
  EXPECT_EQ(provider->zones(),
            (std::vector<std::string>{"us-east-1a", "us-east-1b", "us-east-1c"}));
}

TEST_F(Ec2Test, StartNamesASubnetThatEc2DoesNotKnow) {
  config.subnets.push_back("subnet-x");
  make();
  push(200, identity_reply());
  push(200, subnets_reply());
  const std::optional<CallFailure> failed = run_task(clock, provider->start());
  ASSERT_TRUE(failed);
  EXPECT_EQ(failed->error, CallError::invalid);
  EXPECT_EQ(failed->message, "EC2 does not know the subnet subnet-x");
  EXPECT_TRUE(provider->zones().empty());
}

std::string tagged(const std::string& deployment) {
  return "<tagSet><item><key>lbd:deployment</key><value>" + deployment + "</value></item></tagSet>";
}

// After a lost state directory the own instances look like another's, and cost money unseen.
TEST_F(Ec2Test, StartWarnsOfInstancesThatRunForANamesakeOfTheGroup) {
  start(instance_xml("i-1", "running", tagged("there")) +
        instance_xml("i-2", "running", tagged("here")) +
        instance_xml("i-3", "running", tagged("there")) + instance_xml("i-4", "pending"));
  const std::string text =
      "instances of a group of this name are not ours and left alone group=web ";
  EXPECT_EQ(log.lines, (std::vector<std::string>{
                           text + "their_deployment=none our_deployment=here instances=i-4",
                           text + "their_deployment=there our_deployment=here instances=i-1,i-3"}));
}

TEST_F(Ec2Test, StartAsksForNamesakesByTheGroupsTagAloneAndOnlyThoseThatRun) {
  push(200, identity_reply());
  push(200, subnets_reply());
  push(500, error_reply("InternalError"));
  EXPECT_FALSE(run_task(clock, provider->start())) << "a warning that fails fails the start";
  ASSERT_EQ(http.requests.size(), 3U) << "the start waited for retries of the warning";
  EXPECT_EQ(parameter(2, "Filter.1.Name"), "tag:lbd:group");
  EXPECT_EQ(parameter(2, "Filter.1.Value.1"), "web");
  EXPECT_EQ(parameter(2, "Filter.2.Name"), "instance-state-name");
  EXPECT_EQ(parameter(2, "Filter.2.Value.2"), "running");
}

TEST_F(Ec2Test, WithoutCredentialsStartIsDeniedAndSaysWhereItLooked) {
  machine.variables.clear();
  machine.variables["AWS_EC2_METADATA_DISABLED"] = "true";
  const std::optional<CallFailure> failed = run_task(clock, provider->start());
  ASSERT_TRUE(failed);
  EXPECT_EQ(failed->error, CallError::denied);
  EXPECT_EQ(failed->code, "NoCredentials");
  EXPECT_NE(failed->message.find("no AWS credentials in environment"), std::string::npos);
}

TEST_F(Ec2Test, ALaunchIsOneInstanceOfTheTemplateInTheZonesSubnetWithItsTags) {
  config.tags = {{"team", "shop & co"}, {"lbd:managed", "no"}};
  make();
  start();
  push(200, run_reply("i-1"));
  const LaunchReply reply = launch("us-east-1b");
  ASSERT_FALSE(reply.failure) << reply.failure->message;
  EXPECT_EQ(reply.instance.id, "i-1");
  EXPECT_EQ(reply.instance.state, ReportedState::pending);
  EXPECT_EQ(reply.instance.client_token, "t-1");
  EXPECT_EQ(parameter(0, "Action"), "RunInstances");
  EXPECT_EQ(parameter(0, "MinCount") + parameter(0, "MaxCount"), "11");
  EXPECT_EQ(parameter(0, "SubnetId"), "subnet-b");
  EXPECT_EQ(parameter(0, "ClientToken"), "t-1");
  EXPECT_EQ(parameter(0, "LaunchTemplate.LaunchTemplateName"), "web");
  EXPECT_EQ(parameter(0, "LaunchTemplate.Version"), "$Default");
  EXPECT_EQ(parameter(0, "TagSpecification.1.ResourceType"), "instance");
  EXPECT_EQ(parameter(0, "TagSpecification.1.Tag.1.Key"), "Name");
  EXPECT_EQ(parameter(0, "TagSpecification.1.Tag.1.Value"), "web");
  EXPECT_EQ(parameter(0, "TagSpecification.1.Tag.2.Key"), "lbd:deployment");
  EXPECT_EQ(parameter(0, "TagSpecification.1.Tag.2.Value"), "here");
  EXPECT_EQ(parameter(0, "TagSpecification.1.Tag.3.Value"), "web");
  EXPECT_EQ(parameter(0, "TagSpecification.1.Tag.4.Key"), "lbd:managed");
  EXPECT_EQ(parameter(0, "TagSpecification.1.Tag.4.Value"), "true");
  EXPECT_EQ(parameter(0, "TagSpecification.1.Tag.5.Value"), "t-1");
  EXPECT_EQ(parameter(0, "TagSpecification.1.Tag.6.Value"), "shop+&+co");
}

// EC2 refuses a token it knows when anything else in the call has changed, the subnet included.
TEST_F(Ec2Test, ATokenGoesToTheSameSubnetEvenAfterARestart) {
  http.otherwise = [](const net::HttpRequest& request) {
    const bool identity = request.body.find("GetCallerIdentity") != std::string::npos;
    const bool subnets = request.body.find("DescribeSubnets") != std::string::npos;
    return FakeHttp::answer(200, identity  ? identity_reply()
                                 : subnets ? subnets_reply()
                                           : run_reply("i-1"));
  };
  std::set<std::string> used;
  for (int token = 0; token < 32; ++token) {
    std::set<std::string> bodies;
    for (int life = 0; life < 2; ++life) {
      make();
      start();
      launch("us-east-1a", fmt::format("t-{}", token));
      bodies.insert(http.requests.back().body);
      used.insert(parameter(0, "SubnetId"));
    }
    EXPECT_EQ(bodies.size(), 1U);
  }
  EXPECT_EQ(used, (std::set<std::string>{"subnet-a", "subnet-a2"}));
}

TEST_F(Ec2Test, NoCapacityIsSaidAtOnceAndNeverAskedAgainInThatZone) {
  start();
  push(500, error_reply("InsufficientInstanceCapacity"));
  const LaunchReply reply = launch();
  EXPECT_EQ(reply.failure->error, CallError::capacity);
  EXPECT_EQ(http.requests.size(), 1U);
  EXPECT_EQ(counted("RunInstances", "InsufficientInstanceCapacity"), 1U);
}

TEST_F(Ec2Test, AFullSubnetIsPassedOverAndTheOthersOfItsZoneAreNot) {
  group.zone_pause = minutes(3);
  group.zone_pause_max = minutes(30);
  make();
  start();
  push(400, error_reply("InsufficientFreeAddressesInSubnet"));
  const LaunchReply full = launch("us-east-1a", "t-0");
  ASSERT_TRUE(full.failure);
  EXPECT_EQ(full.failure->error, CallError::capacity);
  EXPECT_TRUE(full.failure->zone_has_room);
  const std::string closed = parameter(0, "SubnetId");
  EXPECT_TRUE(full.failure->message.starts_with("subnet " + closed + " gets no launches for 180 s"))
      << full.failure->message;
  const std::string other = closed == "subnet-a" ? "subnet-a2" : "subnet-a";
  for (std::size_t i = 1; i <= 8; ++i) {
    push(200, run_reply("i-1"));
    clock.advance(seconds(1));
    EXPECT_FALSE(launch("us-east-1a", fmt::format("t-{}", i)).failure);
    EXPECT_EQ(parameter(i, "SubnetId"), other);
  }
  push(400, error_reply("InsufficientFreeAddressesInSubnet"));
  EXPECT_FALSE(launch("us-east-1a", "t-9").failure->zone_has_room) << "both are full now";
  clock.advance(minutes(3));
  std::set<std::string> used;
  for (std::size_t i = 10; i <= 18; ++i) {
    push(200, run_reply("i-1"));
    clock.advance(seconds(1));
    EXPECT_FALSE(launch("us-east-1a", fmt::format("t-{}", i)).failure);
    used.insert(parameter(i, "SubnetId"));
  }
  EXPECT_EQ(used.size(), 2U) << "tried again after the pause";
}

TEST_F(Ec2Test, ATokenThatWasSentStaysWithItsSubnetWhenThatIsFull) {
  start();
  for (int i = 0; i < 3; ++i) push_lost();
  EXPECT_EQ(launch("us-east-1a", "t-0").failure->error, CallError::unknown);
  const std::string subnet = parameter(0, "SubnetId");
  http.requests.clear();
  std::string closed;
  for (int i = 1; closed != subnet && i < 20; ++i) {  // until the same one says that it is full
    clock.advance(minutes(10));
    push(400, error_reply("InsufficientFreeAddressesInSubnet"));
    (void)launch("us-east-1a", fmt::format("t-{}", i));
    closed = parameter(http.requests.size() - 1, "SubnetId");
  }
  ASSERT_EQ(closed, subnet);
  push(200, run_reply("i-1"));
  EXPECT_FALSE(launch("us-east-1a", "t-0").failure);
  EXPECT_EQ(parameter(http.requests.size() - 1, "SubnetId"), subnet);
}

TEST_F(Ec2Test, AThrottledLaunchIsTriedThreeTimesAndIsKnownNotToHaveHappened) {
  start();
  for (int i = 0; i < 3; ++i) push(503, error_reply("RequestLimitExceeded"));
  const LaunchReply reply = launch();
  EXPECT_EQ(reply.failure->error, CallError::throttled);
  EXPECT_EQ(http.requests.size(), 3U);
}

TEST_F(Ec2Test, ALostReplyIsAskedForAgainWithTheSameTokenInTheSameCall) {
  start();
  push_lost();
  push(200, run_reply("i-1"));
  const LaunchReply reply = launch();
  ASSERT_FALSE(reply.failure);
  EXPECT_EQ(http.requests.at(0).body, http.requests.at(1).body);
  EXPECT_EQ(header_of(http.requests.at(0), "amz-sdk-invocation-id"),
            header_of(http.requests.at(1), "amz-sdk-invocation-id"));
  EXPECT_EQ(header_of(http.requests.at(1), "amz-sdk-request"), "attempt=2; max=3");
}

TEST_F(Ec2Test, WhenNoReplyEverComesTheLaunchIsUnknown) {
  start();
  for (int i = 0; i < 3; ++i) push_lost();
  EXPECT_EQ(launch().failure->error, CallError::unknown);
}

// The first attempt may have launched: that the second was refused proves nothing about it.
TEST_F(Ec2Test, ARefusalAfterALostReplyLeavesTheLaunchUnknown) {
  start();
  push_lost();
  push(500, error_reply("InsufficientInstanceCapacity"));
  EXPECT_EQ(launch().failure->error, CallError::unknown);
}

TEST_F(Ec2Test, ALaunchThatNeverLeftThisHostIsTransient) {
  start();
  EXPECT_EQ(launch().failure->error, CallError::transient);  // refused each time
  EXPECT_EQ(http.requests.size(), 3U);
}

TEST_F(Ec2Test, GarbageForALaunchIsUnknownAndForAListTransient) {
  start();
  const std::string garbage("<html><<&&\0 not what you hoped", 30);
  for (int i = 0; i < 3; ++i) push(200, garbage);
  EXPECT_EQ(launch().failure->error, CallError::unknown);
  push(200, "<RunInstancesResponse><instancesSet/></RunInstancesResponse>");
  EXPECT_EQ(launch().failure->error, CallError::unknown);
  for (int i = 0; i < 3; ++i) push(200, garbage);
  EXPECT_EQ(describe().failure->error, CallError::transient);
}

TEST_F(Ec2Test, AnInternalErrorAfterALaunchIsUnknown) {
  start();
  for (int i = 0; i < 3; ++i) push(500, error_reply("InternalError"));
  EXPECT_EQ(launch().failure->error, CallError::unknown);
}

TEST_F(Ec2Test, ATokenKnownWithOtherParametersIsLookedForAndFound) {
  start();
  push(400, error_reply("IdempotentParameterMismatch"));
  push(200, describe_reply(instance_xml("i-old", "running")));
  const LaunchReply reply = launch();
  ASSERT_FALSE(reply.failure);
  EXPECT_EQ(reply.instance.id, "i-old");
  EXPECT_EQ(parameter(1, "Filter.1.Name"), "tag:lbd:token");
  EXPECT_EQ(parameter(1, "Filter.1.Value.1"), "t-1");
  push(400, error_reply("IdempotentParameterMismatch"));
  push(200, describe_reply(""));
  EXPECT_EQ(launch().failure->error, CallError::unknown);
}

TEST_F(Ec2Test, ExpiredCredentialsAreRenewedOnceInTheSameCall) {
  machine.variables.clear();
  machine.variables["HOME"] = "/h";
  machine.files["/h/.aws/credentials"] =
      "[default]\naws_access_key_id=OLD\naws_secret_access_key=s\n";
  make();
  start();
  machine.files["/h/.aws/credentials"] =
      "[default]\naws_access_key_id=NEW\naws_secret_access_key=s\n";
  push(400, error_reply("RequestExpired"));
  push(200, describe_reply(""));
  EXPECT_FALSE(describe().failure);
  EXPECT_NE(header_of(http.requests.at(0), "authorization").find("=OLD/"), std::string::npos);
  EXPECT_NE(header_of(http.requests.at(1), "authorization").find("=NEW/"), std::string::npos);
  for (int i = 0; i < 2; ++i) push(400, error_reply("RequestExpired"));
  EXPECT_EQ(describe().failure->error, CallError::denied);
  EXPECT_EQ(http.requests.size(), 3U) << "the same keys were tried again";
}

TEST_F(Ec2Test, ThrottlingAfterARenewalIsStillRetried) {
  machine.variables.clear();
  machine.variables["HOME"] = "/h";
  machine.files["/h/.aws/credentials"] =
      "[default]\naws_access_key_id=OLD\naws_secret_access_key=s\n";
  make();
  start();
  machine.files["/h/.aws/credentials"] =
      "[default]\naws_access_key_id=NEW\naws_secret_access_key=s\n";
  push(400, error_reply("ExpiredToken"));
  push(503, error_reply("RequestLimitExceeded"));
  push(200, describe_reply(""));
  EXPECT_FALSE(describe().failure);
}

std::string http_date(WallTime at) {
  const std::time_t time = std::chrono::system_clock::to_time_t(at);
  char date[40];
  std::tm parts_of{};
  gmtime_r(&time, &parts_of);
  std::strftime(date, sizeof date, "%a, %d %b %Y %H:%M:%S GMT", &parts_of);
  return date;
}

TEST_F(Ec2Test, AWrongClockIsCorrectedByAwssDateAndStaysSo) {
  start();
  const WallTime theirs = clock.wall() + std::chrono::minutes(20);
  net::HttpReply refused = FakeHttp::answer(403, error_reply("SignatureDoesNotMatch"));
  refused.headers.emplace_back("date", http_date(theirs));
  http.script.push_back(refused);
  push(200, describe_reply(""));
  push(200, describe_reply(""));
  EXPECT_FALSE(describe().failure);
  EXPECT_FALSE(describe().failure);
  ASSERT_EQ(http.requests.size(), 3U);
  const std::string expected = aws::basic_time(std::chrono::floor<seconds>(theirs));
  EXPECT_EQ(header_of(http.requests[1], "x-amz-date"), expected);
  EXPECT_EQ(header_of(http.requests[2], "x-amz-date"), expected);
}

TEST_F(Ec2Test, ACorrectedClockIsWhatTheExpiryOfTheCredentialsIsJudgedBy) {
  machine.variables["AWS_CREDENTIAL_EXPIRATION"] = aws::iso_time(clock.wall() + minutes(32));
  start();
  net::HttpReply refused = FakeHttp::answer(403, error_reply("SignatureDoesNotMatch"));
  refused.headers.emplace_back("date", http_date(clock.wall() + minutes(20)));
  http.script.push_back(refused);
  push(200, describe_reply(""));
  EXPECT_FALSE(describe().failure);
  machine.variables["AWS_ACCESS_KEY_ID"] = "NEW";
  clock.advance(seconds(61));  // eleven minutes are left, by AWS's clock
  push(200, describe_reply(""));
  EXPECT_FALSE(describe().failure);
  EXPECT_NE(header_of(http.requests.back(), "authorization").find("=NEW/"), std::string::npos);
}

TEST_F(Ec2Test, EveryAttemptIsTimed) {
  start();
  parts.shared->times.clear();
  push(503, error_reply("RequestLimitExceeded"));
  push(200, describe_reply(""));
  describe();
  const aws::CallTimes& times = parts.shared->times.at({"ec2", "DescribeInstances"});
  EXPECT_EQ(times.buckets.at(0), 2U);
  aws::CallTimes one;
  one.record(std::chrono::milliseconds(100));  // a bound belongs to its bucket
  one.record(minutes(1));
  EXPECT_EQ(one.buckets.at(3), 1U);
  EXPECT_EQ(one.buckets.back(), 1U);
  EXPECT_DOUBLE_EQ(one.sum, 60.1);
}

TEST_F(Ec2Test, MoreThanFiveLaunchesAtOnceAreSpacedHalfASecond) {
  http.otherwise = [](const net::HttpRequest&) { return FakeHttp::answer(200, run_reply("i-1")); };
  start();
  const TimePoint before = clock.now();
  for (int i = 0; i < 9; ++i) EXPECT_FALSE(launch("us-east-1a", fmt::format("t{}", i)).failure);
  EXPECT_EQ(clock.now() - before, seconds(2));
}

TEST_F(Ec2Test, TerminatingAnInstanceThatIsGoneSaysNotFound) {
  start();
  push(400, error_reply("InvalidInstanceID.NotFound"));
  EXPECT_EQ(run_task(clock, provider->terminate("i-9")).failure->error, CallError::not_found);
  EXPECT_EQ(parameter(0, "InstanceId.1"), "i-9");
  push(200, "<TerminateInstancesResponse/>");
  EXPECT_FALSE(run_task(clock, provider->terminate("i-9")).failure);
}

TEST_F(Ec2Test, TheListIsAllPagesByTagAndFailsWhenOneDoes) {
  start();
  push(200, describe_reply(instance_xml("i-1", "pending"), "page 2"));
  push(200, describe_reply(instance_xml("i-2", "shutting-down")));
  const DescribeReply reply = describe();
  ASSERT_EQ(reply.instances.size(), 2U);
  EXPECT_EQ(reply.instances[1].state, ReportedState::stopping);
  EXPECT_EQ(parameter(0, "Filter.1.Name"), "tag:lbd:group");
  EXPECT_EQ(parameter(0, "Filter.1.Value.1"), "web");
  EXPECT_EQ(parameter(0, "Filter.2.Name"), "tag:lbd:deployment");
  EXPECT_EQ(parameter(0, "Filter.2.Value.1"), "here");
  EXPECT_EQ(parameter(1, "Filter.2.Value.1"), "here");
  EXPECT_EQ(parameter(1, "NextToken"), "page+2");
  push(200, describe_reply(instance_xml("i-1", "pending"), "page 2"));
  push(400, error_reply("InvalidNextToken"));
  const DescribeReply half = describe();
  EXPECT_TRUE(half.failure);
  EXPECT_TRUE(half.instances.empty()) << "half a list looks like instances that are gone";
}

TEST_F(Ec2Test, AGroupsNameIsNoPatternToEc2) {
  group.name = "w*b?";
  make();
  start();
  push(200, describe_reply(""));
  EXPECT_FALSE(describe().failure);
  EXPECT_EQ(parameter(0, "Filter.1.Value.1"), "w\\*b\\?");
}

TEST_F(Ec2Test, AnInstanceWithoutIdOrStateMakesTheWholeListUnreadable) {
  start();
  push(200, describe_reply(instance_xml("i-1", "pending") + "<item><x/></item>"));
  EXPECT_EQ(describe().failure->error, CallError::transient);
}

TEST_F(Ec2Test, StatusChecksMarkInstancesAndAreAskedTwiceAMinute) {
  start();
  const std::string list =
      describe_reply(instance_xml("i-1", "running") + instance_xml("i-2", "running"));
  push(200, list);
  push(200, status_reply("i-2"));
  DescribeReply reply = describe();
  EXPECT_FALSE(reply.instances.at(0).status_impaired);
  EXPECT_TRUE(reply.instances.at(1).status_impaired);
  EXPECT_EQ(parameter(1, "InstanceId.2"), "i-2");
  push(200, list);
  reply = describe();
  EXPECT_TRUE(reply.instances.at(1).status_impaired) << "forgotten between two checks";
  EXPECT_EQ(http.requests.size(), 3U);
  clock.advance(seconds(31));
  push(200, list);
  push(500, "");
  reply = describe();
  EXPECT_FALSE(reply.failure) << "a status check that fails fails the list";
  EXPECT_TRUE(reply.instances.at(1).status_impaired);
  EXPECT_EQ(http.requests.size(), 5U) << "the list waited for retries of the status check";
}

TEST_F(Ec2Test, AStoppedInstanceIsReportedAsOneToReplace) {
  start();
  push(200, describe_reply(instance_xml(
                "i-1", "stopped",
                "<stateReason><code>Client.UserInitiatedShutdown</code><message>Client."
                "UserInitiatedShutdown: User initiated shutdown</message></stateReason>")));
  const DescribeReply reply = describe();
  EXPECT_EQ(reply.instances.at(0).state, ReportedState::running);
  EXPECT_TRUE(reply.instances.at(0).status_impaired);
  EXPECT_EQ(reply.instances.at(0).state_reason,
            "Client.UserInitiatedShutdown: User initiated shutdown");
}

}  // namespace
}  // namespace lbd::scaler::ec2
