#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "base/event_loop.hpp"
#include "base/files.hpp"
#include "base/remover.hpp"
#include "cell/disk_gauge.hpp"
#include "cell/node_driver.hpp"
#include "cell/node_engine.hpp"
#include "cell/node_keys.hpp"
#include "cell/node_state.hpp"
#include "cell/restart_pause.hpp"
#include "store/announcer.hpp"
#include "store/lifetime.hpp"

namespace matriarch::cell {

/// What the nodes of a cell share. It outlives them.
struct node_surroundings {
  std::string trash; ///< a directory for what is to be deleted
  std::string hostname;
  base::event_loop& loop;
  node_driver& driver;
  node_engine& engine;
  store::announcer& announcer;
  base::remover& remover;
  disk_gauge& gauge;
  std::int64_t least_free_disk; ///< bytes, of the file system of all
};

/// One node: starts it, keeps it running, fences it if another node leads in its place, and removes
/// it. Everything happens on the event loop's thread.
class node : public std::enable_shared_from_this<node> {
public:
  using clock = std::chrono::steady_clock;

  enum class state {
    starting,   ///< its first process runs
    running,    ///< its server answers
    restarting, ///< its processes ended; they are started again after a pause
    halting,    ///< being stopped; its data stays
    halted,     ///< stopped, until it is resumed
    stopping,   ///< being removed
  };

  /// `gone` is called once the node is removed; after that it does nothing more.
  node(node_record record, const std::string& directory, const node_surroundings& with,
       std::function<void(const std::string& node_id)> gone);

  [[nodiscard]] const node_state& what() const { return state_; }
  [[nodiscard]] const std::string& id() const { return state_.id(); }
  [[nodiscard]] state is() const { return is_; }
  [[nodiscard]] std::string_view word() const;
  [[nodiscard]] engine_node::certified shows() const { return engine_->shows(); }
  /// As last measured.
  [[nodiscard]] const disk_use& disk() const { return disk_; }
  [[nodiscard]] disk_state disk_is() const { return disk_is_; }

  /// Writes its record.
  [[nodiscard]] std::optional<std::string> save() const;
  /// Takes over, as it is, a node that an earlier agent made.
  void adopt();
  /// Starts it.
  void launch();
  /// Called with how far its data is once it has stopped, or with what is still waited for, if that takes
  /// too long.
  using halted_function = std::function<void(const result<model::data_at_stop>&)>;
  /// Stops it cleanly, and keeps it stopped, also if this agent ends.
  void halt(halted_function then);
  /// Lets it run again after that. What it says is why it does not yet.
  [[nodiscard]] std::optional<std::string> resume();
  /// Starts it without waiting for the end of a pause.
  void launch_now();
  /// Does what is due now: called some times a second.
  void look_after();
  /// The node may have been frozen together with this machine.
  void suspect() { silent_ = true; }
  void bound_log() const;

  /// Stores a key and its certificate, which the node shows from its next start or reload on.
  [[nodiscard]] std::optional<std::string> install(const node_key& what);
  /// The same for a running node.
  [[nodiscard]] std::optional<std::string> renew(const node_key& what);

  /// Refuses logins of these roles, and ends their sessions, new ones too, for a while: until the
  /// broker itself can log in, or asks again.
  [[nodiscard]] std::optional<std::string> keep_out(std::set<std::string> roles);

  /// Called with nothing once the node is gone, or, if that takes too long, with what it still
  /// waits for.
  using removed_function = std::function<void(const std::optional<std::string>& not_yet)>;
  void remove(removed_function then);
  /// The same; nobody waits.
  void remove();

private:
  /// A caller that waits for the removal.
  struct waiter {
    removed_function then;
    clock::time_point until;
  };
  /// A caller that waits for the stop.
  struct halt_waiter {
    halted_function then;
    clock::time_point until;
  };

  [[nodiscard]] base::owner nodes_own() const;
  [[nodiscard]] std::string registrar_key() const;
  void start();
  void fail(const std::string& why);
  void ended();
  void found_alive();
  void probe();
  void probed(const node_answer& answer);
  void watch_leader();
  void kill_if_replaced();
  void measure();
  void measured(const disk_use& now);
  void go_on_keeping_out();
  /// Whether it should run.
  [[nodiscard]] bool is_wanted() const {
    return is_ != state::stopping && is_ != state::halting && is_ != state::halted;
  }
  void begin_halt();
  void go_on_halting();
  void tell_to_end();
  void tell_halted();
  void refuse_halt_waiters(const char* why);
  void go_on_stopping();
  void signal_to_stop();
  void clear_away();
  void remove_files(const std::string& trash);
  void removed_if_done();
  [[nodiscard]] std::optional<std::string> discard(const std::string& directory);

  const node_surroundings& with_;
  std::function<void(const std::string& node_id)> gone_;
  node_state state_;
  std::unique_ptr<engine_node> engine_;
  state is_ = state::restarting;
  bool busy_ = false; ///< the driver is working on it
  restart_pause pause_;
  clock::time_point started_at_;
  clock::time_point restart_at_;
  clock::time_point probe_at_;
  bool probing_ = false;
  bool reload_wanted_ = false; ///< what it has to read has changed, or may have
  // Whether it has to be fenced:
  bool may_lead_ = true; ///< it led when it last answered, or nothing is known yet
  bool silent_ = false;  ///< it has not answered since
  bool asking_who_leads_ = false;
  disk_use disk_;
  disk_state disk_is_ = disk_state::roomy;
  std::optional<disk_state> told_; ///< the state that its engine has been told; nothing: unknown
  bool measuring_ = false;
  clock::time_point measure_at_{};
  std::string measuring_failed_;   ///< why its engine could not be told, last time
  std::set<std::string> kept_out_; ///< roles that are refused and whose sessions are ended
  std::set<std::string> refused_;  ///< of these, those that the engine already refuses
  clock::time_point often_until_{};
  clock::time_point keep_out_until_{};
  // While stopping:
  clock::time_point kill_at_;
  clock::time_point signal_at_;
  bool killed_ = false;
  bool moved_away_ = false; ///< all its processes are gone, and its directory
  bool files_gone_ = false;
  bool key_gone_ = false;
  std::vector<waiter> waiters_;
  std::vector<halt_waiter> halt_waiters_;
  bool told_to_end_ = false; ///< by the halt that is under way
  bool ends_first_ =
      false; ///< it runs again once its first process, which was told to end, has ended
  store::lifetime life_;
};

} // namespace matriarch::cell
