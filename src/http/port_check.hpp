#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "base/findings.hpp"

namespace matriarch::http {

/// How a server is recognised that speaks TLS: by a certificate of that name, and of one who signs.
struct recognised_by {
  std::string name;
  std::string authority; ///< PEM; the certificate itself does too
};

/// Notes whether a server could listen there: it is free, or has one of ours already, which the check
/// of a running server finds. Blocks, for some seconds at most.
void look_at_port(const std::string& host, std::uint16_t port, base::findings& found,
                  const std::optional<recognised_by>& tls = {});

} // namespace matriarch::http
