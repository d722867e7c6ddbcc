// What a proxy reads of gRPC.
#include "lbd/proxy/grpc.h"

#include <gtest/gtest.h>

namespace lbd::proxy {
namespace {

bool by_type(std::string_view type, http::Version version = http::Version::http_2) {
  http::RequestHead head;
  head.method = http::Method::post;
  head.version = version;
  head.headers = {{"content-type", type, http::HeaderId::content_type}};
  return is_grpc(head);
}

TEST(Grpc, ARequestIsKnownByItsContentType) {
  EXPECT_TRUE(by_type("application/grpc"));
  EXPECT_TRUE(by_type("application/grpc+proto"));
  EXPECT_TRUE(by_type("Application/gRPC;x=y"));
  EXPECT_FALSE(by_type("application/grpc-web"));
  EXPECT_FALSE(by_type("application/grpcx"));
  EXPECT_FALSE(by_type("application/json"));
  EXPECT_FALSE(by_type(""));
  EXPECT_FALSE(by_type("application/grpc", http::Version::http_1_1));
}

TEST(Grpc, AStatusIsANumberThatGrpcKnows) {
  const auto read = [](std::string_view value) {
    return grpc_status({{"x-a", "1"}, {"grpc-status", value}});
  };
  EXPECT_EQ(read("0"), 0);
  EXPECT_EQ(read("16"), 16);
  EXPECT_EQ(grpc_status({{"x-a", "1"}}), -1);
  for (const char* bad : {"17", "-1", "", "1x", " 1", "999999999999"}) EXPECT_EQ(read(bad), 17);
}

TEST(Grpc, StatusesOfHttpMapAsGrpcSaysTheyDo) {
  for (const auto& [http, grpc] : {std::pair(400, 13),
                                   {401, 16},
                                   {403, 7},
                                   {404, 12},
                                   {429, 14},
                                   {502, 14},
                                   {503, 14},
                                   {504, 14},
                                   {413, 2},
                                   {500, 2}}) {
    EXPECT_EQ(grpc_status_of(http), grpc) << http;
  }
}

TEST(Grpc, WhatAServerCannotHelpIsNoFailureOfIts) {
  for (const int status : {0, 1, 3, 5, 6, 7, 8, 9, 10, 11, 16}) {
    EXPECT_FALSE(is_grpc_failure(status)) << status;
  }
  for (const int status : {-1, 2, 4, 12, 13, 14, 15, 17}) {
    EXPECT_TRUE(is_grpc_failure(status)) << status;
  }
}

}  // namespace
}  // namespace lbd::proxy
