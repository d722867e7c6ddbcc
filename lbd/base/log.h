// Structured log of the control plane. One line per event, to stderr (journald) or wherever the
// sink puts it.
#pragma once

#include <fmt/format.h>

#include <atomic>
#include <initializer_list>
#include <string>
#include <string_view>

namespace lbd {

enum class LogLevel : unsigned char { debug, info, warning, error };

/// By its name in the configuration; any other is `info`.
[[nodiscard]] LogLevel log_level_of(std::string_view name) noexcept;

struct LogField {
  std::string_view key;
  std::string value;
};

/// One of the four seams. Implementations may be called from any thread and must not block for
/// long.
class Log {
 public:
  virtual ~Log() = default;
  virtual void write(LogLevel level, std::string_view message,
                     std::initializer_list<LogField> fields) = 0;
  /// From now on nothing below `least` is written, where that can be changed.
  virtual void set_least(LogLevel /*least*/) noexcept {}

  void debug(std::string_view message, std::initializer_list<LogField> fields = {}) {
    write(LogLevel::debug, message, fields);
  }
  void info(std::string_view message, std::initializer_list<LogField> fields = {}) {
    write(LogLevel::info, message, fields);
  }
  void warning(std::string_view message, std::initializer_list<LogField> fields = {}) {
    write(LogLevel::warning, message, fields);
  }
  void error(std::string_view message, std::initializer_list<LogField> fields = {}) {
    write(LogLevel::error, message, fields);
  }
};

/// Drops everything; for tests.
class NullLog final : public Log {
 public:
  void write(LogLevel, std::string_view, std::initializer_list<LogField>) override {}
};

/// Lines to stderr: `time=… level=… msg="…" key=value` (logfmt); under journald (JOURNAL_STREAM) a
/// `<N>` priority prefix and no time, which the journal has already.
class StderrLog final : public Log {
 public:
  explicit StderrLog(LogLevel least) noexcept;
  void write(LogLevel level, std::string_view message,
             std::initializer_list<LogField> fields) override;
  void set_least(LogLevel least) noexcept override { least_ = least; }

 private:
  std::atomic<LogLevel> least_;
  bool journal_;
};

}  // namespace lbd
