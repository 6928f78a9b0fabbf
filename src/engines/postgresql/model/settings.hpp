#pragma once

#include <map>
#include <string>

#include "model/settings.hpp"

/// How a plan's settings become those of Patroni and PostgreSQL.
namespace matriarch::engines::postgresql {

/// Parameters of PostgreSQL that every cluster has unless its plan has others.
[[nodiscard]] const std::map<std::string, std::string>& default_parameters();

/// How many walsenders a node needs that has so many connections for others, PostgreSQL's default of
/// 100 unless the settings say more. Whoever reaches its public port takes one by asking for
/// replication, before PostgreSQL looks who that is, and inside TLS no router sees it: so there are
/// more than all of them may take, and those of the replicas beside.
[[nodiscard]] int wal_senders_beside(int max_connections);

/// Sees to it that there are as many in a plan's parameters.
void make_room_for_replicas(model::shared_map<std::string, std::string>& parameters);

/// Patroni's dynamic configuration for a new cluster of these settings, as the text of a JSON
/// object, with the settings' digest as `matriarch.settings`.
[[nodiscard]] std::string dynamic_configuration(const model::cluster_settings& wanted);

/// The change of Patroni's dynamic configuration that makes a cluster follow the leader that listens at
/// `place`, `host:port`; if that is empty, nobody any more.
[[nodiscard]] std::string change_to_follow(const std::string& place);
/// The dynamic configuration for a new cluster that begins by following that one, if there is one.
[[nodiscard]] std::string with_whom_to_follow(const std::string& configuration,
                                              const std::string& place);
/// The change that gives each leader of a cluster the replication slot of the cluster that follows it, or
/// takes it away. `max_slot_wal_keep_size` bounds what it keeps.
[[nodiscard]] std::string change_to_retain(bool keeps);

/// The change of Patroni's dynamic configuration from one to another: a merge patch as JSON text,
/// in which null removes what `from` had set and `to` does not.
[[nodiscard]] std::string configuration_patch(const model::cluster_settings& from,
                                              const model::cluster_settings& to);

/// A standby refuses to run if some parameters (max_connections among them) are lower than its primary's.
[[nodiscard]] model::restart_order order_of(const model::cluster_settings& from,
                                            const model::cluster_settings& to);

/// What nodes may have of which some have taken up `newer` and some have not: the parameters of both,
/// and of those that a standby must have as high as its primary the greater value.
[[nodiscard]] model::cluster_settings mixture_of(const model::cluster_settings& older,
                                                 const model::cluster_settings& newer);

/// The settings to go to next on the way: `to` itself, or, where some of the parameters above are
/// raised and others lowered, the settings that have the greater value of each.
[[nodiscard]] model::cluster_settings next_settings(const model::cluster_settings& from,
                                                    const model::cluster_settings& to);

} // namespace matriarch::engines::postgresql
