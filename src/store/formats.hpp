#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/json.hpp"

/// The formats of the values in etcd and on the cells' disks. Each value says in `format` which release's
/// members it has, and in `min_reader` the lowest format that a reader has to know to use it: a new
/// member that may be passed over raises the first, one that changes what the others mean raises both.
/// Values without the two are from before there were formats, and are read.
namespace matriarch::store {

/// What this release writes, and the highest `min_reader` that it reads.
extern const int own_format;
/// What a reader has to know to use what this release writes, as a rule.
extern const int own_min_reader;
/// The format that knows clusters beside the one that serves, and nodes that are stopped and kept. A broker
/// that does not would leave them as they are for ever, or remove an instance and leave them running.
inline constexpr int rebuilding_format = 2;

/// Adds the two to a value that is complete but for them.
void add_format(json::document& value, int min_reader = own_min_reader);

/// Why this release must not use a value: what a later one has written may mean what this one would take
/// for something else. Nothing if it may.
[[nodiscard]] std::optional<std::string> why_not_to_read(const json::value& object);

/// Why a broker of this release must not act for a fleet, by the value of `/matriarch/format`, which is
/// empty if there is none. Nothing if it may.
[[nodiscard]] std::optional<std::string> why_not_to_act(std::string_view fleet);
/// That value once a broker of this release acts, by what it was; nothing if it stays as it is.
[[nodiscard]] std::optional<std::string> fleet_format_after(std::string_view before);

} // namespace matriarch::store
