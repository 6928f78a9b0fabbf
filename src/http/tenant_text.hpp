#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace matriarch::http {

/// Names that addresses are told by, besides by their form.
struct host_names {
  std::vector<std::string_view> internal; ///< hosts of cells and of etcd, as configured
  std::vector<std::string_view> shown;    ///< cells' guids, which tenants name themselves
};

/// The host in a URI; empty if there is none.
[[nodiscard]] std::string_view host_in(std::string_view uri);

/// A description as a user of the platform may read it: libraries, etcd, nodes and cells say
/// in their errors where they were, and that is nobody's concern but the operator's. URLs, IP
/// addresses, host names with what libpq and libcurl put around them, ports that belong to them and
/// paths of files and keys become `[address]`; the API's own paths and all else stay.
[[nodiscard]] std::string without_addresses(std::string_view text, const host_names& names);

} // namespace matriarch::http
