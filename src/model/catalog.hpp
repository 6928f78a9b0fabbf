#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace matriarch::model {

/// Whose PostgreSQL role an application gets from a binding.
enum class credentials_mode {
  shared, ///< every binding of an instance gets the instance's application user, as in the seeds
};

/// What a plan means for this broker. The platform never sees it.
struct provision_settings {
  /// What runs on a node; `postgresql` is the only engine.
  std::string engine = "postgresql";
  /// How many nodes an instance has unless its request says `node-count`; 1 to the number of cells.
  int node_count = 2;
  credentials_mode credentials = credentials_mode::shared;
};

/// A service plan (OSB 2.17, "Service Plan Object").
struct plan {
  std::string id;
  /// CLI-friendly: letters, digits, periods and hyphens; unique within its service.
  std::string name;
  std::string description;
  bool free = true;
  /// Overrides the service's `bindable` if it is there.
  std::optional<bool> bindable;
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
