#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "http/event_loop.hpp"
#include "store/etcd.hpp"
#include "store/lifetime.hpp"

namespace matriarch::store {

/// Keeps keys in etcd under a lease for as long as it lives. A lease that ended is replaced and all
/// keys are put again; what could not be done is tried again until it is done. Belongs to the event
/// loop's thread.
class announcer {
public:
  /// The lease's length: a program that restarts at once keeps its keys, and one that is gone is
  /// seen to be gone soon.
  static constexpr std::chrono::seconds lease_length{10};

  /// `whose` keys they are, for the log: "the cell".
  announcer(etcd_client& etcd, std::string whose);

  /// Begins. Until then keys are only remembered.
  void start();

  /// From now on the key has this value.
  void put(const std::string& key, std::string value);

  /// From now on there is no such key. `gone` is called when etcd has confirmed it, or when the key
  /// was put again before.
  void remove(const std::string& key, std::function<void()> gone);

  /// Whether etcd answered when it was last asked.
  [[nodiscard]] bool reachable() const { return reachable_; }

private:
  void step();
  void beat();
  void again();
  void grant();
  void commit();
  void revoke();
  void committed(const std::map<std::string, std::string>& put,
                 const std::vector<std::string>& erased);
  void heard(bool answered, const std::string& error);
  void lose_lease();

  etcd_client& etcd_;
  std::string whose_;
  lease_id lease_ = 0;
  /// Leases under which a write may still be under way. They end before a removal is confirmed, or
  /// such a write could bring the key back.
  std::vector<lease_id> doubtful_;
  std::map<std::string, std::string> wanted_;
  std::set<std::string> written_; ///< of the wanted ones, under the lease
  std::map<std::string, std::vector<std::function<void()>>> unwanted_;
  bool started_ = false;
  bool busy_ = false; ///< one request at a time, so that they take effect in their order
  bool reachable_ = false;
  bool complained_ = false;
  lifetime life_;
};

} // namespace matriarch::store
