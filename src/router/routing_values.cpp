#include "router/routing_values.hpp"

#include <algorithm>
#include <charconv>
#include <utility>

#include "base/json.hpp"
#include "model/record.hpp"
#include "model/words.hpp"
#include "store/formats.hpp"

namespace matriarch::router {

namespace {

/// No engine's words for a member's state are longer.
constexpr std::size_t longest_state = 100;

/// The cluster's configuration does not set the number of connections.
constexpr int says_nothing = 0;

/// Nothing unless the settings give a number.
std::optional<int> max_connections_in(const json::value* settings, const engine_check& engine) {
  const auto* parameters = settings != nullptr ? json::member(*settings, "parameters") : nullptr;
  if (parameters == nullptr)
    return std::nullopt;
  auto number = json::integer_member(*parameters, engine.connections_parameter);
  if (number == 0) {
    auto text = json::string_member(*parameters, engine.connections_parameter);
    std::from_chars(text.data(), text.data() + text.size(), number);
  }
  if (number < 1)
    return std::nullopt;
  return static_cast<int>(std::min<std::int64_t>(number, engine.most_connections));
}

bool is_set(const json::value& object, std::string_view name, bool otherwise = false) {
  const auto* flag = json::member(object, name);
  return flag != nullptr && flag->IsBool() ? flag->GetBool() : otherwise;
}

} // namespace

std::string state_of_member(std::string_view text) {
  auto parsed = json::parse(text);
  return parsed ? json::string_member(*parsed, "state").substr(0, longest_state) : std::string{};
}

routed_record record_of(std::string_view name, std::string_view text,
                        const engine_checks& engines) {
  routed_record known;
  auto parsed = json::parse(text);
  if (!parsed || !parsed->IsObject())
    return known;
  if (auto why_not = store::why_not_to_read(*parsed)) {
    known.is_ahead = std::move(*why_not);
    return known;
  }
  // Records of the original broker have neither a scope nor a phase.
  known.scope = json::string_member(*parsed, "scope", name);
  constexpr const char* accepted = model::text_of(model::record_phase::accepted);
  known.accepted = json::string_member(*parsed, "phase", accepted) == accepted;
  // An instance whose removal was accepted has no bindings any more, however long its nodes still
  // take.
  if (const auto* desired = json::member(*parsed, "desired"))
    known.accepted = known.accepted && is_set(*desired, "exists", true);
  if (auto nodes = json::member(*parsed, "nodes"); nodes && nodes->IsArray())
    for (const auto& node : nodes->GetArray()) {
      auto node_id = json::string_member(node, "node_id");
      known.nodes.emplace(node_id, json::member(node, "address") == nullptr
                                       ? std::nullopt
                                       : std::optional{routed_record::place{
                                           json::string_member(node, "address"),
                                           json::string_member(node, "patroni_address"),
                                           is_set(node, "patroni_certified")}});
      if (is_set(node, "held_back"))
        known.held_back.insert(node_id);
    }
  known.engine = engines.find(json::string_member(*parsed, "engine"));
  known.accepted = known.accepted && known.engine != nullptr; // an engine of a later release
  if (known.engine != nullptr)
    known.max_connections = max_connections_in(json::member(*parsed, "in_force"), *known.engine);
  return known;
}

int max_connections_in_config(std::string_view text, const engine_checks& engines) {
  auto parsed = json::parse(text);
  auto now = says_nothing;
  if (parsed)
    for (const auto& engine : engines.all())
      if (auto given = max_connections_in(json::member(*parsed, engine.parameters_of), engine))
        now = *given;
  return now;
}

int max_connections_of(const routed_record& known, std::optional<int> configured) {
  // During a change a member may have the old or the new number: the smaller one counts.
  const auto usual = known.engine->usual_connections;
  if (configured == says_nothing)
    configured = usual;
  if (known.max_connections && configured)
    return std::min(*known.max_connections, *configured);
  return known.max_connections ? *known.max_connections : configured.value_or(usual);
}

std::optional<routed_member> member_of(std::string_view name, std::string_view text) {
  auto parsed = json::parse(text);
  if (!parsed)
    return std::nullopt;
  auto control_url = json::string_member(*parsed, "api_url");
  auto database = endpoint_of_url(json::string_member(*parsed, "conn_url"));
  auto control = endpoint_of_url(control_url);
  if (!database || !control)
    return std::nullopt;
  return routed_member{std::string{name}, *database, *control, control_url.starts_with("https:"),
                       false};
}

std::optional<routed_member> vetted(const std::optional<routed_member>& announced,
                                    const std::optional<routed_record::place>& recorded) {
  if (!announced || !recorded)
    return announced;
  auto database = endpoint_of(recorded->database);
  if (!database)
    return std::nullopt; // its cell has not reported an address yet
  auto member = *announced;
  member.database = *database;
  // The member's own key may say that it has no TLS; it is still checked.
  member.is_certified = recorded->is_certified;
  member.control_has_tls = member.control_has_tls || member.is_certified;
  if (auto control = endpoint_of(recorded->control))
    member.control = *control;
  else if (member.control.host != database->host) // earlier cells do not report the API's address
    return std::nullopt;
  return member;
}

} // namespace matriarch::router
