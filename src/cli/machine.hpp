#pragma once

#include <string>

namespace matriarch::cli {

/// The name by which people know this machine; empty if it has none.
[[nodiscard]] std::string host_name();

/// What distinguishes one machine from another, to find out whether two processes can listen at the
/// same address. No mark is enough by itself: images of one disk and containers of one image share
/// the first two, all machines give their first network namespace the same number, and the
/// containers of one machine share the kernel.
struct machine_marks {
  std::string machine_id;
  std::string host_name;
  std::string boot_id;           ///< of the kernel's present run
  std::string network_namespace; ///< as this kernel numbers them
};

/// The marks in one word. Empty without the last two, which certainly belong to this machine: it
/// then counts as different from every other.
[[nodiscard]] std::string identity_of(const machine_marks& marks);

/// The identity of this machine, and of the network namespace of this process. It changes at each
/// boot of the machine.
[[nodiscard]] std::string machine_identity();

} // namespace matriarch::cli
