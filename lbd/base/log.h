// Structured log of the control plane. One line per event, to stderr (journald) or wherever the
// sink puts it.
#pragma once

#include <fmt/format.h>

#include <initializer_list>
#include <string>
#include <string_view>

namespace lbd {

enum class LogLevel : unsigned char { debug, info, warning, error };

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

 private:
  LogLevel least_;
  bool journal_;
};

}  // namespace lbd
