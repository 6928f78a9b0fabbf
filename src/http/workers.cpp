// The wall around Pistache 0.0.5. Pistache's reactor waits for the sockets; its HTTP parser, response
// writer, transport, listener and router are not used, because most of what is wrong with them
// cannot be repaired from outside. The traps, and what stands against each:
//
//  1. Pistache queues answers by descriptor number, so that the answer to a client that left can
//     reach the next client with that number. Here an answer belongs to a `link`, which is closed
//     on the only thread that closes its descriptor, and is written by that same thread: no number
//     is ever looked up.
//  2. A chunked request can hang Pistache's parser for ever: Transfer-Encoding is refused with 411.
//  3. An exception out of a handler ends the process unless it is a std::exception: all are caught,
//     and the responder that unwinding drops answers 500.
//  4. TLS handshakes block Pistache's accept thread: here TLS is between what is read and what is
//     served, and between what is answered and what is written, so that nobody waits for anybody's.
//  5. Connections that were to be closed stay open: here they are shut down after the answer.
//  6. Malformed heads are answered 500 with an exception's text, or guessed at: request_head.hpp
//     says what is asked of them here.
//  7. The limit for a request is 4,096 bytes by default, and a refused body is read on: bodies
//     above the limit get 413 and the connection is closed.
//  8. Nothing is percent-decoded, HEAD gets a body, Expect is ignored, pipelined requests are lost:
//     each is done here.
//  9. A dropped answer becomes a 408 later, time-outs hit slow handlers, and a lack of descriptors
//     spins the accept thread: a responder answers in its destructor, the clock only runs while the
//     client sends or should read, and accepting pauses when there are no descriptors.
// 10. Pistache's router is not safe with several threads: there is one handler for everything.
// 11. A transport reads one connection until it has nothing more to say, so that one client that
//     sends as fast as it is served keeps the others waiting for ever: here each gets one read a
//     round.
//
// What a stranger can make the server do is bounded: `server_options` says how.

#include "http/workers.hpp"

#include <fmt/format.h>
#include <netinet/tcp.h>
#include <pistache/reactor.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <unordered_map>

#include "http/answer_text.hpp"
#include "http/link.hpp"
#include "http/mailbox.hpp"
#include "http/waiting_room.hpp"

