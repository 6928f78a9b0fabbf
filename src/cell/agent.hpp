#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/directory_lock.hpp"
#include "base/event_loop.hpp"
#include "base/files.hpp"
#include "base/remover.hpp"
#include "cell/cell_config.hpp"
#include "cell/drivers/process.hpp"
#include "cell/fence.hpp"
#include "cell/guid_holder.hpp"
#include "cell/node_record.hpp"
#include "cell/patroni_config.hpp"
#include "cell/restart_pause.hpp"
#include "cell/settings_judge.hpp"
#include "http/server.hpp"
#include "store/announcer.hpp"
#include "store/lifetime.hpp"

namespace matriarch::cell {

/// The cell itself: starts nodes, keeps them running, removes them, and answers for them.
/// Everything happens on the event loop's thread, so nothing is locked. What it must not forget is
/// on disk before it acts; what it finds there after a restart it goes on with.
class agent {
public:
  /// Reads what an earlier agent left in the data directory. The failure is the configuration's.
  static result<std::unique_ptr<agent>> open(const cell_config& config, const system_user& user,
                                             fencing how, base::event_loop& loop,
                                             store::etcd_client& etcd);
  /// On the loop's thread. The nodes go on running.
  ~agent() = default;
  agent(const agent&) = delete;
  agent& operator=(const agent&) = delete;

  /// What the HTTP server calls; from any thread, also when the agent is gone.
  [[nodiscard]] http::service service();

  /// As whom it claims the cell's key in etcd.
  [[nodiscard]] claimant self() const;

  /// Begins to look after the nodes; on the loop's thread. `certificate_request` is announced, for
  /// the broker to sign, if it is not empty. `taken` is called, with who has it in words, if another
  /// cell has this guid.
  void start(const std::string& certificate_request, std::function<void(std::string)> taken);

private:
  using clock = std::chrono::steady_clock;
  using reply = std::shared_ptr<http::responder>;

  enum class state {
    starting,   ///< its first process runs
    running,    ///< and Patroni says that PostgreSQL runs
    restarting, ///< its processes ended; they are started again at `restart_at`
    stopping,   ///< being removed
  };

  /// Somebody who waits for a node's removal.
  struct waiter {
    reply to;
    clock::time_point until;
  };

  struct node {
    node(node_record record, const std::string& directory)
        : record(std::move(record)), paths(directory) {}

    node_record record;
    node_paths paths;
    state is = state::starting;
    restart_pause pause;
    clock::time_point started_at;
    clock::time_point restart_at;
    clock::time_point probe_at;
    bool probing = false;
    std::string certificate;    ///< the first of what it shows
    std::string authorities;    ///< who may have signed it; empty: nobody of the fleet's
    bool asked_by_tls = false;  ///< its Patroni is, or was last
    bool speaks_tls = false;    ///< its Patroni certainly does, and shows this certificate
    bool reload_wanted = false; ///< what it has to read has changed, or may have
    // Whether it has to be fenced:
    bool may_lead = true; ///< it led when it was last heard of, or nothing is known yet
    bool silent = false;  ///< its Patroni has not answered since
    bool asking_who_leads = false;
    std::unique_ptr<store::etcd_client> etcd; ///< as the user that its Patroni is; made when needed
    std::set<std::string>
        kept_out; ///< roles that are refused and whose sessions are ended, until then
    std::set<std::string> refused; ///< of these, those that PostgreSQL has been told of
    clock::time_point often_until{};
    clock::time_point keep_out_until{};
    // While stopping:
    clock::time_point kill_at;
    clock::time_point signal_at;
    bool killed = false;
    bool moved_away = false; ///< all its processes are gone, and its directory
    bool files_gone = false;
    bool key_gone = false;
    std::vector<waiter> waiters;
  };
  using node_ptr = std::shared_ptr<node>;

  /// A key that was made for a node, and what it waits for.
  struct pending_certificate {
    std::string key;
    endpoint where;           ///< of the node
    clock::time_point until;  ///< then it is forgotten
    std::string certificate;  ///< empty until it has come
    std::string authorities;  ///< who may have signed it
    bool patroni_tls = false; ///< Patroni shall show it too
  };

  agent(const cell_config& config, const system_user& user, fencing how, base::event_loop& loop,
        store::etcd_client& etcd, base::directory_lock lock);

  // -- what is on disk
  [[nodiscard]] std::optional<std::string> load();
  void load_node(const std::string& name);
  [[nodiscard]] std::optional<std::string> close_data_dir() const;
  [[nodiscard]] std::optional<std::string> save_fence();
  [[nodiscard]] std::optional<std::string> save_node(const node& which);
  [[nodiscard]] std::string directory_of(const std::string& node_id) const;
  [[nodiscard]] base::owner agents_own() const;
  [[nodiscard]] base::owner nodes_own() const;
  /// Of what nodes may read, by their group, and not change.
  [[nodiscard]] base::owner shown_to_nodes() const;

