#pragma once

#include <functional>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "model/record.hpp"
#include "store/etcd.hpp"
#include "store/keyring.hpp"

namespace matriarch::simulation {

class simulated_etcd;

/// What a client meets at a public port of a router.
struct served_route {
  int port = 0;
  int read_only_port = 0;
  std::string leader;
  bool operator==(const served_route&) const = default;
};

/// A router, with the HAProxy that it feeds.
struct router {
  std::string id;
  model::duration pause{20}; ///< from a change in etcd to its being served
  bool still = false;        ///< it stands still: it serves what it served, and says nothing
  bool runs = true;
  /// Ports that something else on its machine has.
  std::set<int> taken = {};
  /// It says so of all of them, and not only of those that it should open.
  bool looks_ahead = false;
  /// The names of instances whose nodes it has no addresses for.
  std::set<std::string> lacks = {};
  std::map<std::string, served_route> routes = {}; ///< by the instance's name

  // -- its own

  bool busy = false;
  std::size_t read = 0;  ///< how much of etcd's history it knows
  unsigned life = 0;     ///< what belongs to an earlier one comes to nothing
  bool has_read = false; ///< in this life
};

/// The routers of a world. Each follows etcd, serves what it reads there a while later, and then
/// says so in its key, whose lease it keeps while it does not stand still.
class routers {
public:
  using later = std::function<void(model::duration pause, std::function<void()>)>;

  routers(simulated_etcd& etcd, later after) : etcd_(etcd), after_(std::move(after)) {}

  void add(const std::string& id, model::duration pause = model::duration{20});
  [[nodiscard]] router& at(const std::string& id);
  [[nodiscard]] bool empty() const { return all_.empty(); }

  /// Its lease ends by itself.
  void stand_still(const std::string& id);
  void go_on(const std::string& id);
  /// The process and its HAProxy end. Its lease ends by itself.
  void kill(const std::string& id);
  void start(const std::string& id);

  /// Something may have happened in etcd.
  void look();

  /// Why a client does not reach the instance's leader at that port at every router whose lease
  /// lives; empty if it does.
  [[nodiscard]] std::string fault_at(const std::string& name, int port) const;

  /// What a test reads sealed records with.
  std::shared_ptr<const store::keyring> keys = std::make_shared<const store::keyring>();

  static constexpr model::duration lease{10'000};

private:
  void begin(router& one);
  void serve(router& one);
  void end_lease(const router& one);
  [[nodiscard]] std::map<std::string, served_route> routes_in_etcd() const;

  simulated_etcd& etcd_;
  later after_;
  std::map<std::string, router> all_;
};

} // namespace matriarch::simulation
