// Runs one task to its end on a ManualClock, moving time on as far as it needs.
#pragma once

#include <gtest/gtest.h>

#include <optional>
#include <utility>

#include "lbd/base/task.h"
#include "tests/support/manual_clock.h"

namespace lbd {

namespace detail {
template <class T>
Task<> store_result(Task<T> task, std::optional<T>& into) {
  into.emplace(co_await task);
}
}  // namespace detail

/// Fails the test and ends it when the task waits for something no timer brings.
template <class T>
T run_task(ManualClock& clock, Task<T> task) {
  std::optional<T> result;
  TaskGroup group;
  group.spawn(detail::store_result(std::move(task), result));
  const TimePoint limit = clock.now() + std::chrono::hours(1);
  while (!result && clock.run_next(limit)) {
  }
  LBD_CHECK(result.has_value());
  return std::move(*result);
}

}  // namespace lbd
