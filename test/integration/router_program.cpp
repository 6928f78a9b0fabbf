// The router alone, for its test: it is started, killed and started again.
#include "base/logging.hpp"
#include "engines/postgresql/router/port_check.hpp"
#include "router/router.hpp"

int main(int count, char** words) {
  matriarch::base::set_up_logging("info");
  const matriarch::router::engine_checks engines{{matriarch::engines::postgresql::port_check()}};
  return count == 2 ? matriarch::router::run(words[1], engines) : 2;
}
