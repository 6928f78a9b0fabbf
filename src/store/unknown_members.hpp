#pragma once

#include <string_view>
#include <vector>

#include "base/json.hpp"
#include "model/unknown_members.hpp"
#include "store/keyring.hpp"

/// A broker or a cell of a later release writes members that this one does not know. They are kept
/// as they are and written back, at every depth: an upgrade that is taken back, or that has reached
/// half of the machines, loses nothing.
namespace matriarch::store {

/// Which members of a stored object this release knows.
struct known_members {
  /// In the order in which they are written.
  std::vector<std::string_view> names;
  /// Of these, objects with members of their own, some with one that tells whether it is still the same.
  struct object {
    std::string_view name;
    const known_members* members;
    std::string_view key = {};
  };
  std::vector<object> objects = {};
  /// Of these, lists of objects, each with the member that tells its entries apart.
  struct list {
    std::string_view name;
    std::string_view key;
    const known_members* entry;
  };
  std::vector<list> lists = {};
  /// Of these, objects each of whose members is such an object.
  std::vector<object> maps = {};
};

/// What of an object is not known, for add_unknown(); of equal objects it is equal.
[[nodiscard]] model::unknown_members unknown_in(const json::value& object,
                                                const known_members& known);

/// Adds to an object what unknown_in() gave of an earlier one. What has gone meanwhile (a node, the
/// operation before, the settings that were being taken up) takes with it what was unknown of it, and what `object` has
/// itself counts.
void add_unknown(json::value& object, const model::unknown_members& unknown,
                 const known_members& known, json::document& owner);

/// Whether there is a text in it that is sealed, known by its form, and not with the newest key. Where it
/// belongs is not known, so it cannot be sealed anew: its key has to stay.
[[nodiscard]] bool has_old_seals(const model::unknown_members& unknown, const keyring& keys);

} // namespace matriarch::store
