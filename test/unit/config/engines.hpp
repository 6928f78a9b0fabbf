#pragma once

#include "engines/postgresql/model/decisions.hpp"

/// The engines that plans may name, for the configuration's tests.
namespace matriarch::config {

inline const model::engine_list known_engines{{&engines::postgresql::decisions()}};

} // namespace matriarch::config
