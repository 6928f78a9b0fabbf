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

/// `matriarch forget-cell CELL`: says that a cell never comes back.
[[nodiscard]] int forget_cell(const broker_access& broker, const std::string& cell, bool as_json,
                              std::ostream& out, std::ostream& err);

/// `matriarch orphans`: what cells run without a record.
[[nodiscard]] int orphans(const broker_access& broker, bool as_json, std::ostream& out,
                          std::ostream& err);

/// `matriarch remove-orphan CELL NODE`: has the cell remove it.
[[nodiscard]] int remove_orphan(const broker_access& broker, const std::string& cell,
                                const std::string& node_id, bool as_json, std::ostream& out,
                                std::ostream& err);

/// `matriarch rebuild INSTANCE`: a new cluster on fresh nodes in place of the one that serves.
[[nodiscard]] int rebuild(const broker_access& broker, const std::string& instance, bool as_json,
                          std::ostream& out, std::ostream& err);

/// `matriarch reencrypt`: has all instances' secrets in etcd written anew, with the newest key.
[[nodiscard]] int reencrypt(const broker_access& broker, bool as_json, std::ostream& out,
                            std::ostream& err);

/// The body of a 200 or a 202; of anything else one line that says what to do about it.
[[nodiscard]] result<std::string> body_of(const base::outcome& answer, const broker_uri& broker);

} // namespace matriarch::cli
