// Known answers: made with botocore 1.43.11 (facts/aws.md 1).
#include "scaler/aws/sigv4.h"

#include <gtest/gtest.h>

#include "scaler/aws/encoding.h"

namespace lbd::aws {
namespace {

const Credentials kPlain{"AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", ""};
const Credentials kWithToken{"AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", "TOK/EN=="};

SigningScope scope(const std::string& service) {
  return {"us-east-1", service, *parse_iso_time("2026-01-02T03:04:05Z")};
}

std::string authorization(const SignableRequest& request, const Credentials& credentials,
                          const std::string& service) {
  for (const auto& [name, value] : sign(request, credentials, scope(service))) {
    if (name == "authorization") return value;
  }
  return {};
}

SignableRequest describe_instances() {
  SignableRequest request;
  request.url = "https://ec2.us-east-1.amazonaws.com/";
  request.headers = {{"Content-Type", "application/x-www-form-urlencoded; charset=utf-8"}};
  request.body = "Action=DescribeInstances&InstanceId.1=i-0123456789abcdef0&Version=2016-11-15";
  return request;
}

TEST(SigV4, SignsAnEc2FormAsBotocoreDoes) {
  EXPECT_EQ(authorization(describe_instances(), kPlain, "ec2"),
            "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20260102/us-east-1/ec2/aws4_request, "
            "SignedHeaders=content-type;host;x-amz-date, "
            "Signature=8de676c154bf833a1cdbb67d028aaff7c4706164d13e3a830b619cd04819a03e");
}

TEST(SigV4, SignsTheSessionToken) {
  EXPECT_EQ(authorization(describe_instances(), kWithToken, "ec2"),
            "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20260102/us-east-1/ec2/aws4_request, "
            "SignedHeaders=content-type;host;x-amz-date;x-amz-security-token, "
            "Signature=3959633619586751ccf47d08dd4516dd08e809d05e93e93af9cdd98a4657d6d5");
}

TEST(SigV4, KeepsAnS3PathAsItIsOnTheWire) {
  SignableRequest request;
  request.method = "GET";
  request.url = "https://s3.us-east-1.amazonaws.com/bkt/a%20b/../c%2Bd?list-type=2&prefix=x%2Fy";
  EXPECT_EQ(authorization(request, kPlain, "s3"),
            "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20260102/us-east-1/s3/aws4_request, "
            "SignedHeaders=host;x-amz-content-sha256;x-amz-date, "
            "Signature=b45e5fcd47fc4fad56fdab8b4693f6580b4819e851aea0fa5d31e63df9da98d1");
}

TEST(SigV4, EncodesAnyOtherPathASecondTime) {
  SignableRequest request;
  request.url =
      "https://lambda.us-east-1.amazonaws.com/2015-03-31/functions/"
      "arn%3Aaws%3Alambda%3Aus-east-1%3A123456789012%3Afunction%3Af/invocations";
  request.body = "{}";
  EXPECT_EQ(authorization(request, kPlain, "lambda"),
            "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20260102/us-east-1/lambda/aws4_request, "
            "SignedHeaders=host;x-amz-date, "
            "Signature=07ba4518e3660560a62f8e7df8c43e737ab6c1ce6c177d64aa27da15b2ff4ed3");
}

TEST(SigV4, PresignsAnS3UrlWithAToken) {
  SignableRequest request;
  request.method = "GET";
  request.url = "https://s3.us-east-1.amazonaws.com/bkt/key";
  const std::string url = presign(request, kWithToken, scope("s3"), std::chrono::seconds(900));
  EXPECT_TRUE(url.ends_with(
      "&X-Amz-Signature=0a6a7967311974fb9e59d2458e67794974ecb4db2e18834c773c11dd3884c821"))
      << url;
  EXPECT_NE(url.find("X-Amz-Security-Token=TOK%2FEN%3D%3D"), std::string::npos);
}

TEST(SigV4, DoesNotSignWhatIntermediariesChange) {
  SignableRequest request = describe_instances();
  const std::string before = authorization(request, kPlain, "ec2");
  for (const char* name : {"User-Agent", "Connection", "Expect", "Transfer-Encoding", "TE"}) {
    request.headers.emplace_back(name, "x");
  }
  EXPECT_EQ(authorization(request, kPlain, "ec2"), before);
}

TEST(SigV4, TakesBlanksInHeaderValuesForOne) {
  SignableRequest one = describe_instances();
  SignableRequest other = one;
  one.headers.emplace_back("X-Amz-Meta", "a b");
  other.headers.emplace_back("x-amz-meta", "  a \t  b ");
  EXPECT_EQ(authorization(one, kPlain, "ec2"), authorization(other, kPlain, "ec2"));
}

TEST(SigV4, TheHostCarriesItsPortUnlessItIsTheSchemesOwn) {
  SignableRequest request = describe_instances();
  const auto host = [&](const std::string& url) {
    request.url = url;
    return sign(request, kPlain, scope("ec2")).front().second;
  };
  EXPECT_EQ(host("http://127.0.0.1:5000/"), "127.0.0.1:5000");
  EXPECT_EQ(host("https://example.com:443/"), "example.com");
  EXPECT_EQ(host("http://example.com:80"), "example.com");
  EXPECT_EQ(host("http://[::1]:443/?a=b"), "[::1]:443");
}

TEST(SigV4, QueryOrderAndEmptyValuesMakeNoDifference) {
  SignableRequest one;
  one.method = "GET";
  one.url = "https://sts.amazonaws.com/?b=2&a&a=1";
  SignableRequest other = one;
  other.url = "https://sts.amazonaws.com/?a=1&a=&b=2";
  EXPECT_EQ(authorization(one, kPlain, "sts"), authorization(other, kPlain, "sts"));
}

TEST(Encoding, TimesGoThereAndBack) {
  const WallTime when = *parse_iso_time("2026-01-02T03:04:05.678Z");
  EXPECT_EQ(iso_time(when), "2026-01-02T03:04:05Z");
  EXPECT_EQ(basic_time(when), "20260102T030405Z");
  EXPECT_EQ(parse_http_date("Fri, 02 Jan 2026 03:04:05 GMT"), when);
  EXPECT_EQ(parse_iso_time("2026-01-02T04:04:05+01:00"), when);
}

TEST(Encoding, WhatIsNoTimeIsNone) {
  for (const char* text :
       {"", "2026", "0226-01-02T03:04:05Z", "9999-01-02T03:04:05Z", "2026-13-01T00:00:00Z",
        "2026-02-30T00:00:00Z", "2026-01-02T25:00:00Z", "2026-01-02T03:04:05X",
        "-026-01-02T03:04:05Z", "2026-01-02T03:04:05+01"}) {
    EXPECT_FALSE(parse_iso_time(text)) << text;
  }
  for (const char* text : {"", "Fri", "Fri, 02 Foo 2026 03:04:05 GMT",
                           "Fri, 02 Jan 2026 03:04:05 CET", "Fri, 99 Jan 2026 03:04:05 GMT"}) {
    EXPECT_FALSE(parse_http_date(text)) << text;
  }
}

TEST(Encoding, FormsKeepTheirOrderAndEscapeAllButUnreserved) {
  EXPECT_EQ(form_body({{"Tag.1.Key", "lbd:group"}, {"V", "a b+c/ü~"}}),
            "Tag.1.Key=lbd%3Agroup&V=a+b%2Bc%2F%C3%BC~");
  EXPECT_EQ(uri_decode("a%20b%2Bc%zz%2"), "a b+c%zz%2");
}

}  // namespace
}  // namespace lbd::aws
