#pragma once

#include <rapidjson/schema.h>

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

#include "base/json.hpp"
#include "model/catalog.hpp"

namespace matriarch::http {

/// What is wrong with a request's parameters.
struct violation {
  /// The parameter it is about: `node-count`.
  std::string parameter;
  /// `parameters.node-count is 2.5; it has to be a whole number from 1 to 4`.
  std::string sentence;
};

/// The JSON schema of a request's parameters: the catalog shows this schema, and requests are
/// checked by it.
class parameter_schema {
public:
  /// `text` is a schema of draft 4.
  explicit parameter_schema(std::string_view text);

  [[nodiscard]] const json::value& published() const { return text_; }
  /// The first thing that the schema does not allow.
  [[nodiscard]] std::optional<violation> check(const json::value& parameters) const;
  /// Whether there is a parameter of that name.
  [[nodiscard]] bool knows(std::string_view name) const;

private:
  json::document text_;
  rapidjson::SchemaDocument compiled_;
};

/// The schemas of all plans, for a given number of cells.
struct parameter_schemas {
  explicit parameter_schemas(std::size_t cell_count);

  /// For bindings of that plan.
  [[nodiscard]] const parameter_schema& of_binding(const model::plan& plan) const;

  parameter_schema of_cluster; ///< for provisions and updates, whatever the plan
  parameter_schema of_own_role;
  parameter_schema of_shared_role;
};

/// Whether any plan has a parameter of that name.
[[nodiscard]] bool is_parameter(std::string_view name);

} // namespace matriarch::http
