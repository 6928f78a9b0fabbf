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

#include "http/server.hpp"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <linux/filter.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <pistache/reactor.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <condition_variable>
#include <cstring>
#include <exception>
#include <limits>
#include <map>
#include <mutex>
#include <thread>
#include <unordered_map>

#include "http/answer_text.hpp"
#include "http/request_head.hpp"

namespace matriarch::http {

namespace {

namespace net = Pistache;
using clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

/// Larger heads get 431. Twice what Apache and nginx accept for one header.
constexpr std::size_t max_head_bytes = 16 * 1024;
/// How often deadlines are looked at; Pistache's own value.
constexpr milliseconds tick{500};
/// At the server's end a connection without a request may have one on its way, which a proxy sends with
/// the connection: it is waited for so long before the connection is closed.
constexpr milliseconds first_request_grace{1'000};
/// What has begun to connect when no more are let in is connected after this at most, on the networks
/// that brokers and proxies are in.
constexpr milliseconds handshake_time{10};
/// An unused connection is closed after this, later than proxies do (HAProxy: 60 s at most by
/// habit), so that it is not closed under their hands.
constexpr milliseconds idle_patience{75'000};
/// What a client has to read of its answer in write_patience.
constexpr std::size_t least_progress = 64 * 1024;
/// After the last answer a connection stays half open for so long, for a client that is still
/// sending would otherwise be told "reset" and might never read it.
constexpr milliseconds linger_patience{2'000};
/// What such a client may send meanwhile.
constexpr std::size_t linger_bytes = 64 * 1024 * 1024;
/// How long the threads have to send 503 for the answers that did not come until then.
constexpr milliseconds abandon_patience{500};
/// What is read of one connection before the others get their turn.
constexpr std::size_t read_at_once = 16 * 1024;
/// An unused connection keeps no more memory than this for its next request: most have less.
constexpr std::size_t kept_input = 4 * 1024;
/// What is read ahead of the request that is being answered: the next one's head.
constexpr std::size_t read_ahead = 16 * 1024;
/// How often a lack of connections is reported: a line for each would be a flood of its own.
constexpr std::chrono::seconds warning_pace{60};
/// New connections that are taken before the present ones are looked at again.
constexpr int accepted_at_once = 64;
/// The kernel's queue of connections that are not accepted yet; capped by net.core.somaxconn.
constexpr int backlog = 1024;

/// A part of the memory for bodies, given back by its end. It may outlive the server.
class reservation {
public:
  reservation() = default;
  reservation(reservation&& other) noexcept
      : taken_(std::move(other.taken_)), bytes_(std::exchange(other.bytes_, 0)) {}
  reservation& operator=(reservation&& other) noexcept {
    release();
    taken_ = std::move(other.taken_);
    bytes_ = std::exchange(other.bytes_, 0);
    return *this;
  }
  ~reservation() { release(); }

  /// Takes `bytes` of `most`; false if there are not so many left.
  [[nodiscard]] bool take(std::shared_ptr<std::atomic<std::size_t>> from, std::size_t bytes,
                          std::size_t most) {
    release();
    if (from->fetch_add(bytes) + bytes > most) {
      from->fetch_sub(bytes);
      return false;
    }
    taken_ = std::move(from);
    bytes_ = bytes;
    return true;
  }

  void release() {
    if (auto from = std::exchange(taken_, nullptr))
      from->fetch_sub(std::exchange(bytes_, 0));
  }

private:
  std::shared_ptr<std::atomic<std::size_t>> taken_;
  std::size_t bytes_ = 0;
};

/// One connection. Everything here belongs to its worker's thread.
struct link {
  enum class phase {
    /// The client sends, or is silent between two requests.
    receiving,
    /// The handler has a request and owes an answer.
    answering,
    /// The last answer is sent or being sent; whatever arrives is dropped.
    closing,
  };

  int descriptor = -1;
  std::string remote;
  /// The place in the order in which connections came.
  std::uint64_t number = 0;
  /// Somebody whom the doorkeeper recognised has used it; always so without a doorkeeper.
  bool trusted = false;
  bool open = true;
  phase now = phase::receiving;
  /// The client has ended its side: it sends no more, and may still read.
  bool ended = false;
  /// Which request is being answered: an answer to an earlier one comes too late.
  std::uint64_t turn = 0;
  /// What the reactor was told to wait for.
  net::Polling::NotifyOn awaited = net::Polling::NotifyOn::Read;

  /// Nothing while the first byte has not come, and where the client does not speak TLS.
  std::unique_ptr<tls::server_session> tls;
  bool greeted = false; ///< the first byte has come

  /// What the client said, decrypted.
  std::string in;
  /// How much of `in` was searched for the end of the head.
  std::size_t searched = 0;
  std::optional<request_head> head;
  /// The room for the body of the present request.
  reservation body;
  std::size_t dropped_bytes = 0;

  std::string out;
  std::size_t written = 0;
  /// How much of `out` was written when its deadline was set.
  std::size_t written_before = 0;

  /// Guards `process` against being entered again by an answer that comes at once.
  bool processing = false;
  clock::time_point deadline = clock::time_point::max();
  /// When the first byte of the present request came.
  std::optional<clock::time_point> begun;

  [[nodiscard]] bool between_requests() const {
    return now == phase::receiving && in.empty() && !head && out.empty();
  }
  /// More is read of a client than is served only to learn that it has left.
  [[nodiscard]] bool wants_input() const {
    // TLS has answers of its own, to messages of its own: who does not read them says no more.
    if (tls && !out.empty() && now != phase::closing)
      return false;
    return !ended
           && (now == phase::closing || (now == phase::receiving && out.empty())
               || in.size() < read_ahead);
  }
};

/// The connections of nobody known, and which of them has to make room for another. It is one of the
/// address that has the most, so that one flooding machine only ever drives out its own; of these
/// the oldest, for who means well sends a request soon, and nobody can make theirs look younger.
class waiting_room {
public:
  void add(const std::shared_ptr<link>& l) { of_[std::string{host_of(*l)}][l->number] = l; }

  /// Does nothing if it is not there.
  void remove(const link& l) {
    auto found = of_.find(host_of(l));
    if (found == of_.end())
      return;
    found->second.erase(l.number);
    if (found->second.empty())
      of_.erase(found);
  }

  [[nodiscard]] std::shared_ptr<link> next_to_go() const {
    auto most =
        std::ranges::max_element(of_, {}, [](const auto& one) { return one.second.size(); });
    return most == of_.end() ? nullptr : most->second.begin()->second;
  }

private:
  static std::string_view host_of(const link& l) {
    return std::string_view{l.remote}.substr(0, l.remote.rfind(':'));
  }

  std::map<std::string, std::map<std::uint64_t, std::shared_ptr<link>>, std::less<>> of_;
};

class worker;

/// Where other threads leave answers for a worker. It outlives the worker, so that a responder can
/// be used at any time.
class mailbox {
public:
  struct item {
    std::shared_ptr<link> to;
    std::uint64_t turn = 0;
    std::string text;
    bool keep_alive = false;
  };

  mailbox() : descriptor_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
    if (descriptor_ < 0)
      throw std::runtime_error{"no descriptors left"};
  }
  ~mailbox() { ::close(descriptor_); }
  mailbox(const mailbox&) = delete;
  mailbox& operator=(const mailbox&) = delete;

  [[nodiscard]] int descriptor() const { return descriptor_; }

  void wake() const {
    std::uint64_t one = 1;
    [[maybe_unused]] auto written = ::write(descriptor_, &one, sizeof one);
  }

  void push(item what) {
    bool first = false;
    {
      std::lock_guard guard{mutex_};
      if (closed_)
        return;
      first = items_.empty();
      items_.push_back(std::move(what));
    }
    if (first)
      wake();
  }

  std::vector<item> take() {
    std::uint64_t ignored = 0;
    [[maybe_unused]] auto got = ::read(descriptor_, &ignored, sizeof ignored);
    std::lock_guard guard{mutex_};
    return std::exchange(items_, {});
  }

  /// From now on answers say that the connection will be closed.
  void leave() { leaving_ = true; }
  [[nodiscard]] bool leaving() const { return leaving_; }

  /// Nothing is taken in any more, and no worker is called.
  void close() {
    std::lock_guard guard{mutex_};
    closed_ = true;
    items_.clear();
  }

  /// The worker, if it is alive and this is its thread.
  [[nodiscard]] worker* worker_here() const {
    return !closed_ && thread_ == std::this_thread::get_id() ? worker_.load() : nullptr;
  }

  void belong_to(worker* owner) {
    worker_ = owner;
    thread_ = std::this_thread::get_id();
  }

private:
  int descriptor_;
  std::mutex mutex_;
  std::vector<item> items_;
  std::atomic<bool> leaving_ = false;
  std::atomic<bool> closed_ = false;
  std::atomic<worker*> worker_ = nullptr;
  std::atomic<std::thread::id> thread_;
};

/// What the workers of one server share.
struct common {
  server_options options;
  service parts;
  int listener = -1;
  std::uint16_t port = 0;

  std::atomic<bool> draining = false;
  std::atomic<bool> abandoning = false;
  std::mutex mutex;
  std::condition_variable changed;
  std::vector<std::shared_ptr<mailbox>> boxes;
  /// Workers that accept no more, and of these the ones without connections.
  std::size_t deaf = 0;
  std::size_t empty = 0;

  std::atomic<std::size_t> connections = 0;
  std::atomic<std::uint64_t> closed_for_room = 0;
  std::atomic<std::uint64_t> turned_away = 0;
  /// What was reported of the two, and when, as a steady clock's count.
  std::atomic<std::uint64_t> reported = 0;
  std::atomic<clock::rep> reported_at = 0;
  std::shared_ptr<std::atomic<std::size_t>> bodies = std::make_shared<std::atomic<std::size_t>>(0);
};

} // namespace

class responder::connection {
public:
  std::shared_ptr<mailbox> box;
  std::shared_ptr<link> to;
  std::uint64_t turn = 0;
  bool without_body = false;
  bool keep_alive = true;
  reservation body;

  void send(const response& answer);
};

namespace {

/// One thread's connections: accepts them, cuts what arrives into requests, and writes the answers.
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
    // Last: a new connection may get the number of one that was closed in this round, and must not
    // get what the round still had to tell of that one.
    if (called)
      accept_some();
    if (shared_->draining)
      drain();
  }

  /// Sends an answer, if its client is still there and waits for it.
  void answer(const std::shared_ptr<link>& l, std::uint64_t turn, std::string text,
              bool keep_alive) {
    if (!l->open || l->turn != turn || l->now != link::phase::answering)
      return;
    l->now = link::phase::receiving;
    write(*l, std::move(text));
    if (!keep_alive || shared_->draining)
      close_after_answer(*l);
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
    // An error comes without any of the flags, and is read like an end.
    bool failed = !event.isReadable() && !event.isWritable();
    if (event.isHangup() || (failed && l->ended))
      return remove(l);
    if (event.isWritable())
      flush(l);
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
    if (!take(*l, {buffer_.data(), count}))
      return remove(l);
    // A handshake has the time that was set when the client came, and no more for each byte.
    if (!l->tls || l->tls->is_ready())
      process(l);
  }

  /// Takes bytes in, which TLS may be in between. False if nothing can come of them.
  bool take(link& l, std::string_view bytes) {
    const auto& options = shared_->options;
    if (!l.greeted && options.tls) {
      if (tls::server_session::is_handshake(bytes.front()))
        l.tls = std::make_unique<tls::server_session>(*options.tls);
      else if (options.tls->refuses_plain())
        refuse(l, 400, "This port speaks TLS and nothing else: use https:// here.");
    }
    l.greeted = true;
    if (l.now == link::phase::closing)
      return true;
    if (!l.tls) {
      l.in.append(bytes);
      return true;
    }
    bool well = l.tls->receive(bytes, l.in);
    write_bytes(l, l.tls->to_send());
    l.ended = l.ended || l.tls->has_ended();
    return well;
  }

  /// Closes what is done with, and tells the reactor what is awaited of the others.
  void settle(const std::shared_ptr<link>& l) {
    if (!l->open)
      return;
    if (l->ended && l->now != link::phase::answering && l->out.empty())
      return remove(l);
    using net::Polling::NotifyOn;
    auto wanted = l->wants_input() ? NotifyOn::Read : NotifyOn::None;
    if (!l->out.empty())
      wanted = wanted | NotifyOn::Write;
    if (wanted != l->awaited)
      reactor()->modifyFd(key(), l->descriptor, l->awaited = wanted, net::Polling::Mode::Level);
  }

  /// Whether more may be waiting.
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
      auto l = std::make_shared<link>();
      l->descriptor = fd;
      l->remote = text_of(address);
      l->deadline = clock::now() + shared_->options.receive_timeout;
      l->number = ++accepted_;
      l->trusted = !shared_->parts.admit;
      links_[fd] = l;
      if (!l->trusted)
        strangers_.add(l);
      try {
        reactor()->registerFd(key(), fd, l->awaited, net::Polling::Mode::Level);
      } catch (...) {
        remove(l);
      }
    }
    return true;
  }

