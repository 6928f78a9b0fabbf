#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "model/record.hpp"

/// What cells run that nobody has written down. Absence is not evidence: such a node is removed only
/// if a grave says that it was removed before, and reported otherwise.
namespace matriarch::model {

/// A node as its cell lists it.
struct listed_node {
  std::string node_id;
  std::string scope;
  std::string service_id;
  std::string plan_id;
  node_addresses at = {}; ///< as far as the cell says it
  bool operator==(const listed_node&) const = default;
};

/// A node that runs on a cell without a record.
struct orphan {
  std::string cell;
  listed_node node;
  bool operator==(const orphan&) const = default;
};

/// `/matriarch/graves/<cell>/<node>`: the node was removed from that cell, and must not run there.
struct grave {
  std::string scope;
  /// Not set in graves from before there was one.
  std::optional<wall_time> buried_at = {};
  unknown_members unknown = {};
};

/// Of a cell's list, what no record names on that cell.
[[nodiscard]] std::vector<listed_node> unrecorded(const std::vector<listed_node>& listed,
                                                  const std::set<std::string>& recorded);

/// What becomes of the unrecorded nodes of one cell.
struct orphan_ruling {
  std::vector<listed_node> remove; ///< a grave says so
  std::vector<listed_node> report; ///< seen before, and still without a record or a grave
  std::set<std::string> suspects;  ///< to be passed to the next ruling
};

/// `graves`: node ids that are buried on this cell. `suspects`: of the cell's last ruling. A node
/// that has just been found may be one whose record has not been heard of yet: it is reported when
/// it is found again.
[[nodiscard]] orphan_ruling judge_orphans(const std::vector<listed_node>& without_record,
                                          const std::set<std::string>& graves,
                                          const std::set<std::string>& suspects);

/// A cell that lists its nodes and does not list a buried one will not bring it back: it has a grave
/// of its own for a month. A day outlasts everything that may be on its way.
inline constexpr duration grave_life_after_listing = std::chrono::hours{24};
/// A cell that never lists its nodes, or is away, may come back with them. After a year nobody will
/// plug that machine in again; and what it would bring is still reported.
inline constexpr duration longest_grave_life = std::chrono::hours{24 * 365};

/// Whether a grave has served. `listed`: what its cell has listed just now, if it lists at all.
[[nodiscard]] bool has_served(const std::string& node_id, const grave& which,
                              const std::optional<std::set<std::string>>& listed, wall_time now);

/// An operator decides that an orphan goes.
struct orphan_removal {
  std::string cell;
  std::string node_id;
};

} // namespace matriarch::model
