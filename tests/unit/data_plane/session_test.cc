// H1Session and H1Upstream over streams in memory: every split, every end, on one thread.
#include <gtest/gtest.h>

#include <memory>
#include <optional>
#include <string>

#include "lbd/proxy/exchange.h"
#include "lbd/proxy/h1_session.h"
#include "lbd/proxy/h1_upstream.h"
#include "lbd/proxy/worker_context.h"
#include "tests/support/manual_clock.h"
#include "tests/support/memory_stream.h"

namespace lbd::proxy {
namespace {

/// A session whose listener answers everything itself.
struct Seat {
  Seat() : context(0, loop, 1), live(1) {
    config::Listener settings;
    settings.name = "public";
    settings.otherwise = config::FixedResponse{.status = 200, .content_type = "", .body = "hi"};
    auto snapshot = std::make_shared<upstream::Snapshot>();
    snapshot->listeners.push_back(upstream::compile_listener(settings, {}, live));
    context.pinned = boost::make_local_shared<Pinned>();
    context.pinned->snapshot = snapshot;
    ClientInfo client;
    client.peer = client.local = *net::SocketAddress::parse("192.0.2.1", 80);
    client.peer_ip = "192.0.2.1";
    session = std::make_unique<H1Session>(context, std::make_unique<MemoryStream>(wire), client,
                                          live.listener("public"));
    context.tasks.spawn(session->run());
  }
  ~Seat() {
    session->kill();
    EXPECT_EQ(context.tasks.running(), 0u);
  }
  [[nodiscard]] bool over() const { return context.tasks.running() == 0; }
  /// How often `text` is in what was written.
  static int count(const std::string& all, std::string_view text) {
    int times = 0;
    for (std::size_t at = 0; (at = all.find(text, at)) != std::string::npos; ++at) ++times;
    return times;
  }

