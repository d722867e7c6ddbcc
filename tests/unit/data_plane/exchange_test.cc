// Whole exchanges through a worker: bodies, ends and retries.
#include <gtest/gtest.h>

#include <string>

#include "tests/support/exchange_rig.h"

namespace lbd {
namespace {

TEST_F(Exchange, TwoRequestsOnOneConnectionReachTheTargetOnOneConnection) {
  plant.publish_and_wait();
  Peer user = client();
  user.send(kGet);
  Peer target = origin.accept();
  EXPECT_TRUE(target.read_head().starts_with("GET /x HTTP/1.1\r\nHost: a\r\n"));
  target.send(kOk);
  EXPECT_TRUE(user.read_message().ends_with("\r\n\r\nok"));
  user.send(kGet);
  EXPECT_FALSE(target.read_head().empty());
  target.send(kOk);
  EXPECT_TRUE(user.read_message().ends_with("\r\n\r\nok"));
  EXPECT_TRUE(origin.nobody_comes());
  EXPECT_EQ(last_record(2).status, 200);
}

TEST_F(Exchange, PipelinedRequestsAreAnsweredInOrderOneAtATime) {
  plant.publish_and_wait();
  Peer user = client();
  user.send(
      "GET /1 HTTP/1.1\r\nHost: a\r\n\r\nPOST /2 HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n"
      "\r\nabcGET /3 HTTP/1.1\r\nHost: a\r\n\r\n");
  Peer target = origin.accept();
  for (const std::string_view path : {"/1", "/2", "/3"}) {
    const std::string got = target.read_message();
    EXPECT_NE(got.find(std::string(" ") + std::string(path) + " "), std::string::npos) << got;
    if (path == "/2") {
      EXPECT_TRUE(got.ends_with("abc"));
    }
    target.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n" + std::string(path));
  }
  for (const std::string_view path : {"/1", "/2", "/3"}) {
    EXPECT_TRUE(user.read_message().ends_with(path));
  }
}

TEST_F(Exchange, AFloodOfInterimResponsesIsTheTargetsFault) {
  plant.group.retries.attempts = 1;
  plant.publish_and_wait();
  Peer user = client();
  user.send(kGet);
  Peer target = origin.accept();
  target.read_head();
  for (int i = 0; i < 65; ++i) target.send("HTTP/1.1 103 Early Hints\r\n\r\n");
  std::string head = user.read_head();
  for (int i = 0; head.starts_with("HTTP/1.1 103 ") && i < 100; ++i) head = user.read_head();
  EXPECT_TRUE(head.starts_with("HTTP/1.1 502 ")) << head;
  EXPECT_EQ(last_record(1).reason, Fault::bad_response);
}

TEST_F(Exchange, TrailersThatComeWithAWholeResponseArePassedOnAndDroppedForHttp10) {
  plant.publish_and_wait();
  for (const std::string_view version : {"1.1", "1.0"}) {
    Peer user = client();
    user.send("GET /t HTTP/" + std::string(version) + "\r\nHost: a\r\nConnection: close\r\n\r\n");
    Peer target = origin.accept();
    target.read_head();
    target.send(
        "HTTP/1.1 200 OK\r\nTrailer: T\r\nTransfer-Encoding: chunked\r\n\r\n"
        "2\r\nok\r\n0\r\nT: u\r\nSet-Cookie: no\r\n\r\n");
    const bool knows = version == "1.1";
    EXPECT_NE(user.read_head().find("Trailer: T\r\n"), std::string::npos);
    EXPECT_EQ(user.read_all(), knows ? "2\r\nok\r\n0\r\nT: u\r\n\r\n" : "ok");
    target.close();
  }
}

TEST_F(Exchange, AResponsesTrailerThatFramesIsTheTargetsFaultAndCutsIt) {
  plant.publish_and_wait();
  Peer user = client();
  user.send(kGet);
  Peer target = origin.accept();
  target.read_head();
  target.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n");
  EXPECT_TRUE(user.read_until("ok\r\n").ends_with("2\r\nok\r\n"));
  target.send("0\r\nContent-Length: 7\r\n\r\n");
  EXPECT_EQ(user.read_all(), "");
  EXPECT_EQ(last_record(1).reason, Fault::bad_response);
  EXPECT_TRUE(last_record(1).cut);
  EXPECT_TRUE(target.sees_end());
}

TEST_F(Exchange, ChunkedBodiesPassBothWaysAndTheConnectionsStay) {
  plant.publish_and_wait();
  Peer user = client();
  user.send("POST /u HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n");
  Peer target = origin.accept();
  EXPECT_NE(target.read_head().find("Transfer-Encoding: chunked\r\n"), std::string::npos);
  EXPECT_EQ(target.read_until("abc\r\n"), "3\r\nabc\r\n");  // streamed, extensions dropped
  user.send("2\r\nde\r\n0\r\nTrailer: x\r\nS: v\r\n\r\n");
  std::string rest = target.read_until("\r\n\r\n");
  EXPECT_EQ(rest, "2\r\nde\r\n0\r\nS: v\r\n\r\n");
  target.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nwxyz\r\n");
  const std::string head = user.read_head();
  EXPECT_NE(head.find("Transfer-Encoding: chunked\r\n"), std::string::npos);
  EXPECT_EQ(user.read_until("wxyz\r\n"), "4\r\nwxyz\r\n");
  target.send("0\r\nT: u\r\n\r\n");
  EXPECT_EQ(user.read_until("\r\n\r\n"), "0\r\nT: u\r\n\r\n");
  user.send(kGet);  // both sides can go on
  EXPECT_FALSE(target.read_head().empty());
  target.send(kOk);
  EXPECT_TRUE(user.read_message().ends_with("ok"));
  EXPECT_EQ(last_record(1).request_bytes, 5u);
  EXPECT_EQ(last_record(1).response_bytes, 4u);
}

TEST_F(Exchange, APipelinedRequestAfterAChunkedBodyIsNotLost) {
  plant.publish_and_wait();
  Peer user = client();
  user.send("POST /u HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nab");
  Peer target = origin.accept();
  target.read_head();
  user.send("c\r\n0\r\n\r\nGET /next HTTP/1.1\r\nHost: a\r\n\r\n");
  target.read_until("0\r\n\r\n");
  target.send(kOk);
  EXPECT_TRUE(user.read_message().ends_with("ok"));
  EXPECT_TRUE(target.read_head().starts_with("GET /next "));
  target.send(kOk);
  EXPECT_TRUE(user.read_message().ends_with("ok"));
}

TEST_F(Exchange, APipelinedUploadWhoseBodyComesLaterIsReadWhole) {
  // The read that watches the client during the first request is still under way in the second.
  plant.publish_and_wait();
  Peer user = client();
  user.send(std::string(kGet) + "POST /2 HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\nabc");
  Peer target = origin.accept();
  target.read_head();
  target.send(kOk);
  EXPECT_TRUE(user.read_message().ends_with("ok"));
  EXPECT_TRUE(target.read_head().starts_with("POST /2 "));
  EXPECT_EQ(target.read_bytes(3), "abc");
  user.send("def" + std::string(kGet));
  EXPECT_EQ(target.read_bytes(3), "def");
  target.send(kOk);
  EXPECT_TRUE(user.read_message().ends_with("ok"));
  EXPECT_TRUE(target.read_head().starts_with("GET /x "));
  target.send(kOk);
  EXPECT_TRUE(user.read_message().ends_with("ok"));
}

TEST_F(Exchange, APipelinedChunkedUploadWhoseBodyComesLaterIsReadWhole) {
  plant.publish_and_wait();
  Peer user = client();
  user.send(std::string(kGet) +
            "POST /2 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nab");
  Peer target = origin.accept();
  target.read_head();
  target.send(kOk);
  EXPECT_TRUE(user.read_message().ends_with("ok"));
  EXPECT_TRUE(target.read_head().starts_with("POST /2 "));
  user.send("c\r\n0\r\n\r\n" + std::string(kGet));
  EXPECT_TRUE(target.read_until("0\r\n\r\n").ends_with("c\r\n0\r\n\r\n"));
  target.send(kOk);
  EXPECT_TRUE(user.read_message().ends_with("ok"));
  EXPECT_TRUE(target.read_head().starts_with("GET /x "));
  target.send(kOk);
  EXPECT_TRUE(user.read_message().ends_with("ok"));
}

TEST_F(Exchange, AClientThatWaitsIsToldToContinueOnceATargetIsThere) {
  plant.publish_and_wait();
  Peer user = client();
  user.send("PUT /x HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n");
  EXPECT_EQ(user.read_head(), "HTTP/1.1 100 Continue\r\n\r\n");
  user.send("abc");
  Peer target = origin.accept();
  const std::string got = target.read_message();
  EXPECT_TRUE(got.ends_with("abc"));
  EXPECT_EQ(got.find("Expect"), std::string::npos);
  target.send("HTTP/1.1 100 Continue\r\n\r\n");  // swallowed: ours was sent already
  target.send(kOk);
  EXPECT_TRUE(user.read_message().starts_with("HTTP/1.1 200"));
}

TEST_F(Exchange, EarlyHintsPassAndTheFinalResponseFollows) {
  plant.publish_and_wait();
  Peer user = client();
  user.send(kGet);
  Peer target = origin.accept();
  target.read_head();
  target.send("HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n");
  const std::string hints = user.read_head();
  EXPECT_TRUE(hints.starts_with("HTTP/1.1 103 "));
  EXPECT_NE(hints.find("Link: </a.css>"), std::string::npos);
  target.send(kOk);
  EXPECT_TRUE(user.read_message().ends_with("ok"));
}

TEST_F(Exchange, ResponsesWithoutABodyLeaveTheConnectionsInStep) {
  plant.publish_and_wait();
  Peer user = client();
  user.send("HEAD /h HTTP/1.1\r\nHost: a\r\n\r\n");
  Peer target = origin.accept();
  target.read_head();
  target.send("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n");
  EXPECT_NE(user.read_head().find("Content-Length: 1000\r\n"), std::string::npos);
  for (const std::string_view status : {"204 No Content", "304 Not Modified"}) {
    user.send(kGet);
    target.read_head();
    target.send("HTTP/1.1 " + std::string(status) + "\r\n\r\n");
    const std::string head = user.read_head();
    EXPECT_TRUE(head.starts_with("HTTP/1.1 " + std::string(status)));
    EXPECT_EQ(head.find("Content-Length"), std::string::npos);
    EXPECT_EQ(head.find("Transfer-Encoding"), std::string::npos);
  }
  user.send(kGet);
  target.read_head();
  target.send(kOk);
  EXPECT_TRUE(user.read_message().ends_with("ok"));
}

TEST_F(Exchange, EveryResponseHasOneDate) {
  plant.publish_and_wait();
  Peer user = client();
  user.send(kGet);
  Peer target = origin.accept();
  target.read_head();
  target.send(
      "HTTP/1.1 200 OK\r\ndate: Sun, 06 Nov 1994 08:49:37 GMT\r\nContent-Length: 0\r\n\r\n");
  const std::string dated = user.read_head();
  EXPECT_NE(dated.find("date: Sun, 06 Nov 1994 08:49:37 GMT\r\n"), std::string::npos);
  EXPECT_EQ(dated.find("Date: "), std::string::npos);
  user.send(kGet);
  target.read_head();
  target.send(kOk);
  EXPECT_NE(user.read_message().find(" GMT\r\n"), std::string::npos);
  target.close();
  origin.close();
  user.send(kGet);
  const std::string ours = user.read_message();
  EXPECT_TRUE(ours.starts_with("HTTP/1.1 502 "));
  EXPECT_NE(ours.find("Date: "), std::string::npos);
}

TEST_F(Exchange, AResponseUntilCloseReachesAnHttp11ClientChunked) {
  plant.publish_and_wait();
  Peer user = client();
  user.send(kGet);
  Peer target = origin.accept();
  target.read_head();
  target.send("HTTP/1.1 200 OK\r\n\r\nall of it");
  target.close();
  const std::string head = user.read_head();
  EXPECT_NE(head.find("Transfer-Encoding: chunked\r\n"), std::string::npos);
  EXPECT_TRUE(user.read_until("0\r\n\r\n").ends_with("0\r\n\r\n"));
}

TEST_F(Exchange, AnHttp10ClientGetsAnUnchunkedBodyAndTheEnd) {
  plant.publish_and_wait();
  Peer user = client();
  user.send("GET / HTTP/1.0\r\nHost: a\r\n\r\n");
  Peer target = origin.accept();
  target.read_head();
  target.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n");
  const std::string all = user.read_all();
  EXPECT_TRUE(all.ends_with("\r\n\r\nok"));
  EXPECT_EQ(all.find("chunked"), std::string::npos);
}

TEST_F(Exchange, AnEarlyResponseDuringAnUploadReachesTheClient) {
  plant.publish_and_wait();
  Peer user = client();
  user.send("POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\nfirst");
  Peer target = origin.accept();
  target.read_head();
  target.send(
      "HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\nConnection: close\r\n\r\nbig");
  EXPECT_TRUE(user.read_message().ends_with("big"));
  user.shutdown_write();
  EXPECT_TRUE(user.sees_end());  // what follows cannot be told from a new request
  EXPECT_EQ(last_record(1).status, 413);
}

TEST_F(Exchange, WhenTheClientLeavesTheTargetIsLeftToo) {
  plant.publish_and_wait();
  Peer user = client();
  user.send(kGet);
  Peer target = origin.accept();
  target.read_head();
  user.close();
  EXPECT_TRUE(target.sees_end());
  EXPECT_EQ(last_record(1).reason, Fault::client_gone);
}

TEST_F(Exchange, AClientWithALongHeadThatLeavesIsNoticedToo) {
  // The head fills the read buffer: there must still be room to notice the end.
  plant.publish_and_wait();
  for (const std::size_t size : {700, 850, 950, 1000, 1023, 1024, 3900, 4090}) {
    Peer user = client();
    const std::string start = "GET /x HTTP/1.1\r\nHost: a\r\nX-Pad: ";
    user.send(start + std::string(size - start.size() - 4, 'p') + "\r\n\r\n");
    Peer target = origin.accept();
    ASSERT_FALSE(target.read_head().empty());
    user.close();
    EXPECT_TRUE(target.sees_end()) << "a head of " << size << " bytes";
  }
}

TEST_F(Exchange, AClientThatLeavesAfterItsUploadIsNoticedToo) {
  plant.publish_and_wait();
  Peer user = client();
  user.send("POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\nabc");
  Peer target = origin.accept();
  target.read_head();
  user.send("def");
  EXPECT_EQ(target.read_bytes(6), "abcdef");
  user.close();
  EXPECT_TRUE(target.sees_end());
  EXPECT_EQ(last_record(1).reason, Fault::client_gone);
}

TEST_F(Exchange, AClientThatLeavesInItsUploadEndsTheUpload) {
  plant.publish_and_wait();
  Peer user = client();
  user.send("POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\nabc");
  Peer target = origin.accept();
  target.read_head();
  EXPECT_EQ(target.read_bytes(3), "abc");
  user.reset();
  EXPECT_TRUE(target.sees_end());
  EXPECT_EQ(last_record(1).reason, Fault::client_gone);
}

TEST_F(Exchange, AResponseCutByTheTargetIsCutForTheClient) {
  plant.publish_and_wait();
  Peer user = client();
  user.send(kGet);
  Peer target = origin.accept();
  target.read_head();
  target.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf");
  EXPECT_TRUE(user.read_until("half").ends_with("half"));
  target.reset();
  EXPECT_TRUE(user.sees_end());
  const auto record = last_record(1);
  EXPECT_TRUE(record.cut);
  EXPECT_EQ(record.reason, Fault::target_reset);
}

TEST_F(Exchange, AChunkedResponseCutByTheTargetHasNoLastChunk) {
  plant.publish_and_wait();
  Peer user = client();
  user.send(kGet);
  Peer target = origin.accept();
  target.read_head();
  target.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n");
  target.close();
  const std::string all = user.read_all();
  EXPECT_NE(all.find("half"), std::string::npos);
  EXPECT_EQ(all.find("0\r\n\r\n"), std::string::npos);
}

TEST_F(Exchange, ACutResponseUntilCloseIsResetForAnHttp10Client) {
  plant.publish_and_wait();
  Peer user = client();
  user.send("GET / HTTP/1.0\r\nHost: a\r\n\r\n");
  Peer target = origin.accept();
  target.read_head();
  target.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n");
  user.read_until("half");
  target.close();
  EXPECT_TRUE(user.sees_reset());  // a plain end would say that this was all
}

TEST_F(Exchange, AGetOnAConnectionTheTargetHadClosedIsSentAgainOnAFreshOne) {
  plant.publish_and_wait();
  Peer user = client();
  user.send(kGet);
  Peer target = origin.accept();
  target.read_head();
  target.send(kOk);
  user.read_message();
  user.send(kGet);
  target.read_head();
  target.reset();  // it had decided to close before our request came
  Peer fresh = origin.accept();
  EXPECT_FALSE(fresh.read_head().empty());
  fresh.send(kOk);
  EXPECT_TRUE(user.read_message().ends_with("ok"));
  EXPECT_EQ(last_record(2).attempts, 1u);
}

TEST_F(Exchange, APostOnAConnectionTheTargetHadClosedIsNotSentAgain) {
  plant.publish_and_wait();
  Peer user = client();
  user.send(kGet);
  Peer target = origin.accept();
  target.read_head();
  target.send(kOk);
  user.read_message();
  user.send("POST /pay HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n1");
  target.read_message();
  target.reset();
  EXPECT_TRUE(user.read_message().starts_with("HTTP/1.1 502"));
  EXPECT_TRUE(origin.nobody_comes());
  EXPECT_EQ(last_record(2).reason, Fault::target_reset);
}

TEST_F(Exchange, AFreshConnectionThatBreaksIsRetriedForGetOnly) {
  plant.publish_and_wait();
  Peer user = client();
  user.send(kGet);
  origin.accept().reset();
  Peer second = origin.accept();
  second.read_head();
  second.send(kOk);
  EXPECT_TRUE(user.read_message().ends_with("ok"));
  EXPECT_EQ(last_record(1).attempts, 2u);
}

TEST_F(Exchange, AQueryIsSentAgainWithItsBody) {
  plant.publish_and_wait();
  Peer user = client();
  user.send("QUERY /x HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc");
  origin.accept().reset();
  Peer second = origin.accept();
  const std::string got = second.read_message();
  EXPECT_TRUE(got.starts_with("QUERY /x HTTP/1.1\r\n"));
  EXPECT_TRUE(got.ends_with("abc"));
  second.send(kOk);
  EXPECT_TRUE(user.read_message().ends_with("ok"));
  EXPECT_EQ(last_record(1).attempts, 2u);
  EXPECT_EQ(last_record(1).method, "QUERY");
}

TEST_F(Exchange, ARefusedConnectionIsRetriedElsewhereEvenForPost) {
  Server dead;
  const std::uint16_t port = dead.port();
  dead.close();
  plant.targets.clear();
  plant.target(port);
  plant.target(origin.port());
  plant.publish_and_wait();
  for (std::size_t i = 1; i <= 4; ++i) {
    Peer user = client();
    user.send("POST /x HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 3\r\n\r\nabc");
    Peer target = origin.accept(200);
    if (!target.open()) target = origin.accept();
    EXPECT_TRUE(target.read_message().ends_with("abc"));
    target.send("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok");
    EXPECT_TRUE(user.read_message().ends_with("ok"));
  }
  EXPECT_GT(plant.live_target(port)->loads()[0].connect_failures.get(), 0u);
}

TEST_F(Exchange, WithEveryTargetRefusingTheClientGets502WithTheReason) {
  origin.close();
  plant.listener.reason_header = true;
  plant.publish_and_wait();
  Peer user = client();
  user.send(kGet);
  const std::string answer = user.read_message();
  EXPECT_TRUE(answer.starts_with("HTTP/1.1 502 "));
  EXPECT_NE(answer.find("x-lbd-reason: connect_failed\r\n"), std::string::npos);
  EXPECT_EQ(last_record(1).attempts, 3u);  // retries.attempts
}
}  // namespace
}  // namespace lbd
