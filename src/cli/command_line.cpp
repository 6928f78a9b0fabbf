#include "cli/command_line.hpp"

#include <CLI/CLI.hpp>

#include <algorithm>
#include <cstdlib>
#include <exception>
#include <ostream>
#include <sstream>

#include "base/logging.hpp"
#include "cell/cell.hpp"
#include "cli/admin_commands.hpp"
#include "cli/broker.hpp"
#include "cli/drivers.hpp"
#include "cli/engines.hpp"
#include "config/yaml_reader.hpp"
#include "router/router.hpp"

namespace matriarch::cli {

namespace {

/// A subcommand that serves until it is told to end.
struct server {
  std::string name;
  std::string description;
  /// The environment variable that replaces --config; none if empty.
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
       [](const std::string& path) { return cell::run(path, kind_of_nodes(), driver_of_nodes()); },
       [](const std::string& path, std::ostream& out) {
         return cell::check(path, kind_of_nodes(), driver_of_nodes(), out);
       }},
      {"router", "Open the public ports and keep HAProxy pointed at the leaders", "", "router.yml",
       [](const std::string& path) { return router::run(path, engine_checks()); }, router::check},
  };
  return all;
}

/// The arguments of an operator's command.
struct order {
  const broker_access& broker;
  /// In the order of the command's arguments; empty for one that was left out.
  const std::vector<std::string>& arguments;
  bool as_json;
  std::ostream& out;
  std::ostream& err;
};

struct argument {
  std::string name;
  std::string description;
  bool required;
};

/// A subcommand that sends the broker one request.
struct operators_command {
  std::string name;
  std::string description;
  std::vector<argument> arguments;
  int (*run)(const order& given);
};

const std::vector<operators_command>& operators_commands() {
  static const std::vector<operators_command> all{
      {"service-status",
       "Show all service instances, or one",
       {{"id", "Only this service instance, in detail", false}},
       [](const order& given) {
         return service_status(given.broker, given.arguments[0], given.as_json, given.out,
                               given.err);
       }},
      {"show-cells",
       "Show the cells: load, reachability, fencing",
       {},
       [](const order& given) {
         return show_cells(given.broker, given.as_json, given.out, given.err);
       }},
      {"show-routers",
       "Show the routers: what they serve, what waits for them",
       {},
       [](const order& given) {
         return show_routers(given.broker, given.as_json, given.out, given.err);
       }},
      {"reencrypt",
       "Write all secrets in etcd anew, with the newest key",
       {},
       [](const order& given) {
         return reencrypt(given.broker, given.as_json, given.out, given.err);
       }},
      {"rebuild",
       "Build a new cluster for an instance beside its present one, and switch to it",
       {{"instance", "The service instance's id", true}},
       [](const order& given) {
         return rebuild(given.broker, given.arguments[0], given.as_json, given.out, given.err);
       }},
      {"forget-cell",
       "Declare that a cell never comes back, nor what ran on it",
       {{"cell", "The cell's guid", true}},
       [](const order& given) {
         return forget_cell(given.broker, given.arguments[0], given.as_json, given.out, given.err);
       }},
      {"orphans",
       "Show nodes that run on cells but are in no record",
       {},
       [](const order& given) {
         return orphans(given.broker, given.as_json, given.out, given.err);
       }},
      {"remove-orphan",
       "Remove such a node, with its data",
       {{"cell", "The guid of the cell that runs it", true}, {"node", "The node's id", true}},
       [](const order& given) {
         return remove_orphan(given.broker, given.arguments[0], given.arguments[1], given.as_json,
                              given.out, given.err);
       }},
  };
  return all;
}

/// The parsed command line.
struct options {
  // of servers
  std::string config_path;
  std::string log_level = "info";
  bool only_check = false;
  // of operators' commands
  std::vector<std::string> arguments;
  std::string authority_file;
  bool as_json = false;
};

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

constexpr const char* for_operators = "For operators; they ask the broker at $BROKER_URI "
                                      "(http://user:password@host:port, or https://)";

