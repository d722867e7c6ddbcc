#include "lbd/control/why.h"

#include <gtest/gtest.h>

#include <boost/json.hpp>
#include <string>

#include "lbd/cli/show.h"

namespace lbd::control {
namespace {

namespace json = boost::json;
using proxy::RequestRecord;

RequestRecord retried() {
  RequestRecord record;
  record.started = WallTime(std::chrono::seconds(1'700'000'000));
  record.id = "abc";
  record.client_ip = "192.0.2.1";
  record.client_port = 4711;
  record.listener = "public";
  record.rule = "default";
  record.group = "web";
  record.generation = 3;
  record.method = "GET";
  record.authority = "shop.test";
  record.target = "/x";
  record.action = RequestRecord::Action::forward;
  record.status = 200;
  record.by_target = true;
  record.attempts[0] = {
      .target = "10.0.0.1:80", .zone = "a", .fault = Fault::connect_failed, .failed_us = 1'500};
  record.attempts[1] = {.target = "10.0.0.2:80",
                        .zone = "b",
                        .status = 200,
                        .connect_us = 2'000,
                        .response_us = 10'000};
  record.attempt_count = 2;
  record.ttfb_us = 14'000;
  record.duration_us = 1'020'000;
  record.response_bytes = 5;
  return record;
}

std::string text_of(const RequestRecord& record) {
  json::array rows{describe(record)};
  return cli::show_why({{"workers_silent", 0}, {"requests", std::move(rows)}});
}

TEST(Why, ARetryIsToldAttemptByAttempt) {
  EXPECT_EQ(text_of(retried()),
            "request abc\n"
            "  At 2023-11-14T22:13:20.000000Z 192.0.2.1, port 4711 asked listener public for "
            "GET http://shop.test/x over HTTP/1.1.\n"
            "  Rule default of generation 3 forwarded it to target group web.\n"
            "  Attempt 1 at 10.0.0.1:80 in zone a: connect_failed after 1.5 ms (The target refused "
            "or reset the connection attempt).\n"
            "  Attempt 2 at 10.0.0.2:80 in zone b: connected in 2.0 ms, answered 200 after 10.0 "
            "ms.\n"
            "  The client got 200 from the target.\n"
            "  It is kept because it was tried more than once.\n"
            "  It took 1.020 s: 2.0 ms before the last attempt, 2.0 ms to connect, 10.0 ms for the "
            "response's head, 1.006 s for the rest.\n"
            "  Bytes of bodies: 0 of the request, 5 of the response.\n");
}

TEST(Why, AReasonComesWithItsExplanationAndWhereToLook) {
  RequestRecord record = retried();
  record.reason = Fault::target_reset;
  record.cut = true;
  record.attempts[1].fault = Fault::target_reset;
  record.attempts[1].failed_us = 30'000;
  const std::string text = text_of(record);
  for (const std::string part :
       {"answered 200 after 10.0 ms, then target_reset after 30.0 ms",
        "The client got 200 from the target, cut short.\n",
        "Reason: target_reset (UC). The target closed before its response was complete.\n",
        "Look at: its log; its keep-alive must outlast `timeouts.idle`.\n"}) {
    EXPECT_NE(text.find(part), std::string::npos) << part << " is not in " << text;
  }
}

TEST(Why, WhatWasNoRequestIsCalledThat) {
  RequestRecord record;
  record.id = "abc";
  record.client_ip = "192.0.2.1";
  record.listener = "public";
  record.rule = "none";
  record.status = 400;
  record.reason = Fault::client_protocol;
  record.desync = http::DesyncReason::bad_request_line;
  const std::string text = text_of(record);
  for (const std::string part :
       {"192.0.2.1, port 0 sent listener public something that is no request.\n",
        "It was refused before a rule was looked for.\n", "The client got 400 from lbd.\n",
        "bad_request_line, class severe (docs/operations/desync.md).\n", "It took 0.0 ms.\n"}) {
    EXPECT_NE(text.find(part), std::string::npos) << part << " is not in " << text;
  }
}

TEST(Why, AttemptsBeyondThoseThatAreKeptAreCounted) {
  RequestRecord record = retried();
  record.attempts[2] = record.attempts[0];
  record.attempts[3] = record.attempts[1];
  record.attempt_count = 9;
  const std::string text = text_of(record);
  EXPECT_NE(text.find("Attempt 9 at 10.0.0.2:80"), std::string::npos) << text;
  EXPECT_NE(text.find("Those between attempt 3 and the last are not kept."), std::string::npos);
}

TEST(Why, WhatItIsKeptForIsOneWord) {
  RequestRecord record = retried();
  EXPECT_EQ(kept_for(record), "retried");
  record.attempt_count = 1;
  EXPECT_EQ(kept_for(record), "slow");
  record.grpc_status = 5;  // NOT_FOUND is an answer
  EXPECT_EQ(kept_for(record), "slow");
  record.grpc_status = 13;
  EXPECT_EQ(kept_for(record), "error");
  record.cut = true;
  EXPECT_EQ(kept_for(record), "cut");
  record.reason = Fault::queue_full;
  EXPECT_EQ(kept_for(record), "queue_full");
}

TEST(Why, TheListHasALineForEachTheNewestLast) {
  RequestRecord newer = retried();
  newer.id = "newer";
  RequestRecord older = retried();
  older.reason = Fault::queue_full;
  older.status = 503;
  json::array rows{describe(newer), describe(older)};
  const std::string text =
      cli::show_notable({{"workers_silent", 1}, {"requests", std::move(rows)}});
  EXPECT_EQ(text,
            "TIME                         REQUEST ID  STATUS  REASON      REQUEST\n"
            "2023-11-14T22:13:20.000000Z  abc         503     queue_full  GET shop.test/x\n"
            "2023-11-14T22:13:20.000000Z  newer       200     retried     GET shop.test/x\n"
            "1 workers did not answer in time: what they know is missing\n");
}

}  // namespace
}  // namespace lbd::control
