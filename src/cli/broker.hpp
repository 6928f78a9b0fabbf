#pragma once

#include <functional>
#include <iosfwd>
#include <string>

namespace matriarch::actors {
class singletons;
}

namespace matriarch::broker {

/// `matriarch broker`: serves the Open Service Broker API and /admin until SIGTERM or SIGINT, then
/// returns 0. A configuration error is one line on stderr and 2; 1 means that it could not serve, or
/// not any more. `once_running` is for a test, which ends one of its actors.
[[nodiscard]] int run(const std::string& config_path,
                      const std::function<void(const actors::singletons&)>& once_running = {});

/// `matriarch broker --check`: says on `out` whether it could serve; 0 or 2.
[[nodiscard]] int check(const std::string& config_path, std::ostream& out);

} // namespace matriarch::broker
