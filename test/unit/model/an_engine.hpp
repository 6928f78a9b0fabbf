#pragma once

#include "engines/postgresql/model/decisions.hpp"
#include "model/plan.hpp"

/// The engine of these tests.
namespace matriarch::model {

inline const engine& an_engine() {
  return engines::postgresql::decisions();
}

/// A cluster of which nothing has been observed.
inline instance_observations nothing_seen() {
  instance_observations c;
  c.living.runs = &an_engine();
  return c;
}

} // namespace matriarch::model
