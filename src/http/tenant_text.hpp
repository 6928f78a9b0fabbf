#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace matriarch::http {

/// Names that count as addresses, besides everything that has an address's form.
struct host_names {
  std::vector<std::string_view> internal; ///< hosts of cells and of etcd, as configured
  std::vector<std::string_view> shown;    ///< cells' guids, which tenants use themselves
};

/// The host in a URI; empty if there is none.
[[nodiscard]] std::string_view host_in(std::string_view uri);

/// A description without addresses, for a user of the platform: errors of libraries, etcd, nodes
/// and cells say where they occurred, which concerns the operator only. URLs, IP addresses, host
/// names with the words that libpq and libcurl put around them, ports that belong to them and paths
/// of files and keys become `[address]`; the API's own paths and everything else stay.
[[nodiscard]] std::string without_addresses(std::string_view text, const host_names& names);

} // namespace matriarch::http
