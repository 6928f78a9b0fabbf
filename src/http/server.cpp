// The wall around Pistache 0.0.5. Pistache's reactor, transport and peers carry the bytes; its HTTP
// parser, response writer, listener and router are not used, because most of what is wrong with
// them cannot be repaired from outside. The traps, and what stands against each:
//
//  1. Pistache queues answers by descriptor number, so that the answer to a client that left can
//     reach the next client with that number. Here an answer belongs to a `link`, which is closed
//     on the only thread that closes its descriptor, and is written by that same thread: no number
//     is ever looked up. Transport's own write queue stays empty.
//  2. A chunked request can hang Pistache's parser for ever: Transfer-Encoding is refused with 411.
//  3. An exception out of a handler ends the process unless it is a std::exception: all are caught,
//     and the responder that unwinding drops answers 500.
//  4. TLS handshakes block Pistache's accept thread: there is no TLS here, HAProxy does it.
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

#include "http/server.hpp"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <pistache/peer.h>
#include <pistache/reactor.h>
#include <pistache/tcp.h>
#include <pistache/transport.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <condition_variable>
#include <cstring>
#include <ctime>
#include <mutex>
#include <thread>
#include <unordered_map>

#include "http/request_head.hpp"
#include "model/json.hpp"

namespace matriarch::http {

namespace {

namespace net = Pistache;
using clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

/// Larger heads get 431. Twice what Apache and nginx accept for one header.
constexpr std::size_t max_head_bytes = 16 * 1024;
/// How often deadlines are looked at; Pistache's own value.
constexpr milliseconds tick{500};
/// An unused connection is closed after this, later than proxies do (HAProxy: 60 s at most by
/// habit), so that it is not closed under their hands.
constexpr milliseconds idle_patience{75'000};
/// A client that reads nothing of its answer for so long is gone.
constexpr milliseconds write_patience{30'000};
/// After the last answer a connection stays half open for so long, for a client that is still
/// sending would otherwise be told "reset" and might never read it.
constexpr milliseconds linger_patience{2'000};
/// What such a client may send meanwhile.
constexpr std::size_t linger_bytes = 64 * 1024 * 1024;
/// How long `stop` waits for answers under way. Shorter than service managers' patience.
constexpr milliseconds drain_patience{10'000};
/// New connections that are taken before the present ones are looked at again.
constexpr int accepted_at_once = 64;
/// The kernel's queue of connections that are not accepted yet; capped by net.core.somaxconn.
constexpr int backlog = 1024;

std::string_view reason_of(int status) {
  using named = std::pair<int, std::string_view>;
  constexpr std::array known{named{200, "OK"},
                             named{201, "Created"},
                             named{202, "Accepted"},
                             named{204, "No Content"},
                             named{304, "Not Modified"},
                             named{400, "Bad Request"},
                             named{401, "Unauthorized"},
                             named{403, "Forbidden"},
                             named{404, "Not Found"},
                             named{405, "Method Not Allowed"},
                             named{406, "Not Acceptable"},
                             named{408, "Request Timeout"},
                             named{409, "Conflict"},
                             named{410, "Gone"},
                             named{411, "Length Required"},
                             named{412, "Precondition Failed"},
                             named{413, "Content Too Large"},
                             named{414, "URI Too Long"},
                             named{415, "Unsupported Media Type"},
                             named{417, "Expectation Failed"},
                             named{422, "Unprocessable Content"},
                             named{429, "Too Many Requests"},
                             named{431, "Request Header Fields Too Large"},
                             named{500, "Internal Server Error"},
                             named{501, "Not Implemented"},
                             named{502, "Bad Gateway"},
                             named{503, "Service Unavailable"},
                             named{504, "Gateway Timeout"},
                             named{505, "HTTP Version Not Supported"}};
  for (auto& [number, reason] : known)
    if (number == status)
      return reason;
  // A client goes by the number; RFC 9112, section 4, allows any phrase.
  return "Status";
}

/// The Date header's value, made once a second on each thread.
std::string_view date_now() {
  thread_local std::time_t made_at = 0;
  thread_local std::string text;
  if (auto now = std::time(nullptr); now != made_at) {
    constexpr std::array days{"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
    constexpr std::array months{"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
    std::tm t{};
    ::gmtime_r(&now, &t);
    text = fmt::format("{}, {:02} {} {} {:02}:{:02}:{:02} GMT", days[t.tm_wday], t.tm_mday,
                       months[t.tm_mon], t.tm_year + 1900, t.tm_hour, t.tm_min, t.tm_sec);
    made_at = now;
  }
  return text;
}

/// True if a handler's header may be sent: it is not one of the server's own and cannot end a line.
bool is_sendable(const std::string& name, const std::string& value) {
  auto is = [&](std::string_view own) {
    return std::equal(name.begin(), name.end(), own.begin(), own.end(),
                      [](unsigned char a, unsigned char b) { return std::tolower(a) == b; });
  };
  return !name.empty() && !is("content-length") && !is("content-type") && !is("connection")
         && !is("transfer-encoding") && !is("date")
         && (name + value).find_first_of(std::string_view{"\r\n\0", 3}) == std::string::npos;
}

std::string text_of(const response& answer, bool without_body, bool keep_alive) {
  std::string text;
  text.reserve(256 + answer.body.size());
  auto out = std::back_inserter(text);
  fmt::format_to(out, "HTTP/1.1 {} {}\r\nDate: {}\r\nConnection: {}\r\n", answer.status,
                 reason_of(answer.status), date_now(), keep_alive ? "keep-alive" : "close");
  for (auto& [name, value] : answer.headers)
    if (is_sendable(name, value))
      fmt::format_to(out, "{}: {}\r\n", name, value);
  // RFC 9110, section 8.6: these have no body and say nothing of its length.
  if (answer.status == 204 || answer.status == 304)
    return text += "\r\n";
  if (!answer.body.empty() && is_sendable("type", answer.content_type))
    fmt::format_to(out, "Content-Type: {}\r\n", answer.content_type);
  fmt::format_to(out, "Content-Length: {}\r\n\r\n", answer.body.size());
  if (!without_body)
    text += answer.body;
  return text;
}

response error_answer(int status, std::string_view description) {
  json::document body;
  body.SetObject();
  json::add(body, "description", description, body);
  response answer;
  answer.status = status;
  answer.body = json::text_of(body);
  return answer;
}

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
  bool open = true;
  phase now = phase::receiving;
  /// Which request is being answered: an answer to an earlier one comes too late.
  std::uint64_t turn = 0;

  std::string in;
  /// How much of `in` was searched for the end of the head.
  std::size_t searched = 0;
  std::optional<request_head> head;
  std::size_t dropped_bytes = 0;

  std::string out;
  std::size_t written = 0;

  /// Guards `process` against being entered again by an answer that comes at once.
  bool processing = false;
  clock::time_point deadline = clock::time_point::max();
  /// When the first byte of the present request came.
  std::optional<clock::time_point> begun;
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
  handler serve;
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
};

} // namespace

class responder::connection {
public:
  std::shared_ptr<mailbox> box;
  std::shared_ptr<link> to;
  std::uint64_t turn = 0;
  bool without_body = false;
  bool keep_alive = true;

  void send(const response& answer);
};

namespace {

/// Hands Pistache's events to the worker that owns this transport.
class input_handler : public net::Tcp::Handler {
public:
  void onInput(const char* bytes, std::size_t count,
               const std::shared_ptr<net::Tcp::Peer>& peer) override;
  void onDisconnection(const std::shared_ptr<net::Tcp::Peer>& peer) override;
  std::shared_ptr<net::Tcp::Handler> clone() const override {
    return std::make_shared<input_handler>();
  }
};

/// One thread's connections: accepts them, cuts what arrives into requests, and writes the answers.
class worker : public net::Tcp::Transport {
public:
  explicit worker(std::shared_ptr<common> shared)
      : Transport(std::make_shared<input_handler>()), shared_(std::move(shared)) {}

  ~worker() override {
    if (timer_ >= 0)
      ::close(timer_);
  }

  std::shared_ptr<net::Aio::Handler> clone() const override {
    return std::make_shared<worker>(shared_);
  }

  // Called once, before the threads run.
  void registerPoller(net::Polling::Epoll& poller) override {
    Transport::registerPoller(poller);
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
    for (const auto& event : ready) {
      auto fd = static_cast<int>(event.getTag().value());
      if (fd == box_->descriptor())
        open_mail();
      else if (fd == timer_)
        on_tick();
      else if (fd == listener_)
        accept_some();
      else
        on_event(event, fd);
    }
    if (shared_->draining)
      drain();
  }

  void on_input(int fd, const char* bytes, std::size_t count) {
    auto found = links_.find(fd);
    if (found == links_.end())
      return;
    auto l = found->second;
    if (l->now == link::phase::closing) {
      l->dropped_bytes += count;
      if (l->dropped_bytes > linger_bytes)
        ::shutdown(fd, SHUT_RDWR);
      return;
    }
    // More than one whole request ahead of the answers is no pipelining but a flood.
    if (l->in.size() + count > 2 * (max_head_bytes + shared_->options.max_body_bytes)) {
      ::shutdown(fd, SHUT_RDWR);
      return;
    }
    l->in.append(bytes, count);
    process(l);
  }

  void on_disconnection(int fd) {
    auto found = links_.find(fd);
    if (found == links_.end())
      return;
    found->second->open = false;
    links_.erase(found);
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
    else
      process(l);
  }

private:
  void open_mail() {
    for (auto& item : box_->take())
      answer(item.to, item.turn, std::move(item.text), item.keep_alive);
  }

  void on_event(const net::Aio::FdSet::Entry& event, int fd) {
    auto found = links_.find(fd);
    if (found != links_.end()) {
      auto l = found->second;
      if (event.isWritable())
        flush(l);
      if (!event.isReadable() || !l->open)
        return;
    } else if (peers.contains(fd)) {
      return;
    }
    // One event at a time, and without the writable flag, which Transport takes for its own queue.
    net::Polling::Event single{event.getTag()};
    single.flags = net::Flags<net::Polling::NotifyOn>{net::Polling::NotifyOn::Read};
    try {
      Transport::onReady(net::Aio::FdSet{{single}});
    } catch (...) {
      // An event of a descriptor that was closed earlier in the same round.
      if (links_.contains(fd))
        ::shutdown(fd, SHUT_RDWR);
    }
  }

  void accept_some() {
    for (int i = 0; i < accepted_at_once && !shared_->draining; ++i) {
      sockaddr_storage address{};
      socklen_t length = sizeof address;
      int fd = ::accept4(listener_, reinterpret_cast<sockaddr*>(&address), &length,
                         SOCK_NONBLOCK | SOCK_CLOEXEC);
      if (fd < 0) {
        if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS)
          listen(false);
        return;
      }
      int one = 1;
      ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
      auto l = std::make_shared<link>();
      l->descriptor = fd;
      l->remote = text_of(address);
      l->deadline = clock::now() + shared_->options.receive_timeout;
      links_[fd] = l;
      handleNewPeer(net::Tcp::Peer::Create(
          fd, net::Address::fromUnix(reinterpret_cast<sockaddr*>(&address))));
    }
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
    std::vector<std::shared_ptr<link>> late;
    for (auto& [fd, l] : links_)
      if (l->deadline <= now)
        late.push_back(l);
    for (auto& l : late) {
      bool halfway =
          l->now == link::phase::receiving && l->out.empty() && (!l->in.empty() || l->head);
      if (halfway)
        refuse(*l, {408, "The request did not arrive in time; send it again."});
      else
        remove(l);
    }
  }

  /// Closes a connection at once. Not to be called while its input is being read.
  void remove(const std::shared_ptr<link>& l) {
    auto fd = l->descriptor;
    on_disconnection(fd);
    if (auto found = peers.find(fd); found != peers.end()) {
      auto peer = found->second;
      removePeer(peer);
    }
  }

  void write(link& l, std::string text) {
    if (!l.out.empty()) {
      l.out += text;
      return;
    }
    auto sent = ::send(l.descriptor, text.data(), text.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent == static_cast<ssize_t>(text.size()))
      return;
    if (sent < 0 && errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR) {
      // The reader's end of this will be noticed as an event.
      ::shutdown(l.descriptor, SHUT_RDWR);
      return;
    }
    l.out = std::move(text);
    l.written = static_cast<std::size_t>(std::max<ssize_t>(0, sent));
    l.deadline = clock::now() + write_patience;
    watch(l, net::Polling::NotifyOn::Read | net::Polling::NotifyOn::Write
                 | net::Polling::NotifyOn::Shutdown);
  }

  void watch(const link& l, net::Polling::NotifyOn what) {
    reactor()->modifyFd(key(), l.descriptor, what, net::Polling::Mode::Edge);
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
      l->deadline = clock::now() + write_patience;
    }
    if (l->out.empty())
      return;
    l->out = {};
    l->written = 0;
    watch(*l, net::Polling::NotifyOn::Read | net::Polling::NotifyOn::Shutdown);
    if (l->now == link::phase::closing)
      end_writing(*l);
    else
      process(l);
  }

  void close_after_answer(link& l) {
    l.now = link::phase::closing;
    l.in = {};
    if (l.out.empty())
      end_writing(l);
  }

  void end_writing(link& l) {
    ::shutdown(l.descriptor, SHUT_WR);
    l.deadline = clock::now() + linger_patience;
  }

  void refuse(link& l, const refusal& why) {
    bool head_only = l.head ? l.head->content.verb == method::head : l.in.starts_with("HEAD ");
    write(l, http::text_of(error_answer(why.status, why.description), head_only, false));
    close_after_answer(l);
  }

  /// Serves what has arrived on a connection, as far as it is complete.
  void process(const std::shared_ptr<link>& l) {
    if (l->processing)
      return;
    l->processing = true;
    while (l->open && l->now == link::phase::receiving && l->out.empty()) {
      if (!l->head && !read_head_of(*l))
        break;
      if (l->in.size() < l->head->content_length)
        break;
      serve(l);
    }
    l->processing = false;
    if (l->now != link::phase::receiving || !l->out.empty())
      return;
    auto now = clock::now();
    if (l->in.empty() && !l->head) {
      l->begun.reset();
      l->deadline = now + idle_patience;
    } else {
      if (!l->begun)
        l->begun = now;
      l->deadline = *l->begun + shared_->options.receive_timeout;
    }
  }

  /// True if the head of the next request is there and good.
  bool read_head_of(link& l) {
    // RFC 9112, section 2.2: empty lines before a request are tolerated.
    while (l.in.starts_with("\r\n"))
      l.in.erase(0, 2);
    for (auto at = l.in.find('\n', l.searched); at != std::string::npos;
         at = l.in.find('\n', at + 1)) {
      l.searched = at + 1;
      if (at == 0 || l.in[at - 1] != '\r') {
        refuse(l, {400, "A line of the head ends without a carriage return; end each with CR LF."});
        return false;
      }
      if (at >= 3 && l.in[at - 2] == '\n' && at <= max_head_bytes)
        return take_head(l, at - 3);
      if (at > max_head_bytes)
        break;
    }
    if (l.in.size() > max_head_bytes)
      refuse(l, {431, "The request's head is longer than 16 kB."});
    return false;
  }

  bool take_head(link& l, std::size_t length) {
    auto read = http::read_head(std::string_view{l.in}.substr(0, length));
    if (auto* refused = std::get_if<refusal>(&read)) {
      refuse(l, *refused);
      return false;
    }
    l.head = std::move(std::get<request_head>(read));
    l.in.erase(0, length + 4);
    l.searched = 0;
    auto most = shared_->options.max_body_bytes;
    if (l.head->content_length > most) {
      refuse(l, {413, "The request's body is longer than " + std::to_string(most) + " bytes."});
      return false;
    }
    if (l.head->expects_continue && l.in.size() < l.head->content_length)
      write(l, "HTTP/1.1 100 Continue\r\n\r\n");
    return true;
  }

  void serve(const std::shared_ptr<link>& l) {
    auto head = std::move(*l->head);
    l->head.reset();
    l->begun.reset();
    auto& content = head.content;
    content.body = l->in.substr(0, head.content_length);
    l->in.erase(0, head.content_length);
    content.remote = l->remote;
    l->now = link::phase::answering;
    // A handler may take its time; only the client's leaving ends this.
    l->deadline = clock::time_point::max();
    auto to = std::make_unique<responder::connection>();
    to->box = box_;
    to->to = l;
    to->turn = ++l->turn;
    to->without_body = content.verb == method::head;
    to->keep_alive = head.keep_alive;
    try {
      shared_->serve(std::move(content), responder{std::move(to)});
    } catch (...) {
      // The responder that was dropped has answered.
    }
  }

  void drain() {
    if (!deaf_) {
      deaf_ = true;
      listen(false);
      listener_ = -1;
      std::lock_guard guard{shared_->mutex};
      // Only now may the descriptor be closed: none of the pollers knows it any more.
      if (++shared_->deaf == shared_->boxes.size())
        ::close(std::exchange(shared_->listener, -1));
    }
    bool all = shared_->abandoning;
    std::vector<std::shared_ptr<link>> done;
    for (auto& [fd, l] : links_)
      if (all || (l->now == link::phase::receiving && l->in.empty() && !l->head && l->out.empty()))
        done.push_back(l);
    for (auto& l : done)
      remove(l);
    if (links_.empty() && !reported_) {
      reported_ = true;
      std::lock_guard guard{shared_->mutex};
      ++shared_->empty;
      shared_->changed.notify_all();
    }
  }

  std::shared_ptr<common> shared_;
  std::shared_ptr<mailbox> box_;
  int timer_ = -1;
  int listener_ = -1;
  bool started_ = false;
  bool listening_ = true;
  bool deaf_ = false;
  bool reported_ = false;
  std::unordered_map<int, std::shared_ptr<link>> links_;
};

void input_handler::onInput(const char* bytes, std::size_t count,
                            const std::shared_ptr<net::Tcp::Peer>& peer) {
  static_cast<worker*>(transport())->on_input(peer->fd(), bytes, count);
}

void input_handler::onDisconnection(const std::shared_ptr<net::Tcp::Peer>& peer) {
  static_cast<worker*>(transport())->on_disconnection(peer->fd());
}

} // namespace

void responder::connection::send(const response& answer) {
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

server::server(server_options options, handler serve) : self_(std::make_unique<implementation>()) {
  self_->shared->options = std::move(options);
  self_->shared->serve = std::move(serve);
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
  std::unique_lock lock{shared.mutex};
  shared.draining = true;
  for (auto& box : shared.boxes)
    box->leave();
  wake_all();
  if (!shared.changed.wait_for(lock, drain_patience, all_empty)) {
    shared.abandoning = true;
    wake_all();
    // A worker that does not even come round to this is stuck in a handler.
    shared.changed.wait_for(lock, drain_patience, all_empty);
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

} // namespace matriarch::http
