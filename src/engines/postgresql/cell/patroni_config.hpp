#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.hpp"
#include "cell/cell_config.hpp"
#include "cell/node_driver.hpp"
#include "cell/node_record.hpp"

/// The files that Patroni and PostgreSQL are started with.
namespace matriarch::engines::postgresql {

/// The files and directories of a node. Only `home` belongs to the user that the node runs as; the
/// agent's own files are beside it, out of the node's reach.
struct node_paths {
  explicit node_paths(const std::string& directory);

  std::string directory;
  std::string record;           ///< node.json, the agent's state of the node
  std::string patroni;          ///< patroni.yml
  std::string bootstrap_script; ///< run once in a new cluster, after initdb
  std::string bootstrap_sql;    ///< the SQL for that script
  std::string programs;    ///< PostgreSQL's as Patroni finds them: links, a script for `postgres`
  std::string certificate; ///< shown by Patroni, and by PostgreSQL unless the operator has another
                           ///< one for it; with its key in one file, so that both always match
  std::string operators;   ///< the operator's certificate and key for PostgreSQL; rarely there
  std::string fleet;       ///< the authorities that may have signed `certificate`, if it was signed
  std::string authority;   ///< the authorities that may sign clients' certificates; rarely there
  std::string etcd_authority;   ///< the authority that signed etcd's certificate; rarely there
  std::string etcd_certificate; ///< Patroni's client certificate for etcd; rarely there
  std::string etcd_key;
  std::string log;     ///< output of Patroni and PostgreSQL
  std::string refused; ///< roles that may not log in, whatever PostgreSQL says; one per line
  std::string bounds;  ///< settings by which the agent bounds PostgreSQL
  std::string home;
  std::string data;   ///< PostgreSQL's data directory, below home
  std::string run;    ///< PostgreSQL's socket, below home
  std::string python; ///< modules that Patroni's Python loads first
};

/// The database that every new cluster gets, owned by the application user.
inline constexpr std::string_view app_database = "db";

/// Patroni's dynamic configuration for a new cluster: the cell's own settings, overridden by the
/// plan's, overridden by the broker's; PostgreSQL's parameters are merged one by one.
[[nodiscard]] json::document dynamic_configuration(const cell::cell_config& config,
                                                   const cell::node_request& request);

/// Patroni's configuration, as YAML. PostgreSQL's parameters are in the dynamic configuration, and
/// only the node's own addresses and paths are in the local one: Patroni prefers the local one, so
/// a parameter there could not be changed for the cluster. `certified`: the node has a certificate
/// of the fleet's authority. Members then check each other's certificates, and Patroni's REST API
/// speaks TLS if the node's record says so.
[[nodiscard]] std::string render_patroni(const cell::cell_config& config,
                                         const cell::node_record& node, const node_paths& paths,
                                         bool certified);

/// Whether Patroni speaks TLS with this configuration, which this or an earlier release rendered.
[[nodiscard]] bool speaks_tls(const std::string& patroni);

/// The lines of pg_hba.conf. They name the file of refused roles, which must exist before
/// PostgreSQL reads them.
[[nodiscard]] std::vector<std::string> access_rules(const cell::cell_config& config,
                                                    const cell::node_request& request,
                                                    const node_paths& paths);

/// A configuration rendered by this or an earlier release, with these lines of pg_hba.conf instead
/// of its own and no other change. Nothing if the text has another form.
[[nodiscard]] std::optional<std::string> with_access_rules(const std::string& patroni,
                                                           const std::vector<std::string>& rules);

/// The file that PostgreSQL includes: whether new transactions may write.
[[nodiscard]] std::string render_bounds(bool only_reads);

/// The SQL that makes the administrator, the application user and the database in a new cluster.
[[nodiscard]] std::string render_bootstrap_sql(const cell::node_request& request);

/// The shell script that Patroni runs with a connection string; it runs the SQL.
[[nodiscard]] std::string render_bootstrap_script(const cell::cell_config& config,
                                                  const node_paths& paths);

/// The shell script that Patroni runs as `postgres`. It refuses to recover, in single-user mode, a
/// copy by pg_basebackup that was never started. Such a copy looks like a leader that has crashed;
/// recovered alone, it would write WAL that differs from its leader's, miss the leader's later
/// writes, and could still take over. Otherwise the script puts itself behind the node's resource
/// limits and runs PostgreSQL, which then reads the agent's bounds.
[[nodiscard]] std::string render_postgres_script(const cell::cell_config& config,
                                                 const node_paths& paths,
                                                 const cell::node_walls& walls);

/// `text` as an SQL identifier, or as an SQL literal with standard_conforming_strings.
[[nodiscard]] std::string sql_identifier(std::string_view text);
[[nodiscard]] std::string sql_literal(std::string_view text);
/// `text` as one word of a shell command.
[[nodiscard]] std::string shell_word(std::string_view text);

} // namespace matriarch::engines::postgresql
