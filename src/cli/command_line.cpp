#include "cli/command_line.hpp"

#include <CLI/CLI.hpp>

#include <algorithm>
#include <cstdlib>
#include <exception>
#include <ostream>
#include <sstream>

#include "base/logging.hpp"
#include "cell/cell.hpp"
#include "cell/postgresql_engine.hpp"
#include "cli/admin_commands.hpp"
#include "cli/broker.hpp"
#include "cli/engines.hpp"
#include "config/yaml_reader.hpp"
#include "router/router.hpp"

namespace matriarch::cli {

namespace {

/// A subcommand that serves until it is told to end.
struct server {
  std::string name;
  std::string description;
  /// The environment variable that stands in for --config; none if empty.
  std::string config_variable;
  /// The example in conf/ that explains every key.
  std::string example;
  int (*run)(const std::string& config_path);
  int (*check)(const std::string& config_path, std::ostream& out);
};

const std::vector<server>& servers() {
  static const std::vector<server> all{
      {"broker", "Serve the Open Service Broker API and /admin", "PATRONI_BROKER_CONFIG",
       "production.yml", [](const std::string& path) { return broker::run(path); }, broker::check},
      {"cell", "Run the database nodes of one machine", "", "cell.yml",
       [](const std::string& path) { return cell::run(path, cell::make_postgresql); },
       [](const std::string& path, std::ostream& out) {
         return cell::check(path, cell::make_postgresql, out);
       }},
      {"router", "Open the public ports and keep HAProxy pointed at the leaders", "", "router.yml",
       [](const std::string& path) { return router::run(path, engine_checks()); }, router::check},
  };
  return all;
}

constexpr const char* overview =
    "Matriarch: an Open Service Broker for highly available PostgreSQL.\n\n"
    "A Cloud Foundry user says `cf create-service postgresql cluster my-db` and gets a cluster of\n"
    "PostgreSQL nodes that fail over by themselves; an operator moves it to other machines while\n"
    "applications keep writing.\n";

constexpr const char* closing =
    "A platform needs etcd, a broker, a cell on each machine that runs databases, and a router;\n"
    "`make up` starts one. By hand, where conf/dev.yml expects etcd at 127.0.0.1:2379 and four "
    "cells at\n"
    "127.0.0.1:8901 to 8904, of which conf/cell.yml is the first:\n"
    "  matriarch cell   --config conf/cell.yml &\n"
    "  matriarch router --config conf/router.yml &\n"
    "  matriarch broker --config conf/dev.yml &\n"
    "  export BROKER_URI=http://starkandwayne:starkandwayne@localhost:3000\n"
    "  matriarch show-cells\n\n"
    "`matriarch COMMAND --help` tells more about one command. Exit codes: 0 done, 1 it failed,\n"
    "2 the command line or the configuration is wrong.";

/// What is wrong, in one line, and where to read on.
int refuse(std::ostream& err, std::string why, const std::string& command) {
  std::ranges::replace(why, '\n', ' ');
  err << "matriarch: " << why << "\nUsage: see matriarch" << (command.empty() ? "" : " " + command)
      << " --help" << std::endl;
  return exit_usage;
}

} // namespace

int run(const std::vector<std::string>& arguments, std::ostream& out, std::ostream& err) {
  CLI::App app(overview, "matriarch");
  app.footer(closing);
  app.set_version_flag("--version", "matriarch " MATRIARCH_VERSION, "Print the version and exit");
  app.set_help_flag("-h,--help", "Print this help and exit");
  app.require_subcommand(1);
  app.get_formatter()->column_width(28);

  std::string config_path;
  std::string log_level = "info";
  std::string instance;
  std::string authority_file;
  std::string cell;
  std::string node;
  bool as_json = false;
  bool only_check = false;

  for (const auto& server : servers()) {
    auto* command = app.add_subcommand(server.name, server.description)->group("Servers");
    auto* config = command->add_option("--config", config_path, "The YAML configuration file")
                       ->option_text("FILE")
                       ->required();
    if (!server.config_variable.empty())
      config->envname(server.config_variable)
          ->option_text("FILE (default: $" + server.config_variable + ")");
    command
        ->add_option("--log-level", log_level,
                     "What goes to stderr: " + CLI::detail::join(base::log_levels(), ", "))
        ->option_text("LEVEL (default: info)")
        ->check(CLI::IsMember(base::log_levels()).description(""));
    command->add_flag("--check", only_check,
                      "Look whether it could serve, say what was found, and end: 0, or 2 if not");
    command->footer("The configuration's keys are explained in conf/" + server.example + ".");
  }

  const std::string for_operators = "For operators; they ask the broker at $BROKER_URI "
                                    "(http://user:password@host:port, or https://)";
  auto* status = app.add_subcommand("service-status", "Show all service instances, or one")
                     ->group(for_operators);
  status->add_option("id", instance, "Only this service instance, in detail")->option_text(" ");
  auto* cells = app.add_subcommand("show-cells", "Show the cells: load, reachability, fencing")
                    ->group(for_operators);
  auto* routers =
      app.add_subcommand("show-routers", "Show the routers: what they serve, what waits for them")
          ->group(for_operators);
  auto* rewrite =
      app.add_subcommand("reencrypt", "Write all secrets in etcd anew, with the newest key")
          ->group(for_operators);
  auto* forget =
      app.add_subcommand("forget-cell", "Say that a cell never comes back, nor what ran on it")
          ->group(for_operators);
  forget->add_option("cell", cell, "The cell's guid")->option_text(" ")->required();
  auto* strays = app.add_subcommand("orphans", "Show nodes that cells run and no record names")
                     ->group(for_operators);
  auto* stray = app.add_subcommand("remove-orphan", "Remove such a node, with its data")
                    ->group(for_operators);
  stray->add_option("cell", cell, "The guid of the cell that runs it")
      ->option_text(" ")
      ->required();
  stray->add_option("node", node, "The node's id")->option_text(" ")->required();
  for (auto* command : {status, cells, routers, rewrite, forget, strays, stray}) {
    command->add_flag("--json", as_json, "Print the broker's answer as it is");
    command
        ->add_option("--ca-file", authority_file,
                     "Who may sign the certificate of an https:// broker, in PEM")
        ->option_text("FILE (default: $BROKER_CA_FILE, or the system's)")
        ->envname("BROKER_CA_FILE")
        ->check(CLI::ExistingFile.description(""));
    command->footer(
        "It asks the broker at $BROKER_URI, http://user:password@host:port or https://.");
  }

  const auto chosen = [&] {
    const auto subcommands = app.get_subcommands();
    return subcommands.empty() ? std::string() : subcommands.front()->get_name();
  };

  try {
    app.parse(std::vector<std::string>(arguments.rbegin(), arguments.rend()));
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) { // --help and --version
      std::ostringstream text;
      app.exit(error, text, err);
      out << text.str() << (text.str().ends_with('\n') ? "" : "\n");
      return exit_success;
    }
    if (arguments.empty())
      return refuse(err, "a command is missing", "");
    if (chosen().empty() && !arguments.front().starts_with('-')) {
      std::vector<std::string> names;
      for (const auto* command : app.get_subcommands([](const CLI::App*) { return true; }))
        names.push_back(command->get_name());
      const auto near = config::nearest(arguments.front(), names);
      return refuse(err,
                    "there is no command \"" + arguments.front() + "\""
                        + (near ? "; did you mean \"" + *near + "\"?" : ""),
                    "");
    }
    return refuse(err, error.what(), chosen());
  }

  const auto name = chosen();
  for (const auto& server : servers())
    if (server.name == name) {
      base::set_up_logging(log_level);
      try {
        auto code = only_check ? server.check(config_path, out) : server.run(config_path);
        base::flush_log();
        return code;
      } catch (const std::exception& error) {
        return base::refuse(server.name.c_str(), error.what(), exit_failure);
      }
    }
  const broker_access broker{std::getenv("BROKER_URI"), authority_file};
  if (name == "show-routers")
    return show_routers(broker, as_json, out, err);
  if (name == "reencrypt")
    return reencrypt(broker, as_json, out, err);
  if (name == "forget-cell")
    return forget_cell(broker, cell, as_json, out, err);
  if (name == "orphans")
    return orphans(broker, as_json, out, err);
  if (name == "remove-orphan")
    return remove_orphan(broker, cell, node, as_json, out, err);
  return name == "show-cells" ? show_cells(broker, as_json, out, err)
                              : service_status(broker, instance, as_json, out, err);
}

} // namespace matriarch::cli
