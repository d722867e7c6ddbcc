// One worker between a scripted client and a scripted origin.
#pragma once

#include <gtest/gtest.h>

#include <string>

#include "tests/support/loopback.h"
#include "tests/support/plant.h"

namespace lbd {

inline constexpr std::string_view kGet = "GET /x HTTP/1.1\r\nHost: a\r\n\r\n";
inline constexpr std::string_view kOk = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

class Exchange : public ::testing::Test {
 protected:
  void SetUp() override { plant.target(origin.port()); }
  void TearDown() override {
    // Whatever happened: every lease came back.
    EXPECT_TRUE(eventually([this] { return plant.idle(); }));
  }
  Peer client() { return Peer::connect(plant.port()); }
  RecordList::Kept last_record(std::size_t count) {
    EXPECT_TRUE(eventually([&] { return plant.records.all().size() >= count; }));
    const auto all = plant.records.all();
    return all.size() >= count ? all[count - 1] : RecordList::Kept{};
  }

  Server origin;
  Plant plant;
};

}  // namespace lbd