  net::Loop loop;
  WorkerContext context;
  upstream::LiveState live;
  MemoryWire wire;
  std::unique_ptr<H1Session> session;
};

const std::string kTwo =
    "GET /1 HTTP/1.1\r\nHost: a\r\n\r\nHEAD /2 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";

TEST(Session, PipelinedRequestsCutAnywhereGetTheSameAnswers) {
  for (std::size_t cut = 0; cut <= kTwo.size(); ++cut) {
    Seat seat;
    if (cut > 0) seat.wire.feed(kTwo.substr(0, cut));
    if (cut < kTwo.size()) seat.wire.feed(kTwo.substr(cut));
    const std::string all = seat.wire.take_written();
    EXPECT_EQ(Seat::count(all, "HTTP/1.1 200 OK\r\n"), 2) << "cut at " << cut;
    EXPECT_EQ(Seat::count(all, "\r\n\r\nhi"), 1) << "cut at " << cut;
    EXPECT_TRUE(seat.over() && seat.wire.closed()) << "cut at " << cut;
  }
}

TEST(Session, RequestsByteByByteGetTheSameAnswers) {
  Seat seat;
  for (const char c : kTwo) seat.wire.feed(std::string_view(&c, 1));
  EXPECT_EQ(Seat::count(seat.wire.take_written(), "HTTP/1.1 200 OK\r\n"), 2);
  EXPECT_TRUE(seat.over());
}

TEST(Session, AClientThatLeavesBetweenRequestsIsLeftWithoutAWord) {
  Seat seat;
  seat.wire.feed("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
  EXPECT_FALSE(seat.wire.take_written().empty());
  seat.wire.end();
  EXPECT_TRUE(seat.over());
  EXPECT_TRUE(seat.wire.take_written().empty());
}

TEST(Session, AResetInTheMiddleOfAHeadEndsIt) {
  Seat seat;
  seat.wire.feed("GET / HT");
  seat.wire.reset();
  EXPECT_TRUE(seat.over());
  EXPECT_TRUE(seat.wire.take_written().empty());
}

TEST(Session, ABadRequestIsAnsweredOnceAndWhatFollowsIsDropped) {
  Seat seat;
  seat.wire.feed("GET / HTTP/1.1\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n");
  EXPECT_TRUE(seat.wire.shut_down());  // our answer, then our end; the rest is read and dropped
  seat.wire.feed("GET /3 HTTP/1.1\r\nHost: a\r\n\r\n");
  seat.wire.end();
  const std::string all = seat.wire.take_written();
  EXPECT_EQ(Seat::count(all, "HTTP/1.1 "), 1);
  EXPECT_TRUE(all.starts_with("HTTP/1.1 400 "));
  EXPECT_TRUE(seat.over());
}

TEST(Session, AnUnreadBodyIsNeverTakenForARequest) {
  Seat seat;
  seat.wire.feed(
      "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 60\r\n\r\n"
      "GET /smuggled HTTP/1.1\r\nHost: a");
  seat.wire.end();
  const std::string all = seat.wire.take_written();
  EXPECT_EQ(Seat::count(all, "HTTP/1.1 "), 1);
  EXPECT_NE(all.find("Connection: close\r\n"), std::string::npos);
  EXPECT_TRUE(seat.over());
}

TEST(Session, EmptyLinesBeforeARequestAreSkippedUpToAFew) {
  for (const std::string_view lines : {"\r\n", "\r\n\r\n\r\n\r\n"}) {
    const std::string text = std::string(lines) + "GET /1 HTTP/1.1\r\nHost: a\r\n\r\n" +
                             std::string(lines) + "GET /2 HTTP/1.1\r\nHost: a\r\n\r\n";
    for (std::size_t cut = 0; cut <= text.size(); ++cut) {
      Seat seat;
      if (cut > 0) seat.wire.feed(text.substr(0, cut));
      if (cut < text.size()) seat.wire.feed(text.substr(cut));
      const std::string all = seat.wire.take_written();
      EXPECT_EQ(Seat::count(all, "HTTP/1.1 200 OK\r\n"), 2) << "cut at " << cut;
    }
  }
}

TEST(Session, MoreThanAFewEmptyLinesAre400) {
  for (const bool between : {false, true}) {
    for (const std::size_t step : {1, 2, 3, 100}) {
      Seat seat;
      if (between) seat.wire.feed("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
      seat.wire.take_written();
      const std::string lines = "\r\n\r\n\r\n\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n";
      for (std::size_t at = 0; at < lines.size(); at += step) {
        seat.wire.feed(lines.substr(at, step));
      }
      seat.wire.end();
      const std::string all = seat.wire.take_written();
      EXPECT_TRUE(all.starts_with("HTTP/1.1 400 ")) << all;
      EXPECT_EQ(Seat::count(all, "HTTP/1.1 "), 1);
      EXPECT_TRUE(seat.over());
    }
  }
}

TEST(Session, AnEmptyLineThatEndsInABareLineFeedIs400) {
  Seat seat;
  seat.wire.feed("\nGET / HTTP/1.1\r\nHost: a\r\n\r\n");
  EXPECT_TRUE(seat.wire.take_written().starts_with("HTTP/1.1 400 "));
  seat.wire.end();
}

TEST(Session, AnUnknownExpectationIs417) {
  Seat seat;
  seat.wire.feed("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nExpect: more\r\n\r\n");
  EXPECT_TRUE(seat.wire.take_written().starts_with("HTTP/1.1 417 Expectation Failed\r\n"));
  seat.wire.end();
}

TEST(Session, AnAnswerOfOurOwnToABodyThatIsHereKeepsTheConnection) {
  Seat seat;
  for (int i = 0; i < 2; ++i) {
    seat.wire.feed("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody");
    const std::string answer = seat.wire.take_written();
    EXPECT_TRUE(answer.starts_with("HTTP/1.1 200 OK\r\n"));
    EXPECT_EQ(answer.find("Connection: close"), std::string::npos);
  }
}

TEST(Session, PipelinedRequestsBehindTheLastAnswerAreReadBeforeTheEnd) {
  // Closing with bytes unread would reset the connection, and with it lose the answer.
  Seat seat;
  seat.wire.feed("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\nGET /2 HTTP/1.1\r\n");
  EXPECT_EQ(Seat::count(seat.wire.take_written(), "HTTP/1.1 "), 1);
  EXPECT_TRUE(seat.wire.shut_down());
  EXPECT_FALSE(seat.wire.closed());
  seat.wire.end();
  EXPECT_TRUE(seat.over() && seat.wire.closed());
}

TEST(Session, AClientThatReadsSlowlyHoldsItsNextRequestBack) {
  Seat seat;
  seat.wire.block_writes();
  seat.wire.feed(kTwo);
  EXPECT_EQ(Seat::count(seat.wire.take_written(), "HTTP/1.1 200 OK\r\n"), 1);
  seat.wire.unblock();
  EXPECT_EQ(Seat::count(seat.wire.take_written(), "HTTP/1.1 200 OK\r\n"), 1);
  EXPECT_TRUE(seat.over());
}

TEST(Session, DrainedBetweenRequestsItAnswersOneMoreAndEnds) {
  Seat seat;
  seat.wire.feed("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
  EXPECT_FALSE(seat.over());
  seat.wire.take_written();
  seat.session->drain();
  EXPECT_FALSE(seat.over());
  seat.wire.feed("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
  const std::string answer = seat.wire.take_written();
  EXPECT_TRUE(answer.ends_with("hi"));
  EXPECT_NE(answer.find("Connection: close\r\n"), std::string::npos);
  EXPECT_TRUE(seat.over());
  EXPECT_FALSE(seat.wire.was_reset());
}

// ---- the upstream half, on a clock of the test

struct Link {
  Link() : target(std::make_shared<upstream::LiveTarget>("g", "a", "", 1)), upstream(pool) {
    upstream.start(std::make_unique<upstream::Connection>(std::make_unique<MemoryStream>(wire),
                                                          target, pool, clock),
                   config::UpstreamLimits{});
  }
  ~Link() {
    if (connection == nullptr) give_up();
    tasks.spawn(retire(*connection));
    EXPECT_EQ(tasks.running(), 0u);
  }
  void give_up() { connection = upstream.release(reusable); }
  void get() { tasks.spawn(converse(*this)); }
  static Task<> retire(upstream::Connection& connection) { co_await connection.retire(); }
  static Task<> converse(Link& link) {
    http::RequestHead request;
    request.method_text = "GET";
    request.path = request.target = "/";
    const BodyPiece none{{}, true};
    const std::vector<http::Header> no_fields;
    const Result<void> sent = co_await link.upstream.send_head(request, no_fields, none);
    Result<void> got = sent;
    if (sent) got = co_await link.upstream.read_head(link.head);
    while (got) {
      const Result<BodyPiece> piece = co_await link.upstream.read_body();
      if (!piece) {
        got = piece.error();
        break;
      }
      link.body += piece->bytes;
      if (piece->last) break;
    }
    link.outcome = got ? Fault::none : got.error().fault;
  }

  ManualClock clock;
  BufferPool pool;
  TaskGroup tasks;
  MemoryWire wire;
  std::shared_ptr<upstream::LiveTarget> target;
  H1Upstream upstream;
  http::ResponseHead head;
  std::string body;
  std::optional<Fault> outcome;
  std::unique_ptr<upstream::Connection> connection;
  bool reusable = false;
};

TEST(Upstream, AResponseCutAnywhereIsReadTheSame) {
  const std::string response =
      "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;x\r\nhello\r\n1\r\n!\r\n0\r\n\r\n";
  for (std::size_t cut = 1; cut < response.size(); ++cut) {
    Link link;
    link.get();
    link.wire.feed(response.substr(0, cut));
    EXPECT_FALSE(link.outcome);
    link.wire.feed(response.substr(cut));
    ASSERT_EQ(link.outcome, Fault::none) << "cut at " << cut;
    EXPECT_EQ(link.body, "hello!") << "cut at " << cut;
    link.give_up();
    EXPECT_TRUE(link.reusable) << "cut at " << cut;
  }
}

TEST(Upstream, BytesBeyondTheResponseMakeTheConnectionUseless) {
  Link link;
  link.get();
  link.wire.feed("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\n");
  EXPECT_EQ(link.body, "ok");
  link.give_up();
  EXPECT_FALSE(link.reusable);
}

TEST(Upstream, EveryEarlyEndIsAReset) {
  for (const std::string_view part :
       {"", "HTTP/1.1 2", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok"}) {
    Link link;
    link.get();
    if (!part.empty()) link.wire.feed(part);
    link.wire.end();
    EXPECT_EQ(link.outcome, Fault::target_reset) << part;
    EXPECT_EQ(link.upstream.answered(), !part.empty());
    link.give_up();
    EXPECT_FALSE(link.reusable);
  }
}

TEST(Upstream, TheDeadlineEndsAWaitAndSaysSo) {
  Link link;
  link.upstream.set_deadline(link.clock.now() + std::chrono::seconds(5));
  link.get();
  link.clock.advance(std::chrono::milliseconds(4999));
  EXPECT_FALSE(link.outcome);
  link.clock.advance(std::chrono::milliseconds(1));
  EXPECT_EQ(link.outcome, Fault::target_timeout);
}

TEST(Upstream, AbortEndsAWaitAtOnce) {
  Link link;
  link.get();
  link.upstream.abort();
  EXPECT_EQ(link.outcome, Fault::cancelled);
}

TEST(Upstream, AnUpgradeNobodyAskedForIsABadResponse) {
  Link link;
  link.get();
  link.wire.feed("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n");
  EXPECT_EQ(link.outcome, Fault::bad_response);
}

TEST(Upstream, AHeadBeyondItsLimitIsABadResponse) {
  Link link;
  link.get();
  std::string endless = "HTTP/1.1 200 OK\r\n";
  while (endless.size() < 80'000)
    endless += "X-Field: 0123456789012345678901234567890123456789\r\n";
  for (std::size_t at = 0; at < endless.size() && !link.outcome; at += 4000) {
    link.wire.feed(endless.substr(at, 4000));
  }
  EXPECT_EQ(link.outcome, Fault::bad_response);
}

}  // namespace
}  // namespace lbd::proxy
