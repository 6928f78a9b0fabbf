#pragma once

#include <string>

namespace matriarch::test {

/// Ports and addresses that no other test uses, whatever process, container of this network or user
/// the other test belongs to. Each is claimed by the name of an abstract socket, which belongs to
/// the network like the ports and ends with the process. Looking whether a port is free is not
/// enough, for HAProxy silently shares a port with another HAProxy of the same user. The ports lie
/// below those of outgoing connections and of `make up`.

/// The first of that many consecutive ports of 127.0.0.1 on which nobody listens.
[[nodiscard]] int free_ports(int count);
[[nodiscard]] inline int free_port() {
  return free_ports(1);
}

/// The second octet of a network 127.x.0.0/16, claimed like those of the platforms of
/// test/platform. The same at each call.
[[nodiscard]] int free_octet();

} // namespace matriarch::test
