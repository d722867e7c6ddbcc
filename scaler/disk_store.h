// The store of the daemon: the one on disk as soon as it can be opened.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "scaler/store.h"

namespace lbd::scaler {

/// A corrupt file or a full disk must not keep lbd from balancing. Until the store opens, every use
/// of this one fails with the reason, so that the scaler changes nothing, and opening is tried
/// again every ten seconds. Thread: the control loop.
class DiskStore final : public Store {
 public:
  using Open = std::function<Outcome<std::unique_ptr<Store>>()>;
  /// Opens at once if that is possible. Lifetime: the clock outlives it.
  DiskStore(Clock& clock, Open open);

  /// Why it is not open; empty when it is.
  [[nodiscard]] const std::string& trouble() const noexcept { return trouble_; }

  [[nodiscard]] const std::string& identity() const override;
  [[nodiscard]] std::uint64_t last_decision() const override;
  [[nodiscard]] Outcome<SavedGroup> load(const std::string& group) override;
  [[nodiscard]] Outcome<void> save(const Batch& batch) override;
  [[nodiscard]] Outcome<std::vector<Decision>> decisions(const HistoryQuery& query) override;
  [[nodiscard]] Outcome<std::optional<Decision>> decision(std::uint64_t id) override;
  [[nodiscard]] Outcome<std::optional<Intent>> intent(const std::string& key) override;
  [[nodiscard]] Outcome<void> prune(WallTime oldest, std::uint64_t rows_max) override;

 private:
  [[nodiscard]] bool ready();
  void try_open();

  Clock& clock_;
  Open open_;
  std::unique_ptr<Store> store_;
  std::string trouble_;
  std::string no_identity_;
  TimePoint try_next_{};
};

}  // namespace lbd::scaler
