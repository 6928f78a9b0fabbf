#include "cli/tables.hpp"

#include <algorithm>
#include <numeric>
#include <span>

namespace matriarch::cli {

namespace {

using rows = std::vector<std::vector<std::string>>;

/// The widest id: a GUID.
constexpr std::size_t id_width = 36;

bool starts_character(char c) {
  return (static_cast<unsigned char>(c) & 0xC0) != 0x80; // UTF-8's other bytes are 10xxxxxx
}

std::size_t width_of(std::string_view text) {
  return static_cast<std::size_t>(std::ranges::count_if(text, starts_character));
}

std::string cut(const std::string& text, std::size_t widest) {
  if (width_of(text) <= widest)
    return text;
  std::size_t end = 0;
  for (std::size_t characters = 0; end < text.size(); ++end)
    if (starts_character(text[end]) && ++characters == widest)
      break;
  return text.substr(0, end) + "…";
}

/// A member as it is shown: "-" if the broker does not report it.
std::string shown(const json::value& object, std::string_view name) {
  const auto* member = json::member(object, name);
  if (member == nullptr || member->IsNull())
    return "-";
  if (!member->IsString())
    return json::text_of(*member);
  const std::string text(member->GetString(), member->GetStringLength());
  return text.empty() ? "-" : text;
}

/// `provision succeeded`. The description follows if `with_description` is set, or if the operation
/// is not over or has failed.
std::string operation_of(const json::value& instance, bool with_description = false) {
  const auto* operation = json::member(instance, "operation");
  if (operation == nullptr || !operation->IsObject())
    return "-";
  const auto type = json::string_member(*operation, "type");
  const auto state = json::string_member(*operation, "state");
  const auto description = json::string_member(*operation, "description");
  auto text = type + (type.empty() || state.empty() ? "" : " ") + state;
  if ((with_description || state != "succeeded") && !description.empty())
    text += (text.empty() ? "" : ": ") + description;
  return text.empty() ? "-" : text;
}

/// The broker reports master or primary; people say leader.
std::string role_of(const json::value& node) {
  const auto role = shown(node, "role");
  return role == "master" || role == "primary" ? "leader" : role;
}

/// The node's own state; before it reports one and after that, the broker's phase of the node.
std::string state_of(const json::value& node) {
  const auto phase = json::string_member(node, "phase");
  const auto state = json::string_member(node, "state");
  if (phase == "removing" || (state.empty() && !phase.empty()))
    return phase;
  if (state.empty())
    return "-";
  const auto health = json::string_member(node, "health");
  // An older broker does not report the health.
  return state + (state == "running" && !health.empty() && health != "well" ? ", not well" : "");
}

/// Empty if there is no such list.
std::span<const json::value> list_in(const json::value& object, std::string_view name) {
  const auto* list = json::member(object, name);
  if (list == nullptr || !list->IsArray())
    return {};
  return {list->Begin(), list->End()};
}

const json::value& nodes_of(const json::value& instance) {
  static const json::value none(rapidjson::kArrayType);
  const auto* nodes = json::member(instance, "nodes");
  return nodes != nullptr && nodes->IsArray() ? *nodes : none;
}

std::string port_of(const json::value& instance, std::string_view which = "allocated_port") {
  const auto port = json::integer_member(instance, which);
  return port == 0 ? "-" : std::to_string(port);
}

/// `synchronous on, max_connections 200`: the settings in that member that are not the defaults.
std::string settings_of(const json::value& instance, std::string_view name) {
  const auto* settings = json::member(instance, name);
  if (settings == nullptr || !settings->IsObject())
    return "-";
  std::string text = "synchronous " + shown(*settings, "synchronous");
  if (const auto ttl = json::integer_member(*settings, "ttl"); ttl > 0)
    text += ", ttl " + std::to_string(ttl) + " s";
  if (const auto* parameters = json::member(*settings, "parameters");
      parameters != nullptr && parameters->IsObject())
    for (const auto& one : parameters->GetObject())
      text += std::string(", ") + one.name.GetString() + " "
              + shown(*parameters, {one.name.GetString(), one.name.GetStringLength()});
  return text;
}

/// `2 ready, 1 creating: <why it takes so long>`.
std::string bindings_of(const json::value& instance) {
  const auto* bindings = json::member(instance, "bindings");
  if (bindings == nullptr || !bindings->IsArray() || bindings->Empty())
    return "-";
  std::string text;
  for (const std::string phase : {"ready", "creating", "removing"}) {
    const auto count = std::ranges::count_if(bindings->GetArray(), [&](const auto& one) {
      return one.IsObject() && json::string_member(one, "phase") == phase;
    });
    if (count > 0)
      text += (text.empty() ? "" : ", ") + std::to_string(count) + " " + phase;
  }
  const auto why = json::string_member(instance, "roles_wait_for");
  return text + (why.empty() ? "" : ": " + why);
}

failure unexpected(const std::string& why) {
  return failure{"the answer is not what a broker says: " + why};
}

result<json::document> list_of_objects(std::string_view answer) {
  auto parsed = json::parse(answer);
  if (!parsed)
    return unexpected(parsed.error());
  if (!parsed->IsArray()
      || !std::ranges::all_of(parsed->GetArray(), [](const auto& item) { return item.IsObject(); }))
    return unexpected("not a list of objects");
  return parsed;
}

} // namespace

std::string printable(std::string_view text) {
  std::string safe(text);
  for (std::size_t i = 0; i < safe.size(); ++i) {
    const auto c = static_cast<unsigned char>(safe[i]);
    // UTF-8's C2 80 to C2 9F are control characters too, which some terminals obey.
    const auto second_control =
        i > 0 && static_cast<unsigned char>(text[i - 1]) == 0xC2 && c >= 0x80 && c < 0xA0;
    if (second_control)
      safe[i - 1] = ' ';
    if (c < 0x20 || c == 0x7F || second_control)
      safe[i] = '?';
  }
  return safe;
}

std::string table(const std::vector<column>& columns, const rows& content) {
  rows lines{{}};
  for (const auto& column : columns)
    lines.front().push_back(column.title);
  std::vector<std::size_t> widths;
  for (const auto& title : lines.front())
    widths.push_back(width_of(title));
  for (const auto& row : content) {
    auto& line = lines.emplace_back();
    for (std::size_t i = 0; i < columns.size(); ++i) {
      line.push_back(cut(printable(i < row.size() ? row[i] : ""), columns[i].widest));
      widths[i] = std::max(widths[i], width_of(line.back()));
    }
  }
  std::string text;
  for (const auto& line : lines) {
    for (std::size_t i = 0; i < line.size(); ++i)
      text += line[i] + std::string(widths[i] - width_of(line[i]) + 2, ' ');
    text.erase(text.find_last_not_of(' ') + 1);
    text += '\n';
  }
  return text;
}

result<std::string> instances_table(std::string_view answer) {
  const auto parsed = list_of_objects(answer);
  if (!parsed)
    return failure{parsed.error()};
  if (parsed->Empty())
    return std::string("There are no service instances.\n");
  rows content;
  for (const auto& instance : parsed->GetArray()) {
    std::vector<std::string> row{shown(instance, "instance_id"), port_of(instance)};
    for (const auto& node : nodes_of(instance).GetArray()) {
      row.resize(2);
      row.insert(row.end(), {shown(node, "backend_id"), role_of(node), state_of(node)});
      row.push_back(row[0].empty() ? "" : operation_of(instance));
      content.push_back(row);
      // The instance's own columns are filled in its first node's row only.
      row = {"", ""};
    }
    if (row.size() == 2 && !row[0].empty())
      content.push_back({row[0], row[1], "-", "-", "-", operation_of(instance)});
  }
  return table({{"INSTANCE", id_width},
                {"PORT"},
                {"CELL", 24},
                {"ROLE", 16},
                {"STATE", 20},
                {"OPERATION", 72}},
               content);
}

namespace {

/// `in progress (copying): what it waits for`; `-` if the instance was never rebuilt.
std::string rebuild_of(const json::value& instance) {
  const auto* task = json::member(instance, "rebuild");
  if (task == nullptr || !task->IsObject())
    return "-";
  auto text = json::string_member(*task, "state");
  if (text == "in progress")
    text += " (" + json::string_member(*task, "phase") + ")";
  auto more = json::string_member(*task, "description");
  return text + (more.empty() ? "" : ": " + more);
}

} // namespace

result<std::string> instance_details(std::string_view answer) {
  const auto parsed = json::parse(answer);
  if (!parsed)
    return unexpected(parsed.error());
  const json::value& instance = *parsed;
  if (!instance.IsObject())
    return unexpected("not an object");
  const std::vector<std::pair<std::string, std::string>> facts{
      {"instance", shown(instance, "instance_id")},
      {"scope", shown(instance, "scope")},
      {"service", shown(instance, "service_id")},
      {"plan", shown(instance, "plan_id")},
      {"organization", shown(instance, "organization_guid")},
      {"space", shown(instance, "space_guid")},
      {"port", port_of(instance)},
      {"read-only", port_of(instance, "read_only_port")},
      {"maintenance", shown(instance, "maintenance_version")},
      {"settings", settings_of(instance, "settings")},
      {"taking up", settings_of(instance, "taking_up")},
      {"bindings", bindings_of(instance)},
      {"operation", operation_of(instance, true)},
      {"repair", shown(instance, "repair")},
      {"rebuild", rebuild_of(instance)},
      {"routers", shown(instance, "route_waits_for")},
  };
  std::string text;
  for (const auto& [name, value] : facts)
    text += name + std::string(14 - name.size(), ' ') + printable(value) + '\n';
  rows content;
  for (const auto& node : nodes_of(instance).GetArray())
    content.push_back({shown(node, "node_id"), shown(node, "backend_id"), role_of(node),
                       shown(node, "state"), shown(node, "phase"), shown(node, "health")});
  if (content.empty())
    return text + "\nIt has no nodes.\n";
  return text + '\n'
         + table({{"NODE", 64}, {"CELL", 64}, {"ROLE"}, {"STATE"}, {"PHASE"}, {"HEALTH", 120}},
                 content);
}

result<std::string> cells_table(std::string_view answer) {
  const auto parsed = list_of_objects(answer);
  if (!parsed)
    return failure{parsed.error()};
  if (parsed->Empty())
    return std::string("There are no cells.\n");
  rows content;
  int unreachable = 0;
  std::string errors;
  for (const auto& cell : parsed->GetArray()) {
    const auto is = [&](std::string_view name, bool wanted) {
      const auto* member = json::member(cell, name);
      return member != nullptr && member->IsBool() && member->GetBool() == wanted;
    };
    std::string status = is("reachable", true) ? "reachable" : "unknown";
    if (is("reachable", false)) {
      status = is("lost", true) ? "LOST" : "UNREACHABLE";
      ++unreachable;
      if (const auto why = json::string_member(cell, "last_error"); !why.empty())
        errors += printable(shown(cell, "guid") + ": " + why) + "\n";
    }
    auto tls = shown(cell, "tls");
    if (tls.starts_with("no certificate")) {
      errors += printable(shown(cell, "guid") + ": " + tls) + "\n";
      tls = "no certificate";
    }
    if (const auto full = json::integer_member(cell, "full_nodes"); full > 0)
      errors += printable(shown(cell, "guid") + ": the disks of " + std::to_string(full)
                          + " nodes are nearly full: their databases only read")
                + "\n";
    for (const auto& plan : list_in(cell, "plan_faults"))
      if (plan.IsObject())
        for (const auto& fault : list_in(plan, "faults"))
          if (fault.IsString())
            errors += printable(shown(cell, "guid") + ": plan " + shown(plan, "plan_id") + ": "
                                + fault.GetString())
                      + "\n";
    auto nodes = shown(cell, "nodes");
    // A cell that does not report its capacity has 0.
    if (const auto capacity = json::integer_member(cell, "capacity"); capacity > 0)
      nodes += " of " + std::to_string(capacity);
    content.push_back({shown(cell, "guid"), shown(cell, "az"), status, nodes,
                       shown(cell, "postgresql"), shown(cell, "fencing"), shown(cell, "limits"),
                       tls, shown(cell, "uri")});
  }
  auto text = table({{"CELL", id_width},
                     {"ZONE", 16},
                     {"STATUS"},
                     {"NODES"},
                     {"POSTGRESQL", 16},
                     {"FENCING"},
                     {"LIMITS", 64},
                     {"TLS", 32},
                     {"URI", 60}},
                    content);
  if (unreachable > 0)
    text += "\n" + std::to_string(unreachable) + " of " + std::to_string(parsed->Size())
            + (parsed->Size() == 1 ? " cell" : " cells") + " cannot be reached by the broker.\n";
  return text + (errors.empty() || unreachable > 0 ? "" : "\n") + errors;
}

namespace {

/// `30007, 30009 and 12 more`.
std::string some_of(const json::value& router, std::string_view name) {
  constexpr rapidjson::SizeType most = 5;
  const auto* list = json::member(router, name);
  if (list == nullptr || !list->IsArray() || list->Empty())
    return "-";
  std::string text;
  for (rapidjson::SizeType i = 0; i < std::min(most, list->Size()); ++i)
    text += (text.empty() ? "" : ", ") + json::text_of((*list)[i]);
  return list->Size() <= most ? text
                              : text + " and " + std::to_string(list->Size() - most) + " more";
}

std::string status_of_router(const json::value& router) {
  const auto* awaited = json::member(router, "awaited");
  if (awaited != nullptr && awaited->IsFalse())
    return "not waited for";
  if (!json::string_member(router, "silent").empty())
    return "TAKES NO CONNECTIONS";
  const auto held = json::integer_member(router, "holds_up");
  return held == 0 ? "up to date" : "HOLDS UP " + std::to_string(held);
}

} // namespace

result<std::string> routers_table(std::string_view answer) {
  const auto parsed = list_of_objects(answer);
  if (!parsed)
    return failure{parsed.error()};
  if (parsed->Empty())
    return std::string("There are no routers: no lease of one lives in etcd.\n");
  rows content;
  std::string lost;
  for (const auto& router : parsed->GetArray()) {
    content.push_back({shown(router, "id"), shown(router, "host"), shown(router, "since"),
                       shown(router, "serves"), shown(router, "behind"), status_of_router(router),
                       some_of(router, "unbound")});
    if (const auto silent = json::string_member(router, "silent"); !silent.empty())
      lost +=
          printable("Router " + shown(router, "id") + " takes no connections: " + silent) + ".\n";
    for (const auto& one : list_in(router, "unserved"))
      lost += printable("Router " + shown(router, "id") + " does not serve instance "
                        + shown(one, "instance") + ": " + shown(one, "why"))
              + ".\n";
    for (const auto& one : list_in(router, "lost"))
      lost += printable("Port " + shown(one, "port") + " of instance " + shown(one, "instance")
                        + " is not open at router " + shown(router, "id"))
              + ": something else on its machine has it.\n";
  }
  return table({{"ROUTER", 64},
                {"HOST", 40},
                {"SINCE"},
                {"SERVES"},
                {"BEHIND"},
                {"STATUS"},
                {"UNBOUND PORTS", 60}},
               content)
         + (lost.empty() ? "" : "\n" + lost);
}

result<std::string> forgotten_lines(std::string_view answer) {
  const auto parsed = json::parse(answer);
  if (!parsed)
    return unexpected(parsed.error());
  std::string text = "Cell " + printable(shown(*parsed, "cell")) + " is forgotten.\n";
  for (const auto& [name, what] :
       {std::pair{"buried", "needs no confirmation of its removal any more"},
        {"replaced", "is replaced"}}) {
    const auto* nodes = json::member(*parsed, name);
    if (nodes == nullptr || !nodes->IsArray())
      return unexpected(std::string{"it does not say which nodes are "} + name);
    for (const auto& node : nodes->GetArray())
      text += "  node " + printable(shown(node, "node_id")) + " of "
              + printable(shown(node, "instance_id")) + " " + what + "\n";
  }
  return text;
}

result<std::string> orphans_table(std::string_view answer) {
  const auto parsed = list_of_objects(answer);
  if (!parsed)
    return failure{parsed.error()};
  if (parsed->Empty())
    return std::string("There are no orphans.\n");
  rows content;
  for (const auto& orphan : parsed->GetArray())
    content.push_back({shown(orphan, "cell"), shown(orphan, "node_id"), shown(orphan, "scope")});
  return table({{"CELL", 64}, {"NODE", 64}, {"SCOPE", 64}}, content)
         + "\nThese nodes run, but no record names them, and nothing says that they were removed. "
           "They may be\nall that is left of a database. To remove one and its data: "
           "matriarch remove-orphan CELL NODE\n";
}

result<std::string> removal_line(std::string_view) {
  return std::string("The node and its data are removed.\n");
}

result<std::string> rebuild_line(std::string_view answer) {
  const auto parsed = json::parse(answer);
  if (!parsed)
    return unexpected(parsed.error());
  if (json::string_member(*parsed, "rebuild").empty())
    return unexpected("it does not say what has begun");
  return std::string("A new cluster is being made; matriarch service-status with the instance's id "
                     "shows how far it is.\n");
}

result<std::string> reencryption_line(std::string_view answer) {
  const auto parsed = json::parse(answer);
  if (!parsed)
    return unexpected(parsed.error());
  const auto* instances = json::member(*parsed, "instances");
  if (instances == nullptr || !instances->IsUint64())
    return unexpected("it does not say how many instances were rewritten");
  const auto count = instances->GetUint64();
  return "The secrets of " + std::to_string(count) + (count == 1 ? " instance" : " instances")
         + " were written anew, with the newest key.\n";
}

} // namespace matriarch::cli
