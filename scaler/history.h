// The Store on disk: SQLite, one file, WAL, synchronous=FULL.
#pragma once

#include <memory>
#include <string>

#include "scaler/store.h"

struct sqlite3;
struct sqlite3_stmt;

namespace lbd::scaler {

/// Lifetime: one per file and process. A file another process holds locked waits up to 2 s.
class SqliteStore final : public Store {
 public:
  /// Opens or creates `path` (0600). `seed` makes the identity of a new file. Fails with the path
  /// and SQLite's reason, also for a file that is damaged or of a newer version.
  [[nodiscard]] static Outcome<std::unique_ptr<SqliteStore>> open(const std::string& path,
                                                                  std::uint64_t seed);
  ~SqliteStore() override;
  SqliteStore(const SqliteStore&) = delete;
  SqliteStore& operator=(const SqliteStore&) = delete;

  [[nodiscard]] const std::string& identity() const override { return identity_; }
  [[nodiscard]] std::uint64_t last_decision() const override { return last_decision_; }
  [[nodiscard]] Outcome<SavedGroup> load(const std::string& group) override;
  [[nodiscard]] Outcome<void> save(const Batch& batch) override;
  [[nodiscard]] Outcome<std::vector<Decision>> decisions(const HistoryQuery& query) override;
  [[nodiscard]] Outcome<std::optional<Decision>> decision(std::uint64_t id) override;
  [[nodiscard]] Outcome<std::optional<Intent>> intent(const std::string& key) override;
  [[nodiscard]] Outcome<void> prune(WallTime oldest, std::uint64_t rows_max) override;

 private:
  struct Statement;

  SqliteStore(sqlite3* db, std::string path) : db_(db), path_(std::move(path)) {}
  [[nodiscard]] Outcome<void> prepare_file(std::uint64_t seed);
  [[nodiscard]] Outcome<void> execute(const char* sql);
  [[nodiscard]] Outcome<void> finish(Statement& statement);
  [[nodiscard]] Outcome<void> write(const Batch& batch);
  [[nodiscard]] Outcome<void> write_decision(const Decision& decision);
  [[nodiscard]] Outcome<void> write_intent(const Intent& intent);
  [[nodiscard]] Outcome<void> write_group(const GroupState& state);
  [[nodiscard]] Outcome<void> write_served(const ServedList& list);
  [[nodiscard]] Failure broken(const char* doing) const;

  sqlite3* db_;
  std::string path_;
  std::string identity_;
  std::uint64_t last_decision_ = 0;
};

/// The inputs as JSON, as they are stored and shown.
[[nodiscard]] std::string inputs_json(const DecisionInputs& inputs);
/// Reads them back; what is not there keeps its default.
[[nodiscard]] DecisionInputs inputs_from_json(const std::string& text);

}  // namespace lbd::scaler
