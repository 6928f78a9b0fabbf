#include "base/event_loop.hpp"

#include <curl/curl.h>
#include <openssl/x509_vfy.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
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
#include <string_view>
#include <thread>
#include <unordered_map>
#include <unordered_set>
#include <variant>

namespace matriarch::base {

namespace {

using clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

/// Requests beyond these wait for a free connection. 32 keep an etcd or a cell busy without taking
/// all the descriptors it serves with.
constexpr std::size_t connections_per_host = 32;
/// Idle connections that are kept: one each for the members of a few hundred clusters.
constexpr long idle_connections = 512;
/// What is kept of the answer to a stream that was refused: enough for an error message.
constexpr std::size_t refusal_bytes = 64 * 1024;
/// A silent watch is probed after half a minute and given up after another.
constexpr long keepalive_idle_seconds = 30;
constexpr long keepalive_interval_seconds = 10;
/// A longer delay counts as this one, so that no sum overflows.
constexpr milliseconds longest_delay = std::chrono::hours{24 * 365};
/// libcurl's global state, made before the first loop and never taken down: other threads may run.
void prepare_curl() {
  static const CURLcode made = curl_global_init(CURL_GLOBAL_DEFAULT);
  if (made != CURLE_OK)
    throw std::runtime_error{"libcurl does not start"};
}

bool same_name(std::string_view a, std::string_view b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](unsigned char x, unsigned char y) {
    return std::tolower(x) == std::tolower(y);
  });
}

/// The URL without query and credentials: what may be said in an error message.
std::string sayable(std::string_view url) {
  url = url.substr(0, url.find_first_of("?#"));
  auto host = url.find("://");
  host = host == url.npos ? 0 : host + 3;
  auto at = url.substr(0, url.find('/', host)).rfind('@');
  if (at == url.npos || at < host)
    return std::string{url};
  return std::string{url.substr(0, host)} + std::string{url.substr(at + 1)};
}

std::string origin_of(std::string_view url) {
  auto host = url.find("://");
  host = host == url.npos ? 0 : host + 3;
  return std::string{url.substr(0, url.find_first_of("/?#", host))};
}

struct easy_deleter {
  void operator()(CURL* handle) const { curl_easy_cleanup(handle); }
};
struct list_deleter {
  void operator()(curl_slist* list) const { curl_slist_free_all(list); }
};

/// One request or stream.
struct transfer {
  event_loop::task_id id = 0;
  outgoing what;
  bool streams = false;
  std::function<void(std::string)> line;
  std::function<void(outcome)> done;
  clock::time_point deadline = clock::time_point::max();

  std::unique_ptr<CURL, easy_deleter> handle;
  std::unique_ptr<curl_slist, list_deleter> headers;
  std::unique_ptr<curl_slist, list_deleter> detour;
  std::array<char, CURL_ERROR_SIZE> why{};
  /// The answer, or of a stream what is not yet split into lines.
  std::string received;
  /// How much of a stream's present line has arrived.
  std::size_t line_bytes = 0;
  /// Which requests share their connections: scheme, host and port.
  std::string origin;
  /// True if libcurl has it.
  bool started = false;
  bool sent = false;
  bool too_long = false;
  bool touched = false;
  /// The transfers that received something since the loop last looked.
  std::vector<event_loop::task_id>* arrivals = nullptr;

  /// It is connected, and the other side has not agreed on TLS yet.
  [[nodiscard]] bool waits_for_tls() const {
    // libcurl counts the time of a connection only once TLS is agreed on.
    long own_port = 0;
    curl_off_t agreed = 0;
    curl_easy_getinfo(handle.get(), CURLINFO_LOCAL_PORT, &own_port);
    curl_easy_getinfo(handle.get(), CURLINFO_APPCONNECT_TIME_T, &agreed);
    return what.url.starts_with("https:") && own_port > 0 && agreed == 0;
  }
  /// To be added to what went wrong; empty if TLS has nothing to do with it.
  [[nodiscard]] std::string doubt_about_tls() const {
    return waits_for_tls()
               ? "; who is there has not answered that TLS is wanted, and may not speak it"
               : "";
  }

