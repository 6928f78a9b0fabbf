#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "base/event_loop.hpp"
#include "base/result.hpp"
#include "store/etcd.hpp"

namespace matriarch::store {

/// Shared by a client and its followers: etcd's endpoints, the way to reach them, and the user's
/// token. All members may be called from any thread.
class etcd_session : public std::enable_shared_from_this<etcd_session> {
public:
  using time_point = std::chrono::steady_clock::time_point;

  /// `loop` must outlive this. Throws std::invalid_argument without an endpoint. `timeout` is for
  /// each call.
  etcd_session(base::event_loop& loop, etcd_access access, std::chrono::milliseconds timeout);

  [[nodiscard]] base::event_loop& loop() const { return loop_; }
  [[nodiscard]] const std::vector<std::string>& endpoints() const { return access_.endpoints; }
  [[nodiscard]] std::chrono::milliseconds timeout() const { return timeout_; }
  [[nodiscard]] const std::string& username() const { return access_.username; }

  /// A request to endpoint number `endpoint`. `token` comes from token().
  [[nodiscard]] base::outgoing request(std::size_t endpoint, const std::string& path,
                                       std::string body, const std::string& token) const;

  /// Passes the user's token to `done`. Calls `done` before this returns if there is a token or
  /// none is needed (an empty text). Otherwise calls it on the loop's thread once etcd has given a
  /// token, or with a failure at the deadline at the latest. However many callers wait, only one
  /// request is made at a time, first to `endpoint`.
  void token(std::size_t endpoint, time_point deadline,
             std::function<void(result<std::string>)> done);

  /// Drops a token that etcd no longer accepts: the next caller gets a new one.
  void forget(const std::string& token);

private:
  struct waiter {
    std::function<void(result<std::string>)> done;
    base::event_loop::task_id timer;
  };

  void fetch(std::size_t endpoint, std::size_t attempts_left, time_point deadline);
  void fetched(const result<std::string>& token);
  void give_up(std::uint64_t ticket);

  base::event_loop& loop_;
  const etcd_access access_;
  const std::chrono::milliseconds timeout_;

  std::mutex mutex_;
  std::optional<std::string> token_;
  std::map<std::uint64_t, waiter> waiting_;
  std::uint64_t last_ticket_ = 0;
  bool fetching_ = false;
};

/// The longest time for making a connection. An attempt gets at most its share of the call's
/// time-out, and every call has two attempts. On one network a connection takes milliseconds. A
/// lost SYN is sent again after one second, and if etcd's processors are busy, TLS alone takes as
/// long.
inline constexpr std::chrono::milliseconds longest_connect{3'000};

} // namespace matriarch::store
