#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <variant>
#include <vector>

#include "base/event_loop.hpp"

/// etcd's v3 API over its JSON gateway.
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
  revision number = 0;   ///< for the revisions; 0 means that the key does not exist
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
  std::int64_t most = 0; ///< at most this many keys; 0: all, which have to be few
};
using operation = std::variant<put, erase, read>;

struct transaction {
  std::vector<compare> compares;
  std::vector<operation> then = {};
  std::vector<operation> otherwise = {};
};

/// The outcome of a transaction, as far as known.
enum class commit_state {
  committed, ///< the compares held, `then` was done
  refused,   ///< a compare did not hold, `otherwise` was done
  unknown,   ///< sent but not answered: it may have been done, or may still be done
  not_done,  ///< certainly not done: etcd was unreachable or answered with an error
};

struct commit_result {
  commit_state state = commit_state::unknown;
  revision at = 0;
  /// One list for each `read` of the branch that was done, in order.
  std::vector<std::vector<key_value>> reads = {};
  std::string error = {};
  /// For an `unknown` outcome: etcd will not do the transaction any more, so a read shows the
  /// outcome.
  bool over = false;
};

struct range_result {
  bool ok = false;
  revision at = 0;
  std::vector<key_value> found = {};
  std::string error = {};
};

struct lease_result {
  /// `gone`: etcd answered that the lease does not exist. `unreachable`: nothing is known.
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

/// How to reach an etcd cluster.
struct etcd_access {
  /// `http://host:port` or `https://host:port`, at least one; a final slash is ignored.
  std::vector<std::string> endpoints;
  /// The etcd user of this program; empty if etcd asks for no user. The client fetches the token
  /// for its requests itself, and a new one when etcd no longer knows the token.
  std::string username = {};
  std::string password = {};
  /// For https endpoints; PEM files. Empty: the system's authorities, and no client certificate.
  base::tls_files tls = {};
};

class etcd_session;

/// A client of an etcd cluster. It uses one endpoint at a time and goes to the next when one fails.
/// It does so within the call where that is safe: a transaction is repeated only if the first
/// endpoint certainly did not do it. Otherwise the next call uses the next endpoint. Every call
/// ends within its time-out, whatever endpoints and tokens it needs. Reads are linearizable. All
/// members may be called from any thread; callbacks run on the event loop's thread. Error messages
/// name the request, the endpoint and the answer, and contain no stored values.
class etcd_client {
public:
  /// `loop` must outlive this. Throws std::invalid_argument without an endpoint.
  etcd_client(base::event_loop& loop, etcd_access access,
              std::chrono::milliseconds timeout = std::chrono::milliseconds{3'000});
  /// The same for an etcd without TLS and users.
  etcd_client(base::event_loop& loop, std::vector<std::string> endpoints,
              std::chrono::milliseconds timeout = std::chrono::milliseconds{3'000});
  /// Drops calls in progress. No callback runs after this returns, if it runs on the loop's thread
  /// or no callback is running.
  ~etcd_client();
  etcd_client(const etcd_client&) = delete;
  etcd_client& operator=(const etcd_client&) = delete;

  void commit(transaction what, std::function<void(commit_result)> done);
  void range(key_range keys, std::function<void(range_result)> done);
  /// `held` with the id that etcd chose and the ttl that it granted, which may be longer than
  /// `ttl`. Otherwise `unreachable`; a lease that nobody renews may be left.
  void grant_lease(std::chrono::seconds ttl, std::function<void(lease_result)> done);
  /// `held` if the lease was renewed for its whole ttl.
  void keep_alive(lease_id lease, std::function<void(lease_result)> done);
  /// `gone` if the lease and its keys no longer exist, now or before; otherwise `unreachable`.
  void revoke_lease(lease_id lease, std::function<void(lease_result)> done);

  /// Makes an etcd user with this password, if there is none of this name, that may read `readable`
  /// and write `writable` and nothing else, through a role of the same name. The call can be
  /// repeated. `done` gets an empty text, or the reason of a failure, for instance that a user of
  /// that name has other roles. After a time-out the finished steps remain, and a repeated call
  /// continues.
  void admit_user(std::string username, std::string password, std::vector<key_range> readable,
                  std::vector<key_range> writable, std::function<void(std::string)> done);
  /// Deletes that user and its role; missing ones count as deleted.
  void dismiss_user(std::string username, std::function<void(std::string)> done);

  [[nodiscard]] base::event_loop& loop() const;
  /// For followers, which share the client's endpoints and token.
  [[nodiscard]] const std::shared_ptr<etcd_session>& session() const;

private:
  struct implementation;
  std::shared_ptr<implementation> self_;
};

/// A page of all keys of a range at one revision, in key order. A listing that fails starts again
/// with its first page.
struct listing_page {
  std::vector<key_value> found;
  revision at = 0;
  bool first = true;
  bool last = true;
};

/// Follows a range of keys for as long as this object exists: first reports all keys, then each
/// change in etcd's order, missing none. It survives reconnects, endpoints that are silent or have
/// lost the quorum (header `hasleader`, and `silence_limit`), and compaction. After a compaction it
/// lists all keys again. It also does so if etcd is found to be another one than before (an older
/// revision, another cluster id). Callbacks run on the event loop's thread, one at a time.
///
/// A quiet etcd watch looks like a dead one. So after half the silence limit the follower asks the
/// watch's endpoint, linearizably, whether the range has changed. A refusal or a missing answer
/// means that the endpoint has failed. A change that the watch does not bring means that the watch
/// has failed. If nothing has changed, the watch goes on, however long it is quiet.
class follower {
public:
  struct listener {
    /// All keys of the range, page by page: at the start, after a compaction, and after a reconnect
    /// that could not resume. Earlier keys that are in none of the pages no longer exist.
    std::function<void(listing_page)> listed;
    /// Changes of one or several revisions, in order.
    std::function<void(std::vector<change>, revision)> changed;
    /// The connection to etcd was lost (false, with the reason) or is there (true): the watch runs
    /// and has brought every change up to now. Called on transitions only; the first call tells the
    /// initial state.
    std::function<void(bool, std::string)> reachable;
  };

  struct options {
    /// How long an endpoint may give no sign of life, or its watch owe changes, before the next
    /// endpoint is used. A quiet endpoint is asked after half of this. At least 400 ms.
    std::chrono::milliseconds silence_limit{10'000};
    /// First and greatest pause before a reconnect; the pause doubles in between, with jitter.
    std::chrono::milliseconds first_pause{100};
    std::chrono::milliseconds longest_pause{3'000};
  };

  /// All three functions of `tell` must be set. No callback runs before this returns, unless this
  /// runs on another thread than the loop's.
  follower(etcd_client& etcd, key_range keys, listener tell, options how);
  follower(const follower&) = delete;
  follower& operator=(const follower&) = delete;
  /// No callback runs after this returns, if it runs on the loop's thread or no callback is
  /// running.
  ~follower();

private:
  struct implementation;
  std::shared_ptr<implementation> self_;
};

} // namespace matriarch::store
