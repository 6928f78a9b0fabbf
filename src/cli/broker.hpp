#pragma once

#include <functional>
#include <iosfwd>
#include <string>

namespace matriarch::actors {
class singletons;
}

namespace matriarch::broker {

/// `matriarch broker`: serves the Open Service Broker API and /admin until SIGTERM or SIGINT, then
/// returns 0. A configuration error is one line on stderr and 2; 1 means that the broker cannot
/// serve, or could not go on. `once_running` is for a test that ends one of the actors.
[[nodiscard]] int run(const std::string& config_path,
                      const std::function<void(const actors::singletons&)>& once_running = {});

/// `matriarch broker --check`: prints on `out` whether the broker could serve; returns 0 or 2.
[[nodiscard]] int check(const std::string& config_path, std::ostream& out);

} // namespace matriarch::broker