  /// Closes a connection for a new one; strangers' go first.
  bool make_room() {
    auto chosen = strangers_.next_to_go();
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
    // What has arrived is taken, for closing over it would be a reset and might cost the answer.
    (void)::recv(fd, buffer_.data(), buffer_.size(), MSG_DONTWAIT);
    ::close(fd);
  }

  /// Takes the listening socket out of the reactor, or back in.
  void listen(bool wanted) {
    if (wanted == listening_)
      return;
    listening_ = wanted;
    if (wanted)
      reactor()->registerFd(key(), listener_, net::Polling::NotifyOn::Read);
    else
      reactor()->removeFd(key(), listener_);
  }

  static std::string text_of(const sockaddr_storage& address) {
    std::array<char, INET6_ADDRSTRLEN> host{};
    if (address.ss_family == AF_INET6) {
      auto& six = reinterpret_cast<const sockaddr_in6&>(address);
      ::inet_ntop(AF_INET6, &six.sin6_addr, host.data(), host.size());
      return fmt::format("[{}]:{}", host.data(), ntohs(six.sin6_port));
    }
    auto& four = reinterpret_cast<const sockaddr_in&>(address);
    ::inet_ntop(AF_INET, &four.sin_addr, host.data(), host.size());
    return fmt::format("{}:{}", host.data(), ntohs(four.sin_port));
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
      bool halfway =
          l->now == link::phase::receiving && l->out.empty() && (!l->in.empty() || l->head);
      if (!halfway) {
        remove(l);
        continue;
      }
      refuse(*l, 408, "The request did not arrive in time; send it again.");
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
    l->body.release();
    strangers_.remove(*l);
    links_.erase(l->descriptor);
    --shared_->connections;
    try {
      reactor()->removeFd(key(), l->descriptor);
    } catch (...) {
      // It never got into the reactor.
    }
    ::close(l->descriptor);
  }

