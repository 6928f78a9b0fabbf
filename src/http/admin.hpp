#pragma once

#include <vector>

#include "http/server.hpp"
#include "model/observation.hpp"
#include "model/orphans.hpp"
#include "model/requests.hpp"
#include "model/routes.hpp"

/// The operator's answers, in the JSON shapes of the original broker and never with a password.
namespace matriarch::http::admin {

[[nodiscard]] response cells(const std::vector<model::cell_view>& all);
[[nodiscard]] response routers(const model::routers& all);
[[nodiscard]] response instances(const std::vector<model::snapshot_ptr>& all);
[[nodiscard]] response instance(const model::instance_snapshot& one);
/// 202 with the id of the operation that builds a new cluster for an instance.
[[nodiscard]] response rebuilding(const model::verdict& accepted);
[[nodiscard]] response demoted(const std::string& cell, const model::demote_report& report);
[[nodiscard]] response forgotten(const std::string& cell, const model::forget_report& report);
[[nodiscard]] response orphans(const std::vector<model::orphan>& all);
[[nodiscard]] response reencrypted(const model::reencryption_report& report);

} // namespace matriarch::http::admin
