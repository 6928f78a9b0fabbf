#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "model/event.hpp"
#include "model/fitness.hpp"
#include "model/orphans.hpp"
#include "model/ports.hpp"
#include "model/repair.hpp"
#include "model/requests.hpp"
#include "model/routes.hpp"
#include "store/keyring.hpp"
#include "tls/authorities.hpp"
#include "wire.hpp"
#include "world.hpp"

namespace matriarch::simulation {

/// An answer that may not have come yet.
using awaited_verdict = std::shared_ptr<std::optional<model::verdict>>;
using awaited_report = std::shared_ptr<std::optional<model::demote_report>>;

struct broker_settings {
  std::string address = "127.0.0.1:8080";
  model::port_range ports{30000, 30199, std::chrono::hours{1}};
  /// 0 runs the actors in the order of their messages, with all changes in etcd at once. Any other
  /// number is the seed of another order, in which changes come in pieces.
  unsigned seed = 0;
  bool etcd_users = false;
  bool wait_for_routers = true;
  model::repair_settings repair = {};
  std::shared_ptr<const store::keyring> keys = std::make_shared<const store::keyring>();
  latencies latency = {};
  bug planted = bug::none;
  /// Parameters that are added to clusters made without them.
  std::map<std::string, std::string> parameters = {};
  std::string machine = "machine";              ///< the machine's id; empty if not known
  std::string public_host = {};                 ///< nodes get certificates for it, unless empty
  bool cells_by_tls = false;                    ///< its configuration reaches cells by https://
  tls::authorities operators = {};              ///< the operator's authorities, if configured
  std::vector<model::plan_settings> plans = {}; ///< the catalog's plans, for the cells to judge
};

/// All actors of a broker in one actor system of virtual time, with mocks in front of a world.
/// Nothing runs by itself: the functions below run the actors. Destroying it is a crash: nothing is
/// given back or finished.
class simulated_broker {
public:
  explicit simulated_broker(world& outside, broker_settings how = {});
  ~simulated_broker();
  simulated_broker(const simulated_broker&) = delete;
  simulated_broker& operator=(const simulated_broker&) = delete;

  /// Runs the actors until nothing is left to do at this moment. Time does not pass.
  void run();
  /// Moves the actors' clock and runs them; the caller moves the world's clock.
  void pass(model::duration how_long);
  /// Time until the next of its timers; the greatest duration if there is none.
  [[nodiscard]] model::duration next() const;

  /// The broker's connection to the world. Once it is cut, nothing runs here any more.
  [[nodiscard]] wire& line();
  /// Stops the whole broker as SIGSTOP does. Its clocks continue until thaw().
  void freeze();
  void thaw();
  /// Whether the broker is neither cut off nor frozen.
  [[nodiscard]] bool answers() const;
  /// Number of live actors.
  [[nodiscard]] std::size_t actors_alive() const;
  /// Number of messages that its actors have taken.
  [[nodiscard]] int messages() const;
  void after_each_message(std::function<void()> then);

  awaited_verdict ask(model::request what);
  awaited_report demote(const std::string& cell);
  std::shared_ptr<std::optional<model::forget_report>> forget(const std::string& cell);
  awaited_verdict remove_orphan(const std::string& cell, const std::string& node_id);
  std::shared_ptr<std::optional<model::reencryption_report>> reencrypt_all();
  /// The beginning of a clean stop: requests that wait for an operation are answered.
  void stop_waiting();
  /// Ends the gateway: no more requests are taken, and the actors continue.
  void end_gateway();
  [[nodiscard]] std::vector<model::orphan> orphans() const;
  /// Gives up leadership, as in a clean stop.
  void resign();
  /// Ends an instance's actor by an error. The actor must have written to etcd before.
  void kill_instance(const std::string& name);
  /// Whether changes in etcd are held back; held changes are not lost.
  void hold_watch(bool hold);
  /// Delivers one of the changes held back.
  void hear_one();
  /// The watch reports that etcd cannot be reached, until list_again().
  void lose_etcd(const std::string& why);
  /// A gap in the watch: everything is listed again.
  void list_again();

  [[nodiscard]] bool active() const;
  [[nodiscard]] model::snapshot_ptr find(const std::string& name) const;
  /// Instances with unreadable records.
  [[nodiscard]] std::vector<std::string> unreadable() const;
  [[nodiscard]] model::cell_table cells() const;
  [[nodiscard]] model::router_table routers() const;
  [[nodiscard]] std::string repair_halted() const;
  [[nodiscard]] std::string must_not_act() const;
  /// The authorities that sign nodes' certificates; nullptr until known.
  [[nodiscard]] tls::authorities_ptr authority() const;
  /// The events of its instances.
  [[nodiscard]] const std::vector<model::event>& told() const;

private:
  struct actors;
  std::unique_ptr<actors> self_;
};

/// A world and its brokers, with common time.
class stage {
public:
  explicit stage(int cells = 3, broker_settings how = {});

  world outside;
  std::vector<std::unique_ptr<simulated_broker>> brokers;
  [[nodiscard]] simulated_broker& broker() { return *brokers.front(); }

  void run();
  void pass(model::duration how_long);
  /// Lets time pass until the condition holds; false if that takes longer than `at_most`. The
  /// condition is checked after each event.
  bool pass_until(const std::function<bool()>& condition, model::duration at_most);
  /// Asks and waits for the answer; an unanswered request returns `unavailable` with an empty
  /// description.
  model::verdict ask(model::request what);
  /// Ends the first broker and starts another one of its address on the present etcd.
  void restart();

private:
  [[nodiscard]] model::duration until_next(model::duration at_most) const;
  void advance(model::duration how_long);

  broker_settings how_;
};

} // namespace matriarch::simulation
