#pragma once

#include "model/engine.hpp"
#include "router/engine_check.hpp"

/// The wiring of the engines, the only place that names them: everybody else looks one up by its name.
/// The first is of what names none, as everything did before there were several.
namespace matriarch::cli {

[[nodiscard]] const model::engines& known_engines();
[[nodiscard]] const router::engine_checks& engine_checks();

} // namespace matriarch::cli