void add(CLI::App& app, const server& one, options& into) {
  auto* command = app.add_subcommand(one.name, one.description)->group("Servers");
  auto* config = command->add_option("--config", into.config_path, "The YAML configuration file")
                     ->option_text("FILE")
                     ->required();
  if (!one.config_variable.empty())
    config->envname(one.config_variable)
        ->option_text("FILE (default: $" + one.config_variable + ")");
  command
      ->add_option("--log-level", into.log_level,
                   "The least level that is logged to stderr: "
                       + CLI::detail::join(base::log_levels(), ", "))
      ->option_text("LEVEL (default: info)")
      ->check(CLI::IsMember(base::log_levels()).description(""));
  command->add_flag("--check", into.only_check,
                    "Check whether it could serve, print what was found, and end: 0, or 2 if not");
  command->footer("The configuration's keys are explained in conf/" + one.example + ".");
}

void add(CLI::App& app, const operators_command& one, options& into) {
  auto* command = app.add_subcommand(one.name, one.description)->group(for_operators);
  for (std::size_t i = 0; i < one.arguments.size(); ++i)
    command->add_option(one.arguments[i].name, into.arguments[i], one.arguments[i].description)
        ->option_text(" ")
        ->required(one.arguments[i].required);
  command->add_flag("--json", into.as_json, "Print the broker's answer as it is");
  command
      ->add_option("--ca-file", into.authority_file,
                   "Who may sign the certificate of an https:// broker, in PEM")
      ->option_text("FILE (default: $BROKER_CA_FILE, or the system's)")
      ->envname("BROKER_CA_FILE")
      ->check(CLI::ExistingFile.description(""));
  command->footer("It asks the broker at $BROKER_URI, http://user:password@host:port or https://.");
}

/// Prints what is wrong, in one line, and where to read on.
int refuse(std::ostream& err, std::string why, const std::string& command) {
  std::ranges::replace(why, '\n', ' ');
  err << "matriarch: " << why << "\nUsage: see matriarch" << (command.empty() ? "" : " " + command)
      << " --help" << std::endl;
  return exit_usage;
}

/// The same for a command line that cannot be parsed.
int refuse_line(std::ostream& err, const CLI::App& app, const std::vector<std::string>& arguments,
                const std::string& chosen, const char* why) {
  if (arguments.empty())
    return refuse(err, "a command is missing", "");
  if (!chosen.empty() || arguments.front().starts_with('-'))
    return refuse(err, why, chosen);
  std::vector<std::string> names;
  for (const auto* command : app.get_subcommands([](const CLI::App*) { return true; }))
    names.push_back(command->get_name());
  const auto near = config::nearest(arguments.front(), names);
  return refuse(err,
                "there is no command \"" + arguments.front() + "\""
                    + (near ? "; did you mean \"" + *near + "\"?" : ""),
                "");
}

int serve(const server& one, const options& given, std::ostream& out) {
  base::set_up_logging(given.log_level);
  try {
    auto code = given.only_check ? one.check(given.config_path, out) : one.run(given.config_path);
    base::flush_log();
    return code;
  } catch (const std::exception& error) {
    return base::refuse(one.name.c_str(), error.what(), exit_failure);
  }
}

} // namespace

int run(const std::vector<std::string>& arguments, std::ostream& out, std::ostream& err) {
  CLI::App app(overview, "matriarch");
  app.footer(closing);
  app.set_version_flag("--version", "matriarch " MATRIARCH_VERSION, "Print the version and exit");
  app.set_help_flag("-h,--help", "Print this help and exit");
  app.require_subcommand(1);
  app.get_formatter()->column_width(28);

  options given;
  for (const auto& one : operators_commands())
    given.arguments.resize(std::max(given.arguments.size(), one.arguments.size()));
  for (const auto& one : servers())
    add(app, one, given);
  for (const auto& one : operators_commands())
    add(app, one, given);

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
    return refuse_line(err, app, arguments, chosen(), error.what());
  }

  const auto name = chosen();
  for (const auto& one : servers())
    if (one.name == name)
      return serve(one, given, out);
  const auto asked = std::ranges::find(operators_commands(), name, &operators_command::name);
  const broker_access broker{std::getenv("BROKER_URI"), given.authority_file};
  return asked->run({broker, given.arguments, given.as_json, out, err});
}

} // namespace matriarch::cli
