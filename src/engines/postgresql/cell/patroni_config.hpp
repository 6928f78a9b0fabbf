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

/// The files and directories of a node. Only `home` belongs to the user that the node runs as: what
/// the agent itself reads and writes lies beside it, out of the node's reach.
struct node_paths {
  explicit node_paths(const std::string& directory);

  std::string directory;
  std::string record;           ///< node.json, the agent's memory
  std::string patroni;          ///< patroni.yml
  std::string bootstrap_script; ///< run once in a new cluster, after initdb
  std::string bootstrap_sql;    ///< what it runs
  std::string programs;         ///< PostgreSQL's as Patroni finds them: links, but for `postgres`
  std::string certificate; ///< what Patroni shows, and PostgreSQL unless the operator has another
                           ///< one for it, and its key: one file, so that nobody ever finds one
                           ///< without the other
  std::string operators;   ///< the same, the operator's for PostgreSQL; seldom there
  std::string fleet;       ///< the certificates of who may have signed it; if it was signed
  std::string authority;   ///< who may sign certificates of clients; seldom there
  std::string etcd_authority;   ///< who signed etcd's certificate; seldom there
  std::string etcd_certificate; ///< Patroni's own for etcd, with its key; seldom there
  std::string etcd_key;
  std::string log; ///< what Patroni and PostgreSQL print
  std::string
      refused;        ///< roles that may not log in, whatever PostgreSQL knows of them; a line each
  std::string bounds; ///< what the agent has PostgreSQL read besides its configuration
  std::string home;
  std::string data;   ///< PostgreSQL's data directory, below home
  std::string run;    ///< PostgreSQL's socket, below home
  std::string python; ///< what Patroni's Python loads first
};

/// The database that every new cluster gets, owned by the application user.
inline constexpr std::string_view app_database = "db";

/// What a new cluster of this node begins with as Patroni's dynamic configuration: the cell's own
/// settings, its plan's, and what the broker asks for over them; PostgreSQL's parameters one by one.
[[nodiscard]] json::document dynamic_configuration(const cell::cell_config& config,
                                                   const cell::node_request& request);

/// Patroni's configuration, as YAML. PostgreSQL's parameters are in the dynamic configuration, and
/// only the node's own places are in the local one: Patroni prefers the local one, so nothing that
/// is there could be changed for the cluster.
/// `certified`: the node has a certificate of the fleet's authority: the members check each other by
/// it, and Patroni's REST API speaks TLS if the node's record says so.
[[nodiscard]] std::string render_patroni(const cell::cell_config& config,
                                         const cell::node_record& node, const node_paths& paths,
                                         bool certified);

/// Whether a text of render_patroni(), of this or an earlier version, has Patroni speak TLS.
[[nodiscard]] bool speaks_tls(const std::string& patroni);

/// Who is let in: the lines of pg_hba.conf. They name the file of the refused roles, which has to be
/// there before PostgreSQL reads them.
[[nodiscard]] std::vector<std::string> access_rules(const cell::cell_config& config,
                                                    const cell::node_request& request,
                                                    const node_paths& paths);

/// A text of render_patroni(), of this or an earlier version, with these lines of pg_hba.conf
/// instead of its own, and all else as it is. Nothing if the text is of another form.
[[nodiscard]] std::optional<std::string> with_access_rules(const std::string& patroni,
                                                           const std::vector<std::string>& rules);

/// The file that PostgreSQL includes: whether new transactions may write.
[[nodiscard]] std::string render_bounds(bool only_reads);

/// The SQL that makes the administrator, the application user and its database in a new cluster.
[[nodiscard]] std::string render_bootstrap_sql(const cell::node_request& request);

/// The shell script that Patroni runs with a connection string, to run the SQL.
[[nodiscard]] std::string render_bootstrap_script(const cell::cell_config& config,
                                                  const node_paths& paths);

/// The shell script that Patroni runs as `postgres`: PostgreSQL itself, except that it refuses to
/// recover in single-user mode what pg_basebackup has copied and nobody has started yet. Such a copy
/// looks like a leader that has crashed. Recovered alone it would write WAL of its own, where its
/// leader's differs, miss all that its leader had written there, and could still take over.
/// It gets behind the node's walls before it is started, and reads the agent's bounds from then on.
[[nodiscard]] std::string render_postgres_script(const cell::cell_config& config,
                                                 const node_paths& paths,
                                                 const cell::node_walls& walls);

/// `text` as an SQL identifier, and as an SQL literal with standard_conforming_strings.
[[nodiscard]] std::string sql_identifier(std::string_view text);
[[nodiscard]] std::string sql_literal(std::string_view text);
/// `text` as one word of a shell command.
[[nodiscard]] std::string shell_word(std::string_view text);

} // namespace matriarch::engines::postgresql
