#pragma once

#include <map>
#include <string>

#include "model/shared_map.hpp"
#include "model/shared_text.hpp"

namespace matriarch::store {

/// Shares equal texts: there are few plans, and nearly all instances of a fleet have the values of
/// one of them. Recently read values are kept.
[[nodiscard]] model::shared_text shared(const std::string& read);
[[nodiscard]] model::shared_map<std::string, std::string>
shared(std::map<std::string, std::string> read);

} // namespace matriarch::store
