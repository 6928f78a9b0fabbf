#include "store/etcd_access.hpp"

#include "config/etcd_section.hpp"
#include "store/keys.hpp"

namespace matriarch::store {

etcd_access access_of(const config::etcd_settings& settings) {
  return {.endpoints = settings.machines,
          .username = settings.username,
          .password = settings.password,
          .tls = {.authority = settings.tls_authority,
                  .certificate = settings.tls_certificate,
                  .key = settings.tls_key}};
}

std::vector<key_range> written_by_nodes(std::string_view scope) {
  std::vector<key_range> all{keys_below(keys::members(scope)), keys_below(keys::optime(scope))};
  for (const auto* name :
       {"leader", "config", "status", "initialize", "history", "sync", "failsafe", "failover"})
    all.push_back({keys::everything_of(scope) + name, {}});
  return all;
}

key_range keys_of_later_scopes(const std::string& name) {
  return {keys::services + name + '~', keys::services + name + '\x7f'}; // which follows ~
}

} // namespace matriarch::store
