#include "cli/admin_commands.hpp"

#include <future>
#include <memory>
#include <ostream>

#include "base/json.hpp"
#include "base/percent_encoding.hpp"
#include "cli/command_line.hpp"
#include "cli/tables.hpp"

namespace matriarch::cli {

namespace {

/// A listing of 100,000 instances takes seconds; after half a minute nobody waits any more.
constexpr std::chrono::seconds patience{30};

/// Each instance needs one or two etcd transactions, with a few instances at a time: 10,000
/// instances take minutes.
constexpr std::chrono::seconds patience_of_sweeps{600};

/// A node is removed within 40 s; otherwise the broker says within a minute why not.
constexpr std::chrono::seconds patience_of_removals{60};

/// How long a busy broker may take for the TLS handshake: people are used to waiting that long.
constexpr std::chrono::seconds connect_patience{5};

/// A command's request to the broker, and how its answer is shown.
struct question {
  std::string verb;
  std::string path;
  std::chrono::seconds patience;
  result<std::string> (*for_people)(std::string_view);
};

base::outcome ask(const broker_uri& broker, const std::string& authority_file,
                  const question& what) {
  base::outgoing request;
  request.verb = what.verb;
  request.url = broker.address + what.path;
  request.username = broker.username;
  request.password = broker.password;
  request.tls.authority = authority_file;
  request.connect_timeout = connect_patience;
  request.timeout = what.patience;
  // Shared: the loop may still hold its copy when this function has returned.
  const auto answer = std::make_shared<std::promise<base::outcome>>();
  auto arrival = answer->get_future();
  base::event_loop loop;
  loop.send(std::move(request),
            [answer](base::outcome what) { answer->set_value(std::move(what)); });
  return arrival.get();
}

int complain(std::ostream& err, const std::string& why, int code) {
  err << "matriarch: " << printable(why) << std::endl;
  return code;
}

int show(const broker_access& access, const question& what, bool as_json, std::ostream& out,
         std::ostream& err) {
  const auto broker = parse_broker_uri(access.uri);
  if (!broker)
    return complain(err, broker.error(), exit_usage);
  const auto body = body_of(ask(*broker, access.authority_file, what), *broker);
  if (!body)
    return complain(err, body.error(), exit_failure);
  if (as_json) {
    out << *body << (body->ends_with('\n') ? "" : "\n");
    return exit_success;
  }
  const auto text = what.for_people(*body);
  if (!text)
    return complain(err, broker->address + ": " + text.error() + "; does BROKER_URI name a broker?",
                    exit_failure);
  out << *text;
  return exit_success;
}

} // namespace

result<std::string> body_of(const base::outcome& answer, const broker_uri& broker) {
  if (answer.status == 200 || answer.status == 202)
    return answer.body;
  const auto whose = "the broker at " + broker.address;
  if (answer.status == 0)
    return failure{whose + " cannot be reached: " + answer.error};
  if (answer.status == 401)
    return failure{whose + " refuses the user and password in BROKER_URI (401)"};
  std::string why;
  if (const auto parsed = json::parse(answer.body)) {
    why = json::string_member(*parsed, "description");
    if (why.empty())
      why = json::string_member(*parsed, "error");
  }
  return failure{whose + " answers " + std::to_string(answer.status)
                 + (why.empty() ? "" : ": " + why)};
}

int service_status(const broker_access& broker, const std::string& id, bool as_json,
                   std::ostream& out, std::ostream& err) {
  const std::string all = "/admin/service_instances";
  if (id.empty())
    return show(broker, {"GET", all, patience, instances_table}, as_json, out, err);
  return show(broker, {"GET", all + "/" + base::percent_encoded(id), patience, instance_details},
              as_json, out, err);
}

int show_cells(const broker_access& broker, bool as_json, std::ostream& out, std::ostream& err) {
  return show(broker, {"GET", "/admin/cells", patience, cells_table}, as_json, out, err);
}

int show_routers(const broker_access& broker, bool as_json, std::ostream& out, std::ostream& err) {
  return show(broker, {"GET", "/admin/routers", patience, routers_table}, as_json, out, err);
}

int forget_cell(const broker_access& broker, const std::string& cell, bool as_json,
                std::ostream& out, std::ostream& err) {
  return show(broker,
              {"POST", "/admin/cells/" + base::percent_encoded(cell) + "/forget",
               patience_of_removals, forgotten_lines},
              as_json, out, err);
}

int orphans(const broker_access& broker, bool as_json, std::ostream& out, std::ostream& err) {
  return show(broker, {"GET", "/admin/orphans", patience, orphans_table}, as_json, out, err);
}

int remove_orphan(const broker_access& broker, const std::string& cell, const std::string& node_id,
                  bool as_json, std::ostream& out, std::ostream& err) {
  return show(
      broker,
      {"DELETE",
       "/admin/orphans/" + base::percent_encoded(cell) + "/" + base::percent_encoded(node_id),
       patience_of_removals, removal_line},
      as_json, out, err);
}

int rebuild(const broker_access& broker, const std::string& instance, bool as_json,
            std::ostream& out, std::ostream& err) {
  return show(broker,
              {"POST", "/admin/service_instances/" + base::percent_encoded(instance) + "/rebuild",
               patience, rebuild_line},
              as_json, out, err);
}

int reencrypt(const broker_access& broker, bool as_json, std::ostream& out, std::ostream& err) {
  return show(broker, {"POST", "/admin/reencrypt", patience_of_sweeps, reencryption_line}, as_json,
              out, err);
}

} // namespace matriarch::cli
