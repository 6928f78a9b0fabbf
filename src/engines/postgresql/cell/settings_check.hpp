#pragma once

#include <cstddef>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"
#include "cell/cell_config.hpp"

/// Pure functions on what PostgreSQL's programs print about themselves and about plans' settings.
namespace matriarch::engines::postgresql {

/// A parameter as `postgres --describe-config` lists it, in PostgreSQL's own words.
struct described_parameter {
  std::string context; ///< when it can be set: internal, postmaster, sighup, backend, …
  std::string type;    ///< BOOLEAN, INTEGER, REAL, STRING or ENUM
  std::string otherwise;
  std::string least; ///< a number's lowest value, in its own unit; else empty
  std::string most;
};

/// The PostgreSQL of a cell.
struct installed_postgresql {
  std::string version;                ///< 15.4
  std::string library_dir;            ///< PostgreSQL's $libdir; empty if not known
  std::vector<std::string> libraries; ///< files in it, without `.so`, sorted
  /// By name, without extensions' parameters and developer options.
  std::map<std::string, described_parameter> parameters;
};

/// Plans' settings by plan id.
using plans_parameters = std::map<std::string, cell::engine_parameters>;

struct settings_fault {
  std::string parameter; ///< empty if PostgreSQL names no parameter
  std::string words;     ///< the parameter, what is wrong, and what is allowed
  bool operator==(const settings_fault&) const = default;
};

/// Faults by plan id.
using plans_faults = std::map<std::string, std::vector<settings_fault>>;

/// Plans that could not be judged completely, and why.
using plans_unjudged = std::map<std::string, std::string>;

/// Why PostgreSQL has no parameter that could be set by this name, as the end of a sentence that
/// begins with the name; nothing if there may be one.
[[nodiscard]] std::optional<std::string> why_no_parameter(std::string_view name,
                                                          std::string_view value);

/// Parses the question of `PUT /v2/postgresql`: `{"plans": {"<plan id>": {"<parameter>":
/// "<value>"}}}`. A failure names the field.
[[nodiscard]] result<plans_parameters> parse_plans(const std::string& body);

[[nodiscard]] std::string text_of(const installed_postgresql& has);
[[nodiscard]] std::string text_of(const installed_postgresql& has, const plans_faults& faults,
                                  const plans_unjudged& unjudged);

/// `15.4`, from the output of `postgres --version`.
[[nodiscard]] std::string version_in(std::string_view printed);

[[nodiscard]] std::map<std::string, described_parameter>
parse_description(std::string_view printed);

/// A postgresql.conf with these parameters, quoted as Patroni quotes them.
[[nodiscard]] std::string render_settings(const cell::engine_parameters& parameters);

/// PostgreSQL's message about such a file, with its line prefix removed.
struct complaint {
  std::string parameter; ///< empty if no parameter is named
  bool unknown = false;  ///< no such parameter
  std::string message;
  std::string detail; ///< with the hint
};
[[nodiscard]] std::vector<complaint> complaints_in(std::string_view printed);

/// A complaint in words, with the allowed values.
[[nodiscard]] std::string words_of(const complaint& what, const installed_postgresql& has);

/// Libraries that these parameters have PostgreSQL load and that are missing. A path relative to
/// the data directory cannot be checked before there is one.
[[nodiscard]] std::vector<settings_fault>
missing_libraries(const cell::engine_parameters& parameters, const installed_postgresql& has,
                  const std::function<bool(const std::string& path)>& exists);

} // namespace matriarch::engines::postgresql
