#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <variant>
#include <vector>

#include "base/event_loop.hpp"

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
  revision number = 0;   ///< for the revisions; 0 is "no such key"
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
  std::int64_t most = 0; ///< of these, the first so many; 0: all, which have to be few
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
  /// Of an `unknown` one: etcd has dealt with it and will not do it any more, so a read tells.
  bool over = false;
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

/// How an etcd cluster is reached.
struct etcd_access {
  /// `http://host:port` or `https://host:port`, at least one; a slash at the end is ignored.
  std::vector<std::string> endpoints;
  /// Who this program is to etcd; empty if etcd asks for no user. The client fetches the token that
  /// goes with each request by itself, and a new one when etcd does not know it any more.
  std::string username = {};
  std::string password = {};
  /// Of https endpoints; PEM files. Empty: the system's authorities, and no client certificate.
  base::tls_files tls = {};
};

class etcd_session;

/// A client of an etcd cluster. It asks one endpoint at a time and goes to the next when one fails:
/// within the call where that is safe, which for a transaction means that the first certainly did
/// nothing with it, else with the next call. Every call ends within its time-out, however many
/// endpoints and tokens it takes; reads are linearizable. All members may be called from any
/// thread; the calls back come on the event loop's thread. Error messages say what was asked of
/// whom and what came, and hold no stored values.
class etcd_client {
public:
  /// `loop` must outlive this. Throws std::invalid_argument without an endpoint.
  etcd_client(base::event_loop& loop, etcd_access access,
              std::chrono::milliseconds timeout = std::chrono::milliseconds{3'000});
  /// The same for an etcd without TLS and users.
  etcd_client(base::event_loop& loop, std::vector<std::string> endpoints,
              std::chrono::milliseconds timeout = std::chrono::milliseconds{3'000});
  /// Calls that are under way are not answered any more: nothing is called after this returns, if
  /// it runs on the loop's thread or no call runs.
  ~etcd_client();
  etcd_client(const etcd_client&) = delete;
  etcd_client& operator=(const etcd_client&) = delete;

  void commit(transaction what, std::function<void(commit_result)> done);
  void range(key_range keys, std::function<void(range_result)> done);
  /// `held` with the id that etcd picked and the ttl that it granted, which may be longer than
  /// asked for; else `unreachable`, and a lease may be left that nobody keeps alive.
  void grant_lease(std::chrono::seconds ttl, std::function<void(lease_result)> done);
  /// `held` if the lease was renewed for its whole ttl.
  void keep_alive(lease_id lease, std::function<void(lease_result)> done);
  /// `gone` if etcd has taken the lease and its keys away, now or before; else `unreachable`.
  void revoke_lease(lease_id lease, std::function<void(lease_result)> done);

  /// Makes a user of etcd, if there is none of this name, with this password, that may read
  /// `readable` and write `writable`, and nothing else: by a role of its own name. Done twice is
  /// done once. `done` gets an empty text, or why it could not be done, for instance because a user
  /// of that name has other roles. What was done until the time-out stays; done again, it goes on.
  void admit_user(std::string username, std::string password, std::vector<key_range> readable,
                  std::vector<key_range> writable, std::function<void(std::string)> done);
  /// Deletes that user and its role; what is not there counts as deleted.
  void dismiss_user(std::string username, std::function<void(std::string)> done);

  [[nodiscard]] base::event_loop& loop() const;
  /// For the followers, which have the same endpoints and token.
  [[nodiscard]] const std::shared_ptr<etcd_session>& session() const;

private:
  struct implementation;
  std::shared_ptr<implementation> self_;
};

/// A part of everything in a range as of a revision, in the order of the keys. A listing that fails
/// begins again with its first page.
struct listing_page {
  std::vector<key_value> found;
  revision at = 0;
  bool first = true;
  bool last = true;
};

/// Follows a range of keys for as long as it lives: first everything there is, then each change in
/// etcd's order, none missed. It survives reconnects, an endpoint that is silent or has lost the
/// quorum (header `hasleader`, and `silence_limit`), and compaction, after which it lists
/// everything again; it does so too when etcd turns out to be another one than before (an older
/// revision, another cluster id). The calls come on the event loop's thread, one at a time.
///
/// etcd says nothing on a quiet watch. So after half the silence limit the follower asks the
/// watch's endpoint, linearizably, whether the range has changed. A refusal or no answer means that
/// the endpoint is ill; a change that the watch still does not bring means that the watch is. If
/// nothing has changed all is well, however long it lasts.
class follower {
public:
  struct listener {
    /// Everything in the range, page by page: at the start, and again after compaction or a reconnect
    /// that could not resume. Keys that were known and are in none of the pages are gone.
    std::function<void(listing_page)> listed;
    /// Changes of one revision or several, in order.
    std::function<void(std::vector<change>, revision)> changed;
    /// The connection to etcd was lost (false, with the reason) or is there (true): the watch
    /// stands and has brought everything that had happened until then. Called on transitions only;
    /// the first call of all tells how it starts.
    std::function<void(bool, std::string)> reachable;
  };

  struct options {
    /// An endpoint that gives no sign of life for so long, or whose watch owes changes for so long,
    /// is left for the next one. A quiet one is asked after half of it. At least 400 ms.
    std::chrono::milliseconds silence_limit{10'000};
    /// First and greatest pause before connecting again; it doubles in between, with jitter.
    std::chrono::milliseconds first_pause{100};
    std::chrono::milliseconds longest_pause{3'000};
  };

  /// All three functions of `tell` must be there. Nothing is called before this returns, unless it
  /// runs on another thread than the loop's.
  follower(etcd_client& etcd, key_range keys, listener tell, options how);
  follower(const follower&) = delete;
  follower& operator=(const follower&) = delete;
  /// No call comes after this returns, if it runs on the loop's thread or no call runs.
  ~follower();

private:
  struct implementation;
  std::shared_ptr<implementation> self_;
};

} // namespace matriarch::store
