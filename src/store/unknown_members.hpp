#pragma once

#include <string_view>
#include <vector>

#include "base/json.hpp"
#include "model/unknown_members.hpp"
#include "store/keyring.hpp"

/// Keeps members that a broker or a cell of a later release wrote and this release does not know.
/// They are written back unchanged, at every depth: an upgrade that is reverted, or that has
/// reached half of the machines, loses nothing.
namespace matriarch::store {

/// The members of a stored object that this release knows.
struct known_members {
  /// In the order in which they are written.
  std::vector<std::string_view> names;
  /// Of these, the objects with members of their own. `key` names the member that identifies such
  /// an object, if it has one.
  struct object {
    std::string_view name;
    const known_members* members;
    std::string_view key = {};
  };
  std::vector<object> objects = {};
  /// Of these, the lists of objects. `key` names the member that identifies an entry.
  struct list {
    std::string_view name;
    std::string_view key;
    const known_members* entry;
  };
  std::vector<list> lists = {};
  /// Of these, the objects whose members are all such objects.
  std::vector<object> maps = {};
};

/// The unknown members of an object, for add_unknown(); equal for equal objects.
[[nodiscard]] model::unknown_members unknown_in(const json::value& object,
                                                const known_members& known);

/// Adds to an object the unknown members of an earlier version. Unknown members of parts that no
/// longer exist (a node, the operation before, the settings being taken up) are dropped. Members
/// that `object` has itself stay.
void add_unknown(json::value& object, const model::unknown_members& unknown,
                 const known_members& known, json::document& owner);

/// Whether an unknown member contains a text that is sealed, but not with the newest key. The place
/// of such a text is unknown, so it cannot be sealed again: its key has to stay.
[[nodiscard]] bool has_old_seals(const model::unknown_members& unknown, const keyring& keys);

} // namespace matriarch::store
