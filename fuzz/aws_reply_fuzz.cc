// Any bytes as an AWS answer, credentials document, shared file or metrics page: every reader ends
// and says either what it read or that it could not; what it read is fit for use.
#include <cmath>
#include <cstdint>
#include <string>
#include <vector>

#include "fuzz/require.h"
#include "scaler/aws/client.h"
#include "scaler/aws/credentials.h"
#include "scaler/aws/encoding.h"
#include "scaler/aws/ini.h"
#include "scaler/ec2/replies.h"
#include "scaler/node_exporter.h"

namespace {

using namespace lbd;
using lbd::fuzz::require;

void read_as_answer(const std::string& text, int status) {
  net::HttpReply reply;
  reply.status = status;
  reply.body = text;
  reply.sent = true;
  const aws::ReadReply read = aws::read_reply(reply);
  const bool success = status == 200 && read.facts.code.empty();
  require(success || !read.facts.code.empty(), "a failure without a code");
  const aws::Verdict verdict = aws::classify(read.facts);
  require(success || verdict.error != scaler::CallError::none, "a failure that is none");
  for (const char c : read.facts.code + read.facts.message + read.request_id) {
    require(static_cast<unsigned char>(c) >= 0x20, "a control character for the log");
  }
  if (!success) return;
  if (const auto page = scaler::ec2::read_instances(read.body)) {
    for (const auto& each : page->instances) require(!each.id.empty(), "an instance without id");
  }
  if (const auto one = scaler::ec2::read_launched(read.body)) {
    require(!one->id.empty(), "a launch without id");
  }
  if (const auto subnets = scaler::ec2::read_subnets(read.body)) {
    for (const auto& each : *subnets) require(!each.zone.empty(), "a subnet without zone");
  }
  const std::vector<scaler::ec2::CpuQuery> asked{{"i-1", scaler::ec2::kDetailedPeriod},
                                                 {"i-2", scaler::ec2::kBasicPeriod}};
  if (const auto page = scaler::ec2::read_cpu(read.body, asked)) {
    for (const auto& each : page->points) {
      require(std::isfinite(each.ratio) && each.ratio >= 0, "an impossible CPU ratio");
      require(each.query < asked.size(), "a figure nobody asked for");
      require(each.until - each.from == asked[each.query].period, "a figure of another span");
    }
  }
  (void)scaler::ec2::read_impaired(read.body);
  (void)scaler::ec2::read_identity(read.body);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string text(reinterpret_cast<const char*>(data), size);
  read_as_answer(text, 200);
  read_as_answer(text, 500);
  const auto found = aws::parse_credentials_json(text);
  require(!found || !found->credentials.secret_access_key.empty(), "credentials without a secret");
  (void)aws::parse_ini(text);
  (void)aws::container_url_allowed(text);
  if (const auto when = aws::parse_iso_time(text)) {
    require(aws::parse_iso_time(aws::iso_time(*when)) == when, "a time that does not come back");
  }
  (void)aws::parse_http_date(text);
  require(aws::uri_decode(aws::uri_encode(text)) == text, "an escape that does not come back");
  if (const auto times = scaler::parse_node_cpu(text)) {
    require(times->idle <= times->total, "more idle than time");
  }
  const aws::SignableRequest request{"GET", "http://h/" + text, {{"x", text}}, text};
  require(!aws::sign(request, {"a", "b", "c"}, {"r", "s", {}}).empty(), "nothing signed");
  return 0;
}
