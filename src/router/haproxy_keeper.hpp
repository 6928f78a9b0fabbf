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

/// What came of bringing HAProxy to what is wanted.
struct keeper_outcome {
  /// Empty if HAProxy does what is wanted, but for `unbound` and `refused`, and has said so just now;
  /// else why not.
  std::string error;
  bool started = false;
  bool reloaded = false;
  /// Whether it is known what HAProxy does; if not, `unbound` and `refused` say nothing.
  bool is_known = false;
  /// The ports that it should have and does not, and why.
  std::map<std::uint16_t, std::string> unbound;
  /// The wanted ports that it has and does not serve as it should, and why.
  std::map<std::uint16_t, std::string> refused;
  /// Whether settle() has something to do.
  bool is_settled = true;
};

/// Keeps HAProxy at what is wanted: by commands as long as that is enough, by a reload where it is
/// not, by a start where it does not run. The calls block, and come one at a time.
class haproxy_keeper {
public:
  explicit haproxy_keeper(const router_config& settings);

  /// Takes over HAProxy of an earlier router, whatever its configuration; true if there was one.
  bool adopt();
  [[nodiscard]] bool running() { return haproxy_.running(); }

  /// What HAProxy was last brought to, by this router or an earlier one.
  [[nodiscard]] port_table last_table() const { return table_of(haproxy_.written()); }

  /// When that was.
  [[nodiscard]] std::optional<std::chrono::sys_time<std::chrono::milliseconds>> last_at() const {
    return haproxy_.written_at();
  }

  /// Makes HAProxy do what is wanted, which is what was wanted before with these changes. `pem` is what
  /// it finds beside its file. Only the ports that changed are looked at, and those that something else
  /// had, unless HAProxy is started or reloaded, or has to be asked what it does: after an adoption and
  /// a failure, that is.
  [[nodiscard]] keeper_outcome bring_about(const port_table& changes, const pem_texts& pem);

  /// Has servers that were drained at a change of leaders followed by their checks again, once those
  /// have failed.
  [[nodiscard]] keeper_outcome settle();

  /// Why HAProxy does not answer a question now; nothing if it does, or does not run.
  [[nodiscard]] std::optional<std::string> why_silent();

  /// Looks how many sessions the servers have that are held back: those take nothing of the others.
  void note_held();

  /// Writes the files that the next start reads, if anything has changed since. Why it could not, if
  /// so.
  [[nodiscard]] std::optional<std::string> save();

  /// What there is of workers of before a reload.
  struct old_workers {
    int count = 0;         ///< how many there are, with sessions
    std::size_t ended = 0; ///< sessions that were ended, for their server is not used any more
  };
  /// Looks after them: see sessions_to_end(). Of proxies that nobody knows the sessions are ended only if
  /// `all_known`: etcd has told of all instances. Nothing if HAProxy does not answer.
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
  /// What HAProxy says that it runs.
  std::string description_;
  /// With which certificates.
  std::optional<pem_texts> pem_;
  /// The last description that was made out, and of what.
  std::string described_;
  haproxy_shape described_shape_;
  pem_texts described_pem_;
  port_table wanted_;
  proxy_state state_;
  bool is_known_ = false; ///< state_ is what HAProxy does
  bool is_saved_ = false;
  std::set<std::uint16_t> due_; ///< the ports of which state_ may not be what is wanted
  // Those of state_ that are looked at every now and then.
  std::set<std::uint16_t> unsettled_;
  std::set<std::uint16_t> holding_;
  std::set<std::uint16_t> lacking_; ///< that it should have, and does not
  /// Why ports could not be opened, and which of them HAProxy failed to open although they seemed free,
  /// with the time.
  std::map<std::uint16_t, std::string> reasons_;
  std::map<std::uint16_t, clock::time_point> not_bound_;
  /// What HAProxy of an earlier form has open.
  std::set<std::uint16_t> held_;
  /// Ports whose commands HAProxy refused, or that have no room for a server, and what of that.
  std::map<std::uint16_t, std::string> refused_;
};

} // namespace matriarch::router
