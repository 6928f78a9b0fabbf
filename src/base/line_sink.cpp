#include "base/line_sink.hpp"

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <cerrno>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <mutex>
#include <thread>
#include <utility>

namespace matriarch::base {

namespace {

using namespace std::chrono_literals;

/// How long the destructor waits for queued lines: a blocked sink must not delay the end.
constexpr std::chrono::milliseconds farewell = 1s;
/// Pause between two attempts to write to a file that accepts nothing.
constexpr std::chrono::milliseconds pause_after_failure = 500ms;
/// The memory of a queued line besides its text.
constexpr std::size_t overhead = 64;

} // namespace

/// The thread's data, which may outlive the sink.
struct line_sink::shared {
  settings how;
  std::string path; ///< opened by the thread if there is no descriptor; empty: never opened
  int descriptor = -1;
  bool owned = false;

  std::mutex mutex;
  std::condition_variable changed;
  std::deque<std::string> lines;
  std::size_t bytes = 0;
  std::uint64_t left_out = 0;
  bool troubled = false; ///< lines are being dropped, and complain() was called
  bool writing = false;
  bool ending = false;

  ~shared() {
    if (owned && descriptor >= 0)
      ::close(descriptor);
  }

  void complain(const std::string& why) {
    if (how.complain)
      how.complain(why);
  }

  /// Counts dropped lines and reports the first time.
  void count(std::uint64_t lost, const std::string& why) {
    bool first = false;
    {
      std::lock_guard guard{mutex};
      left_out += lost;
      first = !std::exchange(troubled, true);
    }
    if (first)
      complain(why);
  }

  /// Writes a whole text; returns why it cannot, or an empty text.
  std::string write_all(const std::string& text) {
    if (descriptor < 0 && !path.empty()) {
      descriptor = ::open(path.c_str(), O_WRONLY | O_APPEND | O_CLOEXEC);
      if (descriptor < 0)
        return std::strerror(errno);
    }
    for (std::size_t done = 0; done < text.size();) {
      auto now = ::write(descriptor, text.data() + done, text.size() - done);
      if (now < 0 && errno == EINTR)
        continue;
      if (now <= 0) {
        std::string why = now == 0 ? "no bytes were accepted" : std::strerror(errno);
        if (errno == EPIPE && owned) // the next reader of a FIFO gets the next lines
          ::close(std::exchange(descriptor, -1));
        cut = done > 0;
        return why;
      }
      done += static_cast<std::size_t>(now);
    }
    return {};
  }

  bool cut = false; ///< the last line was written only in part

  void run() {
    std::unique_lock guard{mutex};
    while (true) {
      changed.wait(guard, [&] { return ending || !lines.empty() || left_out > 0; });
      if (lines.empty() && left_out == 0)
        return;
      std::string text;
      auto told = std::uint64_t{0};
      if (!lines.empty()) {
        text = std::move(lines.front());
        lines.pop_front();
        bytes -= text.size() + overhead;
      } else {
        told = std::exchange(left_out, 0);
        text = how.tell_left_out(told);
      }
      writing = true;
      guard.unlock();
      text += '\n';
      if (cut)
        text.insert(text.begin(), '\n');
      cut = false;
      auto wrong = write_all(text);
      if (!wrong.empty())
        count(told > 0 ? told : 1, wrong);
      guard.lock();
      writing = false;
      if (wrong.empty() && left_out == 0)
        troubled = false;
      changed.notify_all();
      if (!wrong.empty()) {
        if (ending)
          return;
        changed.wait_for(guard, pause_after_failure, [&] { return ending; });
      }
    }
  }
};

line_sink::line_sink(std::shared_ptr<shared> state) : state_(std::move(state)) {
  // The sink's thread handles no signals: they are meant for other threads.
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &before);
  std::thread{[state = state_] { state->run(); }}.detach();
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

line_sink::line_sink(int descriptor, settings how)
    : line_sink([&] {
        auto state = std::make_shared<shared>();
        state->how = std::move(how);
        state->descriptor = descriptor;
        return state;
      }()) {}

result<std::unique_ptr<line_sink>> line_sink::open(const std::string& path, unsigned mode,
                                                   settings how) {
  // Non-blocking: a FIFO without a reader gives ENXIO.
  int made = ::open(path.c_str(), O_CREAT | O_WRONLY | O_APPEND | O_CLOEXEC | O_NONBLOCK, mode);
  if (made < 0 && errno != ENXIO)
    return failure{path + ": " + std::strerror(errno)};
  if (made >= 0)
    ::fcntl(made, F_SETFL, O_APPEND); // blocking from now on: only the sink's thread waits
  auto state = std::make_shared<shared>();
  state->how = std::move(how);
  state->path = path;
  state->descriptor = made;
  state->owned = true;
  return std::unique_ptr<line_sink>{new line_sink{std::move(state)}};
}

line_sink::~line_sink() {
  {
    std::lock_guard guard{state_->mutex};
    state_->ending = true;
  }
  state_->changed.notify_all();
  drain(farewell);
}

void line_sink::post(std::string line) {
  auto& all = *state_;
  bool first = false;
  {
    std::lock_guard guard{all.mutex};
    bool fits = all.bytes + line.size() + overhead <= all.how.most_bytes;
    // The number of dropped lines comes before any later line.
    if (fits && all.left_out > 0) {
      auto told = all.how.tell_left_out(std::exchange(all.left_out, 0));
      all.bytes += told.size() + overhead;
      all.lines.push_back(std::move(told));
    }
    if (fits) {
      all.bytes += line.size() + overhead;
      all.lines.push_back(std::move(line));
    } else {
      ++all.left_out;
      first = !std::exchange(all.troubled, true);
    }
  }
  all.changed.notify_all();
  if (first)
    all.complain("it does not take lines fast enough, or at all");
}

bool line_sink::drain(std::chrono::milliseconds patience) {
  std::unique_lock guard{state_->mutex};
  return state_->changed.wait_for(guard, patience, [this] {
    return state_->lines.empty() && state_->left_out == 0 && !state_->writing;
  });
}

} // namespace matriarch::base
