#include "scaler/aws/errors.h"

#include <algorithm>
#include <array>

namespace lbd::aws {
namespace {

struct Row {
  std::string_view code;
  Verdict verdict;
};

constexpr Verdict kCapacity{CallError::capacity, Remedy::none, false};
constexpr Verdict kAccountLimit{CallError::account_limit, Remedy::none, false};
constexpr Verdict kThrottled{CallError::throttled, Remedy::slow_down, false};
constexpr Verdict kDenied{CallError::denied, Remedy::none, false};
constexpr Verdict kRenew{CallError::denied, Remedy::renew, false};
constexpr Verdict kInvalid{CallError::invalid, Remedy::none, false};
constexpr Verdict kNotFound{CallError::not_found, Remedy::none, false};
constexpr Verdict kNotNow{CallError::transient, Remedy::retry, false};  // refused, so not done
constexpr Verdict kUnclear{CallError::transient, Remedy::retry, true};

constexpr std::array kTable{
    // This zone, type or subnet has none.
    Row{"InsufficientInstanceCapacity", kCapacity},
    Row{"InsufficientHostCapacity", kCapacity},
    Row{"InsufficientReservedInstanceCapacity", kCapacity},
    Row{"InsufficientCapacity", kCapacity},
    Row{"UnfulfillableCapacity", kCapacity},
    Row{"Unsupported", kCapacity},
    Row{"SpotMaxPriceTooLow", kCapacity},
    Row{"InsufficientFreeAddressesInSubnet", kCapacity},
    Row{"ReservationCapacityExceeded", kCapacity},
    // The account's limits hold in every zone.
    Row{"VcpuLimitExceeded", kAccountLimit},
    Row{"InstanceLimitExceeded", kAccountLimit},
    Row{"MaxSpotInstanceCountExceeded", kAccountLimit},
    Row{"MaxFleetCountExceeded", kAccountLimit},
    Row{"AddressLimitExceeded", kAccountLimit},
    Row{"VolumeLimitExceeded", kAccountLimit},
    // Too fast.
    Row{"Throttling", kThrottled},
    Row{"ThrottlingException", kThrottled},
    Row{"ThrottledException", kThrottled},
    Row{"RequestThrottledException", kThrottled},
    Row{"TooManyRequestsException", kThrottled},
    Row{"ProvisionedThroughputExceededException", kThrottled},
    Row{"TransactionInProgressException", kThrottled},
    Row{"RequestLimitExceeded", kThrottled},
    Row{"BandwidthLimitExceeded", kThrottled},
    Row{"LimitExceededException", kThrottled},
    Row{"RequestThrottled", kThrottled},
    Row{"SlowDown", kThrottled},
    Row{"PriorRequestNotComplete", kThrottled},
    Row{"EC2ThrottledException", kThrottled},
    // Credentials or clock.
    Row{"ExpiredToken", kRenew},
    Row{"ExpiredTokenException", kRenew},
    Row{"RequestExpired", kRenew},
    Row{"AuthFailure", kRenew},
    Row{"SignatureDoesNotMatch", kRenew},
    Row{"InvalidSignatureException", kRenew},
    Row{"RequestTimeTooSkewed", kRenew},
    Row{"RequestInTheFuture", kRenew},
    Row{"InvalidClientTokenId", kRenew},
    Row{"UnrecognizedClientException", kRenew},
    // An admin must act.
    Row{"UnauthorizedOperation", kDenied},
    Row{"AccessDenied", kDenied},
    Row{"AccessDeniedException", kDenied},
    Row{"MissingAuthenticationToken", kDenied},
    Row{"OptInRequired", kDenied},
    Row{"PendingVerification", kDenied},
    Row{"Blocked", kDenied},
    Row{"OperationNotPermitted", kDenied},
    Row{"IdempotentParameterMismatch", kInvalid},
    Row{"InvalidInstanceID.NotFound", kNotFound},
    // Their fault.
    Row{"RequestTimeout", kUnclear},
    Row{"RequestTimeoutException", kUnclear},
    Row{"InternalError", kUnclear},
    Row{"InternalFailure", kUnclear},
    Row{"ServiceUnavailable", kUnclear},
    Row{"Unavailable", kUnclear},
    Row{"IDPCommunicationError", kNotNow},
};

Verdict by_status(int status) {
  if (status == 429) return kThrottled;
  if (status == 401 || status == 403) return kDenied;
  if (status >= 500) return kUnclear;
  return kInvalid;
}

}  // namespace

Verdict classify(const ErrorFacts& facts) {
  if (facts.status == 0) return facts.sent ? kUnclear : kNotNow;
  const auto* row = std::find_if(kTable.begin(), kTable.end(),
                                 [&](const Row& each) { return each.code == facts.code; });
  if (row != kTable.end()) return row->verdict;
  // A reply that is not AWS's (2xx garbage, a proxy's redirect) tells nothing of what happened.
  if (facts.status < 400) return kUnclear;
  return by_status(facts.status);
}

}  // namespace lbd::aws
