#include "http/parameter_schemas.hpp"

#include "base/utf8.hpp"

namespace matriarch::http {

namespace {

/// The longest part of a wrong value or name that a sentence repeats.
constexpr std::size_t longest_shown = 100;

// Platforms know draft 4: Cloud Foundry's cloud controller accepts no later one.
constexpr std::string_view beginning =
    R"({"$schema":"http://json-schema.org/draft-04/schema#","type":"object",)"
    R"("additionalProperties":false,"properties":{)";

std::string cluster_schema(std::size_t cell_count) {
  return std::string{beginning} + R"("node-count":{"type":"integer","minimum":1,"maximum":)"
         + std::to_string(cell_count)
         + R"(,"description":"How many nodes the cluster has."},)"
           R"("cells":{"type":"array","minItems":1,"uniqueItems":true,)"
           R"("items":{"type":"string"},"description":)"
           R"("The guids of the cells that the nodes shall be on."}}})";
}

constexpr std::string_view own_role_parameters =
    R"("read-only":{"type":"boolean","description":)"
    R"("Whether the binding may only read; with replicas, it is led to them."}}})";

std::string shown(const json::value& value) {
  return legible(json::text_of(value), longest_shown);
}

std::string text_member(const json::value& schema, std::string_view name) {
  const auto* found = json::member(schema, name);
  return found == nullptr ? "" : json::text_of(*found);
}

/// `a whole number from 1 to 4`.
std::string allowed_by(const json::value& schema) {
  auto type = json::string_member(schema, "type");
  if (type == "integer") {
    auto least = text_member(schema, "minimum");
    auto most = text_member(schema, "maximum");
    return "a whole number" + (least.empty() ? "" : " from " + least)
           + (most.empty() ? "" : " to " + most);
  }
  if (type == "array") {
    const auto* items = json::member(schema, "items");
    return "a list of one " + (items == nullptr ? "value" : json::string_member(*items, "type"))
           + " or more";
  }
  if (type == "boolean")
    return "true or false";
  return type == "object" ? "an object" : "a " + type;
}

std::string names_in(const json::value& properties) {
  std::string names;
  for (auto m = properties.MemberBegin(); m != properties.MemberEnd(); ++m)
    names += std::string{names.empty()                     ? ""
                         : m + 1 == properties.MemberEnd() ? " and "
                                                           : ", "}
             + m->name.GetString();
  return names;
}

std::string unknown_parameter(const json::value& schema) {
  const auto* properties = json::member(schema, "properties");
  auto names = properties == nullptr ? "" : names_in(*properties);
  if (names.empty())
    return " is not known; there are no parameters here";
  return " is not known; "
         + (properties->MemberCount() == 1 ? "the only parameter here is " + names
                                           : "the parameters are " + names);
}

} // namespace

parameter_schema::parameter_schema(std::string_view text)
    : text_(std::move(json::parse(text)).value()), compiled_(text_) {}

bool parameter_schema::knows(std::string_view name) const {
  return json::member(text_["properties"], name) != nullptr;
}

std::optional<violation> parameter_schema::check(const json::value& parameters) const {
  rapidjson::SchemaValidator validator{compiled_};
  if (parameters.Accept(validator))
    return std::nullopt;
  std::string_view keyword = validator.GetInvalidSchemaKeyword();
  auto where = validator.GetInvalidDocumentPointer();
  violation found;
  std::string path = "parameters";
  for (std::size_t i = 0; i < where.GetTokenCount(); ++i) {
    const auto& token = where.GetTokens()[i];
    auto name = legible({token.name, token.length}, longest_shown);
    path += "." + name;
    if (i == 0)
      found.parameter = name;
  }
  const auto* schema = validator.GetInvalidSchemaPointer().Get(text_);
  const auto* value = where.Get(parameters);
  if (keyword == "additionalProperties")
    found.sentence = path + unknown_parameter(*schema);
  else if (keyword == "uniqueItems")
    found.sentence =
        "parameters." + found.parameter + " names " + shown(*value) + " twice; name each once";
  else
    found.sentence = path + " is " + shown(*value) + "; it has to be " + allowed_by(*schema);
  return found;
}

parameter_schemas::parameter_schemas(std::size_t cell_count)
    : of_cluster(cluster_schema(cell_count)),
      of_own_role(std::string{beginning} + std::string{own_role_parameters}),
      of_shared_role(std::string{beginning} + "}}") {}

const parameter_schema& parameter_schemas::of_binding(const model::plan& plan) const {
  return plan.provision.settings.credentials == model::credentials_mode::per_binding
             ? of_own_role
             : of_shared_role;
}

bool is_parameter(std::string_view name) {
  static const parameter_schemas any{1};
  return any.of_cluster.knows(name) || any.of_own_role.knows(name);
}

} // namespace matriarch::http
