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

/// What a client and its followers share: where etcd is, how it is reached, and the token that says
/// who asks. All members may be called from any thread.
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

  /// A request to the endpoint of that number. `token` is what `token` gave.
  [[nodiscard]] base::outgoing request(std::size_t endpoint, const std::string& path,
                                       std::string body, const std::string& token) const;

  /// Hands out the user's token: before this returns if there is one or none is needed, which is an
  /// empty text; else on the loop's thread once etcd has given one (however many wait, it is asked
  /// once at a time, at that endpoint first), or a failure, at the deadline at the latest.
  void token(std::size_t endpoint, time_point deadline,
             std::function<void(result<std::string>)> done);

  /// etcd does not accept this token any more: the next caller gets a new one.
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

/// The greatest time to make a connection; of a call's own time-out it is one attempt's share at most,
/// and every call has two. On one network a connection takes milliseconds; a lost SYN is sent again
/// after one second, and where etcd's processors are busy TLS alone takes as long.
inline constexpr std::chrono::milliseconds longest_connect{3'000};

} // namespace matriarch::store
