#include "engines/postgresql/cell/request.hpp"

#include <algorithm>
#include <array>
#include <optional>
#include <string_view>
#include <vector>

#include <fmt/format.h>

#include "base/json.hpp"

namespace matriarch::engines::postgresql {

namespace {

constexpr const char* dynamic_config = "PATRONI_DYNAMIC_CONFIG";

constexpr std::size_t longest_role_name = 63; // PostgreSQL cuts longer identifiers
constexpr std::size_t longest_password =
    1'000; // libpq's limit for a password in a file is near this

/// Parameters with a role, and the member that each one fills.
struct role_field {
  std::string_view prefix;
  cell::role asked_node::*member;
};
constexpr std::array<role_field, 5> role_fields = {{
    {"ADMIN", &asked_node::admin},
    {"SUPERUSER", &asked_node::superuser},
    {"APPUSER", &asked_node::app_user},
    {"REPLICATION", &asked_node::replication},
    {"PATRONI", &asked_node::patroni},
}};

/// Why a role's name or password cannot be used, if so. Patroni 3.0.2 encodes both as Latin-1 for
/// HTTP and SQL, and crashes on characters outside it.
std::optional<std::string> fault_of(std::string_view field, std::string_view text,
                                    std::size_t longest) {
  if (auto fault = cell::fault_of_login(field, text, longest))
    return fault;
  // Patroni puts both into a DO block, which these two characters would end.
  if (text.find("$$") != std::string_view::npos)
    return fmt::format("parameters.{} contains \"$$\", which Patroni cannot handle", field);
  return std::nullopt;
}

std::optional<std::string> fault_of_roles(const cell::node_request& request) {
  const auto asked = asked_of(request);
  for (const auto& field : role_fields) {
    const auto& who = asked.*field.member;
    auto username = fmt::format("{}_USERNAME", field.prefix);
    auto password = fmt::format("{}_PASSWORD", field.prefix);
    if (auto fault = fault_of(username, who.username, longest_role_name))
      return fault;
    if (auto fault = fault_of(password, who.password, longest_password))
      return fault;
    if (who.username.starts_with("pg_") && field.member != &asked_node::patroni)
      return fmt::format("parameters.{} starts with \"pg_\", which PostgreSQL keeps for itself",
                         username);
    if (who.username.find(':') != std::string::npos && field.member == &asked_node::patroni)
      return fmt::format("parameters.{} contains a colon, which ends a user name in basic "
                         "authentication",
                         username);
  }
  const std::array<const cell::role*, 4> in_database = {&asked.admin, &asked.superuser,
                                                        &asked.app_user, &asked.replication};
  for (std::size_t i = 0; i < in_database.size(); ++i)
    for (std::size_t j = 0; j < i; ++j)
      if (in_database[i]->username == in_database[j]->username)
        return "the administrator, the superuser, the application user and the replication user "
               "must have different names";
  return std::nullopt;
}

/// Whether all keys are as short as settings' names: PostgreSQL's 63 bytes and a prefix. YAML
/// allows no key of more than 1,024 characters on a line, and Patroni reads YAML.
bool has_short_keys(const json::value& what) {
  constexpr std::size_t longest_key = 128;
  if (what.IsObject())
    return std::ranges::all_of(what.GetObject(), [](const auto& one) {
      return one.name.GetStringLength() <= longest_key && has_short_keys(one.value);
    });
  return !what.IsArray() || std::ranges::all_of(what.GetArray(), [](const auto& one) {
    return has_short_keys(one);
  });
}

/// Checks that the optional dynamic configuration can be merged. Patroni judges its content.
std::optional<std::string> fault_of_configuration(const cell::node_request& request) {
  const auto given = request.parameters.find(dynamic_config);
  if (given == request.parameters.end())
    return std::nullopt;
  constexpr const char* wanted = "parameters.PATRONI_DYNAMIC_CONFIG must be the text of a JSON "
                                 "object, with objects as postgresql and postgresql.parameters";
  if (given->second.size() > longest_dynamic_configuration)
    return fmt::format("parameters.PATRONI_DYNAMIC_CONFIG is longer than {} bytes",
                       longest_dynamic_configuration);
  auto parsed = json::parse(given->second);
  if (!parsed || !parsed->IsObject())
    return wanted;
  if (!has_short_keys(*parsed))
    return "parameters.PATRONI_DYNAMIC_CONFIG has a key that is no setting's name: it is longer "
           "than 128 bytes";
  const auto* postgresql = json::member(*parsed, "postgresql");
  if (!postgresql)
    return std::nullopt;
  if (!postgresql->IsObject())
    return wanted;
  const auto* settings = json::member(*postgresql, "parameters");
  if (!settings)
    return std::nullopt;
  if (!settings->IsObject())
    return wanted;
  for (const auto& setting : settings->GetObject())
    if (setting.value.IsObject() || setting.value.IsArray())
      return fmt::format("parameters.PATRONI_DYNAMIC_CONFIG: PostgreSQL's parameter {} must be a "
                         "text, a number, a flag or null",
                         setting.name.GetString());
  return std::nullopt;
}

class own_rules final : public cell::request_rules {
public:
  [[nodiscard]] const std::vector<std::string>& names() const override {
    static const std::vector<std::string> all = [] {
      std::vector<std::string> names;
      for (const auto& field : role_fields)
        for (const char* what : {"USERNAME", "PASSWORD"})
          names.push_back(fmt::format("{}_{}", field.prefix, what));
      names.emplace_back(dynamic_config);
      return names;
    }();
    return all;
  }
  [[nodiscard]] std::optional<std::string>
  fault_of(const cell::node_request& asked) const override {
    if (auto fault = fault_of_roles(asked))
      return fault;
    return fault_of_configuration(asked);
  }
};

} // namespace

asked_node asked_of(const cell::node_request& request) {
  auto text = [&](const std::string& name) {
    auto found = request.parameters.find(name);
    return found == request.parameters.end() ? std::string{} : found->second;
  };
  asked_node all;
  for (const auto& field : role_fields)
    all.*field.member = {text(fmt::format("{}_USERNAME", field.prefix)),
                         text(fmt::format("{}_PASSWORD", field.prefix))};
  all.dynamic_configuration = text(dynamic_config);
  return all;
}

const cell::request_rules& rules_of_requests() {
  static const own_rules all;
  return all;
}

} // namespace matriarch::engines::postgresql
