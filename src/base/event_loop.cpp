#include "base/event_loop.hpp"

#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <deque>
#include <future>
#include <map>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <thread>
#include <unordered_map>
#include <unordered_set>
#include <variant>

#include "base/transfers.hpp"

namespace matriarch::base {

namespace {

using clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

/// Further requests wait for a free connection. 32 keep a server busy without using up its
/// descriptors.
constexpr std::size_t connections_per_host = 32;
/// How much of the answer to a refused stream is kept: enough for an error message.
constexpr std::size_t refusal_bytes = 64 * 1024;
/// A longer delay is shortened to this, so that no sum overflows.
constexpr milliseconds longest_delay = std::chrono::hours{24 * 365};

struct timer {
  event_loop::task_id id = 0;
  clock::time_point due;
  std::function<void()> then;
};

} // namespace

/// A thread around epoll that runs libcurl, timers, deadlines and other threads' requests. It
/// counts the requests to each host itself, since libcurl's own limit would also count streams, and
/// a waiting request's deadline has to run.
struct event_loop::implementation : transfers::watcher {
  struct dropped {
    task_id id;
  };
  using order = std::variant<std::function<void()>, std::unique_ptr<transfer>, timer, dropped>;

  /// The requests to one host.
  struct host {
    std::size_t under_way = 0;
    /// May contain requests that have already ended.
    std::deque<task_id> waiting;
  };

  int epoll_ = -1;
  int wake_ = -1;

  std::mutex mutex_;
  std::vector<order> orders_;
  /// Every task that may still be called: neither finished nor cancelled.
  std::unordered_set<task_id> live_;
  task_id last_id_ = 0;
  std::atomic<bool> ending_ = false;

  // Only the loop's thread uses these.
  std::unordered_map<task_id, std::unique_ptr<transfer>> transfers_;
  std::unordered_map<task_id, clock::time_point> due_;
  std::map<std::pair<clock::time_point, task_id>, std::function<void()>> timers_;
  std::vector<task_id> arrivals_;
  std::unordered_map<std::string, host> hosts_;
  /// When libcurl wants to be called.
  std::optional<clock::time_point> curl_due_;
  std::optional<transfers> curl_;

  std::thread thread_;

  implementation() {
    epoll_ = ::epoll_create1(EPOLL_CLOEXEC);
    wake_ = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    epoll_event wanted{};
    wanted.events = EPOLLIN;
    wanted.data.fd = wake_;
    if (epoll_ < 0 || wake_ < 0 || ::epoll_ctl(epoll_, EPOLL_CTL_ADD, wake_, &wanted) != 0)
      throw std::runtime_error{"no descriptors left for the HTTP loop; raise ulimit -n"};
    curl_.emplace(*this);
    thread_ = std::thread{[this] { run(); }};
  }

  ~implementation() override {
    ending_ = true;
    wake();
    thread_.join();
    for (auto& [id, t] : transfers_)
      if (t->started)
        curl_->end(*t);
    transfers_.clear();
    curl_.reset();
    ::close(wake_);
    ::close(epoll_);
  }

  // -- called from any thread ---------------------------------------------------------------------

  void wake() const {
    std::uint64_t one = 1;
    [[maybe_unused]] auto written = ::write(wake_, &one, sizeof one);
  }

  void give(order what) {
    {
      std::lock_guard guard{mutex_};
      orders_.push_back(std::move(what));
    }
    wake();
  }

  template <class Task>
  task_id give_task(Task task) {
    task_id id = 0;
    {
      std::lock_guard guard{mutex_};
      id = ++last_id_;
      live_.insert(id);
      if constexpr (std::is_same_v<Task, timer>)
        task.id = id;
      else
        task->id = id;
      orders_.emplace_back(std::move(task));
    }
    wake();
    return id;
  }

  // -- called by libcurl --------------------------------------------------------------------------

  void watch(int descriptor, bool input, bool room) override {
    epoll_event wanted{};
    wanted.events = (input ? EPOLLIN : 0U) | (room ? EPOLLOUT : 0U);
    wanted.data.fd = descriptor;
    if (::epoll_ctl(epoll_, EPOLL_CTL_MOD, descriptor, &wanted) != 0 && errno == ENOENT)
      ::epoll_ctl(epoll_, EPOLL_CTL_ADD, descriptor, &wanted);
  }