namespace matriarch::http {

namespace net = Pistache;

namespace {

using clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

/// How often deadlines are checked; Pistache's own value.
constexpr milliseconds tick{500};
/// When the server ends, a request may still be on its way on a new connection, for proxies send
/// one with the connection: the server waits this long for it before it closes the connection.
constexpr milliseconds first_request_grace{1'000};
/// An unused connection is closed after this time, which is longer than proxies keep them (HAProxy:
/// usually 60 s at most), so that the proxy closes first.
constexpr milliseconds idle_patience{75'000};
/// How much a client that has got its final answer may still send.
constexpr std::size_t linger_bytes = 64 * 1024 * 1024;
/// How long the threads have to send 503 for requests that are still unanswered.
constexpr milliseconds abandon_patience{500};
/// How much is read from one connection before the others get their turn.
constexpr std::size_t read_at_once = 16 * 1024;
/// How often a lack of connections is reported: a line for each refused connection would be a flood
/// too.
constexpr std::chrono::seconds warning_pace{60};
/// How many new connections are accepted before the existing ones are looked at again.
constexpr int accepted_at_once = 64;

/// What the workers of one server share.
struct common {
  server_options options;
  service parts;
  int listener = -1;

  std::atomic<bool> draining = false;
  std::atomic<bool> abandoning = false;
  std::mutex mutex;
  std::condition_variable changed;
  std::vector<std::shared_ptr<mailbox>> boxes;
  /// The number of workers that no longer accept, and of these the number without connections.
  std::size_t deaf = 0;
  std::size_t empty = 0;

  std::atomic<std::size_t> connections = 0;
  std::atomic<std::uint64_t> closed_for_room = 0;
  std::atomic<std::uint64_t> turned_away = 0;
  /// The counts that were last reported, and when, by a steady clock.
  std::atomic<std::uint64_t> reported = 0;
  std::atomic<clock::rep> reported_at = 0;
  std::shared_ptr<std::atomic<std::size_t>> bodies = std::make_shared<std::atomic<std::size_t>>(0);

  [[nodiscard]] protocol::fleet_observations around() const { return {options, parts, bodies}; }
};

/// The connection to which the answer of one request goes.
class way_back : public responder::connection {
public:
  std::shared_ptr<mailbox> box;
  std::shared_ptr<link> to;
  std::uint64_t turn = 0;
  bool without_body = false;
  bool keep_alive = true;
  reservation body;

  void send(const response& answer) override;
};

} // namespace

/// One thread's connections: accepts them, splits their input into requests, and writes the
/// answers.
class worker : public net::Aio::Handler {
public:
  explicit worker(std::shared_ptr<common> shared) : shared_(std::move(shared)) {}

  ~worker() override {
    for (auto& [fd, l] : links_) {
      l->open = false;
      ::close(fd);
    }
    if (timer_ >= 0)
      ::close(timer_);
  }

  std::shared_ptr<net::Aio::Handler> clone() const override {
    return std::make_shared<worker>(shared_);
  }

  // Called once, before the threads run.
  void registerPoller(net::Polling::Epoll& poller) override {
    box_ = std::make_shared<mailbox>();
    timer_ = ::timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    if (timer_ < 0)
      throw std::runtime_error{"no descriptors left"};
    auto seconds = tick.count() / 1000;
    auto nanoseconds = tick.count() % 1000 * 1'000'000;
    itimerspec each{{seconds, nanoseconds}, {seconds, nanoseconds}};
    ::timerfd_settime(timer_, 0, &each, nullptr);
    listener_ = shared_->listener;
    for (int fd : {box_->descriptor(), timer_, listener_})
      poller.addFd(fd, net::Flags<net::Polling::NotifyOn>{net::Polling::NotifyOn::Read},
                   net::Polling::Tag{static_cast<std::uint64_t>(fd)});
    std::lock_guard guard{shared_->mutex};
    shared_->boxes.push_back(box_);
  }

  void onReady(const net::Aio::FdSet& ready) override {
    if (!started_) {
      started_ = true;
      box_->belong_to(this);
    }
    bool called = false;
    for (const auto& event : ready) {
      auto fd = static_cast<int>(event.getTag().value());
      if (fd == box_->descriptor())
        open_mail();
      else if (fd == timer_)
        on_tick();
      else if (fd == listener_)
        called = true;
      else
        on_event(event, fd);
    }
    // Accepting comes last: a new connection may get the descriptor of one that was closed in this
    // round, and must not get the events that the round still had for that one.
    if (called)
      accept_some();
    if (shared_->draining)
      drain();
  }

  /// Sends an answer, if its client is still connected and waits for it.
  void answer(const std::shared_ptr<link>& l, std::uint64_t turn, std::string text,
              bool keep_alive) {
    if (!l->open || l->turn != turn || l->now != link::phase::answering)
      return;
    l->now = link::phase::receiving;
    l->write(std::move(text));
    if (!keep_alive || shared_->draining)
      l->close_after_answer();
    if (l->processing)
      return;
    process(l);
    settle(l);
  }

private:
  void open_mail() {
    for (auto& item : box_->take())
      answer(item.to, item.turn, std::move(item.text), item.keep_alive);
  }

  void on_event(const net::Aio::FdSet::Entry& event, int fd) {
    auto found = links_.find(fd);
    if (found == links_.end())
      return; // closed earlier in the same round
    auto l = found->second;
    // An error event has none of the flags, and is read like an end.
    bool failed = !event.isReadable() && !event.isWritable();
    if (event.isHangup() || (failed && l->ended))
      return remove(l);
    if (event.isWritable() && l->flush())
      go_on(l);
    if ((event.isReadable() || failed) && l->open && !l->ended)
      receive(l);
    settle(l);
  }

  void receive(const std::shared_ptr<link>& l) {
    auto got = ::recv(l->descriptor, buffer_.data(), buffer_.size(), MSG_DONTWAIT);
    if (got < 0) {
      if (errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR)
        remove(l);
      return;
    }
    if (got == 0) {
      l->ended = true;
      return;
    }
    auto count = static_cast<std::size_t>(got);
    if (l->now == link::phase::closing) {
      l->dropped_bytes += count;
      if (l->dropped_bytes > linger_bytes)
        remove(l);
      return;
    }
    if (!l->take({buffer_.data(), count}))
      return remove(l);
    // A handshake has a fixed time from the start; further bytes do not extend it.
    if (!l->tls || l->tls->is_ready())
      process(l);
  }

  /// Closes finished connections, and tells the reactor which events the others wait for.
  void settle(const std::shared_ptr<link>& l) {
    if (!l->open)
      return;
    if (l->ended && l->now != link::phase::answering && l->out.empty())
      return remove(l);
    bool input = l->wants_input();
    bool room = !l->out.empty();
    if (input == l->awaits_input && room == l->awaits_room)
      return;
    l->awaits_input = input;
    l->awaits_room = room;
    reactor()->modifyFd(key(), l->descriptor, awaited_of(*l), net::Polling::Mode::Level);
  }

  static net::Polling::NotifyOn awaited_of(const link& l) {
    using net::Polling::NotifyOn;
    auto awaited = l.awaits_input ? NotifyOn::Read : NotifyOn::None;
    return l.awaits_room ? awaited | NotifyOn::Write : awaited;
  }

  /// Accepts connections; true if more may be waiting.
  bool accept_some() {
    for (int i = 0; i < accepted_at_once; ++i) {
      sockaddr_storage address{};
      socklen_t length = sizeof address;
      int fd = ::accept4(listener_, reinterpret_cast<sockaddr*>(&address), &length,
                         SOCK_NONBLOCK | SOCK_CLOEXEC);
      if (fd < 0) {
        if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS)
          listen(false);
        return false;
      }
      if (++shared_->connections > shared_->options.max_connections && !make_room()) {
        turn_away(fd);
        continue;
      }
      int one = 1;
      ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
      auto l = std::make_shared<link>(protocol{shared_->around(), place_of(address)},
                                      shared_->options, fd, ++accepted_);
      l->deadline = clock::now() + shared_->options.receive_timeout;
      links_[fd] = l;
      if (!l->spoken.is_trusted())
        strangers_.add(l->spoken.remote(), l->number, l);
      try {
        reactor()->registerFd(key(), fd, awaited_of(*l), net::Polling::Mode::Level);
      } catch (...) {
        remove(l);
      }
    }
    return true;
  }

  /// Closes a connection to make room for a new one; strangers' go first.
  bool make_room() {
    auto chosen = strangers_.next_to_go().value_or(nullptr);
    if (!chosen)
      for (auto& [fd, l] : links_)
        if (l->between_requests() && (!chosen || l->deadline < chosen->deadline))
          chosen = l;
    if (!chosen)
      return false;
    ++shared_->closed_for_room;
    remove(chosen);
    return true;
  }

  void turn_away(int fd) {
    ++shared_->turned_away;
    --shared_->connections;
    auto text =
        http::text_of(unavailable_answer("All connections are in use; try again."), false, false);
    (void)::send(fd, text.data(), text.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    ::shutdown(fd, SHUT_WR);
    // What has arrived is read, for closing with unread input would cause a reset and might cost
    // the answer.
    (void)::recv(fd, buffer_.data(), buffer_.size(), MSG_DONTWAIT);
    ::close(fd);
  }

  /// Adds the listening socket to the reactor, or removes it.
  void listen(bool wanted) {
    if (wanted == listening_)
      return;
    listening_ = wanted;
    if (wanted)
      reactor()->registerFd(key(), listener_, net::Polling::NotifyOn::Read);
    else
      reactor()->removeFd(key(), listener_);
  }

  void on_tick() {
    std::uint64_t ignored = 0;
    [[maybe_unused]] auto got = ::read(timer_, &ignored, sizeof ignored);
    if (!shared_->draining)
      listen(true);
    auto now = clock::now();
    report(now);
    std::vector<std::shared_ptr<link>> late;
    for (auto& [fd, l] : links_)
      if (l->deadline <= now)
        late.push_back(l);
    for (auto& l : late) {
      if (!l->halfway()) {
        remove(l);
        continue;
      }
      l->refuse(error_answer(408, "The request did not arrive in time; send it again."));
      settle(l);
    }
  }

  void report(clock::time_point now) {
    auto& all = *shared_;
    std::uint64_t closed = all.closed_for_room;
    std::uint64_t away = all.turned_away;
    auto before = all.reported.load();
    auto at = all.reported_at.load();
    if (!all.options.warn || closed + away == before
        || (before > 0 && now < clock::time_point{clock::duration{at}} + warning_pace)
        || !all.reported.compare_exchange_strong(before, closed + away))
      return;
    all.reported_at = now.time_since_epoch().count();
    all.options.warn(
        fmt::format("all {} connections are in use: since the start, {} were closed to "
                    "make room for others and {} new ones were turned away",
                    all.options.max_connections, closed, away));
  }

  /// Closes a connection at once. Not to be called while its input is being processed.
  void remove(const std::shared_ptr<link>& l) {
    if (!l->open)
      return;
    l->open = false;
    l->spoken.drop();
    strangers_.remove(l->spoken.remote(), l->number);
    links_.erase(l->descriptor);
    --shared_->connections;
    try {
      reactor()->removeFd(key(), l->descriptor);
    } catch (...) {
      // The connection was not yet in the reactor.
    }
    ::close(l->descriptor);
  }

  /// Everything that was to be sent has been sent.
  void go_on(const std::shared_ptr<link>& l) {
    if (l->now == link::phase::closing)
      l->end_writing();
    else
      process(l);
  }

  /// Serves the complete requests that have arrived on a connection.
  void process(const std::shared_ptr<link>& l) {
    if (l->processing)
      return;
    l->processing = true;
    bool more = true;
    while (more && l->open && l->now == link::phase::receiving && l->out.empty()) {
      bool was_trusted = l->spoken.is_trusted();
      auto step = l->spoken.next(shared_->draining);
      if (!was_trusted && l->spoken.is_trusted())
        strangers_.remove(l->spoken.remote(), l->number);
      more = std::visit([&](auto& next) { return take_step(l, next); }, step);
    }
    l->processing = false;
    if (l->now != link::phase::receiving || !l->out.empty())
      return;
    auto now = clock::now();
    if (l->spoken.is_idle() && !(l->tls && l->tls->is_halfway())) {
      l->spoken.rest();
      l->begun.reset();
      l->deadline = now + idle_patience;
    } else {
      if (!l->begun)
        l->begun = now;
      l->deadline = *l->begun + shared_->options.receive_timeout;
    }
  }

  // False if there is nothing more to do for now.

  bool take_step(const std::shared_ptr<link>&, protocol::wait&) { return false; }

  bool take_step(const std::shared_ptr<link>& l, protocol::interim& next) {
    l->write(std::move(next.text));
    return true;
  }

  bool take_step(const std::shared_ptr<link>& l, protocol::own_answer& next) {
    l->begun.reset();
    l->write(std::move(next.text));
    if (!next.keep_alive)
      l->close_after_answer();
    return true;
  }

  bool take_step(const std::shared_ptr<link>& l, protocol::complete& next) {
    l->begun.reset();
    l->now = link::phase::answering;
    // A handler may take its time; only the client's leaving ends this.
    l->deadline = clock::time_point::max();
    auto to = std::make_unique<way_back>();
    to->box = box_;
    to->to = l;
    to->turn = ++l->turn;
    to->without_body = next.without_body;
    to->keep_alive = next.keep_alive;
    to->body = std::move(next.body);
    try {
      shared_->parts.serve(std::move(next.content), responder{std::move(to)});
    } catch (...) {
      // The responder that was dropped has answered.
    }
    return true;
  }

  void drain() {
    if (!deaf_) {
      deaf_ = true;
      deaf_since_ = clock::now();
      // Clients that the kernel already counts as connected would be reset with the listening
      // socket, so they are accepted first. No more come: see let_nobody_in().
      while (accept_some())
        continue;
      listen(false);
      listener_ = -1;
      std::lock_guard guard{shared_->mutex};
      // Only now may the descriptor be closed: no poller has it any more.
      if (++shared_->deaf == shared_->boxes.size())
        ::close(std::exchange(shared_->listener, -1));
    }
    bool all = shared_->abandoning;
    bool graceful = clock::now() < deaf_since_ + first_request_grace;
    std::vector<std::shared_ptr<link>> done;
    for (auto& [fd, l] : links_)
      if (all || (l->between_requests() && !(graceful && l->turn == 0)))
        done.push_back(l);
    for (auto& l : done) {
      // A request that has just arrived is still served.
      if (!all && (receive(l), l->open) && !l->between_requests()) {
        settle(l);
        continue;
      }
      if (l->now == link::phase::answering)
        apologise(*l);
      remove(l);
    }
    if (links_.empty() && !reported_) {
      reported_ = true;
      std::lock_guard guard{shared_->mutex};
      ++shared_->empty;
      shared_->changed.notify_all();
    }
  }

  /// The final answer to a client whose request was not answered in time.
  void apologise(link& l) {
    l.write(http::text_of(unavailable_answer("This server stops before the outcome is known; ask "
                                             "again for the state."),
                          false, false));
    (void)::recv(l.descriptor, buffer_.data(), buffer_.size(), MSG_DONTWAIT);
  }

  std::shared_ptr<common> shared_;
  std::shared_ptr<mailbox> box_;
  std::array<char, read_at_once> buffer_{};
  int timer_ = -1;
  int listener_ = -1;
  bool started_ = false;
  bool listening_ = true;
  bool deaf_ = false;
  clock::time_point deaf_since_;
  bool reported_ = false;
  std::uint64_t accepted_ = 0;
  std::unordered_map<int, std::shared_ptr<link>> links_;
  waiting_room<std::shared_ptr<link>> strangers_;
};

void way_back::send(const response& answer) {
  body.release(); // before the client can see the answer
  keep_alive = keep_alive && !box->leaving();
  auto text = text_of(answer, without_body, keep_alive);
  if (auto* here = box->worker_here())
    here->answer(to, turn, std::move(text), keep_alive);
  else
    box->push({to, turn, std::move(text), keep_alive});
}

struct workers::implementation {
  std::shared_ptr<common> shared = std::make_shared<common>();
  std::shared_ptr<net::Aio::Reactor> reactor;
};

workers::workers(server_options options, service parts, int listener)
    : self_(std::make_unique<implementation>()) {
  auto& shared = *self_->shared;
  shared.options = std::move(options);
  shared.parts = std::move(parts);
  shared.listener = listener;
  auto threads = static_cast<std::size_t>(std::max(1, shared.options.threads));
  auto reactor = net::Aio::Reactor::create();
  reactor->init(net::Aio::AsyncContext(threads, "http"));
  reactor->addHandler(std::make_shared<worker>(self_->shared));
  reactor->run();
  self_->reactor = std::move(reactor);
}

workers::~workers() {
  stop();
}

void workers::stop() {
  if (!self_->reactor)
    return;
  auto& shared = *self_->shared;
  auto wake_all = [&] {
    for (auto& box : shared.boxes)
      box->wake();
  };
  auto all_empty = [&] { return shared.empty == shared.boxes.size(); };
  std::unique_lock lock{shared.mutex};
  shared.draining = true;
  for (auto& box : shared.boxes)
    box->leave();
  wake_all();
  if (!shared.changed.wait_for(lock, shared.options.drain_patience, all_empty)) {
    shared.abandoning = true;
    wake_all();
    // A worker that does not get here in time is stuck in a handler.
    shared.changed.wait_for(lock, abandon_patience, all_empty);
  }
  lock.unlock();
  for (auto& box : shared.boxes)
    box->close();
  self_->reactor->shutdown();
  self_->reactor.reset();
}

server_load workers::load() const {
  const auto& shared = *self_->shared;
  return {shared.connections, shared.options.max_connections, *shared.bodies,
          shared.closed_for_room, shared.turned_away};
}

} // namespace matriarch::http
