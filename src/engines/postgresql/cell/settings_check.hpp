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

/// What PostgreSQL's programs say of themselves and of a plan's settings, without running any.
namespace matriarch::engines::postgresql {

/// A parameter as `postgres --describe-config` lists it, in PostgreSQL's own words.
struct described_parameter {
  std::string context; ///< when it can be set: internal, postmaster, sighup, backend, …
  std::string type;    ///< BOOLEAN, INTEGER, REAL, STRING or ENUM
  std::string otherwise;
  std::string least; ///< of a number, in its own unit; else empty
  std::string most;
};

/// The PostgreSQL of a cell.
struct installed_postgresql {
  std::string version;                ///< 15.4
  std::string library_dir;            ///< what PostgreSQL calls $libdir; empty if that is not known
  std::vector<std::string> libraries; ///< in it, without `.so`, sorted
  /// By name. Extensions' own are not among them, nor are those that PostgreSQL keeps for developers.
  std::map<std::string, described_parameter> parameters;
};

/// Plans' settings by plan id.
using plans_parameters = std::map<std::string, cell::engine_parameters>;

struct settings_fault {
  std::string parameter; ///< empty if PostgreSQL names none
  std::string words;     ///< which parameter, what is wrong, and what is allowed
  bool operator==(const settings_fault&) const = default;
};

/// What is wrong, by plan id.
using plans_faults = std::map<std::string, std::vector<settings_fault>>;

/// Of which plans not everything could be judged, and why.
using plans_unjudged = std::map<std::string, std::string>;

/// Why that is no parameter that PostgreSQL could be given by its name, as the end of a sentence that
/// begins with it; nothing if it is one.
[[nodiscard]] std::optional<std::string> why_no_parameter(std::string_view name,
                                                          std::string_view value);

/// What `PUT /v2/postgresql` asks about: `{"plans": {"<plan id>": {"<parameter>": "<value>"}}}`. The
/// failure names the field.
[[nodiscard]] result<plans_parameters> parse_plans(const std::string& body);

[[nodiscard]] std::string text_of(const installed_postgresql& has);
[[nodiscard]] std::string text_of(const installed_postgresql& has, const plans_faults& faults,
                                  const plans_unjudged& unjudged);

/// `15.4`, of what `postgres --version` prints.
[[nodiscard]] std::string version_in(std::string_view printed);

[[nodiscard]] std::map<std::string, described_parameter>
parse_description(std::string_view printed);

/// A postgresql.conf of these parameters, quoted as Patroni does it.
[[nodiscard]] std::string render_settings(const cell::engine_parameters& parameters);

/// What PostgreSQL says on reading such a file, without a prefix to its lines.
struct complaint {
  std::string parameter; ///< empty if it names none
  bool unknown = false;  ///< there is no such parameter
  std::string message;
  std::string detail; ///< with the hint
};
[[nodiscard]] std::vector<complaint> complaints_in(std::string_view printed);

/// A complaint in words, with what is allowed.
[[nodiscard]] std::string words_of(const complaint& what, const installed_postgresql& has);

/// Which libraries that these parameters have PostgreSQL load are not there. A path from
/// the data directory on cannot be looked at before there is one.
[[nodiscard]] std::vector<settings_fault>
missing_libraries(const cell::engine_parameters& parameters, const installed_postgresql& has,
                  const std::function<bool(const std::string& path)>& exists);

} // namespace matriarch::engines::postgresql
