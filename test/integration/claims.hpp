#pragma once

#include <string>

namespace matriarch::test {

/// Ports and addresses that no other test has, whichever process, container of this network or user it
/// is of: each is claimed by the name of an abstract socket, which belongs to the network as they do
/// and ends with the process. HAProxy shares a port with another one of the same user without a word,
/// so that looking whether it is free is not enough. They lie below the ports of outgoing
/// connections and of `make up`.

/// The first of so many ports of 127.0.0.1 in a row, on which nobody listens.
[[nodiscard]] int free_ports(int count);
[[nodiscard]] inline int free_port() {
  return free_ports(1);
}

/// The second octet of a network 127.x.0.0/16, as the platforms of test/platform take theirs. The same
/// at each call.
[[nodiscard]] int free_octet();

} // namespace matriarch::test
