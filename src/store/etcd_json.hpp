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

/// The bodies of etcd's JSON gateway as values, without I/O. In this JSON keys and values are
/// base64, 64-bit integers are strings, and members that are false, zero or empty are left out.
namespace matriarch::store::etcd_json {

// -- requests -----------------------------------------------------------------

/// For `/v3/kv/txn`.
[[nodiscard]] std::string transaction_body(const transaction& what);

/// For `/v3/kv/range`: everything in the range, linearizable.
[[nodiscard]] std::string range_body(const key_range& keys);

/// For `/v3/kv/range`: the first `most` keys of the range at that revision, which must not be
/// compacted; 0 is the newest revision.
[[nodiscard]] std::string page_body(const key_range& keys, revision at, std::int64_t most);

/// For `/v3/kv/range`: the newest key of the range written after `seen`, without its value, and the
/// number of keys in the range.
[[nodiscard]] std::string newest_body(const key_range& keys, revision seen);

/// For `/v3/watch`: all changes of the range from that revision on. Long answers come in fragments.
[[nodiscard]] std::string watch_body(const key_range& keys, revision from);

/// For `/v3/lease/grant`; etcd picks the id.
[[nodiscard]] std::string grant_body(std::chrono::seconds ttl);

/// For `/v3/lease/keepalive` and `/v3/lease/revoke`.
[[nodiscard]] std::string lease_body(lease_id lease);

// -- answers ------------------------------------------------------------------

/// The answer to `what`, which tells how many reads to expect. Fails if the text is no such answer.
[[nodiscard]] result<commit_result> read_commit(std::string_view text, const transaction& what);

struct range_answer {
  std::string cluster; ///< etcd's id of the cluster, decimal; empty if the answer has none
  revision at = 0;
  std::vector<key_value> found;
  std::int64_t count = 0; ///< keys in the range, not only those in `found`
  bool more = false;      ///< there are more keys than were asked for
};
[[nodiscard]] result<range_answer> read_range(std::string_view text);

/// The first key of the next page, found without parsing this page. Nothing if this page is the
/// last, or its text does not show the key.
[[nodiscard]] std::optional<std::string> next_page(std::string_view text);

struct lease_answer {
  lease_id id = 0;
  std::chrono::seconds ttl{0}; ///< 0: a keep-alive found no such lease
};
/// The answer to a grant, or to a keep-alive, which has the same members inside `result`.
[[nodiscard]] result<lease_answer> read_lease(std::string_view text);

/// One line of a watch.
struct watch_line {
  std::string cluster;
  revision at = 0;        ///< the store's revision, which may be later than the events'
  bool created = false;   ///< the watch has been created
  bool canceled = false;  ///< nothing more will come
  bool fragment = false;  ///< the rest of these events is in the next line
  revision compacted = 0; ///< if not 0: changes up to this revision are compacted
  std::string error = {}; ///< etcd's reason for ending the stream; empty if the stream goes on
  std::vector<change> events = {};
};
[[nodiscard]] result<watch_line> read_watch_line(std::string_view text);

/// An error answer of etcd.
struct refusal {
  int code = -1; ///< gRPC's status code; -1 if the body was not etcd's JSON
  std::string message;
};
[[nodiscard]] refusal read_refusal(std::string_view text);

/// Whether a transaction that was answered with this HTTP status (not 200) and this refusal was
/// certainly not done.
[[nodiscard]] bool certainly_not_done(int status, const refusal& why);

/// Whether etcd rejects the request's token because it no longer knows the token, or because its
/// users have changed: the same request may succeed with a new token.
[[nodiscard]] bool refuses_token(int status, const refusal& why);

/// Whether etcd's users changed during the request: the same request may succeed at once.
[[nodiscard]] bool users_changed_meanwhile(const refusal& why);

/// Whether the requested revision is compacted.
[[nodiscard]] bool is_compacted(const refusal& why);

/// Whether etcd has no space left. etcd 3.4 also answers so to the transaction that fills the
/// space, although it has just done that one. A transaction answered so is not done later.
[[nodiscard]] bool is_out_of_space(const refusal& why);

/// Whether another endpoint of the same cluster may answer differently; false if the request itself
/// is wrong.
[[nodiscard]] bool worth_another_endpoint(int status, const refusal& why);

} // namespace matriarch::store::etcd_json
