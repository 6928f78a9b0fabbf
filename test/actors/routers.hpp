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
  model::duration pause{20}; ///< from a change in etcd until it is served
  bool still = false;        ///< the router hangs: it keeps its old routes and reports nothing
  bool runs = true;
  /// Ports that other programs on its machine have.
  std::set<int> taken = {};
  /// Reports all of these ports, not only those that it should open.
  bool looks_ahead = false;
  /// Instances whose nodes it has no addresses for.
  std::set<std::string> lacks = {};
  std::map<std::string, served_route> routes = {}; ///< by instance name

  // -- internal

  bool busy = false;
  std::size_t read = 0;  ///< how much of etcd's history it has read
  unsigned life = 0;     ///< work of an earlier life is dropped
  bool has_read = false; ///< in this life
};

/// The routers of a world. Each follows etcd, serves changes after a pause, and then reports in its
/// key, whose lease it keeps alive unless it hangs.
class routers {
public:
  using later = std::function<void(model::duration pause, std::function<void()>)>;

  routers(simulated_etcd& etcd, later after) : etcd_(etcd), after_(std::move(after)) {}

  void add(const std::string& id, model::duration pause = model::duration{20});
  [[nodiscard]] router& at(const std::string& id);
  [[nodiscard]] bool empty() const { return all_.empty(); }

  /// The router hangs. Its lease ends after its time.
  void stand_still(const std::string& id);
  void go_on(const std::string& id);
  /// The process and its HAProxy end. The lease ends after its time.
  void kill(const std::string& id);
  void start(const std::string& id);

  /// Something may have changed in etcd.
  void look();

  /// Why a client does not reach the instance's leader at that port at each router with a lease;
  /// empty if it does.
  [[nodiscard]] std::string fault_at(const std::string& name, int port) const;

  /// The keys with which tests read sealed records.
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