  void write(link& l, std::string text) {
    if (!l.tls)
      return write_bytes(l, std::move(text));
    // Nothing is answered before the handshake is done.
    if (l.tls->say(text))
      write_bytes(l, l.tls->to_send());
  }

  void write_bytes(link& l, std::string text) {
    if (text.empty())
      return;
    if (!l.out.empty()) {
      l.out += text;
      return;
    }
    auto sent = ::send(l.descriptor, text.data(), text.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent == static_cast<ssize_t>(text.size()))
      return;
    if (sent < 0 && errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR) {
      // The reactor tells of this as a hang-up.
      ::shutdown(l.descriptor, SHUT_RDWR);
      return;
    }
    l.out = std::move(text);
    l.written = l.written_before = static_cast<std::size_t>(std::max<ssize_t>(0, sent));
    l.deadline = clock::now() + shared_->options.write_patience;
  }

  void flush(const std::shared_ptr<link>& l) {
    while (l->written < l->out.size()) {
      auto sent = ::send(l->descriptor, l->out.data() + l->written, l->out.size() - l->written,
                         MSG_NOSIGNAL | MSG_DONTWAIT);
      if (sent < 0) {
        if (errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR)
          ::shutdown(l->descriptor, SHUT_RDWR);
        return;
      }
      l->written += static_cast<std::size_t>(sent);
      if (l->written - l->written_before >= least_progress) {
        l->written_before = l->written;
        l->deadline = clock::now() + shared_->options.write_patience;
      }
    }
    if (l->out.empty())
      return;
    l->out = {};
    l->written = 0;
    if (l->now == link::phase::closing)
      end_writing(*l);
    else
      process(l);
  }

