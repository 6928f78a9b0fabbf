#include "cli/engines.hpp"

#include "engines/postgresql/actors/database.hpp"
#include "engines/postgresql/cell/engine.hpp"
#include "engines/postgresql/model/decisions.hpp"
#include "engines/postgresql/router/port_check.hpp"

namespace matriarch::cli {

const model::engine_list& known_engines() {
  static const model::engine_list all{{&engines::postgresql::decisions()}};
  return all;
}

std::vector<const actors::engine*> engines_of_actors() {
  static const engines::postgresql::engine first;
  return {&first};
}

const cell::engine_kind& kind_of_nodes() {
  return engines::postgresql::node_kind();
}

const router::engine_checks& engine_checks() {
  static const router::engine_checks all{{engines::postgresql::port_check()}};
  return all;
}

} // namespace matriarch::cli
