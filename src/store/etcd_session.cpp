#include "store/etcd_session.hpp"

#include <algorithm>
#include <stdexcept>
#include <utility>

#include "base/json.hpp"
#include "store/etcd_json.hpp"
#include "store/wording.hpp"

namespace matriarch::store {

namespace {

using clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

etcd_access tidied(etcd_access access) {
  if (access.endpoints.empty())
    throw std::invalid_argument{"an etcd client needs at least one endpoint"};
  for (auto& one : access.endpoints)
    while (one.ends_with('/'))
      one.pop_back();
  return access;
}

milliseconds until(etcd_session::time_point deadline) {
  return std::max(milliseconds{1},
                  std::chrono::duration_cast<milliseconds>(deadline - clock::now()));
}

} // namespace

etcd_session::etcd_session(base::event_loop& loop, etcd_access access, milliseconds timeout)
    : loop_(loop), access_(tidied(std::move(access))), timeout_(timeout) {}

base::outgoing etcd_session::request(std::size_t endpoint, const std::string& path,
                                     std::string body, const std::string& token) const {
  base::outgoing what;
  what.verb = "POST";
  what.url = access_.endpoints[endpoint] + path;
  // With several endpoints the event loop's default of one second is used: the next one is tried
  // then.
  if (access_.endpoints.size() == 1)
    what.connect_timeout = longest_connect;
  // Makes an endpoint without a leader answer at once instead of after seconds.
  what.headers.emplace_back("Grpc-Metadata-hasleader", "true");
  if (!token.empty())
    what.headers.emplace_back("Authorization", token);
  what.body = std::move(body);
  what.tls = access_.tls;
  return what;
}

void etcd_session::token(std::size_t endpoint, time_point deadline,
                         std::function<void(result<std::string>)> done) {
  std::unique_lock guard{mutex_};
  if (token_ || access_.username.empty()) {
    auto known = token_.value_or("");
    guard.unlock();
    done(std::move(known));
    return;
  }
  const auto ticket = ++last_ticket_;
  auto timer =
      loop_.after(until(deadline), [self = shared_from_this(), ticket] { self->give_up(ticket); });
  waiting_.emplace(ticket, waiter{std::move(done), timer});
  if (std::exchange(fetching_, true))
    return;
  guard.unlock();
  // Two attempts even with a single endpoint: the first may use a connection that a restarted etcd
  // no longer knows.
  fetch(endpoint, std::max<std::size_t>(access_.endpoints.size(), 2), clock::now() + timeout_);
}

void etcd_session::fetch(std::size_t endpoint, std::size_t attempts_left, time_point deadline) {
  auto what =
      request(endpoint, "/v3/auth/authenticate",
              json::object_text({{"name", access_.username}, {"password", access_.password}}), {});
  const auto left = until(deadline);
  const auto fair_share = std::max(milliseconds{1}, left / static_cast<int>(attempts_left));
  what.connect_timeout = std::min(longest_connect, fair_share);
  what.timeout = access_.endpoints.size() > 1 ? fair_share : left;
  loop_.send(std::move(what), [self = shared_from_this(), endpoint, attempts_left,
                               deadline](const base::outcome& answer) {
    const auto user = "user \"" + bounded(self->access_.username) + "\"";
    if (answer.status == 200) {
      auto read = json::parse(answer.body);
      auto token = read ? json::string_member(*read, "token") : std::string{};
      if (token.empty())
        self->fetched(failure{"etcd's answer to " + user + " holds no token"});
      else
        self->fetched(std::move(token));
      return;
    }
    auto why = etcd_json::read_refusal(answer.body);
    if (why.message == "etcdserver: authentication is not enabled") {
      // No authentication for now; once etcd asks for a token, it refuses the request.
      self->fetched(std::string{});
      return;
    }
    if (answer.status == 0 || etcd_json::worth_another_endpoint(answer.status, why)) {
      if (attempts_left > 1 && clock::now() < deadline) {
        self->fetch((endpoint + 1) % self->access_.endpoints.size(), attempts_left - 1, deadline);
        return;
      }
      self->fetched(failure{"a token for " + user + ": "
                            + (answer.status == 0
                                   ? answer.error
                                   : self->access_.endpoints[endpoint] + " answered "
                                         + std::to_string(answer.status) + ": " + why.message)});
      return;
    }
    constexpr std::string_view prefix = "etcdserver: ";
    if (why.message.starts_with(prefix))
      why.message.erase(0, prefix.size());
    self->fetched(failure{"etcd refuses " + user + ": " + bounded(why.message)
                          + "; check etcd.username and etcd.password"});
  });
}

void etcd_session::fetched(const result<std::string>& token) {
  std::map<std::uint64_t, waiter> answered;
  {
    std::lock_guard guard{mutex_};
    fetching_ = false;
    if (token)
      token_ = *token;
    answered.swap(waiting_);
  }
  for (auto& [ticket, one] : answered)
    loop_.cancel(one.timer);
  for (auto& [ticket, one] : answered)
    one.done(token);
}

void etcd_session::give_up(std::uint64_t ticket) {
  std::unique_lock guard{mutex_};
  auto late = waiting_.extract(ticket);
  guard.unlock();
  if (late)
    late.mapped().done(
        failure{"etcd gave user \"" + bounded(access_.username) + "\" no token in time"});
}

void etcd_session::forget(const std::string& token) {
  std::lock_guard guard{mutex_};
  if (token_ == token)
    token_.reset();
}

} // namespace matriarch::store
