#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/event_loop.hpp"
#include "store/etcd.hpp"
#include "store/lifetime.hpp"
#include "store/ownership.hpp"

namespace matriarch::store {

/// Keeps keys in etcd under a lease for as long as it lives. A lease that ended is replaced and all
/// keys are put again; what could not be done is tried again until it is done. Belongs to the event
/// loop's thread.
class announcer {
public:
  /// The lease's length: a program that restarts at once keeps its keys, and one that is gone is
  /// seen to be gone soon.
  static constexpr std::chrono::seconds lease_length{10};
  /// Until the keys of one that has ended are gone: its lease may have been renewed just before, and
  /// etcd takes up to a second more to notice.
  static constexpr std::chrono::seconds longest_end{12};

  /// `whose` keys they are, for the log: "the cell".
  announcer(etcd_client& etcd, std::string whose);

  /// Nothing is written or removed but while this key, one of those that are put, is nobody else's.
  /// Before start(). `taken` is called, with who has it in words, whenever that is found out.
  void only_with(owned_key what, std::function<void(std::string)> taken);

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
  void look();
  void commit();
  void revoke();
  void committed(const std::map<std::string, std::string>& put,
                 const std::vector<std::string>& erased);
  void heard(bool answered, const std::string& error);
  void lose_lease();

  etcd_client& etcd_;
  std::string whose_;
  lease_id lease_ = 0;
  std::optional<owned_key> owned_;
  std::function<void(std::string)> taken_;
  /// When the owned key was last written, 0 if there is none; nothing if that has to be looked at.
  std::optional<revision> owned_at_;
  std::optional<std::chrono::steady_clock::time_point> others_since_; ///< that key is
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
