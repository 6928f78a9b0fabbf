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

/// Keeps keys in etcd under a lease for as long as this object exists. A lease that ended is
/// replaced and all keys are put again. Failed requests are repeated until they succeed. Used on
/// the event loop's thread only.
class announcer {
public:
  /// The lease's length: a program that restarts at once keeps its keys, and the keys of a stopped
  /// program soon disappear.
  static constexpr std::chrono::seconds lease_length{10};
  /// How long the keys of a stopped program can stay: its lease may have been renewed just before
  /// the stop, and etcd takes up to a second more to end the lease.
  static constexpr std::chrono::seconds longest_end{12};

  /// `whose`: the owner of the keys, for the log: "the cell".
  announcer(etcd_client& etcd, std::string whose);

  /// Writes and removes keys only while nobody else has this key, which is one of the keys that are
  /// put. Call before start(). `taken` is called with the other owner, in words, whenever one is
  /// found.
  void only_with(owned_key what, std::function<void(std::string)> taken);

  /// Begins to write. Before that, keys are only remembered.
  void start();

  /// Sets the key's value from now on.
  void put(const std::string& key, std::string value);

  /// Removes the key. `gone` is called when etcd has confirmed the removal, or when the key is put
  /// again before that.
  void remove(const std::string& key, std::function<void()> gone);

  /// Whether etcd answered the last request.
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
  /// The revision at which the owned key was last written, 0 if there is no such key; not set if
  /// the key has to be read first.
  std::optional<revision> owned_at_;
  /// Since when somebody else has that key.
  std::optional<std::chrono::steady_clock::time_point> others_since_;
  /// Leases under which an unanswered write may still take effect. They are revoked before a
  /// removal is confirmed: such a write could bring the key back.
  std::vector<lease_id> doubtful_;
  std::map<std::string, std::string> wanted_;
  std::set<std::string> written_; ///< the wanted keys that are written under the lease
  std::map<std::string, std::vector<std::function<void()>>> unwanted_;
  bool started_ = false;
  bool busy_ = false; ///< one request at a time, so that requests take effect in order
  bool reachable_ = false;
  bool complained_ = false;
  lifetime life_;
};

} // namespace matriarch::store
