#pragma once

#include <chrono>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "base/processes.hpp"
#include "cell/cell_config.hpp"
#include "cell/node_engine.hpp"

namespace matriarch::engines::postgresql {

/// Makes `directory`, from which Python loads the guard of the leader's key and the limits of the
/// REST API.
[[nodiscard]] std::optional<std::string> write_guard(const std::string& directory,
                                                     const cell::system_user& user);

/// The environment of Patroni and PostgreSQL.
[[nodiscard]] std::vector<std::string> environment_of(const std::string& home,
                                                      const std::string& python);

/// Checks whether this cell's Patroni can be kept from taking the leader's key from a successor.
/// Patroni is run as in a node, up to the point where it has loaded the modules that the guard
/// changes.
class guard_check {
public:
  guard_check(const cell::cell_config& config, cell::node_driver& driver);

  void begin();
  /// Called several times a second.
  void go_on();
  /// If a node ended with that code, Patroni was replaced since the last check, so it is checked
  /// again.
  void node_ended(const std::optional<std::string>& how);

  [[nodiscard]] cell::readiness is() const { return is_; }
  [[nodiscard]] const std::string& refusal() const { return refusal_; }
  void when_known(std::function<void()> then);

private:
  using clock = std::chrono::steady_clock;
  void settle(std::optional<std::string> refusal);

  const cell::cell_config& config_;
  cell::node_driver& driver_;
  cell::readiness is_ = cell::readiness::unknown;
  std::string refusal_; ///< in words
  std::optional<base::process_identity> running_;
  clock::time_point look_at_{}; ///< time of the next check, or time-out of the running one
  std::vector<std::function<void()>> waiting_;
};

} // namespace matriarch::engines::postgresql
