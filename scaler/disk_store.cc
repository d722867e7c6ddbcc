#include "scaler/disk_store.h"

namespace lbd::scaler {
namespace {

constexpr Duration kTryEvery = std::chrono::seconds(10);

}  // namespace

DiskStore::DiskStore(Clock& clock, Open open) : clock_(clock), open_(std::move(open)) {
  try_open();
}

void DiskStore::try_open() {
  Outcome<std::unique_ptr<Store>> opened = open_();
  try_next_ = clock_.now() + kTryEvery;
  trouble_ = opened ? std::string() : opened.error().message;
  if (opened) store_ = std::move(*opened);
}

bool DiskStore::ready() {
  if (!store_ && clock_.now() >= try_next_) try_open();
  return store_ != nullptr;
}

const std::string& DiskStore::identity() const {
  return store_ ? store_->identity() : no_identity_;
}

std::uint64_t DiskStore::last_decision() const { return store_ ? store_->last_decision() : 0; }

Outcome<SavedGroup> DiskStore::load(const std::string& group) {
  if (!ready()) return failure(trouble_);
  return store_->load(group);
}

Outcome<void> DiskStore::save(const Batch& batch) {
  if (!ready()) return failure(trouble_);
  return store_->save(batch);
}

Outcome<std::vector<Decision>> DiskStore::decisions(const HistoryQuery& query) {
  if (!ready()) return failure(trouble_);
  return store_->decisions(query);
}

Outcome<std::optional<Decision>> DiskStore::decision(std::uint64_t id) {
  if (!ready()) return failure(trouble_);
  return store_->decision(id);
}

Outcome<std::optional<Intent>> DiskStore::intent(const std::string& key) {
  if (!ready()) return failure(trouble_);
  return store_->intent(key);
}

Outcome<void> DiskStore::prune(WallTime oldest, std::uint64_t rows_max) {
  if (!ready()) return failure(trouble_);
  return store_->prune(oldest, rows_max);
}

}  // namespace lbd::scaler
