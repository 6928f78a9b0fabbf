#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "base/findings.hpp"
#include "base/json.hpp"

namespace matriarch::http {

/// How to recognise a server that speaks TLS: by the name in its certificate, and by the authority
/// that signed it.
struct recognised_by {
  std::string name;
  std::string authority; ///< PEM; may be the certificate itself
};

/// Whether the answer of a server's `/healthz` shows that it is the server being checked.
using is_itself = std::function<bool(const json::value& health)>;

/// Reports whether a server could listen there: the address is free, or that server already listens
/// there, for a running server can be checked too. Another Matriarch server in its place counts as
/// any other program. Blocks, for some seconds at most.
void look_at_port(const std::string& host, std::uint16_t port, const is_itself& is_it,
                  base::findings& found, const std::optional<recognised_by>& tls = {});

} // namespace matriarch::http
