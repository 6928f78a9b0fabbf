#pragma once

#include <cstddef>

#include "config/yaml_reader.hpp"
#include "model/catalog.hpp"
#include "model/engine.hpp"

namespace matriarch::config {

/// Reads the mapping `catalog:` for a broker with `cells` cells. Throws config_error.
[[nodiscard]] model::catalog read_catalog(const section& from, std::size_t cells,
                                          const model::engine_list& engines);

} // namespace matriarch::config
