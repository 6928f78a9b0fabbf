#pragma once

#include <map>
#include <string>

#include "model/settings.hpp"

/// Converts a plan's settings to those of Patroni and PostgreSQL.
namespace matriarch::engines::postgresql {

/// PostgreSQL parameters of every cluster, unless its plan sets them.
[[nodiscard]] const std::map<std::string, std::string>& default_parameters();

/// How many walsenders a node needs beside that many connections (PostgreSQL's default of 100 if
/// the settings have none). A client of the public port takes a walsender by asking for
/// replication, before PostgreSQL authenticates it, and inside TLS no router sees it. So there are
/// more walsenders than all such clients can take, and the replicas' in addition.
[[nodiscard]] int wal_senders_beside(int max_connections);

/// Raises max_wal_senders in a plan's parameters to that number, if necessary.
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

/// The change of Patroni's dynamic configuration from one to the other: a merge patch as JSON text,
/// in which null removes a value that only `from` sets.
[[nodiscard]] std::string configuration_patch(const model::cluster_settings& from,
                                              const model::cluster_settings& to);

/// Which nodes restart first. A standby does not run if some parameters, such as max_connections,
/// are lower than its primary's.
[[nodiscard]] model::restart_order order_of(const model::cluster_settings& from,
                                            const model::cluster_settings& to);

/// The settings that nodes may have while only some have applied `newer`: the parameters of both,
/// and the greater value of parameters that a standby must have at least as high as its primary.
[[nodiscard]] model::cluster_settings mixture_of(const model::cluster_settings& older,
                                                 const model::cluster_settings& newer);

/// The next settings on the way to `to`: `to` itself, or, if some of these parameters are raised
/// and others lowered, `to` with the greater value of each.
[[nodiscard]] model::cluster_settings next_settings(const model::cluster_settings& from,
                                                    const model::cluster_settings& to);

} // namespace matriarch::engines::postgresql
