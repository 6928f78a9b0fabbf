#pragma once

#include <iosfwd>
#include <string>
#include <string_view>

#include "base/event_loop.hpp"
#include "base/result.hpp"
#include "cli/broker_uri.hpp"

namespace matriarch::cli {

/// `matriarch service-status [id]`: all service instances, or one if `id` is not empty. Returns an
/// exit code.
[[nodiscard]] int service_status(const broker_access& broker, const std::string& id, bool as_json,
                                 std::ostream& out, std::ostream& err);

/// `matriarch show-cells`: the cells, as the broker sees them.
[[nodiscard]] int show_cells(const broker_access& broker, bool as_json, std::ostream& out,
                             std::ostream& err);

/// `matriarch show-routers`: the routers, what they serve, and what waits for them.
[[nodiscard]] int show_routers(const broker_access& broker, bool as_json, std::ostream& out,
                               std::ostream& err);

/// `matriarch forget-cell CELL`: declares that a cell never comes back.
[[nodiscard]] int forget_cell(const broker_access& broker, const std::string& cell, bool as_json,
                              std::ostream& out, std::ostream& err);

/// `matriarch orphans`: the nodes that run on cells without a record.
[[nodiscard]] int orphans(const broker_access& broker, bool as_json, std::ostream& out,
                          std::ostream& err);

/// `matriarch remove-orphan CELL NODE`: has the cell remove that node.
[[nodiscard]] int remove_orphan(const broker_access& broker, const std::string& cell,
                                const std::string& node_id, bool as_json, std::ostream& out,
                                std::ostream& err);

/// `matriarch rebuild INSTANCE`: builds a new cluster on fresh nodes in place of the serving one.
[[nodiscard]] int rebuild(const broker_access& broker, const std::string& instance, bool as_json,
                          std::ostream& out, std::ostream& err);

/// `matriarch reencrypt`: has all instances' secrets in etcd written again, with the newest key.
[[nodiscard]] int reencrypt(const broker_access& broker, bool as_json, std::ostream& out,
                            std::ostream& err);

/// The body of a 200 or a 202; for any other status a failure of one line that says what to do.
[[nodiscard]] result<std::string> body_of(const base::outcome& answer, const broker_uri& broker);

} // namespace matriarch::cli
