#pragma once

#include <map>
#include <string>
#include <string_view>

#include "config/yaml_reader.hpp"

namespace matriarch::config {

/// The greatest number of connections, senders, slots or workers that PostgreSQL takes.
inline constexpr long greatest_backend_count = 262'143;

/// Reads a mapping of PostgreSQL's parameters, values as text. Throws config_error for a name that
/// is none, a parameter that Patroni, the cell or this program sets itself, and a value that
/// Patroni would silently replace by its default.
[[nodiscard]] std::map<std::string, std::string> read_parameters(const section& from);

} // namespace matriarch::config