  void close_after_answer(link& l) {
    l.now = link::phase::closing;
    l.in = {};
    l.body.release();
    if (l.out.empty())
      end_writing(l);
  }

  void end_writing(link& l) {
    if (l.tls) {
      l.tls->end();
      auto bye = l.tls->to_send();
      (void)::send(l.descriptor, bye.data(), bye.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    }
    ::shutdown(l.descriptor, SHUT_WR);
    l.deadline = clock::now() + linger_patience;
  }

  void refuse(link& l, int status, std::string_view why) { refuse(l, error_answer(status, why)); }

  void refuse(link& l, response why) {
    bool head_only = l.head ? l.head->content.verb == method::head : l.in.starts_with("HEAD ");
    echo(l, why);
    write(l, http::text_of(why, head_only, false));
    close_after_answer(l);
  }

  void echo(const link& l, response& into) const {
    const auto& name = shared_->parts.echoed;
    if (const auto* value = l.head && !name.empty() ? l.head->content.header(name) : nullptr)
      into.headers.emplace_back(shared_->parts.echoed_name, *value);
  }

  /// Serves what has arrived on a connection, as far as it is complete.
  void process(const std::shared_ptr<link>& l) {
    if (l->processing)
      return;
    l->processing = true;
    while (l->open && l->now == link::phase::receiving && l->out.empty()) {
      if (!l->head && !read_head_of(*l))
        break;
      if (!l->head)
        continue;
      if (l->in.size() < l->head->content_length)
        break;
      serve(l);
    }
    l->processing = false;
    if (l->now != link::phase::receiving || !l->out.empty())
      return;
    auto now = clock::now();
    if (l->in.empty() && !l->head && !(l->tls && l->tls->is_halfway())) {
      if (l->in.capacity() > kept_input)
        l->in = {};
      l->begun.reset();
      l->deadline = now + idle_patience;
    } else {
      if (!l->begun)
        l->begun = now;
      l->deadline = *l->begun + shared_->options.receive_timeout;
    }
  }

  /// False if the head of the next request is not there yet. Afterwards there is one in the link, or
  /// it has been answered.
  bool read_head_of(link& l) {
    // RFC 9112, section 2.2: empty lines before a request are tolerated.
    while (l.in.starts_with("\r\n"))
      l.in.erase(0, 2);
    for (auto at = l.in.find('\n', l.searched); at != std::string::npos;
         at = l.in.find('\n', at + 1)) {
      l.searched = at + 1;
      if (at == 0 || l.in[at - 1] != '\r') {
        refuse(l, 400, "A line of the head ends without a carriage return; end each with CR LF.");
        return false;
      }
      if (at >= 3 && l.in[at - 2] == '\n' && at <= max_head_bytes) {
        take_head(l, at - 3);
        return true;
      }
      if (at > max_head_bytes)
        break;
    }
    if (l.in.size() > max_head_bytes)
      refuse(l, 431, "The request's head is longer than 16 kB.");
    return false;
  }

  void take_head(link& l, std::size_t length) {
    auto read = http::read_head(std::string_view{l.in}.substr(0, length));
    if (auto* refused = std::get_if<refusal>(&read))
      return refuse(l, refused->status, refused->description);
    l.head = std::move(std::get<request_head>(read));
    l.in.erase(0, length + 4);
    l.searched = 0;
    l.head->content.remote = l.remote;
    if (auto refused = ask_doorkeeper(l))
      turn_down(l, *refused);
    else
      reserve_body(l);
  }

  /// What the doorkeeper answers instead of the handler.
  std::optional<response> ask_doorkeeper(link& l) {
    auto& doorkeeper = shared_->parts.admit;
    if (!doorkeeper)
      return std::nullopt;
    auto& content = l.head->content;
    try {
      auto said = doorkeeper(content);
      if (said.refusal)
        return std::move(said.refusal);
      content.user = std::move(said.user);
    } catch (...) {
      return error_answer(500, "The request could not be looked at; try it again.");
    }
    if (!content.user.empty() && !l.trusted) {
      l.trusted = true;
      strangers_.remove(l);
    }
    return std::nullopt;
  }

  /// Answers for the doorkeeper. The connection stays if the body is there, or there is none.
  void turn_down(link& l, response why) {
    if (l.in.size() < l.head->content_length || !stays(l))
      return refuse(l, std::move(why));
    echo(l, why);
    l.in.erase(0, l.head->content_length);
    bool without_body = l.head->content.verb == method::head;
    l.head.reset();
    l.begun.reset();
    write(l, http::text_of(why, without_body, true));
  }

  /// Whether the connection is used for more than the request at its start. A stranger's is not if
  /// more has come already: each of a stranger's requests costs as many reads as another's.
  [[nodiscard]] bool stays(const link& l) const {
    return l.head->keep_alive && !shared_->draining
           && (l.trusted || l.in.size() <= l.head->content_length);
  }

  /// Finds room for the body, if it may come.
  void reserve_body(link& l) {
    auto& options = shared_->options;
    auto length = l.head->content_length;
    bool stranger = shared_->parts.admit && l.head->content.user.empty();
    auto most = stranger ? std::min(options.max_stranger_body_bytes, options.max_body_bytes)
                         : options.max_body_bytes;
    if (length > most) {
      refuse(l, 413, "The request's body is longer than " + std::to_string(most) + " bytes.");
      return;
    }
    if (length > 0 && !l.body.take(shared_->bodies, length, options.max_bodies_bytes)) {
      refuse(l, unavailable_answer("Too many bodies are under way; try again."));
      return;
    }
    if (l.head->expects_continue && l.in.size() < length)
      write(l, "HTTP/1.1 100 Continue\r\n\r\n");
  }

  void serve(const std::shared_ptr<link>& l) {
    bool again = stays(*l);
    auto head = std::move(*l->head);
    l->head.reset();
    l->begun.reset();
    auto& content = head.content;
    if (head.content_length > 0) {
      // The connection keeps no room for another body.
      auto rest = l->in.substr(head.content_length);
      l->in.resize(head.content_length);
      content.body = std::exchange(l->in, std::move(rest));
    }
    l->now = link::phase::answering;
    // A handler may take its time; only the client's leaving ends this.
    l->deadline = clock::time_point::max();
    auto to = std::make_unique<responder::connection>();
    to->box = box_;
    to->to = l;
    to->turn = ++l->turn;
    to->without_body = content.verb == method::head;
    to->keep_alive = again;
    to->body = std::move(l->body);
    try {
      shared_->parts.serve(std::move(content), responder{std::move(to)});
    } catch (...) {
      // The responder that was dropped has answered.
    }
  }

  void drain() {
    if (!deaf_) {
      deaf_ = true;
      deaf_since_ = clock::now();
      // Whoever is connected as far as the kernel knows would be reset with the listening socket. No
      // more come: see let_nobody_in().
      while (accept_some())
        continue;
      listen(false);
      listener_ = -1;
      std::lock_guard guard{shared_->mutex};
      // Only now may the descriptor be closed: none of the pollers knows it any more.
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
      // A request that has arrived in this moment is still served.
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

  /// The last word to a client whose answer did not come in time.
  void apologise(link& l) {
    write(l, http::text_of(unavailable_answer("This server stops before the outcome is known; ask "
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
  waiting_room strangers_;
};

} // namespace

void responder::connection::send(const response& answer) {
  body.release(); // before the client can know that it has
  keep_alive = keep_alive && !box->leaving();
  auto text = text_of(answer, without_body, keep_alive);
  if (auto* here = box->worker_here())
    here->answer(to, turn, std::move(text), keep_alive);
  else
    box->push({to, turn, std::move(text), keep_alive});
}

responder::responder(std::unique_ptr<connection> to) : to_(std::move(to)) {}

responder::responder(responder&&) noexcept = default;

responder& responder::operator=(responder&& other) noexcept {
  if (this != &other) {
    responder dropped{std::move(*this)};
    to_ = std::move(other.to_);
    headers_ = std::move(other.headers_);
  }
  return *this;
}

responder::~responder() {
  if (!to_)
    return;
  try {
    send(error_answer(500, "The request was given up because of an internal error; try it again."));
  } catch (...) {
    // Out of memory: the client will see its own time-out.
  }
}

void responder::add_header(std::string name, std::string value) {
  headers_.emplace_back(std::move(name), std::move(value));
}

void responder::send(response answer) {
  auto to = std::move(to_);
  if (!to)
    return;
  answer.headers.insert(answer.headers.end(), headers_.begin(), headers_.end());
  to->send(answer);
}

struct server::implementation {
  std::shared_ptr<common> shared = std::make_shared<common>();
  std::shared_ptr<net::Aio::Reactor> reactor;

  [[nodiscard]] std::optional<std::string> bind();
};

/// SO_REUSEADDR, so that a restart need not wait for old connections to be forgotten, but never
/// SO_REUSEPORT: a bound port proves that no other broker serves on it.
std::optional<std::string> server::implementation::bind() {
  auto& options = shared->options;
  auto where = options.bind_host.find(':') == std::string::npos
                   ? fmt::format("{}:{}", options.bind_host, options.port)
                   : fmt::format("[{}]:{}", options.bind_host, options.port);
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE | AI_NUMERICSERV;
  addrinfo* found = nullptr;
  if (int error = ::getaddrinfo(options.bind_host.c_str(), std::to_string(options.port).c_str(),
                                &hints, &found);
      error != 0)
    return fmt::format("cannot listen on {}: {}", where, ::gai_strerror(error));
  std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)> addresses{found, ::freeaddrinfo};

  int error = 0;
  for (auto* a = addresses.get(); a != nullptr; a = a->ai_next) {
    int fd = ::socket(a->ai_family, a->ai_socktype | SOCK_CLOEXEC | SOCK_NONBLOCK, a->ai_protocol);
    if (fd < 0) {
      error = errno;
      continue;
    }
    int one = 1;
    ::setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    sockaddr_storage bound{};
    socklen_t length = sizeof bound;
    if (::bind(fd, a->ai_addr, a->ai_addrlen) != 0 || ::listen(fd, backlog) != 0
        || ::getsockname(fd, reinterpret_cast<sockaddr*>(&bound), &length) != 0) {
      error = errno;
      ::close(fd);
      continue;
    }
    shared->listener = fd;
    shared->port =
        ntohs(bound.ss_family == AF_INET6 ? reinterpret_cast<sockaddr_in6&>(bound).sin6_port
                                          : reinterpret_cast<sockaddr_in&>(bound).sin_port);
    return std::nullopt;
  }
  return fmt::format("cannot listen on {}: {}", where, std::strerror(error));
}

namespace {

/// Lets nobody begin to connect any more; whoever has begun still gets through. A client that is not
/// answered tries again after a second, and finds the port closed or the next server there. To close
/// the socket alone would reset those who come while it is being closed: they count as connected, and
/// cannot know whether their request was read.
void let_nobody_in(int listener) {
  constexpr std::uint32_t flags_at = 13; // in the TCP header
  constexpr std::uint32_t syn = 0x02, ack = 0x10;
  constexpr std::uint32_t dropped = 0, kept = std::numeric_limits<std::uint32_t>::max();
  std::array<sock_filter, 5> rules{{
      BPF_STMT(BPF_LD | BPF_B | BPF_ABS, flags_at),
      BPF_STMT(BPF_ALU | BPF_AND | BPF_K, syn | ack),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, syn, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, dropped),
      BPF_STMT(BPF_RET | BPF_K, kept),
  }};
  sock_fprog filter{static_cast<unsigned short>(rules.size()), rules.data()};
  // A kernel that does not know this is one whose clients have to ask again.
  if (::setsockopt(listener, SOL_SOCKET, SO_ATTACH_FILTER, &filter, sizeof filter) == 0)
    std::this_thread::sleep_for(handshake_time);
}

} // namespace

server::server(server_options options, handler serve)
    : server(std::move(options), service{{}, std::move(serve)}) {}

server::server(server_options options, service both) : self_(std::make_unique<implementation>()) {
  self_->shared->options = std::move(options);
  self_->shared->parts = std::move(both);
}

server::~server() {
  stop();
}

std::optional<std::string> server::start() {
  auto& shared = *self_->shared;
  if (self_->reactor || shared.draining)
    return "this server was started before";
  // Each connection takes a descriptor, and the usual soft limit of 1,024 is for programs that use
  // select().
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
    limit.rlim_cur = limit.rlim_max;
    ::setrlimit(RLIMIT_NOFILE, &limit);
  }
  if (::getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY)
    shared.options.max_connections =
        std::min<std::size_t>(shared.options.max_connections, limit.rlim_cur / 2);
  if (auto error = self_->bind())
    return error;
  try {
    auto reactor = net::Aio::Reactor::create();
    auto threads = static_cast<std::size_t>(std::max(1, shared.options.threads));
    reactor->init(net::Aio::AsyncContext(threads, "http"));
    reactor->addHandler(std::make_shared<worker>(self_->shared));
    reactor->run();
    self_->reactor = std::move(reactor);
  } catch (const std::exception& e) {
    ::close(std::exchange(shared.listener, -1));
    return fmt::format("cannot serve HTTP: {}", e.what());
  }
  return std::nullopt;
}

void server::stop() {
  if (!self_->reactor)
    return;
  auto& shared = *self_->shared;
  auto wake_all = [&] {
    for (auto& box : shared.boxes)
      box->wake();
  };
  auto all_empty = [&] { return shared.empty == shared.boxes.size(); };
  let_nobody_in(shared.listener);
  std::unique_lock lock{shared.mutex};
  shared.draining = true;
  for (auto& box : shared.boxes)
    box->leave();
  wake_all();
  if (!shared.changed.wait_for(lock, shared.options.drain_patience, all_empty)) {
    shared.abandoning = true;
    wake_all();
    // A worker that does not even come round to this is stuck in a handler.
    shared.changed.wait_for(lock, abandon_patience, all_empty);
  }
  lock.unlock();
  for (auto& box : shared.boxes)
    box->close();
  self_->reactor->shutdown();
  self_->reactor.reset();
}

std::uint16_t server::port() const {
  return self_->shared->port;
}

server_load server::load() const {
  const auto& shared = *self_->shared;
  return {shared.connections, shared.options.max_connections, *shared.bodies,
          shared.closed_for_room, shared.turned_away};
}

} // namespace matriarch::http