  void forget(int descriptor) override { ::epoll_ctl(epoll_, EPOLL_CTL_DEL, descriptor, nullptr); }

  void remind(std::optional<milliseconds> after) override {
    if (after)
      curl_due_ = clock::now() + *after;
    else
      curl_due_.reset();
  }

  // -- called on the loop's thread ----------------------------------------------------------------

  /// Whether the task may be called; `last`: it will not be called again.
  bool claim(task_id id, bool last) {
    if (ending_)
      return false;
    std::lock_guard guard{mutex_};
    return last ? live_.erase(id) > 0 : live_.contains(id);
  }

  std::unique_ptr<transfer> take(task_id id) {
    auto found = transfers_.find(id);
    if (found == transfers_.end())
      return nullptr;
    auto t = std::move(found->second);
    transfers_.erase(found);
    if (auto due = due_.find(id); due != due_.end()) {
      timers_.erase({due->second, id});
      due_.erase(due);
    }
    return t;
  }

  /// Takes a transfer away from libcurl and starts the next request to its host.
  void end(transfer& t) {
    if (!t.started)
      return;
    curl_->end(t);
    if (t.streams)
      return;
    auto& h = hosts_[t.origin];
    --h.under_way;
    while (!h.waiting.empty() && h.under_way < connections_per_host) {
      auto next = transfers_.find(h.waiting.front());
      h.waiting.pop_front();
      if (next != transfers_.end())
        begin(*next->second);
    }
    if (h.under_way == 0)
      hosts_.erase(t.origin);
  }

  void finish(task_id id, const std::function<outcome(transfer&)>& as) {
    auto t = take(id);
    if (!t)
      return;
    auto answer = as(*t);
    end(*t);
    if (claim(id, true))
      t->done(std::move(answer));
  }

  /// Gives a transfer to libcurl. If libcurl has no memory for a request, the request's deadline
  /// ends it.
  bool begin(transfer& t) {
    t.started = curl_->begin(t);
    if (t.started && !t.streams)
      ++hosts_[t.origin].under_way;
    return t.started;
  }

  void arm(task_id id, clock::time_point due, std::function<void()> then) {
    due_[id] = due;
    timers_.emplace(std::pair{due, id}, std::move(then));
  }

  void obey(std::function<void()>& post) {
    if (!ending_)
      post();
  }

  void obey(std::unique_ptr<transfer>& t) {
    auto id = t->id;
    {
      std::lock_guard guard{mutex_};
      if (!live_.contains(id))
        return;
    }
    t->arrivals = &arrivals_;
    auto wrong = t->prepare();
    if (!wrong && t->streams && !begin(*t))
      wrong = "out of memory";
    if (wrong) {
      if (claim(id, true))
        t->done(t->failed(*wrong));
      return;
    }
    if (!t->streams) {
      t->origin = origin_of(t->what.url);
      if (auto& h = hosts_[t->origin]; h.under_way < connections_per_host)
        begin(*t);
      else
        h.waiting.push_back(id);
      arm(id, t->deadline, [this, id] {
        finish(id, [](transfer& late) {
          return late.failed("no answer within " + std::to_string(late.what.timeout.count()) + " ms"
                             + late.doubt_about_tls());
        });
      });
    }
    transfers_.emplace(id, std::move(t));
  }

  void obey(timer& t) {
    auto id = t.id;
    arm(id, t.due, [this, id, then = std::move(t.then)] {
      if (claim(id, true))
        then();
    });
  }

  void obey(dropped& d) {
    if (auto t = take(d.id)) {
      end(*t);
    } else if (auto due = due_.find(d.id); due != due_.end()) {
      timers_.erase({due->second, d.id});
      due_.erase(due);
    }
  }

  /// Calls `line` for each complete line of a stream. Any of these calls may cancel the stream.
  void deliver_lines(task_id id) {
    auto found = transfers_.find(id);
    if (found == transfers_.end())
      return;
    auto& t = *found->second;
    t.touched = false;
    if (auto code = t.status(); code < 200 || code > 299) {
      // The body of a refusal contains no lines; `done` gets it.
      t.received.resize(std::min(t.received.size(), refusal_bytes));
      return;
    }
    auto end = t.received.rfind('\n');
    if (end == std::string::npos)
      return;
    std::string lines = t.received.substr(0, end);
    t.received.erase(0, end + 1);
    for (std::size_t from = 0; from <= lines.size();) {
      auto to = std::min(lines.find('\n', from), lines.size());
      auto line = lines.substr(from, to - from);
      if (line.ends_with('\r'))
        line.pop_back();
      if (!claim(id, false))
        return;
      t.line(std::move(line));
      from = to + 1;
    }
  }

