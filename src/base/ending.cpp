#include "base/ending.hpp"

#include <unistd.h>

#include <utility>

namespace matriarch::base {

ending::ending(std::initializer_list<int> signals) {
  sigemptyset(&signals_);
  for (int one : signals)
    sigaddset(&signals_, one);
  sigaddset(&signals_, SIGTERM); // fail() sends it
  ::pthread_sigmask(SIG_BLOCK, &signals_, nullptr);
  ::signal(SIGPIPE, SIG_IGN);
}

ending::cause ending::wait() {
  int signal = 0;
  ::sigwait(&signals_, &signal);
  std::lock_guard guard{mutex_};
  return {signal, why_};
}

bool ending::comes_within(std::chrono::milliseconds time) {
  auto whole = std::chrono::duration_cast<std::chrono::seconds>(time);
  timespec most{whole.count(), std::chrono::nanoseconds{time - whole}.count()};
  auto signal = ::sigtimedwait(&signals_, nullptr, &most);
  if (signal < 0)
    return false;
  ::kill(::getpid(), signal); // pending again for wait()
  return true;
}

void ending::fail(std::string why) {
  {
    std::lock_guard guard{mutex_};
    if (!why_.empty())
      return;
    why_ = std::move(why);
  }
  ::kill(::getpid(), SIGTERM);
}

} // namespace matriarch::base
