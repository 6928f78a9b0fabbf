#pragma once

#include <string_view>
#include <vector>

#include "store/etcd.hpp"

namespace matriarch::config {
struct etcd_settings;
}

namespace matriarch::store {

/// The etcd client's settings from the configuration's `etcd:` section.
[[nodiscard]] etcd_access access_of(const config::etcd_settings& settings);

/// The keys that a scope's nodes write, which the scope's etcd user may write. The instance's
/// record and bindings, which are in the same directory, are not among them.
[[nodiscard]] std::vector<key_range> written_by_nodes(std::string_view scope);
/// Everything of the clusters after an instance's first one: see model::scope_of().
[[nodiscard]] key_range keys_of_later_scopes(const std::string& name);

} // namespace matriarch::store
