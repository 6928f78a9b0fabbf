#pragma once

#include <string>

namespace matriarch::broker {

/// `matriarch broker`: serves the Open Service Broker API and /admin until SIGTERM or SIGINT, then
/// returns 0. A configuration error is one line on stderr and 2; 1 means that it could not serve.
[[nodiscard]] int run(const std::string& config_path);

} // namespace matriarch::broker
