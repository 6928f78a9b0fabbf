#pragma once

#include <yaml-cpp/yaml.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"

namespace matriarch::config {

/// The error in a configuration: `conf/dev.yml:12: unknown key "usrname" in broker; did you mean
/// "username"? Allowed: listen, port, username, password, bind_host, strict`.
struct config_error {
  std::string message;
};

/// A mapping of a configuration file, read key by key. Errors are thrown as config_error; the
/// load_*() functions catch them and return a result.
class section {
public:
  /// Parses a file. `${NAME}` in a value is replaced by the environment variable; an unset variable
  /// is an error. `$${` stands for a literal `${`. A repeated key in a mapping is an error.
  static section parse_file(const std::string& path);

  /// Parses `text`, which was read from `path`.
  static section parse_text(const std::string& path, const std::string& text);

  /// Checks that the mapping has no other keys than these. The error names the line and the nearest
  /// key.
  void allow(const std::vector<std::string_view>& names) const;

  [[nodiscard]] bool has(std::string_view name) const;
  /// The mapping under this key; an error if it is missing or no mapping.
  [[nodiscard]] section child(std::string_view name) const;
  /// The mapping under this key, or an empty one at this line if it is missing.
  [[nodiscard]] section child_or_empty(std::string_view name) const;
  /// A list of mappings; empty if it is missing.
  [[nodiscard]] std::vector<section> children(std::string_view name) const;

  /// A non-empty string. Without `otherwise` it is required.
  [[nodiscard]] std::string text(std::string_view name,
                                 std::optional<std::string> otherwise = std::nullopt) const;
  /// A secret, which no error message contains: the value of `name`, or the first line of the file
  /// that `<name>_file` names. An error if both are set, or neither. Pass both names to allow().
  [[nodiscard]] std::string secret(std::string_view name) const;
  /// The path of a file that can be read.
  [[nodiscard]] std::string file(std::string_view name) const;
  /// The whole text of a file.
  [[nodiscard]] std::string file_text(std::string_view name) const;
  /// Like file(), for a file with a secret: warns if every user of the machine can read the file.
  [[nodiscard]] std::string secret_file(std::string_view name) const;
  /// The whole text of a file with a secret.
  [[nodiscard]] std::string secret_file_text(std::string_view name) const;

  /// An integer within [least, greatest].
  [[nodiscard]] std::int64_t number(std::string_view name, std::int64_t least,
                                    std::int64_t greatest,
                                    std::optional<std::int64_t> otherwise = std::nullopt) const;
  [[nodiscard]] bool flag(std::string_view name,
                          std::optional<bool> otherwise = std::nullopt) const;
  /// A list of non-empty strings; empty if it is missing.
  [[nodiscard]] std::vector<std::string> texts(std::string_view name) const;
  /// A duration: `250ms`, `10s`, `5m`, `2h` or `7d`, in milliseconds.
  [[nodiscard]] std::int64_t
  milliseconds(std::string_view name, std::optional<std::int64_t> otherwise = std::nullopt) const;

  /// The keys of this mapping, in order; for mappings with keys that the user chooses.
  [[nodiscard]] std::vector<std::string> names() const;
  /// The YAML node of a key; for values that are passed on unchanged.
  [[nodiscard]] YAML::Node node(std::string_view name) const;

  /// Throws the error `path:line: why`, with the line of `name` or of this mapping.
  [[noreturn]] void refuse(std::string_view name, const std::string& why) const;
  [[noreturn]] void refuse(const std::string& why) const;

  /// Refuses the file of another server than `mine` (`broker`, `cell` or `router`) with one clear
  /// message; otherwise all of its keys would be reported as unknown.
  void belong_to(std::string_view mine) const;

  /// Notes a warning, `path:line: why`, about a value that is allowed but likely to cause trouble.
  void warn(std::string_view name, const std::string& why) const;
  /// The warnings of the whole file so far.
  [[nodiscard]] const std::vector<std::string>& warnings() const { return *warnings_; }

private:
  using shared_warnings = std::shared_ptr<std::vector<std::string>>;

  section(std::string path, std::string where, YAML::Node node, int line, shared_warnings warnings);

  /// `broker.port`, or the bare name at the top.
  [[nodiscard]] std::string full_name(std::string_view name) const;
  /// The line of a key's value; this mapping's own line if there is no such key.
  [[nodiscard]] int line_of(std::string_view name) const;
  /// The value of a key; nothing if the key is missing or null.
  [[nodiscard]] std::optional<YAML::Node> find(std::string_view name) const;
  /// The text of a key's scalar; nothing if the key is missing; an error if it is no scalar.
  [[nodiscard]] std::optional<std::string> scalar(std::string_view name,
                                                  std::string_view wanted) const;
  [[noreturn]] void refuse_missing(std::string_view name, std::string_view wanted) const;

  std::string path_;
  std::string where_; ///< `broker`, `cells[2]`; empty at the top
  YAML::Node node_;
  int line_ = 1;
  shared_warnings warnings_; ///< one list for the whole file
};

/// The candidate nearest to `word` by edit distance, if it is near enough for a typing error.
[[nodiscard]] std::optional<std::string> nearest(std::string_view word,
                                                 const std::vector<std::string>& candidates);

} // namespace matriarch::config
