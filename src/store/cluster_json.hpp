#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/json.hpp"
#include "model/cluster.hpp"
#include "store/keyring.hpp"
#include "store/stored_object.hpp"
#include "store/unknown_members.hpp"

/// Clusters with their settings, nodes and secrets, as parts of a record.
namespace matriarch::store {

extern const known_members settings_members;
extern const known_members node_members;
extern const known_members cluster_members;

[[nodiscard]] json::value encode_settings(const model::cluster_settings& settings,
                                          json::document& owner);
[[nodiscard]] model::cluster_settings decode_settings(const json::value& object, std::string& why);

[[nodiscard]] json::value encode_nodes(const std::vector<model::node>& nodes,
                                       json::document& owner);
[[nodiscard]] std::vector<model::node> decode_nodes(reader& in, const json::value& object);

/// A cluster beside the one that serves.
[[nodiscard]] json::value encode_cluster(const model::cluster& one, const std::string& instance_id,
                                         const keyring& keys, json::document& owner);
/// Nothing if the record has no such cluster.
[[nodiscard]] std::optional<model::cluster>
decode_cluster(reader& of_record, const json::value& record, const char* name,
               const std::string& instance_id, const keyring& keys);

} // namespace matriarch::store
