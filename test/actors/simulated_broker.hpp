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

/// An answer that may be still to come.
using awaited_verdict = std::shared_ptr<std::optional<model::verdict>>;
using awaited_report = std::shared_ptr<std::optional<model::demote_report>>;

struct broker_settings {
  std::string address = "127.0.0.1:8080";
  model::port_range ports{30000, 30199, std::chrono::hours{1}};
  /// 0 runs the actors in the order of their messages, and changes in etcd come all at once; any
  /// other number is the seed of another order, in which they come in pieces.
  unsigned seed = 0;
  bool etcd_users = false;
  bool wait_for_routers = true;
  model::repair_settings repair = {};
  std::shared_ptr<const store::keyring> keys = std::make_shared<const store::keyring>();
  latencies latency = {};
  bug planted = bug::none;
  /// That clusters get which were made without them.
  std::map<std::string, std::string> parameters = {};
  std::string machine = "machine";              ///< that it runs on; empty if it does not know
  std::string public_host = {};                 ///< nodes get certificates for it, if it is there
  bool cells_by_tls = false;                    ///< is configured to reach cells by https://
  tls::authorities operators = {};              ///< who signs, if that is in its configuration
  std::vector<model::plan_settings> plans = {}; ///< of its catalog, for the cells to judge
};

/// All actors of a broker in one actor system of virtual time, with mocks of the outside in front
/// of a world. Nothing runs by itself: the functions below run the actors. Its end is a crash:
/// nothing is given back or finished.
class simulated_broker {
public:
  explicit simulated_broker(world& outside, broker_settings how = {});
  ~simulated_broker();
  simulated_broker(const simulated_broker&) = delete;
  simulated_broker& operator=(const simulated_broker&) = delete;

  /// Runs the actors until there is nothing to do at this moment. Time does not pass.
  void run();
  /// Moves the actors' clock and runs them; the world's clock is moved by the caller.
  void pass(model::duration how_long);
  /// How long until one of its timers; the greatest duration if there is none.
  [[nodiscard]] model::duration next() const;

  /// Its connection to the world. Once it is cut nothing runs here any more.
  [[nodiscard]] wire& line();
  /// Stops all of it, as SIGSTOP does, and lets it go on; its clocks have gone on meanwhile.
  void freeze();
  void thaw();
  /// Whether it is neither cut off nor frozen.
  [[nodiscard]] bool answers() const;
  /// The actors that it has.
  [[nodiscard]] std::size_t actors_alive() const;
  /// The messages that its actors have taken so far.
  [[nodiscard]] int messages() const;
  void after_each_message(std::function<void()> then);

  awaited_verdict ask(model::request what);
  awaited_report demote(const std::string& cell);
  std::shared_ptr<std::optional<model::forget_report>> forget(const std::string& cell);
  awaited_verdict remove_orphan(const std::string& cell, const std::string& node_id);
  std::shared_ptr<std::optional<model::reencryption_report>> reencrypt_all();
  /// The beginning of a clean end: nobody waits for what lasts any more.
  void stop_waiting();
  /// From here on nobody can ask anything, and the actors go on.
  void end_gateway();
  [[nodiscard]] std::vector<model::orphan> orphans() const;
  /// Gives the leadership up, as a clean end does.
  void resign();
  /// Ends an instance's actor by an error. It must have written to etcd before.
  void kill_instance(const std::string& name);
  /// Whether changes in etcd reach this broker; they are not lost, but wait.
  void hold_watch(bool hold);
  /// One of the changes that wait.
  void hear_one();
  /// The watch says that etcd cannot be reached; list_again() ends that.
  void lose_etcd(const std::string& why);
  /// A gap in the watch: everything is listed anew.
  void list_again();

  [[nodiscard]] bool active() const;
  [[nodiscard]] model::snapshot_ptr find(const std::string& name) const;
  /// The instances whose records cannot be read.
  [[nodiscard]] std::vector<std::string> unreadable() const;
  [[nodiscard]] model::cell_table cells() const;
  [[nodiscard]] model::router_table routers() const;
  [[nodiscard]] std::string repair_halted() const;
  [[nodiscard]] std::string must_not_act() const;
  /// Who signs the nodes' certificates; nobody until that is known.
  [[nodiscard]] tls::authorities_ptr authority() const;
  /// What has happened to its instances.
  [[nodiscard]] const std::vector<model::event>& told() const;

private:
  struct actors;
  std::unique_ptr<actors> self_;
};

/// A world and its brokers, whose clocks run together.
class stage {
public:
  explicit stage(int cells = 3, broker_settings how = {});

  world outside;
  std::vector<std::unique_ptr<simulated_broker>> brokers;
  [[nodiscard]] simulated_broker& broker() { return *brokers.front(); }

  void run();
  void pass(model::duration how_long);
  /// Lets time pass until the condition holds; false if that takes longer than `at_most`. It is
  /// looked at whenever something has happened.
  bool pass_until(const std::function<bool()>& condition, model::duration at_most);
  /// The answer; unanswered requests answer `unavailable` with an empty description in the end.
  model::verdict ask(model::request what);
  /// Ends the first broker and starts another of its address on what is in etcd.
  void restart();

private:
  [[nodiscard]] model::duration until_next(model::duration at_most) const;
  void advance(model::duration how_long);

  broker_settings how_;
};

} // namespace matriarch::simulation
