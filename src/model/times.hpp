#pragma once

#include <string>

#include "model/record.hpp"

namespace matriarch::model {

/// A time as ISO 8601 in UTC, `2026-11-21T07:30:05.250Z`: the form that OSB 2.17 asks for.
[[nodiscard]] std::string text_of(wall_time when);

} // namespace matriarch::model
