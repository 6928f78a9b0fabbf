#include "cli/admin_commands.hpp"

#include <future>
#include <memory>
#include <ostream>

#include "cli/command_line.hpp"
#include "cli/tables.hpp"
#include "http/percent_encoding.hpp"
#include "model/json.hpp"

namespace matriarch::cli {

namespace {

/// A listing of 100,000 instances takes seconds; after half a minute nobody waits any more.
constexpr std::chrono::seconds patience{30};

http::outcome get(const broker_uri& broker, const std::string& path) {
  http::outgoing request;
  request.url = broker.address + path;
  request.username = broker.username;
  request.password = broker.password;
  request.timeout = patience;
  // Shared: the loop may still hold its copy when this function has returned.
  const auto answer = std::make_shared<std::promise<http::outcome>>();
  auto arrival = answer->get_future();
  http::event_loop loop;
  loop.send(std::move(request),
            [answer](http::outcome what) { answer->set_value(std::move(what)); });
  return arrival.get();
}

int complain(std::ostream& err, const std::string& why, int code) {
  err << "matriarch: " << printable(why) << std::endl;
  return code;
}

int show(const char* uri, const std::string& path, bool as_json,
         result<std::string> (*for_people)(std::string_view), std::ostream& out,
         std::ostream& err) {
  const auto broker = parse_broker_uri(uri);
  if (!broker)
    return complain(err, broker.error(), exit_usage);
  const auto body = body_of(get(*broker, path), *broker);
  if (!body)
    return complain(err, body.error(), exit_failure);
  if (as_json) {
    out << *body << (body->ends_with('\n') ? "" : "\n");
    return exit_success;
  }
  const auto text = for_people(*body);
  if (!text)
    return complain(err, broker->address + ": " + text.error() + "; does BROKER_URI name a broker?",
                    exit_failure);
  out << *text;
  return exit_success;
}

} // namespace

result<std::string> body_of(const http::outcome& answer, const broker_uri& broker) {
  if (answer.status == 200)
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

int service_status(const char* uri, const std::string& id, bool as_json, std::ostream& out,
                   std::ostream& err) {
  if (id.empty())
    return show(uri, "/admin/service_instances", as_json, instances_table, out, err);
  return show(uri, "/admin/service_instances/" + http::percent_encoded(id), as_json,
              instance_details, out, err);
}

int show_cells(const char* uri, bool as_json, std::ostream& out, std::ostream& err) {
  return show(uri, "/admin/cells", as_json, cells_table, out, err);
}

} // namespace matriarch::cli
