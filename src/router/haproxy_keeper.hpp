#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>

#include "router/haproxy.hpp"

namespace matriarch::router {

/// The result of bringing HAProxy to what is wanted.
struct keeper_outcome {
  /// Empty if HAProxy has just confirmed that it does what is wanted, except for `unbound` and
  /// `refused`; else why not.
  std::string error;
  bool started = false;
  bool reloaded = false;
  /// Whether HAProxy's state is known; if not, `unbound` and `refused` mean nothing.
  bool is_known = false;
  /// The ports that HAProxy should have and does not, and why.
  std::map<std::uint16_t, std::string> unbound;
  /// The wanted ports that HAProxy has but does not serve as it should, and why.
  std::map<std::uint16_t, std::string> refused;
  /// Whether settle() has something to do.
  bool is_settled = true;
};

/// Keeps HAProxy at what is wanted: by commands if they suffice, else by a reload, or by a start if
/// HAProxy does not run. The calls block, and must be made one at a time.
class haproxy_keeper {
public:
  explicit haproxy_keeper(const router_config& settings);

  /// Takes over the HAProxy of an earlier router, whatever its configuration; true if there was
  /// one.
  bool adopt();
  [[nodiscard]] bool running() { return haproxy_.running(); }

  /// What HAProxy was last brought to, by this router or an earlier one.
  [[nodiscard]] port_table last_table() const { return table_of(haproxy_.written()); }

  /// When that was.
  [[nodiscard]] std::optional<std::chrono::sys_time<std::chrono::milliseconds>> last_at() const {
    return haproxy_.written_at();
  }

  /// Makes HAProxy do what is wanted: what was wanted before, with these changes. `pem` is what
  /// HAProxy reads beside its file. Compares only the ports that changed and those that another
  /// program used, unless HAProxy is started or reloaded, or its state is unknown (after an
  /// adoption or a failure).
  [[nodiscard]] keeper_outcome bring_about(const port_table& changes, const pem_texts& pem);

  /// Lets HAProxy's checks decide again about servers that were drained at a change of leaders,
  /// once those checks have failed.
  [[nodiscard]] keeper_outcome settle();

  /// Why HAProxy does not answer a question now; nothing if it answers, or does not run.
  [[nodiscard]] std::optional<std::string> why_silent();

  /// Reads how many sessions the held-back servers have; these sessions are not charged to the
  /// other servers.
  void note_held();

  /// Writes the files that the next start reads, if anything has changed since. Returns why it
  /// could not, if so.
  [[nodiscard]] std::optional<std::string> save();

  /// The workers from before a reload that still run.
  struct old_workers {
    int count = 0;         ///< workers that still have sessions
    std::size_t ended = 0; ///< sessions that were ended because their server is not used any more
  };
  /// Ends the sessions that old workers must end: see sessions_to_end(). Sessions of unknown
  /// proxies are ended only if `all_known`: etcd has listed all instances. Nothing if HAProxy does
  /// not answer.
  [[nodiscard]] std::optional<old_workers> look_at_old_workers(bool all_known);

  void stop(std::chrono::milliseconds grace) { haproxy_.stop(grace); }

private:
  using clock = std::chrono::steady_clock;

  [[nodiscard]] bool learn();
  void look_at_all();
  [[nodiscard]] bool is_free(std::uint16_t port);
  [[nodiscard]] bool fits() const;
  [[nodiscard]] const std::string& describe(const haproxy_shape& shape, const pem_texts& pem);
  [[nodiscard]] haproxy_shape needed_shape();
  void restart(const pem_texts& pem, keeper_outcome& outcome);
  void tell(keeper_outcome& outcome);
  void note_kinds(std::uint16_t port);
  void note_unbound(keeper_outcome& outcome);
  [[nodiscard]] haproxy_files files_of(const proxy_state& state, std::string text) const;

  const router_config& settings_;
  haproxy haproxy_;
  /// The description that HAProxy reports.
  std::string description_;
  /// The certificates it runs with.
  std::optional<pem_texts> pem_;
  /// The last description that describe() made, and its arguments.
  std::string described_;
  haproxy_shape described_shape_;
  pem_texts described_pem_;
  port_table wanted_;
  proxy_state state_;
  bool is_known_ = false; ///< state_ is what HAProxy does
  bool is_saved_ = false;
  std::set<std::uint16_t> due_; ///< the ports whose state_ may differ from what is wanted
  // The ports of state_ that are looked at from time to time.
  std::set<std::uint16_t> unsettled_;
  std::set<std::uint16_t> holding_;
  std::set<std::uint16_t> lacking_; ///< that HAProxy should have, and does not
  /// Why ports could not be opened; and the ports that HAProxy failed to open although they seemed
  /// free, with the time.
  std::map<std::uint16_t, std::string> reasons_;
  std::map<std::uint16_t, clock::time_point> not_bound_;
  /// The ports that a HAProxy started by an earlier release has open.
  std::set<std::uint16_t> held_;
  /// Ports whose commands HAProxy refused, or that have no room for a server, and the reason.
  std::map<std::uint16_t, std::string> refused_;
};

} // namespace matriarch::router
