#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <variant>
#include <vector>

namespace matriarch::http {
class event_loop;
}

/// etcd's v3 API, through its JSON gateway.
namespace matriarch::store {

using revision = std::int64_t;
using lease_id = std::int64_t;

struct key_value {
  std::string key;
  std::string value;
  revision create_revision = 0;
  revision mod_revision = 0;
  lease_id lease = 0;
};

/// The keys from `first` up to but not including `last`; a single key if `last` is empty.
struct key_range {
  std::string first;
  std::string last;
};

/// All keys that start with `prefix`.
[[nodiscard]] key_range keys_below(std::string prefix);

/// A condition of a transaction. Each is on one key.
struct compare {
  enum class subject { create_revision, mod_revision, value };
  enum class relation { equal, not_equal, less, greater };
  subject what = subject::mod_revision;
  relation how = relation::equal;
  std::string key;
  revision number = 0;  ///< for the revisions; 0 is "no such key"
  std::string text = {}; ///< for the value
};

/// Holds if there is no such key.
[[nodiscard]] compare absent(std::string key);
/// Holds if the key was last written at exactly that revision.
[[nodiscard]] compare unchanged_since(std::string key, revision at);
/// Holds if the key exists with exactly that value.
[[nodiscard]] compare has_value(std::string key, std::string value);

struct put {
  std::string key;
  std::string value;
  lease_id lease = 0;
};
struct erase {
  key_range keys;
};
struct read {
  key_range keys;
};
using operation = std::variant<put, erase, read>;

struct transaction {
  std::vector<compare> compares;
  std::vector<operation> then = {};
  std::vector<operation> otherwise = {};
};

/// What is known of a transaction.
enum class commit_state {
  committed, ///< the compares held, `then` was done
  refused,   ///< a compare did not hold, `otherwise` was done
  unknown,   ///< it was sent and not answered: it may have been done, or may still be
  not_done,  ///< it certainly was not done: etcd could not be reached, or refused it with an error
};

struct commit_result {
  commit_state state = commit_state::unknown;
  revision at = 0;
  /// One list for each `read` of the branch that was done, in their order.
  std::vector<std::vector<key_value>> reads = {};
  std::string error = {};
};

struct range_result {
  bool ok = false;
  revision at = 0;
  std::vector<key_value> found = {};
  std::string error = {};
};

struct lease_result {
  /// `gone`: etcd answered that there is no such lease. `unreachable`: nothing is known.
  enum class state { held, gone, unreachable };
  state is = state::unreachable;
  lease_id id = 0;
  std::chrono::seconds ttl{0};
  std::string error = {};
};

/// One change of a key. A deleted key has an empty value.
struct change {
  enum class kind { put, erase };
  kind what = kind::put;
  key_value entry;
};

/// A client of an etcd cluster. It asks one endpoint at a time and goes to the next when one fails.
/// Every call ends within its time-out; reads are linearizable. The calls back come on the event
/// loop's thread.
class etcd_client {
public:
  /// `endpoints`: `http://host:port`, at least one. `loop` must outlive this.
  etcd_client(http::event_loop& loop, std::vector<std::string> endpoints,
              std::chrono::milliseconds timeout = std::chrono::milliseconds{3'000});
  ~etcd_client();

  void commit(transaction what, std::function<void(commit_result)> done);
  void range(key_range keys, std::function<void(range_result)> done);
  void grant_lease(std::chrono::seconds ttl, std::function<void(lease_result)> done);
  void keep_alive(lease_id lease, std::function<void(lease_result)> done);
  void revoke_lease(lease_id lease, std::function<void(lease_result)> done);

  [[nodiscard]] http::event_loop& loop() const;

private:
  friend class follower;
  struct implementation;
  std::shared_ptr<implementation> self_;
};

/// Follows a range of keys for as long as it lives: first everything there is, then each change in
/// etcd's order, none missed. It survives reconnects, an endpoint that is silent or has lost the
/// quorum (header `hasleader`, and `silence_limit`), and compaction, after which it lists everything
/// again. The calls come on the event loop's thread, one at a time.
class follower {
public:
  struct listener {
    /// Everything in the range as of a revision: at the start, and again after compaction or a
    /// reconnect that could not resume. Keys that were known and are not in it are gone.
    std::function<void(std::vector<key_value>, revision)> listed;
    /// Changes of one revision or several, in order.
    std::function<void(std::vector<change>, revision)> changed;
    /// The connection to etcd was lost (false, with the reason) or is back (true).
    std::function<void(bool, std::string)> reachable;
  };

  struct options {
    /// Without any line from etcd for so long, the stream is opened anew at the next endpoint.
    /// etcd sends nothing on a quiet watch: use it where a heartbeat key is in the range, or ask for
    /// progress notifications.
    std::chrono::milliseconds silence_limit{10'000};
    /// First and greatest pause before connecting again; it doubles in between, with jitter.
    std::chrono::milliseconds first_pause{100};
    std::chrono::milliseconds longest_pause{3'000};
  };

  follower(etcd_client& etcd, key_range keys, listener tell, options how);
  ~follower(); ///< No call comes after this returns, if it runs on the loop's thread or no call runs.

private:
  struct implementation;
  std::shared_ptr<implementation> self_;
};

} // namespace matriarch::store
