#include "lbd/proxy/trace.h"

#include <gtest/gtest.h>

#include <regex>

#include "tests/support/manual_clock.h"

namespace lbd::proxy {
namespace {

using config::TraceMode;
using http::Header;
using http::HeaderId;

constexpr std::string_view kParent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
constexpr std::string_view kId = "0af7651916cd43dd8448eb211c80319c";

class Trace : public testing::Test {
 public:
  void edit() { edit_trace({policy, id, clock, rng}, text, headers); }
  std::string value(HeaderId which) { return std::string(http::first_value(headers, which)); }
  void add(std::string_view name, std::string_view value) {
    headers.push_back({name, value, http::header_id(name)});
  }

  config::TraceHeaders policy;
  std::string_view id = kId;
  ManualClock clock;
  Rng rng{1};
  BufferPool pool;
  Buffer text{pool};
  std::vector<Header> headers{{"Host", "a", HeaderId::host}};
};

TEST(Traceparent, IsReadStrictly) {
  EXPECT_EQ(trace_id_of(kParent), "4bf92f3577b34da6a3ce929d0e0e4736");
  EXPECT_EQ(trace_id_of("cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more"),
            "4bf92f3577b34da6a3ce929d0e0e4736");
  for (const std::string_view wrong :
       {"", "00", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
        "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "00-4BF92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
        "00_4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01."}) {
    EXPECT_EQ(trace_id_of(wrong), "") << wrong;
  }
}

TEST_F(Trace, WhatComesIsPassedOnAndNothingIsMadeUnlessAsked) {
  edit();
  EXPECT_EQ(headers.size(), 1u);
  add("traceparent", "nonsense");
  add("x-amzn-trace-id", "anything");
  edit();
  EXPECT_EQ(headers.size(), 3u);
}

TEST_F(Trace, OneIsMadeOfTheRequestsId) {
  policy.traceparent = TraceMode::make;
  edit();
  EXPECT_TRUE(std::regex_match(value(HeaderId::traceparent),
                               std::regex("00-" + std::string(kId) + "-[0-9a-f]{16}-01")))
      << value(HeaderId::traceparent);
}

TEST_F(Trace, AnIdThatIsNoTraceIdIsNotUsed) {
  policy.traceparent = TraceMode::make;
  id = "req-1";
  edit();
  EXPECT_EQ(trace_id_of(value(HeaderId::traceparent)).size(), 32u);
}

TEST_F(Trace, AGoodOneIsKeptWithItsState) {
  policy.traceparent = TraceMode::make;
  add("traceparent", kParent);
  add("tracestate", "a=b");
  edit();
  EXPECT_EQ(value(HeaderId::traceparent), kParent);
  EXPECT_EQ(value(HeaderId::tracestate), "a=b");
}

TEST_F(Trace, AWrongOneOrTwoAreReplacedAndTheirStateGoes) {
  policy.traceparent = TraceMode::make;
  add("traceparent", kParent);
  add("tracestate", "a=b");
  add("traceparent", kParent);
  edit();
  EXPECT_EQ(trace_id_of(value(HeaderId::traceparent)), kId);
  EXPECT_EQ(value(HeaderId::tracestate), "");
  EXPECT_EQ(headers.size(), 2u);
}

TEST_F(Trace, TheShareThatIsSampledSaysSo) {
  policy.traceparent = TraceMode::make;
  policy.sampled = 0.25;
  int sampled = 0;
  for (int i = 0; i < 4000; ++i) {
    headers.clear();
    edit();
    if (value(HeaderId::traceparent).ends_with("-01")) ++sampled;
  }
  EXPECT_NEAR(sampled, 1000, 150);
}

TEST_F(Trace, AmazonsIsMadeAsAnAlbDoes) {
  policy.x_amzn_trace_id = TraceMode::make;
  edit();
  const std::string root = "1-[0-9a-f]{8}-[0-9a-f]{24}";
  EXPECT_TRUE(std::regex_match(value(HeaderId::x_amzn_trace_id), std::regex("Root=" + root)))
      << value(HeaderId::x_amzn_trace_id);
  headers.clear();
  add("x-amzn-trace-id", "Self=1-a-b;Root=1-67891233-abcdef012345678912345678;CalledFrom=app");
  edit();
  EXPECT_TRUE(std::regex_match(
      value(HeaderId::x_amzn_trace_id),
      std::regex("Self=" + root + ";Root=1-67891233-abcdef012345678912345678;CalledFrom=app")))
      << value(HeaderId::x_amzn_trace_id);
  headers.clear();
  add("x-amzn-trace-id", "CalledFrom=app");
  edit();
  EXPECT_TRUE(std::regex_match(value(HeaderId::x_amzn_trace_id),
                               std::regex("Self=" + root + ";CalledFrom=app;Root=" + root)))
      << value(HeaderId::x_amzn_trace_id);
  EXPECT_EQ(headers.size(), 1u);
}

TEST_F(Trace, BothAreRemovedWhereNobodyIsToBeFollowed) {
  policy.traceparent = policy.x_amzn_trace_id = TraceMode::remove;
  add("traceparent", kParent);
  add("tracestate", "a=b");
  add("x-amzn-trace-id", "Root=1-2-3");
  edit();
  EXPECT_EQ(headers.size(), 1u);
}

}  // namespace
}  // namespace lbd::proxy
