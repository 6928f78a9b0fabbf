#pragma once

#include <vector>

#include "actors/engine.hpp"
#include "cell/node_engine.hpp"
#include "model/engine.hpp"
#include "router/engine_check.hpp"

/// The wiring of the engines, the only place that names them: everybody else looks one up by its name.
/// The first is of what names none, as everything did before there were several.
namespace matriarch::cli {

[[nodiscard]] const model::engine_list& known_engines();
[[nodiscard]] std::vector<const actors::engine*> engines_of_actors();
[[nodiscard]] const cell::engine_kind& kind_of_nodes();
[[nodiscard]] const router::engine_checks& engine_checks();

} // namespace matriarch::cli
