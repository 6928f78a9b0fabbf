#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.hpp"
#include "base/result.hpp"

/// What the operator's commands print for people, as functions of the broker's answers.
namespace matriarch::cli {

struct column {
  std::string title;
  /// Longer cells are cut and end in "…".
  std::size_t widest = 40;
};

/// Rows under their titles, aligned by character, two spaces apart, no spaces at the ends of lines.
/// Control characters become "?": ids come from outside, and must not move a terminal's cursor.
[[nodiscard]] std::string table(const std::vector<column>& columns,
                                const std::vector<std::vector<std::string>>& rows);

/// From `GET /admin/service_instances`: a line for each node of each instance.
[[nodiscard]] result<std::string> instances_table(std::string_view answer);

/// From `GET /admin/service_instances/<id>`: one instance. Never its credentials.
[[nodiscard]] result<std::string> instance_details(std::string_view answer);

/// From `GET /admin/cells`: a line for each cell, and how many cannot be reached.
[[nodiscard]] result<std::string> cells_table(std::string_view answer);

/// From `GET /admin/routers`: a line for each router, and the instances' ports that one of them
/// cannot open.
[[nodiscard]] result<std::string> routers_table(std::string_view answer);

/// From `POST /admin/cells/<guid>/forget`: what becomes of the nodes on the cell.
[[nodiscard]] result<std::string> forgotten_lines(std::string_view answer);

/// From `GET /admin/orphans`: a line for each.
[[nodiscard]] result<std::string> orphans_table(std::string_view answer);

/// From `DELETE /admin/orphans/<cell>/<node>`.
[[nodiscard]] result<std::string> removal_line(std::string_view answer);

/// From `POST /admin/service_instances/{id}/rebuild`.
[[nodiscard]] result<std::string> rebuild_line(std::string_view answer);
/// From `POST /admin/reencrypt`: how many instances were rewritten.
[[nodiscard]] result<std::string> reencryption_line(std::string_view answer);

/// `text` with every control character replaced by "?", so that it is one line.
[[nodiscard]] std::string printable(std::string_view text);

} // namespace matriarch::cli
