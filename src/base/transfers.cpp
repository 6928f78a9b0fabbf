#include "base/transfers.hpp"

#include <curl/curl.h>
#include <openssl/x509_vfy.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <stdexcept>
#include <string_view>

namespace matriarch::base {

struct transfer::handles {
  struct easy_deleter {
    void operator()(CURL* handle) const { curl_easy_cleanup(handle); }
  };
  struct list_deleter {
    void operator()(curl_slist* list) const { curl_slist_free_all(list); }
  };

  std::unique_ptr<CURL, easy_deleter> easy;
  std::unique_ptr<curl_slist, list_deleter> headers;
  std::unique_ptr<curl_slist, list_deleter> detour;
  std::array<char, CURL_ERROR_SIZE> why{};
};

namespace {

/// Idle connections that are kept: one for each of some hundred servers.
constexpr long idle_connections = 512;
/// A silent stream is probed after half a minute and given up after another half.
constexpr long keepalive_idle_seconds = 30;
constexpr long keepalive_interval_seconds = 10;

/// Sets up libcurl's global state once and never takes it down, since other threads may still run.
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

/// The URL without query and credentials, safe for error messages.
std::string sayable(std::string_view url) {
  url = url.substr(0, url.find_first_of("?#"));
  auto host = url.find("://");
  host = host == url.npos ? 0 : host + 3;
  auto at = url.substr(0, url.find('/', host)).rfind('@');
  if (at == url.npos || at < host)
    return std::string{url};
  return std::string{url.substr(0, host)} + std::string{url.substr(at + 1)};
}

/// Whether the connection is made but the other side has not answered the TLS handshake.
bool waits_for_tls(const transfer& one) {
  // libcurl sets the time of a connection only after the TLS handshake.
  long own_port = 0;
  curl_off_t agreed = 0;
  curl_easy_getinfo(one.curl->easy.get(), CURLINFO_LOCAL_PORT, &own_port);
  curl_easy_getinfo(one.curl->easy.get(), CURLINFO_APPCONNECT_TIME_T, &agreed);
  return one.what.url.starts_with("https:") && own_port > 0 && agreed == 0;
}

std::size_t on_body(char* bytes, std::size_t, std::size_t count, void* user) {
  auto& self = *static_cast<transfer*>(user);
  // A stream has no end, so the limit applies to each of its lines.
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

/// libcurl calls this each time that it has a connection and is about to send. It sends a request
/// again if a reused connection broke before the answer. The other side may already have acted on
/// the first one, so only requests without effect are sent again.
int before_request(void* user, char*, char*, int, int) {
  auto& self = *static_cast<transfer*>(user);
  bool harmless = self.what.verb == "GET" || self.what.verb == "HEAD";
  if (self.sent && !harmless)
    return CURL_PREREQFUNC_ABORT;
  self.sent = true;
  return CURL_PREREQFUNC_OK;
}

/// Programs started from this process must not inherit the connections.
curl_socket_t open_socket(void*, curlsocktype, curl_sockaddr* address) {
  return ::socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
}

/// What is wrong with the other side's certificate, for the usual faults; otherwise empty.
std::string fault_of_certificate(const transfer& of) {
  long found = X509_V_OK;
  curl_easy_getinfo(of.curl->easy.get(), CURLINFO_SSL_VERIFYRESULT, &found);
  switch (found) {
  case X509_V_OK:
  case X509_V_ERR_UNSPECIFIED: { // libcurl's value if only the name does not match
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

} // namespace

transfer::transfer() = default;
transfer::~transfer() = default;

std::optional<std::string> transfer::prepare() {
  curl = std::make_unique<handles>();
  curl->easy.reset(curl_easy_init());
  CURL* h = curl->easy.get();
  if (h == nullptr)
    return "out of memory";

  bool typed = false;
  curl_slist* list = nullptr;
  auto add = [&](const std::string& header) {
    if (auto* longer = curl_slist_append(list, header.c_str()))
      list = longer;
  };
  // Otherwise libcurl asks for permission before a body above 1 MB, and waits a second for it.
  add("Expect:");
  for (auto& [name, value] : what.headers) {
    if ((name + value).find_first_of(std::string_view{"\r\n\0", 3}) != std::string::npos) {
      curl_slist_free_all(list);
      return "the header " + name + " contains a line end";
    }
    typed = typed || same_name(name, "content-type");
    // "X;" is libcurl's form of a header without a value.
    add(value.empty() ? name + ";" : name + ": " + value);
  }
  bool has_body =
      !what.body.empty() || what.verb == "POST" || what.verb == "PUT" || what.verb == "PATCH";
  if (has_body && !typed)
    add("Content-Type: application/json");
  curl->headers.reset(list);

  curl_easy_setopt(h, CURLOPT_PRIVATE, this);
  curl_easy_setopt(h, CURLOPT_URL, what.url.c_str());
  curl_easy_setopt(h, CURLOPT_PROTOCOLS_STR, "http,https");
  // A certificate that is not trusted, or names another host, ends the connection.
  curl_easy_setopt(h, CURLOPT_SSL_VERIFYPEER, 1L);
  curl_easy_setopt(h, CURLOPT_SSL_VERIFYHOST, 2L);
  if (!what.tls.authority.empty()) {
    curl_easy_setopt(h, CURLOPT_CAINFO, what.tls.authority.c_str());
    // Otherwise libcurl would also trust the system's authorities.
    curl_easy_setopt(h, CURLOPT_CAPATH, nullptr);
  }
  if (!what.tls.authority_text.empty()) {
    curl_blob text{what.tls.authority_text.data(), what.tls.authority_text.size(), CURL_BLOB_COPY};
    curl_easy_setopt(h, CURLOPT_CAINFO_BLOB, &text);
    curl_easy_setopt(h, CURLOPT_CAPATH, nullptr);
  }
  if (!what.reached_at.empty()) {
    curl->detour.reset(curl_slist_append(nullptr, ("::" + what.reached_at).c_str()));
    curl_easy_setopt(h, CURLOPT_CONNECT_TO, curl->detour.get());
  }
  if (!what.tls.certificate.empty())
    curl_easy_setopt(h, CURLOPT_SSLCERT, what.tls.certificate.c_str());
  if (!what.tls.key.empty())
    curl_easy_setopt(h, CURLOPT_SSLKEY, what.tls.key.c_str());
  curl_easy_setopt(h, CURLOPT_HTTP_VERSION, static_cast<long>(CURL_HTTP_VERSION_1_1));
  curl_easy_setopt(h, CURLOPT_NOSIGNAL, 1L);
  // Connects directly, whatever the environment says about proxies.
  curl_easy_setopt(h, CURLOPT_PROXY, "");
  curl_easy_setopt(h, CURLOPT_USERAGENT, "matriarch");
  curl_easy_setopt(h, CURLOPT_HTTPHEADER, curl->headers.get());
  curl_easy_setopt(h, CURLOPT_ERRORBUFFER, curl->why.data());
  curl_easy_setopt(h, CURLOPT_CONNECTTIMEOUT_MS,
                   static_cast<long>(std::max<std::int64_t>(1, what.connect_timeout.count())));
  curl_easy_setopt(h, CURLOPT_OPENSOCKETFUNCTION, open_socket);
  curl_easy_setopt(h, CURLOPT_WRITEFUNCTION, on_body);
  curl_easy_setopt(h, CURLOPT_WRITEDATA, this);
  curl_easy_setopt(h, CURLOPT_PREREQFUNCTION, before_request);
  curl_easy_setopt(h, CURLOPT_PREREQDATA, this);
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
  if (streams) {
    curl_easy_setopt(h, CURLOPT_TCP_KEEPALIVE, 1L);
    curl_easy_setopt(h, CURLOPT_TCP_KEEPIDLE, keepalive_idle_seconds);
    curl_easy_setopt(h, CURLOPT_TCP_KEEPINTVL, keepalive_interval_seconds);
  }
  return std::nullopt;
}

int transfer::status() const {
  long code = 0;
  curl_easy_getinfo(curl->easy.get(), CURLINFO_RESPONSE_CODE, &code);
  return static_cast<int>(code);
}

std::string transfer::doubt_about_tls() const {
  return waits_for_tls(*this)
             ? "; the other side has not answered the TLS handshake, and may not speak TLS"
             : "";
}

outcome transfer::failed(std::string reason) const {
  outcome answer;
  answer.error = what.verb + " " + sayable(what.url)
                 + (what.reached_at.empty() ? "" : " at " + what.reached_at) + ": "
                 + std::move(reason);
  answer.never_sent = !sent;
  return answer;
}

std::string origin_of(std::string_view url) {
  auto host = url.find("://");
  host = host == url.npos ? 0 : host + 3;
  return std::string{url.substr(0, url.find_first_of("/?#", host))};
}

struct transfers::implementation {
  explicit implementation(watcher& by) : by(by) {}

  watcher& by;
  CURLM* multi = nullptr;

  static int on_socket(CURL*, curl_socket_t fd, int what, void* user, void*) {
    auto& by = static_cast<implementation*>(user)->by;
    if (what == CURL_POLL_REMOVE)
      by.forget(fd);
    else
      by.watch(fd, (what & CURL_POLL_IN) != 0, (what & CURL_POLL_OUT) != 0);
    return 0;
  }

  static int on_timer(CURLM*, long after, void* user) {
    static_cast<implementation*>(user)->by.remind(
        after < 0 ? std::nullopt : std::optional{std::chrono::milliseconds{after}});
    return 0;
  }
};

transfers::transfers(watcher& by) : self_(std::make_unique<implementation>(by)) {
  prepare_curl();
  self_->multi = curl_multi_init();
  if (self_->multi == nullptr)
    throw std::runtime_error{"libcurl does not start"};
  curl_multi_setopt(self_->multi, CURLMOPT_SOCKETFUNCTION, implementation::on_socket);
  curl_multi_setopt(self_->multi, CURLMOPT_SOCKETDATA, self_.get());
  curl_multi_setopt(self_->multi, CURLMOPT_TIMERFUNCTION, implementation::on_timer);
  curl_multi_setopt(self_->multi, CURLMOPT_TIMERDATA, self_.get());
  curl_multi_setopt(self_->multi, CURLMOPT_MAXCONNECTS, idle_connections);
}

transfers::~transfers() {
  curl_multi_cleanup(self_->multi);
}

bool transfers::begin(transfer& one) {
  return curl_multi_add_handle(self_->multi, one.curl->easy.get()) == CURLM_OK;
}

void transfers::end(transfer& one) {
  curl_multi_remove_handle(self_->multi, one.curl->easy.get());
}

void transfers::act(int descriptor, bool input, bool room, bool failed) {
  int running = 0;
  curl_multi_socket_action(self_->multi, descriptor,
                           (input ? CURL_CSELECT_IN : 0) | (room ? CURL_CSELECT_OUT : 0)
                               | (failed ? CURL_CSELECT_ERR : 0),
                           &running);
}

void transfers::act_in_time() {
  int running = 0;
  curl_multi_socket_action(self_->multi, CURL_SOCKET_TIMEOUT, 0, &running);
}

std::optional<std::pair<transfer*, int>> transfers::next_ended() {
  int left = 0;
  while (CURLMsg* message = curl_multi_info_read(self_->multi, &left)) {
    if (message->msg != CURLMSG_DONE)
      continue;
    transfer* ended = nullptr;
    curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &ended);
    return std::pair{ended, static_cast<int>(message->data.result)};
  }
  return std::nullopt;
}

outcome transfers::outcome_of(transfer& t, int how) {
  auto code = static_cast<CURLcode>(how);
  if (code == CURLE_OK) {
    outcome answer;
    answer.status = t.status();
    answer.body = std::move(t.received);
    return answer;
  }
  if (t.too_long) {
    auto answer =
        t.failed("the answer is longer than " + std::to_string(t.what.max_answer_bytes) + " bytes");
    answer.too_long = true;
    return answer;
  }
  if (code == CURLE_ABORTED_BY_CALLBACK)
    return t.failed("the connection broke before the answer");
  std::string why = t.curl->why[0] != '\0' ? t.curl->why.data() : curl_easy_strerror(code);
  if (code == CURLE_PEER_FAILED_VERIFICATION)
    if (auto fault = fault_of_certificate(t); !fault.empty())
      why = std::move(fault);
  if (code == CURLE_SSL_CONNECT_ERROR)
    why.insert(0, "it does not answer by TLS: ");
  else if (code == CURLE_OPERATION_TIMEDOUT)
    why += t.doubt_about_tls();
  auto answer = t.failed(std::move(why));
  answer.unrecognised = code == CURLE_PEER_FAILED_VERIFICATION || code == CURLE_SSL_CONNECT_ERROR;
  return answer;
}

} // namespace matriarch::base
