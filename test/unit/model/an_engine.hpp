#pragma once

#include "engines/postgresql/model/decisions.hpp"
#include "model/plan.hpp"

/// The engine of these tests.
namespace matriarch::model {

inline const engine& an_engine() {
  return engines::postgresql::decisions();
}

/// The circumstances of a cluster without any observations.
inline circumstances nothing_seen() {
  circumstances c;
  c.living.runs = &an_engine();
  return c;
}

} // namespace matriarch::model
