// `matriarch cell` alone, so that its test needs none of the other subcommands.
#include "base/logging.hpp"
#include "cell/cell.hpp"
#include "cell/drivers/process_kind.hpp"
#include "engines/postgresql/cell/engine.hpp"

int main(int count, char** arguments) {
  matriarch::base::set_up_logging("info");
  return count == 2
             ? matriarch::cell::run(arguments[1], matriarch::engines::postgresql::node_kind(),
                                    matriarch::cell::process_kind())
             : 2;
}
