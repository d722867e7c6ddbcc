#include "scaler/history.h"

#include <fmt/format.h>
#include <sqlite3.h>
#include <sys/stat.h>

#include <boost/json.hpp>

#include "lbd/base/rng.h"

namespace lbd::scaler {
namespace {

namespace json = boost::json;

constexpr int kSchemaVersion = 1;
constexpr const char* kSchema =
    "CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;"
    "CREATE TABLE IF NOT EXISTS intents (key TEXT PRIMARY KEY, kind INTEGER NOT NULL,"
    " state INTEGER NOT NULL, grp TEXT NOT NULL, token TEXT NOT NULL, zone TEXT NOT NULL,"
    " instance TEXT NOT NULL, decision INTEGER NOT NULL, created INTEGER NOT NULL,"
    " updated INTEGER NOT NULL, outcome TEXT NOT NULL) WITHOUT ROWID;"
    "CREATE INDEX IF NOT EXISTS intents_open ON intents (grp, state);"
    "CREATE TABLE IF NOT EXISTS groups (name TEXT PRIMARY KEY, desired INTEGER NOT NULL,"
    " activity_finished INTEGER, paused_until INTEGER) WITHOUT ROWID;"
    "CREATE TABLE IF NOT EXISTS served (grp TEXT NOT NULL, instance TEXT NOT NULL,"
    " zone TEXT NOT NULL, address TEXT NOT NULL, port INTEGER NOT NULL,"
    " PRIMARY KEY (grp, instance)) WITHOUT ROWID;"
    "CREATE TABLE IF NOT EXISTS decisions (id INTEGER PRIMARY KEY, grp TEXT NOT NULL,"
    " acted INTEGER NOT NULL, kind TEXT NOT NULL, sentence TEXT NOT NULL, outcome TEXT NOT NULL,"
    " inputs TEXT NOT NULL, first INTEGER NOT NULL, last INTEGER NOT NULL,"
    " repeats INTEGER NOT NULL);"
    "CREATE INDEX IF NOT EXISTS decisions_group ON decisions (grp, id);"
    "CREATE INDEX IF NOT EXISTS decisions_last ON decisions (last);";

std::int64_t millis(WallTime at) {
  return std::chrono::duration_cast<std::chrono::milliseconds>(at.time_since_epoch()).count();
}
WallTime wall_of(std::int64_t value) { return WallTime(std::chrono::milliseconds(value)); }

double number(const json::object& object, const char* key) {
  const json::value* value = object.if_contains(key);
  if (value == nullptr) return 0;
  boost::system::error_code ignored;
  return value->to_number<double>(ignored);
}

std::string text(const json::object& object, const char* key) {
  const json::value* value = object.if_contains(key);
  if (value == nullptr || !value->is_string()) return {};
  return std::string(value->get_string());
}

}  // namespace

std::string inputs_json(const DecisionInputs& inputs) {
  json::array signals;
  for (const SignalInput& each : inputs.signals) {
    json::object signal{{"policy", each.policy}, {"signal", each.signal}};
    signal["value"] = each.value ? json::value(*each.value) : json::value(nullptr);
    signal["threshold"] = each.threshold;
    signals.push_back(std::move(signal));
  }
  json::object object{{"counted", inputs.counted}, {"alive", inputs.alive},
                      {"desired", inputs.desired}, {"min", inputs.min},
                      {"max", inputs.max},         {"signals", std::move(signals)}};
  return json::serialize(object);
}

DecisionInputs inputs_from_json(const std::string& stored) {
  DecisionInputs inputs;
  boost::system::error_code error;
  const json::value value = json::parse(stored, error);
  if (error || !value.is_object()) return inputs;
  const json::object& object = value.get_object();
  inputs.counted = static_cast<std::uint32_t>(number(object, "counted"));
  inputs.alive = static_cast<std::uint32_t>(number(object, "alive"));
  inputs.desired = static_cast<std::uint32_t>(number(object, "desired"));
  inputs.min = static_cast<std::uint32_t>(number(object, "min"));
  inputs.max = static_cast<std::uint32_t>(number(object, "max"));
  const json::value* signals = object.if_contains("signals");
  if (signals == nullptr || !signals->is_array()) return inputs;
  for (const json::value& each : signals->get_array()) {
    if (!each.is_object()) continue;
    const json::object& signal = each.get_object();
    SignalInput input{text(signal, "policy"), text(signal, "signal"), std::nullopt,
                      number(signal, "threshold")};
    const json::value* figure = signal.if_contains("value");
    if (figure != nullptr && !figure->is_null()) input.value = number(signal, "value");
    inputs.signals.push_back(std::move(input));
  }
  return inputs;
}

/// A prepared statement: bound in order, read in order, finalised at its end.
struct SqliteStore::Statement {
  Statement(sqlite3* db, const char* sql) {
    prepared = sqlite3_prepare_v2(db, sql, -1, &handle, nullptr) == SQLITE_OK;
  }
  ~Statement() { sqlite3_finalize(handle); }
  Statement(const Statement&) = delete;
  Statement& operator=(const Statement&) = delete;

