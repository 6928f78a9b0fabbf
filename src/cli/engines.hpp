#pragma once

#include <vector>

#include "actors/engine.hpp"
#include "cell/node_engine.hpp"
#include "model/engine.hpp"
#include "router/engine_check.hpp"

/// The wiring of the engines. No other code names them; it looks them up by their names. The first
/// engine is used for records that name none, as all records did before there were several engines.
namespace matriarch::cli {

[[nodiscard]] const model::engine_list& known_engines();
[[nodiscard]] std::vector<const actors::engine*> engines_of_actors();
[[nodiscard]] const cell::engine_kind& kind_of_nodes();
[[nodiscard]] const router::engine_checks& engine_checks();

} // namespace matriarch::cli
