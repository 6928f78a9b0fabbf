#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "model/record.hpp"

/// Nodes that run on cells without a record. A missing record proves nothing: such a node is
/// removed only if a grave shows that it was removed before, and otherwise reported.
namespace matriarch::model {

/// A node as its cell lists it.
struct listed_node {
  std::string node_id;
  std::string scope;
  std::string service_id;
  std::string plan_id;
  node_addresses at = {}; ///< as far as the cell reports it
  bool operator==(const listed_node&) const = default;
};

/// A node that runs on a cell without a record.
struct orphan {
  std::string cell;
  listed_node node;
  bool operator==(const orphan&) const = default;
};

/// `/matriarch/graves/<cell>/<node>`: the node was removed from that cell and must not run there.
struct grave {
  std::string scope;
  /// Not set in graves of earlier releases.
  std::optional<wall_time> buried_at = {};
  unknown_members unknown = {};
};

/// The listed nodes that have no record on that cell.
[[nodiscard]] std::vector<listed_node> unrecorded(const std::vector<listed_node>& listed,
                                                  const std::set<std::string>& recorded);

/// What to do about the unrecorded nodes of one cell.
struct orphan_ruling {
  std::vector<listed_node> remove; ///< the node has a grave
  std::vector<listed_node> report; ///< seen before, and still without a record or a grave
  std::set<std::string> suspects;  ///< passed to the next ruling
};

/// `graves`: node ids that have a grave on this cell. `suspects`: from the cell's last ruling. The
/// record of a node that was just found may not have arrived yet, so the node is reported only when
/// it is found again.
[[nodiscard]] orphan_ruling judge_orphans(const std::vector<listed_node>& without_record,
                                          const std::set<std::string>& graves,
                                          const std::set<std::string>& suspects);

/// How long a grave stays after the cell listed its nodes without the buried one. Such a cell will
/// not start the node again: the cell itself remembers removals for a month. A day is longer than
/// any request can be on its way.
inline constexpr duration grave_life_after_listing = std::chrono::hours{24};
/// How long any grave stays. A cell that never lists its nodes, or is away, may come back with
/// them. After a year nobody puts that machine back into service, and its nodes would still be
/// reported.
inline constexpr duration longest_grave_life = std::chrono::hours{24 * 365};

/// Whether a grave may be deleted. `listed`: the nodes that the cell has just listed, if it lists
/// its nodes.
[[nodiscard]] bool has_served(const std::string& node_id, const grave& which,
                              const std::optional<std::set<std::string>>& listed, wall_time now);

/// An operator has an orphan removed.
struct orphan_removal {
  std::string cell;
  std::string node_id;
};

} // namespace matriarch::model
