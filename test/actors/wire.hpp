#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "world.hpp"

namespace matriarch::simulation {

/// What becomes of an effect on its way from a broker to the world.
enum class way {
  through, ///< it arrives, and its answer comes back
  undone,  ///< it never arrives, and nothing comes back
  done,    ///< it arrives, and its answer is lost
  late,    ///< nothing comes back in time; it arrives after that
};

/// How long things take on their way to the world. With 0 they are there at once.
struct latencies {
  duration etcd{0};
  duration cell{0};
  duration patroni{0};
  duration database{0};
};

/// Bugs of a broker, or of its cells, that can be planted between it and the world: the tests of
/// the tests.
enum class bug {
  none,
  act_first,         ///< a record that places nodes is written after the cells have heard of them
  no_graves,         ///< no graves are written
  piecemeal_removal, ///< the transaction that removes an instance is done in pieces
  unconfirmed,       ///< success is told before a router has confirmed
  no_rights,         ///< readers' rights are called complete, and nothing is done
  no_fences,         ///< the cells obey old orders, and start nodes that they have removed
  not_taken_back,    ///< after a failed update Patroni's configuration is called set, and is not
  any_request,       ///< a cell's certificate is written whoever acts and whatever was announced
  running_is_well,   ///< a replica that runs and gets no further is taken for one that streams
  early_unbind,      ///< an unbind is done before its role is refused
  no_revocation,     ///< roles are removed whose login was not refused
  all_caught_up,     ///< a replica that does not have a revocation is taken for one that has it
  forgets_unknown,   ///< what is not known of a value is left out when it is written again
  any_position,      ///< it does not matter how far the node was that stopped last
  replay_believed,   ///< a new cluster is taken to have all that was written
  members_believed,  ///< connections go where members' keys say
};

/// One broker's connection to the world. Everything that a broker changes outside itself passes
/// here, is counted, and may be lost or late.
class wire : public std::enable_shared_from_this<wire> {
public:
  explicit wire(world& outside, latencies how = {}, bug planted = bug::none)
      : outside_(outside), how_(how), planted_(planted) {}

  // -- as a broker's mock actors use it; a reply comes at once, later or never

  void commit(const store::transaction& what, std::function<void(store::commit_result)> reply);
  void grant_lease(std::chrono::seconds ttl, std::function<void(store::lease_result)> reply);
  void keep_lease(store::lease_id lease, std::function<void(store::lease_result)> reply);
  void revoke_lease(store::lease_id lease, std::function<void(store::lease_result)> reply);
  void send(const base::outgoing& what, std::function<void(base::outcome)> reply);
  void set_roles(const std::string& conn_url, const roles& wanted,
                 std::function<void(result<roles_made>)> reply);
  /// The reply gets those that are there yet.
  void drop_roles(const std::string& conn_url, const std::set<std::string>& names,
                  std::function<void(result<std::set<std::string>>)> reply);
  [[nodiscard]] result<std::map<std::string, std::int64_t>> lag_at(const std::string& conn_url) {
    return outside_.lag_at(reached(conn_url), planted_ == bug::running_is_well);
  }
  /// The reply says whether all was looked at.
  void keep_rights(const std::string& conn_url, bool readers,
                   std::function<void(result<bool>)> reply);
  void admit_user(const std::string& username, const std::string& password,
                  std::function<void(bool)> reply);
  void dismiss_user(const std::string& username, std::function<void(bool)> reply);

  // -- as a test uses it

  /// Ends the connection, as a crash does. What is on its way meets the fate of its place in the
  /// order in which it was sent; what is late arrives at release().
  void cut(const std::function<way(int nth)>& fate);
  void cut(way fate) {
    cut([fate](int) { return fate; });
  }
  [[nodiscard]] bool is_cut() const { return cut_; }
  /// Stops what is on its way to the world until release().
  void hold() { held_ = true; }
  void release();
  /// etcd, Patroni and PostgreSQL give up earlier than the way to a cell may last.
  void release_all_but_orders();
  /// What is on its way to the world, in words, in the order in which it was sent.
  [[nodiscard]] std::vector<std::string> in_flight() const;
  /// The effects that were sent so far.
  [[nodiscard]] int effects() const { return effects_; }
  /// Decides the fate of an effect by its number, from 1; all get through if it is not set.
  std::function<way(int number)> fate_of;

private:
  /// How an effect travels, which says how late it can be.
  enum class traffic {
    order,   ///< to a cell: for as long as the fence has to hold
    request, ///< to etcd or Patroni, which give up earlier
    /// To PostgreSQL: taken to end with its session, so that it arrives in time or never. Nothing
    /// there would refuse a late one.
    statement,
  };
  struct effect {
    std::string what;
    traffic by;
    duration transit;  ///< to the world
    duration patience; ///< of whoever sent it
    std::function<void(bool answered)> arrive;
    std::function<void()> give_up;
  };

  /// Where a connection to that address of a node leads, which is looked at.
  std::string reached(const std::string& url);
  /// Sends an effect. `apply` does it and gives the answer to the function that it gets.
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
  /// Whether the bug is planted by which this request is answered and not done.
  [[nodiscard]] bool is_forgotten(const base::outgoing& what) const;

  bug planted_;
  bool cut_ = false;
  bool held_ = false;
  int effects_ = 0;
  std::map<int, effect> in_flight_;
  std::vector<std::function<void()>> late_; ///< what was cut off and arrives at release()
  std::vector<std::function<void()>> late_orders_;
};

} // namespace matriarch::simulation
