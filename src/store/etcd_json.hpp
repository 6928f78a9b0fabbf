#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"
#include "store/etcd.hpp"

/// The bodies of etcd's JSON gateway, as values: no I/O here. In that JSON keys and values are
/// base64, 64-bit integers are strings, and members that are false, zero or empty are left out.
namespace matriarch::store::etcd_json {

// -- requests -----------------------------------------------------------------

/// For `/v3/kv/txn`.
[[nodiscard]] std::string transaction_body(const transaction& what);

/// For `/v3/kv/range`: everything in the range, linearizable.
[[nodiscard]] std::string range_body(const key_range& keys);

/// For `/v3/kv/range`: the first `most` keys of the range as of that revision, which etcd must not
/// have compacted; 0 is the newest.
[[nodiscard]] std::string page_body(const key_range& keys, revision at, std::int64_t most);

/// For `/v3/kv/range`: the newest key of the range that was written after `seen`, without its
/// value, and how many keys the range has.
[[nodiscard]] std::string newest_body(const key_range& keys, revision seen);

/// For `/v3/watch`: all changes of the range from that revision on. Long answers come in fragments.
[[nodiscard]] std::string watch_body(const key_range& keys, revision from);

/// For `/v3/lease/grant`; etcd picks the id.
[[nodiscard]] std::string grant_body(std::chrono::seconds ttl);

/// For `/v3/lease/keepalive` and `/v3/lease/revoke`.
[[nodiscard]] std::string lease_body(lease_id lease);

// -- answers ------------------------------------------------------------------

/// The answer to `what`, which says how many reads there must be. A failure if the text is no such
/// answer.
[[nodiscard]] result<commit_result> read_commit(std::string_view text, const transaction& what);

struct range_answer {
  std::string cluster; ///< etcd's id of the cluster, decimal; empty if the answer has none
  revision at = 0;
  std::vector<key_value> found;
  std::int64_t count = 0; ///< keys in the range, whatever part of them is in `found`
  bool more = false;      ///< there are more than were asked for
};
[[nodiscard]] result<range_answer> read_range(std::string_view text);

/// Where the page after this one begins, found without reading the page; nothing if it is the last, or
/// that cannot be told.
[[nodiscard]] std::optional<std::string> next_page(std::string_view text);

struct lease_answer {
  lease_id id = 0;
  std::chrono::seconds ttl{0}; ///< 0: a keep-alive found no such lease
};
/// The answer to a grant, or to a keep-alive, which is the same inside `result`.
[[nodiscard]] result<lease_answer> read_lease(std::string_view text);

/// One line of a watch.
struct watch_line {
  std::string cluster;
  revision at = 0;        ///< the store's revision, which may be ahead of the events
  bool created = false;   ///< the watch stands
  bool canceled = false;  ///< nothing more will come
  bool fragment = false;  ///< the rest of these events is in the next line
  revision compacted = 0; ///< if not 0: the changes asked for are gone up to here
  std::string error = {}; ///< why the stream ends, in etcd's words; empty if it does not
  std::vector<change> events = {};
};
[[nodiscard]] result<watch_line> read_watch_line(std::string_view text);

/// How etcd says no.
struct refusal {
  int code = -1; ///< gRPC's status code; -1 if the body was not etcd's JSON
  std::string message;
};
[[nodiscard]] refusal read_refusal(std::string_view text);

/// True if a transaction that was answered with this HTTP status (not 200) and this refusal
/// certainly was not done.
[[nodiscard]] bool certainly_not_done(int status, const refusal& why);

/// True if etcd does not accept the token that came with the request, because it has forgotten it,
/// or its users have changed meanwhile: the same request with a new token may be accepted.
[[nodiscard]] bool refuses_token(int status, const refusal& why);

/// True if etcd's users changed while it looked at the request: sent again it may be accepted at
/// once.
[[nodiscard]] bool users_changed_meanwhile(const refusal& why);

/// True if the revision that was asked for is compacted.
[[nodiscard]] bool is_compacted(const refusal& why);

/// True if etcd has no space left. It also says so of a transaction that it has just done (3.4: the
/// one that fills it), but does none later that it said this of.
[[nodiscard]] bool is_out_of_space(const refusal& why);

/// True if another endpoint of the same cluster may answer differently. False where the request
/// itself is at fault.
[[nodiscard]] bool worth_another_endpoint(int status, const refusal& why);

} // namespace matriarch::store::etcd_json
