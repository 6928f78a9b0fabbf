#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "model/settings.hpp"

namespace matriarch::model {

/// What a plan means for this broker. Platforms do not see this.
struct provision_settings {
  /// The name of the engine that its nodes run.
  std::string engine;
  /// How many nodes an instance has unless its request says `node-count`; 1 to the number of cells.
  int node_count = 2;
  cluster_settings settings;
  /// After how many seconds a binding's credentials expire; 0: never.
  std::int64_t binding_lifetime = 0;
  /// Whether a binding's credentials also contain the superuser's, under `superuser`.
  bool superuser_in_bindings = false;
};

/// A plan's version as operators see it (OSB 2.17, "Maintenance Info Object").
struct maintenance_info {
  std::string version;     ///< semantic versioning 2.0
  std::string description; ///< what upgrading to this version means for users; may be empty
};

/// A service plan (OSB 2.17, "Service Plan Object").
struct plan {
  std::string id;
  /// CLI-friendly: letters, digits, periods and hyphens; unique within its service.
  std::string name;
  std::string description;
  bool free = true;
  /// Overrides the service's `bindable` if set.
  std::optional<bool> bindable;
  /// Whether instances of this plan may be changed to another; overrides the service's.
  std::optional<bool> plan_updateable;
  /// Whether a binding may be made as the successor of another.
  bool binding_rotatable = false;
  std::optional<maintenance_info> maintenance;
  /// The text of a JSON object; empty if the plan has none.
  std::string metadata;
  /// How long a platform may poll `last_operation`, in seconds.
  std::int64_t maximum_polling_duration = 600;
  provision_settings provision;
};

/// A service offering (OSB 2.17, "Service Offering Object").
struct service {
  std::string id;
  /// CLI-friendly, and unique within the catalog.
  std::string name;
  std::string description;
  bool bindable = true;
  bool plan_updateable = false;
  /// Whether an update may change the `context` alone.
  bool allow_context_updates = false;
  std::vector<std::string> tags;
  /// The text of a JSON object; empty if the service has none.
  std::string metadata;
  std::vector<plan> plans;

  /// The plan of that id, or nullptr.
  [[nodiscard]] const plan* find_plan(std::string_view id) const {
    const auto found = std::ranges::find(plans, id, &plan::id);
    return found == plans.end() ? nullptr : &*found;
  }
};

/// What this broker offers. Service ids are unique in it, and so are plan ids.
struct catalog {
  std::vector<service> services;

  /// The service of that id, or nullptr.
  [[nodiscard]] const service* find_service(std::string_view id) const {
    const auto found = std::ranges::find(services, id, &service::id);
    return found == services.end() ? nullptr : &*found;
  }
};

} // namespace matriarch::model
