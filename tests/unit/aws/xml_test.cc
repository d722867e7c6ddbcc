#include "scaler/aws/xml.h"

#include <gtest/gtest.h>

#include "scaler/aws/client.h"
#include "tests/support/fake_http.h"

namespace lbd::aws {
namespace {

TEST(Xml, ReadsTextEntitiesListsAndDropsNamespacePrefixes) {
  const std::optional<XmlNode> root = parse_xml(
      "<?xml version='1.0'?><ns0:R xmlns:ns0='u'><ns0:a>x &amp; y</ns0:a>"
      "<l><item><k>1</k></item><other/><item><k>2</k></item></l><e/></ns0:R>");
  ASSERT_TRUE(root);
  EXPECT_EQ(root->name, "R");
  EXPECT_EQ(root->text_at("a"), "x & y");
  EXPECT_EQ(root->list_at("l").size(), 2U);
  EXPECT_EQ(root->list_at("l").at(1)->text_at("k"), "2");
  EXPECT_TRUE(root->list_at("missing/deeper").empty());
  EXPECT_NE(root->find("e"), nullptr);
  EXPECT_EQ(root->text_at("e"), "");
}

TEST(Xml, WhatIsNotOneElementIsNothing) {
  for (const std::string& text :
       {std::string(), std::string("text"), std::string("<a>"), std::string("<a></b>"),
        std::string("<a/><b/>"), std::string("<html><<&&\0 not", 15), std::string("<a><b></a>")}) {
    EXPECT_FALSE(parse_xml(text)) << text;
  }
}

TEST(Xml, DepthIsBounded) {
  std::string deep;
  for (int i = 0; i < 100'000; ++i) deep += "<a>";
  for (int i = 0; i < 100'000; ++i) deep += "</a>";
  EXPECT_FALSE(parse_xml(deep));
}

TEST(AwsReply, BothProtocolsErrorsAreRead) {
  ReadReply read = read_reply(FakeHttp::answer(
      503,
      "<Response><Errors><Error><Code>RequestLimitExceeded</Code><Message>slow\ndown"
      "</Message></Error></Errors><RequestID>abc</RequestID></Response>"));
  EXPECT_EQ(read.facts.code, "RequestLimitExceeded");
  EXPECT_EQ(read.facts.message, "slow down");
  EXPECT_EQ(read.request_id, "abc");
  read = read_reply(FakeHttp::answer(
      403,
      "<ErrorResponse xmlns='x'><Error><Type>Sender</Type><Code>InvalidClientTokenId</Code>"
      "<Message>m</Message></Error><RequestId>def</RequestId></ErrorResponse>"));
  EXPECT_EQ(read.facts.code, "InvalidClientTokenId");
  EXPECT_EQ(read.request_id, "def");
}

TEST(AwsReply, AnAnswerWithoutACodeGetsOne) {
  EXPECT_EQ(read_reply(FakeHttp::answer(502, "<html>bad gateway</html>")).facts.code, "HTTP502");
  EXPECT_EQ(read_reply(FakeHttp::answer(400,
                                        "<Response><Errors><Error><Code>no code at all"
                                        "</Code></Error></Errors></Response>"))
                .facts.code,
            "HTTP400");
  EXPECT_EQ(read_reply(FakeHttp::answer(200, "not xml")).facts.code, "BadReply");
  EXPECT_EQ(read_reply(FakeHttp::broken("timed out", true)).facts.code, "NoReply");
  EXPECT_EQ(read_reply(FakeHttp::broken("refused", false)).facts.code, "ConnectionFailed");
  EXPECT_EQ(read_reply(FakeHttp::answer(200, "<R/>")).facts.code, "");
}

}  // namespace
}  // namespace lbd::aws
