#pragma once

#include <iosfwd>
#include <string>

#include "cell/node_driver.hpp"
#include "cell/node_engine.hpp"

namespace matriarch::cell {

/// `matriarch cell`: serves until SIGTERM or SIGINT; the nodes go on running then. The exit code: 0
/// at a clean end, 1 if it cannot serve, 2 if the configuration is wrong, with one line on stderr.
[[nodiscard]] int run(const std::string& config_path, const engine_kind& kind,
                      const driver_kind& drivers);

/// `matriarch cell --check`: says on `out` whether it could serve; 0 or 2.
[[nodiscard]] int check(const std::string& config_path, const engine_kind& kind,
                        const driver_kind& drivers, std::ostream& out);

} // namespace matriarch::cell