  [[nodiscard]] long status() const {
    long code = 0;
    curl_easy_getinfo(handle.get(), CURLINFO_RESPONSE_CODE, &code);
    return code;
  }

  [[nodiscard]] outcome failed(std::string reason) const {
    outcome answer;
    answer.error = what.verb + " " + sayable(what.url)
                   + (what.reached_at.empty() ? "" : " at " + what.reached_at) + ": "
                   + std::move(reason);
    answer.never_sent = !sent;
    return answer;
  }
};

std::size_t on_body(char* bytes, std::size_t, std::size_t count, void* user) {
  auto& self = *static_cast<transfer*>(user);
  // Of a stream each line is bounded, for the whole has no end.
  std::string_view arrived{bytes, count};
  auto open = self.streams ? self.line_bytes : self.received.size();
  auto first_end = self.streams ? std::min(arrived.find('\n'), count) : count;
  if (open + first_end > self.what.max_answer_bytes) {
    self.too_long = true;
    return 0;
  }
  auto last_end = arrived.rfind('\n');
  self.line_bytes = last_end == arrived.npos ? open + count : count - last_end - 1;
  self.received.append(arrived);
  if (self.streams && !self.touched) {
    self.touched = true;
    self.arrivals->push_back(self.id);
  }
  return count;
}

/// libcurl calls this each time it has a connection and is about to send. It sends a request a
/// second time when a reused connection broke before the answer; the other side may have acted on
/// the first, so only requests without effect get that second chance.
int before_request(void* user, char*, char*, int, int) {
  auto& self = *static_cast<transfer*>(user);
  bool harmless = self.what.verb == "GET" || self.what.verb == "HEAD";
  if (self.sent && !harmless)
    return CURL_PREREQFUNC_ABORT;
  self.sent = true;
  return CURL_PREREQFUNC_OK;
}

/// Programs that are started from here must not inherit connections.
curl_socket_t open_socket(void*, curlsocktype, curl_sockaddr* address) {
  return ::socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
}

