#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "world.hpp"

namespace matriarch::simulation {

/// What happens to an effect on its way from a broker to the world.
enum class way {
  through, ///< it arrives, and its answer comes back
  undone,  ///< it never arrives, and there is no answer
  done,    ///< it arrives, and its answer is lost
  late,    ///< there is no answer in time; the effect arrives later
};

/// How long effects need to reach the world; 0: they arrive at once.
struct latencies {
  duration etcd{0};
  duration cell{0};
  duration patroni{0};
  duration database{0};
};

/// Bugs of a broker or its cells that can be planted between the broker and the world, to test the
/// tests.
enum class bug {
  none,
  act_first,         ///< a record with new nodes is written after the orders to the cells
  no_graves,         ///< no graves are written
  piecemeal_removal, ///< the transaction that removes an instance is split
  unconfirmed,       ///< success is reported before a router has confirmed
  no_rights,         ///< readers' rights are reported as complete without being set
  no_fences,         ///< the cells obey old orders, and start nodes that were removed
  not_taken_back,    ///< a failed update's reset of Patroni's configuration is only reported
  any_request,       ///< a cell's certificate is written without compares
  running_is_well,   ///< a replica that runs without progress is reported as streaming
  early_unbind,      ///< an unbind is done before its role is refused
  no_revocation,     ///< roles are removed whose login was not refused
  all_caught_up,     ///< a replica that does not have a revocation is taken for one that has it
  forgets_unknown,   ///< what is not known of a value is left out when it is written again
  any_position,      ///< it does not matter how far the node was that stopped last
  replay_believed,   ///< a new cluster is taken to have all that was written
  members_believed,  ///< connections go where members' keys say
};

/// A broker's connection to the world. Everything that a broker changes outside itself passes
/// through here, is counted, and can be lost or late.
class wire : public std::enable_shared_from_this<wire> {
public:
  explicit wire(world& outside, latencies how = {}, bug planted = bug::none)
      : outside_(outside), how_(how), planted_(planted) {}

  // -- for the broker's mock actors; a reply comes at once, later or never ---

  void commit(const store::transaction& what, std::function<void(store::commit_result)> reply);
  void grant_lease(std::chrono::seconds ttl, std::function<void(store::lease_result)> reply);
  void keep_lease(store::lease_id lease, std::function<void(store::lease_result)> reply);
  void revoke_lease(store::lease_id lease, std::function<void(store::lease_result)> reply);
  void send(const base::outgoing& what, std::function<void(base::outcome)> reply);
  void set_roles(const std::string& conn_url, const roles& wanted,
                 std::function<void(result<roles_made>)> reply);
  /// The reply gets the names of roles that are not dropped yet.
  void drop_roles(const std::string& conn_url, const std::set<std::string>& names,
                  std::function<void(result<std::set<std::string>>)> reply);
  [[nodiscard]] result<std::map<std::string, std::int64_t>> lag_at(const std::string& conn_url) {
    return outside_.lag_at(reached(conn_url), planted_ == bug::running_is_well);
  }
  /// The reply tells whether everything was compared.
  void keep_rights(const std::string& conn_url, bool readers,
                   std::function<void(result<bool>)> reply);
  void admit_user(const std::string& username, const std::string& password,
                  std::function<void(bool)> reply);
  void dismiss_user(const std::string& username, std::function<void(bool)> reply);

  // -- for tests -------

  /// Ends the connection, as a crash does. Each effect in flight gets the fate of its number in the
  /// order of sending; late ones arrive at release().
  void cut(const std::function<way(int nth)>& write_result);
  void cut(way write_result) {
    cut([write_result](int) { return write_result; });
  }
  [[nodiscard]] bool is_cut() const { return cut_; }
  /// Holds all effects in flight until release().
  void hold() { held_ = true; }
  void release();
  /// Releases effects to etcd, Patroni and PostgreSQL, whose time-outs are shorter than an order's
  /// way to a cell.
  void release_all_but_orders();
  /// The effects in flight, in words, in the order of sending.
  [[nodiscard]] std::vector<std::string> in_flight() const;
  /// Number of effects sent so far.
  [[nodiscard]] int effects() const { return effects_; }
  /// Decides the fate of each effect by its number, from 1; if not set, all get through.
  std::function<way(int number)> fate_of;

private:
  /// The kind of an effect, which bounds how late it can be.
  enum class traffic {
    order,   ///< to a cell: as late as the cells' fences allow
    request, ///< to etcd or Patroni, which have shorter time-outs
    /// To PostgreSQL: ends with its session, so it arrives in time or never. PostgreSQL would not
    /// refuse a late one.
    statement,
  };
  struct effect {
    std::string what;
    traffic by;
    duration transit;  ///< time to reach the world
    duration patience; ///< the sender's time-out
    std::function<void(bool answered)> arrive;
    std::function<void()> give_up;
  };

  /// Where a connection to that node's address leads; the world checks the connection.
  std::string reached(const std::string& url);
  /// Sends an effect. `apply` carries it out and passes the answer to its argument.
  template <class Answer>
  void emit(std::string what, traffic by, duration transit, duration patience,
            const std::function<void(Answer)>& reply, const Answer& unanswered,
            std::function<void(const std::function<void(Answer)>&)> apply);
  void send_out(effect one);
  void arrive(int number);
  void commit_now(const store::transaction& what, duration transit,
                  const std::function<void(store::commit_result)>& reply);
  void commit_in_pieces(const store::transaction& what,
                        const std::function<void(store::commit_result)>& reply);

  world& outside_;
  latencies how_;
  /// Whether a planted bug has this request answered but not carried out.
  [[nodiscard]] bool is_forgotten(const base::outgoing& what) const;

  bug planted_;
  bool cut_ = false;
  bool held_ = false;
  int effects_ = 0;
  std::map<int, effect> in_flight_;
  std::vector<std::function<void()>> late_; ///< cut-off effects that arrive at release()
  std::vector<std::function<void()>> late_orders_;
};

} // namespace matriarch::simulation