  void deliver_lines() {
    auto arrived = std::move(arrivals_);
    arrivals_.clear();
    for (auto id : arrived)
      deliver_lines(id);
  }

  /// Handles what arrived; called after each call of libcurl.
  void look_what_came() {
    deliver_lines();
    while (auto ended = curl_->next_ended())
      finish(ended->first->id,
             [how = ended->second](transfer& t) { return transfers::outcome_of(t, how); });
  }

  void obey_orders() {
    std::vector<order> now;
    {
      std::lock_guard guard{mutex_};
      now.swap(orders_);
    }
    for (auto& o : now)
      std::visit([this](auto& what) { obey(what); }, o);
  }

  void run_timers() {
    // Timers that callbacks set meanwhile wait for the next round, so that a chain of timers does
    // not block the loop.
    auto now = clock::now();
    while (!timers_.empty() && timers_.begin()->first.first <= now && !ending_) {
      auto entry = timers_.extract(timers_.begin());
      due_.erase(entry.key().second);
      entry.mapped()();
    }
    if (curl_due_ && *curl_due_ <= now) {
      curl_due_.reset();
      curl_->act_in_time();
      look_what_came();
    }
  }

  [[nodiscard]] int patience() const {
    auto next = clock::time_point::max();
    if (!timers_.empty())
      next = timers_.begin()->first.first;
    if (curl_due_)
      next = std::min(next, *curl_due_);
    if (next == clock::time_point::max())
      return -1;
    auto left = std::chrono::ceil<milliseconds>(next - clock::now());
    // At most a minute, so that the value fits an int; the loop then waits again.
    return static_cast<int>(std::clamp<std::int64_t>(left.count(), 0, 60'000));
  }

  void run() {
    std::array<epoll_event, 64> events;
    while (!ending_) {
      obey_orders();
      run_timers();
      if (ending_)
        return;
      int count = ::epoll_wait(epoll_, events.data(), static_cast<int>(events.size()), patience());
      for (int i = 0; i < count && !ending_; ++i) {
        auto& e = events[static_cast<std::size_t>(i)];
        if (e.data.fd == wake_) {
          std::uint64_t ignored = 0;
          [[maybe_unused]] auto got = ::read(wake_, &ignored, sizeof ignored);
          continue;
        }
        curl_->act(e.data.fd, (e.events & (EPOLLIN | EPOLLHUP)) != 0, (e.events & EPOLLOUT) != 0,
                   (e.events & EPOLLERR) != 0);
        look_what_came();
      }
    }
  }
};

event_loop::event_loop() : self_(std::make_unique<implementation>()) {}

event_loop::~event_loop() = default;

event_loop::task_id event_loop::send(outgoing what, std::function<void(outcome)> done) {
  auto t = std::make_unique<transfer>();
  t->deadline = clock::now() + std::clamp(what.timeout, milliseconds{0}, longest_delay);
  t->what = std::move(what);
  t->done = std::move(done);
  return self_->give_task(std::move(t));
}

event_loop::task_id event_loop::stream(outgoing what, std::function<void(std::string)> line,
                                       std::function<void(outcome)> done) {
  auto t = std::make_unique<transfer>();
  t->streams = true;
  t->what = std::move(what);
  t->line = std::move(line);
  t->done = std::move(done);
  return self_->give_task(std::move(t));
}

event_loop::task_id event_loop::after(milliseconds delay, std::function<void()> then) {
  timer t;
  t.due = clock::now() + std::clamp(delay, milliseconds{0}, longest_delay);
  t.then = std::move(then);
  return self_->give_task(std::move(t));
}

void event_loop::post(std::function<void()> then) {
  self_->give(std::move(then));
}

void event_loop::run(const std::function<void()>& what) {
  std::promise<void> done;
  post([&] {
    what();
    done.set_value();
  });
  done.get_future().wait();
}

void event_loop::cancel(task_id task) {
  {
    std::lock_guard guard{self_->mutex_};
    if (self_->live_.erase(task) == 0)
      return;
  }
  self_->give(implementation::dropped{task});
}

} // namespace matriarch::base