/// Makes the libcurl handle of a transfer. The text says what is wrong with the request.
std::optional<std::string> prepare(transfer& self) {
  self.handle.reset(curl_easy_init());
  CURL* h = self.handle.get();
  if (h == nullptr)
    return "out of memory";
  auto& what = self.what;

  bool typed = false;
  curl_slist* list = nullptr;
  auto add = [&](const std::string& header) {
    if (auto* longer = curl_slist_append(list, header.c_str()))
      list = longer;
  };
  // Without this libcurl asks for permission before a body above 1 MB and waits a second for it.
  add("Expect:");
  for (auto& [name, value] : what.headers) {
    if ((name + value).find_first_of(std::string_view{"\r\n\0", 3}) != std::string::npos) {
      curl_slist_free_all(list);
      return "the header " + name + " contains a line end";
    }
    typed = typed || same_name(name, "content-type");
    // "X;" is libcurl's way to say a header without a value.
    add(value.empty() ? name + ";" : name + ": " + value);
  }
  bool has_body =
      !what.body.empty() || what.verb == "POST" || what.verb == "PUT" || what.verb == "PATCH";
  if (has_body && !typed)
    add("Content-Type: application/json");
  self.headers.reset(list);

  curl_easy_setopt(h, CURLOPT_PRIVATE, &self);
  curl_easy_setopt(h, CURLOPT_URL, what.url.c_str());
  curl_easy_setopt(h, CURLOPT_PROTOCOLS_STR, "http,https");
  // A certificate that nobody vouches for, or that is another host's, ends the connection.
  curl_easy_setopt(h, CURLOPT_SSL_VERIFYPEER, 1L);
  curl_easy_setopt(h, CURLOPT_SSL_VERIFYHOST, 2L);
  if (!what.tls.authority.empty()) {
    curl_easy_setopt(h, CURLOPT_CAINFO, what.tls.authority.c_str());
    // Or else the system's authorities would be trusted as well.
    curl_easy_setopt(h, CURLOPT_CAPATH, nullptr);
  }
  if (!what.tls.authority_text.empty()) {
    curl_blob text{what.tls.authority_text.data(), what.tls.authority_text.size(), CURL_BLOB_COPY};
    curl_easy_setopt(h, CURLOPT_CAINFO_BLOB, &text);
    curl_easy_setopt(h, CURLOPT_CAPATH, nullptr);
  }
  if (!what.reached_at.empty()) {
    self.detour.reset(curl_slist_append(nullptr, ("::" + what.reached_at).c_str()));
    curl_easy_setopt(h, CURLOPT_CONNECT_TO, self.detour.get());
  }
  if (!what.tls.certificate.empty())
    curl_easy_setopt(h, CURLOPT_SSLCERT, what.tls.certificate.c_str());
  if (!what.tls.key.empty())
    curl_easy_setopt(h, CURLOPT_SSLKEY, what.tls.key.c_str());
  curl_easy_setopt(h, CURLOPT_HTTP_VERSION, static_cast<long>(CURL_HTTP_VERSION_1_1));
  curl_easy_setopt(h, CURLOPT_NOSIGNAL, 1L);
  // Cells and etcd are reached directly, whatever the environment says about proxies.
  curl_easy_setopt(h, CURLOPT_PROXY, "");
  curl_easy_setopt(h, CURLOPT_USERAGENT, "matriarch");
  curl_easy_setopt(h, CURLOPT_HTTPHEADER, self.headers.get());
  curl_easy_setopt(h, CURLOPT_ERRORBUFFER, self.why.data());
  curl_easy_setopt(h, CURLOPT_CONNECTTIMEOUT_MS,
                   static_cast<long>(std::max<std::int64_t>(1, what.connect_timeout.count())));
  curl_easy_setopt(h, CURLOPT_OPENSOCKETFUNCTION, open_socket);
  curl_easy_setopt(h, CURLOPT_WRITEFUNCTION, on_body);
  curl_easy_setopt(h, CURLOPT_WRITEDATA, &self);
  curl_easy_setopt(h, CURLOPT_PREREQFUNCTION, before_request);
  curl_easy_setopt(h, CURLOPT_PREREQDATA, &self);
  if (!what.username.empty()) {
    curl_easy_setopt(h, CURLOPT_HTTPAUTH, static_cast<long>(CURLAUTH_BASIC));
    curl_easy_setopt(h, CURLOPT_USERNAME, what.username.c_str());
    curl_easy_setopt(h, CURLOPT_PASSWORD, what.password.c_str());
  }
  if (what.verb == "HEAD") {
    curl_easy_setopt(h, CURLOPT_NOBODY, 1L);
  } else if (has_body) {
    curl_easy_setopt(h, CURLOPT_POST, 1L);
    curl_easy_setopt(h, CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(what.body.size()));
    curl_easy_setopt(h, CURLOPT_POSTFIELDS, what.body.data());
    curl_easy_setopt(h, CURLOPT_CUSTOMREQUEST, what.verb.c_str());
  } else if (what.verb != "GET") {
    curl_easy_setopt(h, CURLOPT_CUSTOMREQUEST, what.verb.c_str());
  }
  if (self.streams) {
    curl_easy_setopt(h, CURLOPT_TCP_KEEPALIVE, 1L);
    curl_easy_setopt(h, CURLOPT_TCP_KEEPIDLE, keepalive_idle_seconds);
    curl_easy_setopt(h, CURLOPT_TCP_KEEPINTVL, keepalive_interval_seconds);
  }
  return std::nullopt;
}

