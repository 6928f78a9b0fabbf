#pragma once

#include <string>

#include "engines/postgresql/router/port_check.hpp"

/// The engines as a router knows them, for its tests.
namespace matriarch::router {

inline const engine_check& a_check() {
  return engines::postgresql::port_check();
}
inline const engine_checks known_engines{{a_check()}};
inline const std::string leader_check{a_check().leader};
inline const std::string replica_check{a_check().replica};

} // namespace matriarch::router
