#pragma once

#include <string>

namespace matriarch::cli {

/// The name that people know this machine by; empty if it has none.
[[nodiscard]] std::string host_name();

/// What tells one machine from another, for somebody who wants to know whether two processes can
/// listen at the same address. Neither is enough by itself: images of one disk and containers of
/// one image share the first two, all machines number the network they start with alike, and the
/// containers of one machine share the kernel.
struct machine_marks {
  std::string machine_id;
  std::string host_name;
  std::string boot_id;           ///< of this run of the kernel
  std::string network_namespace; ///< as this kernel numbers them
};

/// The marks in one word. Empty without those that are certainly its own, the last two: then it is
/// to be taken for another machine than any.
[[nodiscard]] std::string identity_of(const machine_marks& marks);

/// The identity of this machine, and of the network on it that this process is in. It is another
/// one after the machine has been started anew.
[[nodiscard]] std::string machine_identity();

} // namespace matriarch::cli
