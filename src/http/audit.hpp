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
/// refused access, and for the end of what takes longer than its request. Nothing secret is in it: no
/// Authorization, no credentials, and of parameters only those that the catalog's schemas know.
namespace matriarch::http {

/// Takes one line, without its end. Called on any thread, several at a time.
using audit_sink = std::function<void(std::string line)>;

/// The action of a request whose credentials were missing or wrong, or not for that path.
inline constexpr const char* refused_access = "refused access";

/// What is known of a request when it arrives.
struct audited_request {
  std::shared_ptr<const request> got;
  std::string user;   ///< whose credentials it had, or claimed to have; may be empty
  std::string action; ///< `provision`, `bind`, `demote`, … or refused_access
  std::chrono::steady_clock::time_point since;
  /// Where it came from, as trusted proxies say; empty if it came through none.
  std::string client = {};
};

/// What a request is called in the trail; empty if it changes nothing.
[[nodiscard]] std::string action_of(const request& got);

/// The line about a request and its answer. `left_out`: how many like it were not written since the
/// last one.
[[nodiscard]] std::string audit_line(const audited_request& about, const response& answer,
                                     model::wall_time now, std::uint64_t left_out = 0);

/// The line about the end of an operation; the request's own one says who asked. Nothing of any other
/// event, which the trail has no line for.
[[nodiscard]] std::optional<std::string> audit_line(const model::event& one);

/// Keeps strangers from filling the disk: of the lines that they can cause, `burst` are written at
/// once and one a second on average, 86,400 a day; the others are counted. Not for several threads
/// at a time.
class line_limiter {
public:
  using time_point = std::chrono::steady_clock::time_point;
  /// A person who mistypes a password, or a platform with an old one, is seen in full.
  static constexpr int burst = 60;
  static constexpr std::chrono::seconds pace{1};

  /// Whether a line may be written now: how many were left out since the last one.
  [[nodiscard]] std::optional<std::uint64_t> admit(time_point now);

private:
  int left_ = burst;
  /// Up to when lines have been earned.
  time_point earned_{};
  std::uint64_t left_out_ = 0;
};

/// The one answer that a request gets, of which the trail hears before the sender does.
class reply {
public:
  explicit reply(responder to) : to_(std::move(to)) {}
  reply(reply&&) noexcept = default;
  reply& operator=(reply&&) = delete;
  /// One that is dropped unanswered is in the trail with a 500, which the responder sends.
  ~reply();

  /// Has the answer written into the trail.
  void audit(audited_request about, const audit_sink& into);
  void add_header(std::string name, std::string value);
  /// Has the answer's body rewritten for its sender; the trail keeps it as it was made.
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
