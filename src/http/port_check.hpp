#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "base/findings.hpp"
#include "base/json.hpp"

namespace matriarch::http {

/// How a server is recognised that speaks TLS: by a certificate of that name, and of one who signs.
struct recognised_by {
  std::string name;
  std::string authority; ///< PEM; the certificate itself does too
};

/// Whether a server that says this of itself in `/healthz` is the one that is checked.
using is_itself = std::function<bool(const json::value& health)>;

/// Notes whether a server could listen there: it is free, or has that server already, for a running
/// one can be checked too. Another one of ours is in its way as any program is. Blocks, for some
/// seconds at most.
void look_at_port(const std::string& host, std::uint16_t port, const is_itself& is_it,
                  base::findings& found, const std::optional<recognised_by>& tls = {});

} // namespace matriarch::http
