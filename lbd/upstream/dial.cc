#include "lbd/upstream/dial.h"

#include <boost/smart_ptr/make_local_shared.hpp>

namespace lbd::upstream {

boost::local_shared_ptr<Dial> Dial::start(TaskGroup& tasks, To to) {
  auto dial = boost::make_local_shared<Dial>(to.loop);
  tasks.spawn(run(dial, std::move(to)));
  return dial;
}

Task<> Dial::run(boost::local_shared_ptr<Dial> dial, To to) {
  net::Dialled dialled = co_await dial->dial_.run(std::move(to.target), to.deadline);
  if (dial->over_.is_set()) co_return;  // nobody waits: closed with `dialled`
  dial->dialled_ = std::move(dialled);
  dial->over_.set();
}

}  // namespace lbd::upstream
