#include "scaler/process/records.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <boost/json.hpp>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>

namespace lbd::scaler {
namespace {

namespace json = boost::json;
namespace files = std::filesystem;

std::string text(const json::object& object, const char* key) {
  const json::value* value = object.if_contains(key);
  if (value == nullptr || !value->is_string()) return {};
  return std::string(value->get_string());
}

std::int64_t number(const json::object& object, const char* key) {
  const json::value* value = object.if_contains(key);
  boost::system::error_code ignored;
  return value == nullptr ? 0 : value->to_number<std::int64_t>(ignored);
}

std::optional<ProcessRecord> parse(const std::string& stored) {
  boost::system::error_code error;
  const json::value value = json::parse(stored, error);
  if (error || !value.is_object()) return std::nullopt;
  const json::object& object = value.get_object();
  ProcessRecord record;
  record.id = text(object, "id");
  record.token = text(object, "token");
  record.zone = text(object, "zone");
  record.address = text(object, "address");
  record.port = static_cast<std::uint16_t>(number(object, "port"));
  record.pid = static_cast<pid_t>(number(object, "pid"));
  record.started = static_cast<std::uint64_t>(number(object, "started"));
  record.boot = text(object, "boot");
  record.launched = WallTime(std::chrono::milliseconds(number(object, "launched_ms")));
  record.stopping = number(object, "stopping") != 0;
  if (record.id.empty()) return std::nullopt;
  return record;
}

}  // namespace

Outcome<void> ProcessRecords::open() const {
  std::error_code error;
  files::create_directories(directory_, error);
  if (error) return failure(fmt::format("cannot create {}: {}", directory_, error.message()));
  return {};
}

std::string ProcessRecords::path(const std::string& id) const {
  return fmt::format("{}/{}.json", directory_, id);
}

std::vector<ProcessRecord> ProcessRecords::load() const {
  std::vector<ProcessRecord> records;
  std::error_code error;
  for (files::directory_iterator each(directory_, error), end; each != end && !error;
       each.increment(error)) {
    if (each->path().extension() != ".json") continue;
    std::ifstream file(each->path(), std::ios::binary);
    std::ostringstream stored;
    stored << file.rdbuf();
    std::optional<ProcessRecord> record = parse(std::move(stored).str());
    if (record) records.push_back(std::move(*record));
  }
  return records;
}

Outcome<void> ProcessRecords::save(const ProcessRecord& record) const {
  const auto millis =
      std::chrono::duration_cast<std::chrono::milliseconds>(record.launched.time_since_epoch());
  const json::object object{{"id", record.id},
                            {"token", record.token},
                            {"zone", record.zone},
                            {"address", record.address},
                            {"port", record.port},
                            {"pid", record.pid},
                            {"started", record.started},
                            {"boot", record.boot},
                            {"launched_ms", millis.count()},
                            {"stopping", record.stopping ? 1 : 0}};
  const std::string stored = json::serialize(object);
  const std::string target = path(record.id);
  const std::string fresh = target + ".new";
  const int file = ::open(fresh.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  if (file < 0) {
    return failure(fmt::format("cannot write {}: {}", fresh, std::strerror(errno)));
  }
  const bool written =
      ::write(file, stored.data(), stored.size()) == static_cast<ssize_t>(stored.size());
  const bool closed = ::close(file) == 0;
  if (!written || !closed || ::rename(fresh.c_str(), target.c_str()) != 0) {
    return failure(fmt::format("cannot write {}: {}", target, std::strerror(errno)));
  }
  return {};
}

void ProcessRecords::remove(const std::string& id) const { ::unlink(path(id).c_str()); }

}  // namespace lbd::scaler