/// What is wrong with the other side's certificate; empty if it is none of what operators meet.
std::string fault_of_certificate(const transfer& of) {
  long found = X509_V_OK;
  curl_easy_getinfo(of.handle.get(), CURLINFO_SSL_VERIFYRESULT, &found);
  switch (found) {
  case X509_V_OK:
  case X509_V_ERR_UNSPECIFIED: { // libcurl's while it has only compared the name
    auto host = origin_of(of.what.url);
    return "its certificate is not that of " + host.substr(host.find("://") + 3);
  }
  case X509_V_ERR_CERT_HAS_EXPIRED:
    return "its certificate, or that of who signed it, has expired";
  case X509_V_ERR_CERT_NOT_YET_VALID:
    return "its certificate is not valid yet: compare the clocks";
  case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
    return "its certificate was signed by no authority, but by itself";
  case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
  case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
  case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
  case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
  case X509_V_ERR_CERT_SIGNATURE_FAILURE:
    return "its certificate was signed by no authority that is trusted here";
  default:
    return "";
  }
}

struct timer {
  event_loop::task_id id = 0;
  clock::time_point due;
  std::function<void()> then;
};

} // namespace

/// A thread around epoll, which drives libcurl, timers and deadlines, and what other threads ask
/// for. How many requests go to one host at a time is counted here, not by libcurl: streams are not
/// to wait for, nor take, what is meant for requests, and a waiting request's deadline counts too.
struct event_loop::implementation {
  struct dropped {
    task_id id;
  };
  using order = std::variant<std::function<void()>, std::unique_ptr<transfer>, timer, dropped>;

  /// The requests to one host.
  struct host {
    std::size_t under_way = 0;
    /// May name requests that have ended meanwhile.
    std::deque<task_id> waiting;
  };

  int epoll_ = -1;
  int wake_ = -1;
  CURLM* multi_ = nullptr;

  std::mutex mutex_;
  std::vector<order> orders_;
  /// Every task that has not been called for the last time and was not cancelled.
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

  std::thread thread_;

  implementation() {
    prepare_curl();
    epoll_ = ::epoll_create1(EPOLL_CLOEXEC);
    wake_ = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    epoll_event wanted{};
    wanted.events = EPOLLIN;
    wanted.data.fd = wake_;
    if (epoll_ < 0 || wake_ < 0 || ::epoll_ctl(epoll_, EPOLL_CTL_ADD, wake_, &wanted) != 0)
      throw std::runtime_error{"no descriptors left for the HTTP loop; raise ulimit -n"};
    multi_ = curl_multi_init();
    if (multi_ == nullptr)
      throw std::runtime_error{"libcurl does not start"};
    curl_multi_setopt(multi_, CURLMOPT_SOCKETFUNCTION, on_socket);
    curl_multi_setopt(multi_, CURLMOPT_SOCKETDATA, this);
    curl_multi_setopt(multi_, CURLMOPT_TIMERFUNCTION, on_timer);
    curl_multi_setopt(multi_, CURLMOPT_TIMERDATA, this);
    curl_multi_setopt(multi_, CURLMOPT_MAXCONNECTS, idle_connections);
    thread_ = std::thread{[this] { run(); }};
  }

  ~implementation() {
    ending_ = true;
    wake();
    thread_.join();
    for (auto& [id, t] : transfers_)
      if (t->started)
        curl_multi_remove_handle(multi_, t->handle.get());
    transfers_.clear();
    curl_multi_cleanup(multi_);
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

  static int on_socket(CURL*, curl_socket_t fd, int what, void* user, void*) {
    int epoll = static_cast<implementation*>(user)->epoll_;
    if (what == CURL_POLL_REMOVE) {
      ::epoll_ctl(epoll, EPOLL_CTL_DEL, fd, nullptr);
      return 0;
    }
    epoll_event wanted{};
    wanted.events =
        ((what & CURL_POLL_IN) != 0 ? EPOLLIN : 0U) | ((what & CURL_POLL_OUT) != 0 ? EPOLLOUT : 0U);
    wanted.data.fd = fd;
    if (::epoll_ctl(epoll, EPOLL_CTL_MOD, fd, &wanted) != 0 && errno == ENOENT)
      ::epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &wanted);
    return 0;
  }

