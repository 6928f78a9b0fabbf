#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>

#include "http/server.hpp"
#include "model/record.hpp"

/// The audit trail: a line of JSON for each request that was to change something, and for each that
/// was refused access. Nothing secret is in it: no Authorization, no credentials, and of parameters
/// only those that the catalog's schemas know.
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
};

/// What a request is called in the trail; empty if it changes nothing.
[[nodiscard]] std::string action_of(const request& got);

/// The line about a request and its answer.
[[nodiscard]] std::string audit_line(const audited_request& about, const response& answer,
                                     model::wall_time now);

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
};

} // namespace matriarch::http
