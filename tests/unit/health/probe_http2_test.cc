// gRPC's health check on the wire.
#include "health/probe_http2.h"

#include <gtest/gtest.h>

#include <string>

namespace lbd::health {
namespace {

using std::string_literals::operator""s;

TEST(GrpcHealth, AServiceIsAskedForByItsName) {
  EXPECT_EQ(grpc_health_request(""), "\0\0\0\0\0"s);
  EXPECT_EQ(grpc_health_request("shop"), "\0\0\0\0\6\x0a\4shop"s);
  const std::string longer(300, 'a');
  EXPECT_EQ(grpc_health_request(longer), "\0\0\0\1\x2f\x0a\xac\2"s + longer);
}

TEST(GrpcHealth, OnlyOneWellFormedStatusIsRead) {
  EXPECT_EQ(grpc_health_status("\0\0\0\0\2\x08\1"s), 1);
  EXPECT_EQ(grpc_health_status("\0\0\0\0\2\x08\2"s), 2);
  EXPECT_EQ(grpc_health_status("\0\0\0\0\0"s), 0);
  for (const std::string& bad : {""s, "\0\0\0\0"s, "\0\0\0\0\2\x08"s, "\0\0\0\0\1\x08\1"s,
                                 "\1\0\0\0\2\x08\1"s, "\0\0\0\0\2\x10\1"s, "\0\0\0\0\2\x08\x81"s,
                                 "\0\0\0\0\3\x08\1\0"s, "\0\0\0\0\2\x08\1\0\0\0\0\0"s}) {
    EXPECT_EQ(grpc_health_status(bad), -1) << bad.size();
  }
}

}  // namespace
}  // namespace lbd::health
