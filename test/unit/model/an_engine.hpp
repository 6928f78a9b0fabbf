#pragma once

#include "engines/postgresql/model/decisions.hpp"
#include "model/plan.hpp"

/// What plans are made for in these tests.
namespace matriarch::model {

inline const engine& an_engine() {
  return engines::postgresql::decisions();
}

/// Of a cluster of which nothing is seen yet.
inline circumstances nothing_seen() {
  circumstances c;
  c.living.runs = &an_engine();
  return c;
}

} // namespace matriarch::model