  Statement& add(std::int64_t value) {
    sqlite3_bind_int64(handle, ++bound, value);
    return *this;
  }
  Statement& add(const std::optional<WallTime>& value) {
    ++bound;
    if (value) sqlite3_bind_int64(handle, bound, millis(*value));
    return *this;
  }
  Statement& add(const std::string& value) {
    sqlite3_bind_text(handle, ++bound, value.data(), static_cast<int>(value.size()),
                      SQLITE_TRANSIENT);
    return *this;
  }
  int step() { return prepared ? sqlite3_step(handle) : SQLITE_ERROR; }
  [[nodiscard]] std::int64_t integer(int column) const {
    return sqlite3_column_int64(handle, column);
  }
  [[nodiscard]] std::string string(int column) const {
    const auto* data = reinterpret_cast<const char*>(sqlite3_column_text(handle, column));
    if (data == nullptr) return {};
    return {data, static_cast<std::size_t>(sqlite3_column_bytes(handle, column))};
  }
  [[nodiscard]] std::optional<WallTime> time(int column) const {
    if (sqlite3_column_type(handle, column) == SQLITE_NULL) return std::nullopt;
    return wall_of(integer(column));
  }
  [[nodiscard]] Decision decision() const {
    Decision row;
    row.id = static_cast<std::uint64_t>(integer(0));
    row.group = string(1);
    row.acted = integer(2) != 0;
    row.kind = string(3);
    row.sentence = string(4);
    row.outcome = string(5);
    row.inputs = inputs_from_json(string(6));
    row.first = wall_of(integer(7));
    row.last = wall_of(integer(8));
    row.repeats = static_cast<std::uint64_t>(integer(9));
    return row;
  }
  [[nodiscard]] Intent intent() const {
    Intent row;
    row.kind = static_cast<IntentKind>(integer(0));
    row.state = static_cast<IntentState>(integer(1));
    row.group = string(2);
    row.token = string(3);
    row.zone = string(4);
    row.instance = string(5);
    row.decision = static_cast<std::uint64_t>(integer(6));
    row.created = wall_of(integer(7));
    row.updated = wall_of(integer(8));
    row.outcome = string(9);
    return row;
  }

