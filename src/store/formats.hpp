#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/json.hpp"

/// The formats of the values in etcd and on the cells' disks. In each value `format` tells which
/// release's members it has, and `min_reader` the lowest format that a reader has to know. A new
/// member that readers may ignore raises `format`; a new member that changes the meaning of others
/// raises both. Values without these members are older than formats, and are read.
namespace matriarch::store {

/// The format that this release writes, and the highest `min_reader` that it reads.
extern const int own_format;
/// What a reader has to know to use what this release writes, as a rule.
extern const int own_min_reader;
/// The format that knows clusters beside the one that serves, and nodes that are stopped and kept. A broker
/// that does not would leave them as they are for ever, or remove an instance and leave them running.
inline constexpr int rebuilding_format = 2;

/// Adds the two to a value that is complete but for them.
void add_format(json::document& value, int min_reader = own_min_reader);

/// Why this release must not use a value: it could misunderstand what a later release wrote.
/// Nothing if it may use the value.
[[nodiscard]] std::optional<std::string> why_not_to_read(const json::value& object);

/// Why a broker of this release must not act for a fleet. `fleet`: the value of
/// `/matriarch/format`, empty if there is none. Nothing if the broker may act.
[[nodiscard]] std::optional<std::string> why_not_to_act(std::string_view fleet);
/// The new value of `/matriarch/format` when a broker of this release becomes active; nothing if it
/// is unchanged.
[[nodiscard]] std::optional<std::string> fleet_format_after(std::string_view before);

} // namespace matriarch::store
