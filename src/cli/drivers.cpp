#include "cli/drivers.hpp"

#include "cell/drivers/process_kind.hpp"

namespace matriarch::cli {

const cell::driver_kind& driver_of_nodes() {
  return cell::process_kind();
}

} // namespace matriarch::cli
