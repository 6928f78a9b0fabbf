#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "http/server.hpp"
#include "model/event.hpp"
#include "model/record.hpp"

/// The audit trail: a line of JSON for each request that was to change something, for each that was
/// refused access, and for the end of each operation that outlasts its request. It contains no
/// secrets: no Authorization, no credentials, and only those parameters that the catalog's schemas
/// know.
namespace matriarch::http {

/// Takes one line, without its end. Called on any thread, several at a time.
using audit_sink = std::function<void(std::string line)>;

/// The action of a request whose credentials were missing or wrong, or not for that path.
inline constexpr const char* refused_access = "refused access";

/// What is known of a request when it arrives.
struct audited_request {
  std::shared_ptr<const request> got;
  std::string user;   ///< the user whose credentials it had, or claimed to have; may be empty
  std::string action; ///< `provision`, `bind`, `demote`, … or refused_access
  std::chrono::steady_clock::time_point since;
  /// The client's address according to trusted proxies; empty if there was none.
  std::string client = {};
};

/// The request's action in the trail; empty if the request changes nothing.
[[nodiscard]] std::string action_of(const request& got);

/// The line about a request and its answer. `left_out`: the number of similar lines that were
/// suppressed since the last one.
[[nodiscard]] std::string audit_line(const audited_request& about, const response& answer,
                                     model::wall_time now, std::uint64_t left_out = 0);

/// The line about the end of an operation; the line of its request says who asked. Nothing for any
/// other event, for which the trail has no line.
[[nodiscard]] std::optional<std::string> audit_line(const model::event& one);

/// Keeps strangers from filling the disk. Of the lines that strangers can cause, `burst` are
/// written at once and then one a second on average, 86,400 a day; the others are counted. Not for
/// several threads at a time.
class line_limiter {
public:
  using time_point = std::chrono::steady_clock::time_point;
  /// Large enough to log every attempt of a person who mistypes a password, or of a platform with
  /// an old one.
  static constexpr int burst = 60;
  static constexpr std::chrono::seconds pace{1};

  /// The number of lines suppressed since the last one, if a line may be written now; else nothing.
  [[nodiscard]] std::optional<std::uint64_t> admit(time_point now);

private:
  int left_ = burst;
  /// The time up to which the allowance for lines is used up.
  time_point earned_{};
  std::uint64_t left_out_ = 0;
};

/// The one answer that a request gets. It goes to the trail before it goes to the sender.
class reply {
public:
  explicit reply(responder to) : to_(std::move(to)) {}
  reply(reply&&) noexcept = default;
  reply& operator=(reply&&) = delete;
  /// A reply that is dropped unanswered is in the trail with a 500, which the responder sends.
  ~reply();

  /// Has the answer written to the trail.
  void audit(audited_request about, const audit_sink& into);
  void add_header(std::string name, std::string value);
  /// Has the answer's body rewritten for its sender; the trail keeps the original.
  void reword(std::function<std::string(std::string body)> how) { reword_ = std::move(how); }
  /// Sends the answer. A second call does nothing.
  void send(response answer);

private:
  struct trail {
    audited_request about;
    audit_sink into;
  };
  void record(const response& answer);

  responder to_;
  std::unique_ptr<trail> trail_;
  std::function<std::string(std::string)> reword_;
};

} // namespace matriarch::http
