#include "lbd/proxy/tunnel.h"

namespace lbd::proxy {

Task<Error> pump(Flow flow) {
  const auto is_over = [&flow] { return flow.over != nullptr && *flow.over; };
  for (bool last = false; !last;) {
    const Result<BodyPiece> piece = co_await flow.from.read_body();
    if (is_over()) co_return Error{};
    if (!piece) co_return piece.error();
    last = piece->last;
    flow.moved(flow.context, piece->bytes.size());
    const Result<void> sent = co_await flow.to.send_body(*piece);
    if (is_over()) co_return Error{};
    if (!sent) co_return sent.error();
  }
  co_return Error{};
}

}  // namespace lbd::proxy
