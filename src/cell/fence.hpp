#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>

#include "base/result.hpp"
#include "cell/endpoints.hpp"

namespace matriarch::cell {

/// A broker's headers in a request (`X-Matriarch-Scope`, `-Revision`, `-Fleet`). All are optional:
/// a person with curl sends none.
struct fencing_claim {
  std::string scope;
  std::optional<std::int64_t> revision;
  std::string fleet;
};

/// A cell's memory of what it must not do again: the highest revision seen of each scope, the fleet
/// it belongs to, the removed nodes, and the endpoints that rest. It is written to disk before the
/// cell acts on a request, so that a delayed request cannot bring back what a later one removed.
class fence {
public:
  /// Why a request with this claim is refused (412), if it is: it comes from another fleet, or is
  /// older than one that was already obeyed for the scope.
  [[nodiscard]] std::optional<std::string> refusal_of(const fencing_claim& claim) const;

  /// The fleet whose broker has had nodes started here; empty if none has.
  [[nodiscard]] const std::string& fleet() const { return fleet_; }

  /// Remembers the claim of a request that was not refused. True if that changed anything.
  bool note(const fencing_claim& claim);

  /// Whether a node was removed here.
  [[nodiscard]] bool buried(const std::string& node_id) const { return graves_.contains(node_id); }
  /// Remembers a removed node. `now`: milliseconds since 1970.
  void bury(const std::string& node_id, std::int64_t now);

  [[nodiscard]] const resting_endpoints& resting() const { return resting_; }
  /// An endpoint's node was removed.
  void rest(const endpoint& where, std::int64_t now);
  /// An endpoint is given to a node.
  void occupy(const endpoint& where);

  /// Forgets graves and rests that can no longer matter, and the revisions of old scopes that have
  /// no node here.
  void forget_old(std::int64_t now, const std::set<std::string>& scopes_here);

  /// The JSON text that parse() reads.
  [[nodiscard]] std::string text() const;
  [[nodiscard]] static result<fence> parse(std::string_view text);

private:
  std::string fleet_;
  std::map<std::string, std::int64_t> revisions_; ///< by scope
  std::map<std::string, std::int64_t>
      unused_since_; ///< of these, scopes that had no node here at that time
  std::map<std::string, std::int64_t> graves_;
  resting_endpoints resting_;
};

} // namespace matriarch::cell