  sqlite3_stmt* handle = nullptr;
  bool prepared = false;
  int bound = 0;
};

Outcome<std::unique_ptr<SqliteStore>> SqliteStore::open(const std::string& path,
                                                        std::uint64_t seed) {
  sqlite3* db = nullptr;
  const int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX;
  const int opened = sqlite3_open_v2(path.c_str(), &db, flags, nullptr);
  std::unique_ptr<SqliteStore> store(new SqliteStore(db, path));
  if (opened != SQLITE_OK) return store->broken("open");
  Outcome<void> prepared = store->prepare_file(seed);
  if (!prepared) return prepared.error();
  return store;
}

SqliteStore::~SqliteStore() { sqlite3_close(db_); }

Failure SqliteStore::broken(const char* doing) const {
  return failure(fmt::format("cannot {} {}: {}", doing, path_, sqlite3_errmsg(db_)));
}

Outcome<void> SqliteStore::execute(const char* sql) {
  if (sqlite3_exec(db_, sql, nullptr, nullptr, nullptr) != SQLITE_OK) return broken("write");
  return {};
}

Outcome<void> SqliteStore::prepare_file(std::uint64_t seed) {
  sqlite3_busy_timeout(db_, 2'000);
  ::chmod(path_.c_str(), S_IRUSR | S_IWUSR);
  for (const char* sql :
       {"PRAGMA journal_mode=WAL", "PRAGMA synchronous=FULL", "BEGIN IMMEDIATE"}) {
    Outcome<void> done = execute(sql);
    if (!done) return done;
  }
  Statement version(db_, "PRAGMA user_version");
  if (version.step() != SQLITE_ROW) return broken("read");
  const std::int64_t found = version.integer(0);
  sqlite3_reset(version.handle);
  if (found > kSchemaVersion) {
    return failure(fmt::format("{} was written by a newer lbd (schema {}, we know {})", path_,
                               found, kSchemaVersion));
  }
  Outcome<void> made = execute(kSchema);
  if (made) made = execute(fmt::format("PRAGMA user_version={}", kSchemaVersion).c_str());
  if (!made) return made;
  Rng rng(seed);
  Statement insert(db_, "INSERT OR IGNORE INTO meta VALUES ('identity', ?)");
  insert.add(fmt::format("{:016x}{:016x}", rng.next(), rng.next()));
  if (insert.step() != SQLITE_DONE) return broken("write");
  Outcome<void> committed = execute("COMMIT");
  if (!committed) return committed;
  Statement identity(db_, "SELECT value FROM meta WHERE key='identity'");
  if (identity.step() != SQLITE_ROW) return broken("read");
  identity_ = identity.string(0);
  Statement last(db_, "SELECT coalesce(max(id), 0) FROM decisions");
  if (last.step() != SQLITE_ROW) return broken("read");
  last_decision_ = static_cast<std::uint64_t>(last.integer(0));
  return {};
}

Outcome<void> SqliteStore::finish(Statement& statement) {
  if (statement.step() != SQLITE_DONE) return broken("write");
  return {};
}

Outcome<SavedGroup> SqliteStore::load(const std::string& group) {
  SavedGroup saved;
  Statement state(db_, "SELECT desired, activity_finished, paused_until FROM groups WHERE name=?");
  state.add(group);
  int result = state.step();
  if (result == SQLITE_ROW) {
    saved.state = GroupState{group, static_cast<std::uint32_t>(state.integer(0)), state.time(1),
                             state.time(2)};
  } else if (result != SQLITE_DONE) {
    return broken("read");
  }
  Statement open(db_,
                 "SELECT kind, state, grp, token, zone, instance, decision, created, updated,"
                 " outcome FROM intents WHERE grp=? AND (state IN (0, 1) OR (kind=0 AND state=2)) "
                 "ORDER BY created, key");
  open.add(group);
  while ((result = open.step()) == SQLITE_ROW) saved.live.push_back(open.intent());
  if (result != SQLITE_DONE) return broken("read");
  Statement served(db_,
                   "SELECT instance, zone, address, port FROM served WHERE grp=?"
                   " ORDER BY instance");
  served.add(group);
  while ((result = served.step()) == SQLITE_ROW) {
    saved.served.push_back({served.string(0), served.string(1), served.string(2),
                            static_cast<std::uint16_t>(served.integer(3))});
  }
  if (result != SQLITE_DONE) return broken("read");
  return saved;
}

Outcome<void> SqliteStore::save(const Batch& batch) {
  Outcome<void> begun = execute("BEGIN IMMEDIATE");
  if (!begun) return begun;
  Outcome<void> done = write(batch);
  if (done) done = execute("COMMIT");
  if (!done) {
    sqlite3_exec(db_, "ROLLBACK", nullptr, nullptr, nullptr);
    return done;
  }
  for (const Decision& each : batch.decisions) last_decision_ = std::max(last_decision_, each.id);
  return done;
}

Outcome<void> SqliteStore::write(const Batch& batch) {
  Outcome<void> done;
  for (const Decision& each : batch.decisions) {
    if (!(done = write_decision(each))) return done;
  }
  for (const Intent& each : batch.intents) {
    if (!(done = write_intent(each))) return done;
  }
  for (const GroupState& each : batch.groups) {
    if (!(done = write_group(each))) return done;
  }
  for (const ServedList& each : batch.served) {
    if (!(done = write_served(each))) return done;
  }
  return done;
}

Outcome<void> SqliteStore::write_decision(const Decision& row) {
  Statement put(db_, "INSERT OR REPLACE INTO decisions VALUES (?,?,?,?,?,?,?,?,?,?)");
  put.add(static_cast<std::int64_t>(row.id)).add(row.group).add(row.acted ? 1 : 0).add(row.kind);
  put.add(row.sentence).add(row.outcome).add(inputs_json(row.inputs));
  put.add(millis(row.first)).add(millis(row.last)).add(static_cast<std::int64_t>(row.repeats));
  return finish(put);
}

Outcome<void> SqliteStore::write_intent(const Intent& row) {
  Statement put(db_, "INSERT OR REPLACE INTO intents VALUES (?,?,?,?,?,?,?,?,?,?,?)");
  put.add(row.key()).add(static_cast<std::int64_t>(row.kind));
  put.add(static_cast<std::int64_t>(row.state)).add(row.group).add(row.token).add(row.zone);
  put.add(row.instance).add(static_cast<std::int64_t>(row.decision));
  put.add(millis(row.created)).add(millis(row.updated)).add(row.outcome);
  return finish(put);
}

Outcome<void> SqliteStore::write_group(const GroupState& row) {
  Statement put(db_, "INSERT OR REPLACE INTO groups VALUES (?,?,?,?)");
  put.add(row.group).add(static_cast<std::int64_t>(row.desired));
  put.add(row.activity_finished).add(row.paused_until);
  return finish(put);
}

Outcome<void> SqliteStore::write_served(const ServedList& list) {
  Statement clear(db_, "DELETE FROM served WHERE grp=?");
  Outcome<void> done = finish(clear.add(list.group));
  for (const ServedInstance& each : list.instances) {
    if (!done) return done;
    Statement put(db_, "INSERT OR REPLACE INTO served VALUES (?,?,?,?,?)");
    put.add(list.group).add(each.instance).add(each.zone).add(each.address);
    done = finish(put.add(std::int64_t{each.port}));
  }
  return done;
}

Outcome<std::vector<Decision>> SqliteStore::decisions(const HistoryQuery& query) {
  std::vector<Decision> rows;
  Statement select(db_,
                   "SELECT * FROM decisions WHERE (?1 = '' OR grp = ?1) AND (?2 = 0 OR id < ?2)"
                   " AND (?3 = 0 OR acted = 1) ORDER BY id DESC LIMIT ?4");
  select.add(query.group).add(static_cast<std::int64_t>(query.before_id));
  select.add(query.acted_only ? 1 : 0).add(static_cast<std::int64_t>(query.rows_max));
  int result = 0;
  while ((result = select.step()) == SQLITE_ROW) rows.push_back(select.decision());
  if (result != SQLITE_DONE) return broken("read");
  return rows;
}

Outcome<std::optional<Decision>> SqliteStore::decision(std::uint64_t id) {
  std::optional<Decision> row;
  Statement select(db_, "SELECT * FROM decisions WHERE id = ?");
  select.add(static_cast<std::int64_t>(id));
  const int result = select.step();
  if (result == SQLITE_ROW) row = select.decision();
  if (result != SQLITE_ROW && result != SQLITE_DONE) return broken("read");
  return row;
}

Outcome<std::optional<Intent>> SqliteStore::intent(const std::string& key) {
  std::optional<Intent> row;
  Statement select(db_,
                   "SELECT kind, state, grp, token, zone, instance, decision, created, updated,"
                   " outcome FROM intents WHERE key = ?");
  select.add(key);
  const int result = select.step();
  if (result == SQLITE_ROW) row = select.intent();
  if (result != SQLITE_ROW && result != SQLITE_DONE) return broken("read");
  return row;
}

Outcome<void> SqliteStore::prune(WallTime oldest, std::uint64_t rows_max) {
  Statement old(db_,
                "DELETE FROM decisions WHERE last < ? AND id < (SELECT max(id) FROM decisions)");
  Outcome<void> done = finish(old.add(millis(oldest)));
  if (!done) return done;
  Statement surplus(db_,
                    "DELETE FROM decisions WHERE id <= (SELECT id FROM decisions ORDER BY id DESC"
                    " LIMIT 1 OFFSET ?)");
  done = finish(surplus.add(static_cast<std::int64_t>(rows_max)));
  if (!done) return done;
  Statement closed(db_,
                   "DELETE FROM intents WHERE state NOT IN (0, 1) AND updated < ?"
                   " AND NOT (kind=0 AND state=2)");
  return finish(closed.add(millis(oldest)));
}

}  // namespace lbd::scaler
