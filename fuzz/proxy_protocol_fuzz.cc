// Any bytes as the start of a connection that must begin with a PROXY protocol header. Oracles: any
// split, one verdict; nothing after the header is taken; what it names, sent on, is read the same.
#include <cstdint>
#include <string>

#include "fuzz/require.h"
#include "lbd/net/proxy_protocol.h"

namespace {

using namespace lbd::net;
using lbd::fuzz::require;
using State = ProxyHeaderReader::State;

std::string endpoints_text(const ProxyHeaderReader& reader) {
  const auto& found = reader.endpoints();
  return found ? found->source.text() + " " + found->destination.text() : std::string();
}

void check_sent_on(const ProxyEndpoints& found, const std::string& text) {
  for (const ProxyVersion version : {ProxyVersion::v1, ProxyVersion::v2}) {
    const ProxyHeader header(version, found.source, found.destination);
    const std::string_view bytes = header.view();
    ProxyHeaderReader again;
    const std::size_t taken =
        again.step({reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size()});
    require(again.state() == State::done && taken == bytes.size(), "we send what we refuse");
    require(endpoints_text(again) == text, "sent on, it names somebody else");
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  ProxyHeaderReader whole;
  const std::size_t taken = whole.step({data, size});
  require(taken == size || whole.state() != State::reading, "bytes left though it reads on");
  require(taken <= kProxyHeaderMax, "longer than the longest");
  require((whole.state() == State::bad) == (whole.fault() != ProxyFault::none), "a fault unnamed");
  require(whole.state() == State::done || !whole.endpoints(), "somebody named by half a header");
  ProxyHeaderReader split;
  std::size_t at = 0;
  while (at < size && split.state() == State::reading) at += split.step({data + at, 1});
  require(at == taken && split.state() == whole.state() && split.fault() == whole.fault(),
          "a split changed the verdict");
  require(endpoints_text(split) == endpoints_text(whole), "a split changed who is named");
  if (whole.endpoints()) check_sent_on(*whole.endpoints(), endpoints_text(whole));
  return 0;
}