  // -- requests
  void serve(const http::request& asked, const reply& to);
  void provision(const std::string& node_id, const http::request& asked, const reply& to);
  void provision_again(const node_ptr& known, const node_request& wanted,
                       const fencing_claim& claim, const reply& to);
  void deprovision(const std::string& node_id, const http::request& asked, const reply& to);
  /// Of the nodes that are here.
  [[nodiscard]] std::set<std::string> scopes_here() const;
  [[nodiscard]] std::vector<pid_t> processes_of(const node& which) const;
  void end_sessions(const std::string& node_id, const http::request& asked, const reply& to);
  [[nodiscard]] std::optional<std::string> refuse(node& which) const;
  void keep_out(const node_ptr& which);
  void judge_settings(const http::request& asked, const reply& to);
  [[nodiscard]] http::response health() const;
  [[nodiscard]] http::response listing() const;
  /// The answer to a PUT: the broker connects nowhere else than there.
  [[nodiscard]] http::response whereabouts(int status, const node& of) const;
  void add_whereabouts(json::value& into, const node& of, json::document& owner) const;
  /// Lets strangers reach /healthz only, before anything is read of a body.
  static http::admission admit(const http::request& asked, const std::string& expected);
  static bool is_health(const http::request& asked);
  [[nodiscard]] std::optional<endpoint> free_endpoint() const;

  // -- whether Patroni is one that can be guarded
  void begin_guard_check();
  void go_on_checking_guard();
  void settle_guard(std::optional<std::string> refusal);
  /// What a program sees of the machine whose own directory that is.
  void limit_view(launch& what, const std::string& own) const;
  [[nodiscard]] std::vector<std::string> environment_of(const std::string& home,
                                                        const std::string& python) const;
  [[nodiscard]] std::optional<std::string> write_guard(const std::string& directory) const;

  [[nodiscard]] http::response full() const;
  [[nodiscard]] http::response no_address_left() const;

  // -- certificates
  [[nodiscard]] std::optional<http::response> refuse_certificate(const std::string& node_id,
                                                                 const http::request& asked) const;
  void make_key(const std::string& node_id, const http::request& asked, const reply& to);
  void take_certificate(const std::string& node_id, const http::request& asked, const reply& to);
  [[nodiscard]] static bool shows_certificate(const node& which);
  [[nodiscard]] std::optional<std::string> install(node& which,
                                                   const pending_certificate& what) const;
  static void reload(const node_ptr& which);

  // -- a node's life
  void launch_node(const node_ptr& which);
  [[nodiscard]] std::optional<std::string> discard_half_a_copy(const node& which);
  [[nodiscard]] std::optional<std::string> write_certificate(node& which) const;
  [[nodiscard]] std::optional<std::string> write_etcd_files(const node& which) const;
  [[nodiscard]] std::optional<std::string> copy_file(const std::string& from,
                                                     const std::string& to) const;
  [[nodiscard]] std::optional<std::string> write_programs(const node& which) const;
  /// patroni.yml and what it names.
  [[nodiscard]] std::optional<std::string> write_configuration(node& which) const;
  [[nodiscard]] std::optional<std::string> make_refused(const node& which) const;
  [[nodiscard]] std::optional<std::string> write_files(node& which) const;
  void renew_configuration(node& which) const;
  void ended(const node_ptr& which);
  void probe(const node_ptr& which);
  void ask(const node_ptr& which, bool again);
  void probed(const node_ptr& which, const base::outcome& answer);
  void kill_if_replaced(const node_ptr& which);
  void begin_stopping(const node_ptr& which);
  void go_on_stopping(const node_ptr& which);
  void clear_away(const node_ptr& which);
  void remove_files(const node_ptr& which, const std::string& trash);
  [[nodiscard]] std::size_t kill_leftovers(const node& which) const;
  void removed_if_done(const node_ptr& which);
  void tick();
  void look_after(const node_ptr& which);
  void bound_logs();
  void look_at_postgresql();
  void judge_own();
  [[nodiscard]] std::string registrar_key(const node& which) const;
  [[nodiscard]] static std::string_view word_for(state is);

  cell_config config_;
  system_user user_;
  fencing how_;
  base::event_loop& loop_;
  base::directory_lock lock_;
  std::string hostname_;
  std::string identity_; ///< of the data directory
  std::string expected_authorization_;
  fence fence_;
  std::map<std::string, node_ptr> nodes_;
  /// The ids of nodes whose record cannot be read, for instance as it is a later release's.
  std::set<std::string> left_alone_;
  std::map<std::string, pending_certificate> pending_; ///< by node id
  store::announcer announcer_;
  base::remover remover_;
  settings_judge judge_;

  /// Whether this cell's Patroni can be kept from taking the leader's key from a successor: no node
  /// is started before that is known, nor where it is not so.
  enum class guard_state { unknown, holds, refused };
  guard_state guard_ = guard_state::unknown;
  std::string guard_refusal_; ///< in words
  std::optional<base::process_identity> guard_check_;
  clock::time_point guard_check_at_; ///< when it is looked at again, or has taken too long
  std::vector<std::function<void()>> waiting_for_guard_;
  clock::time_point last_tick_;
  store::lifetime life_;
};

} // namespace matriarch::cell