  static int on_timer(CURLM*, long after, void* user) {
    auto& due = static_cast<implementation*>(user)->curl_due_;
    if (after < 0)
      due.reset();
    else
      due = clock::now() + milliseconds{after};
    return 0;
  }

  // -- called on the loop's thread ----------------------------------------------------------------

  /// True if the task may be called; `last` says that it will not be called again.
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

  /// Takes a transfer from libcurl, if it has it, and lets the next request to its host begin.
  void end(transfer& t) {
    if (!t.started)
      return;
    curl_multi_remove_handle(multi_, t.handle.get());
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

  /// Gives a transfer to libcurl. If libcurl has no memory for a request, its deadline ends it.
  bool begin(transfer& t) {
    t.started = curl_multi_add_handle(multi_, t.handle.get()) == CURLM_OK;
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
    auto wrong = prepare(*t);
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

  /// Hands out the complete lines of one stream. The stream may be cancelled by any of them.
  void deliver_lines(task_id id) {
    auto found = transfers_.find(id);
    if (found == transfers_.end())
      return;
    auto& t = *found->second;
    t.touched = false;
    if (auto code = t.status(); code < 200 || code > 299) {
      // The body of a refusal is no stream; it goes to `done`.
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

  void collect_finished() {
    int left = 0;
    while (CURLMsg* message = curl_multi_info_read(multi_, &left)) {
      if (message->msg != CURLMSG_DONE)
        continue;
      CURLcode code = message->data.result;
      transfer* ended = nullptr;
      curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &ended);
      finish(ended->id, [code](transfer& t) {
        if (code == CURLE_OK) {
          outcome answer;
          answer.status = static_cast<int>(t.status());
          answer.body = std::move(t.received);
          return answer;
        }
        if (t.too_long) {
          auto answer = t.failed("the answer is longer than "
                                 + std::to_string(t.what.max_answer_bytes) + " bytes");
          answer.too_long = true;
          return answer;
        }
        if (code == CURLE_ABORTED_BY_CALLBACK)
          return t.failed("the connection broke before the answer");
        std::string why = t.why[0] != '\0' ? t.why.data() : curl_easy_strerror(code);
        if (code == CURLE_PEER_FAILED_VERIFICATION)
          if (auto fault = fault_of_certificate(t); !fault.empty())
            why = std::move(fault);
        if (code == CURLE_SSL_CONNECT_ERROR)
          why.insert(0, "it does not answer by TLS: ");
        else if (code == CURLE_OPERATION_TIMEDOUT)
          why += t.doubt_about_tls();
        auto answer = t.failed(std::move(why));
        answer.unrecognised =
            code == CURLE_PEER_FAILED_VERIFICATION || code == CURLE_SSL_CONNECT_ERROR;
        return answer;
      });
    }
  }

  void act(curl_socket_t fd, int ready) {
    int running = 0;
    curl_multi_socket_action(multi_, fd, ready, &running);
    deliver_lines();
    collect_finished();
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
    // Those that are made meanwhile wait for the next round, so that a chain of them starves
    // nobody.
    auto now = clock::now();
    while (!timers_.empty() && timers_.begin()->first.first <= now && !ending_) {
      auto entry = timers_.extract(timers_.begin());
      due_.erase(entry.key().second);
      entry.mapped()();
    }
    if (curl_due_ && *curl_due_ <= now) {
      curl_due_.reset();
      act(CURL_SOCKET_TIMEOUT, 0);
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
    // A minute at most, for the sum has to fit an int; the loop then just waits again.
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
        act(e.data.fd, ((e.events & (EPOLLIN | EPOLLHUP)) != 0 ? CURL_CSELECT_IN : 0)
                           | ((e.events & EPOLLOUT) != 0 ? CURL_CSELECT_OUT : 0)
                           | ((e.events & EPOLLERR) != 0 ? CURL_CSELECT_ERR : 0));
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
