#include "router/fleet.hpp"

#include <cerrno>
#include <cstring>
#include <fstream>

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include "router/haproxy.hpp"

namespace matriarch::router {

namespace {

std::string path_of(const router_config& config) {
  return config.data_dir + "/fleet";
}

/// Empty if no router of this directory has ever learnt its fleet.
std::string remembered_in(const router_config& config) {
  std::ifstream file{path_of(config)};
  std::string fleet;
  std::getline(file, fleet);
  return fleet;
}

} // namespace

std::optional<std::string> why_not_of_fleet(const router_config& config,
                                            const std::string& fleet_in_etcd) {
  auto own = remembered_in(config);
  if (own.empty() || fleet_in_etcd.empty() || own == fleet_in_etcd)
    return std::nullopt;
  return fmt::format(
      "etcd.machines leads to the fleet {}, and {} belongs to the fleet {}, whose "
      "instances would not be served any more; another fleet's router needs an empty "
      "router.data_dir",
      fleet_in_etcd, config.data_dir, own);
}

bool knows_fleet(const router_config& config) {
  return !remembered_in(config).empty();
}

void remember_fleet(const router_config& config, const std::string& fleet_in_etcd) {
  if (fleet_in_etcd.empty() || !remembered_in(config).empty())
    return;
  if (auto failed = write_private_file(path_of(config), fleet_in_etcd + "\n"))
    spdlog::warn("{}", *failed);
}

} // namespace matriarch::router
