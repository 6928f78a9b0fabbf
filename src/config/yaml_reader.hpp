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

/// What is wrong with a configuration: `conf/dev.yml:12: unknown key "usrname" in broker; did you
/// mean "username"? Allowed: listen, port, username, password, bind_host, strict`.
struct config_error {
  std::string message;
};

/// One mapping of a configuration file, read key by key. It reports errors by throwing
/// config_error; the load_*() functions turn that into a result, so it never goes further.
class section {
public:
  /// Parses a file. `${NAME}` in a value becomes the environment variable's value; one that is not
  /// set is an error. `$${` stands for a literal `${`. The same key twice in a mapping is an error.
  static section parse_file(const std::string& path);

  /// The same for a text that was read from `path`.
  static section parse_text(const std::string& path, const std::string& text);

  /// The keys this mapping may have; any other is an error that names the line and the nearest key.
  void allow(const std::vector<std::string_view>& names) const;

  [[nodiscard]] bool has(std::string_view name) const;
  /// A mapping below this one; an error if it is missing or no mapping.
  [[nodiscard]] section child(std::string_view name) const;
  /// The same, or an empty mapping at this line if it is missing.
  [[nodiscard]] section child_or_empty(std::string_view name) const;
  /// A list of mappings; empty if it is missing.
  [[nodiscard]] std::vector<section> children(std::string_view name) const;

  /// A non-empty string. Without `otherwise` it is required.
  [[nodiscard]] std::string text(std::string_view name,
                                 std::optional<std::string> otherwise = std::nullopt) const;
  /// A secret, which no error ever shows: the value of `name`, or the first line of the file that
  /// `<name>_file` names; an error if both are there, or neither. allow() both.
  [[nodiscard]] std::string secret(std::string_view name) const;
  /// The path of a file that can be read.
  [[nodiscard]] std::string file(std::string_view name) const;
  /// The whole text of a file.
  [[nodiscard]] std::string file_text(std::string_view name) const;
  /// The same as file() for a file that holds a secret: warns if every user of the machine can read it.
  [[nodiscard]] std::string secret_file(std::string_view name) const;
  /// The whole text of a file that holds a secret.
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

  /// The keys of this mapping in their order; for mappings whose keys are the user's own.
  [[nodiscard]] std::vector<std::string> names() const;
  /// The node of a key as YAML; for values that are passed on as they stand.
  [[nodiscard]] YAML::Node node(std::string_view name) const;

  /// Throws the error `path:line: why`, with the line of `name` or of this mapping.
  [[noreturn]] void refuse(std::string_view name, const std::string& why) const;
  [[noreturn]] void refuse(const std::string& why) const;

  /// Refuses the file of another server than `mine`, `broker`, `cell` or `router`, in words: its keys
  /// would all be unknown.
  void belong_to(std::string_view mine) const;

  /// What is allowed but likely to hurt: noted as `path:line: why`, for whoever has the top.
  void warn(std::string_view name, const std::string& why) const;
  /// What this mapping, those above and those below have been warned of so far.
  [[nodiscard]] const std::vector<std::string>& warnings() const { return *warnings_; }

private:
  using shared_warnings = std::shared_ptr<std::vector<std::string>>;

  section(std::string path, std::string where, YAML::Node node, int line, shared_warnings warnings);

  /// `broker.port`, or the bare name at the top.
  [[nodiscard]] std::string full_name(std::string_view name) const;
  /// Where a key's value stands; this mapping's own line if there is no such key.
  [[nodiscard]] int line_of(std::string_view name) const;
  /// The value of a key that is there and is not null; no node otherwise.
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

/// Of `candidates` the one nearest to `word` by edit distance, if one is near enough to be meant.
[[nodiscard]] std::optional<std::string> nearest(std::string_view word,
                                                 const std::vector<std::string>& candidates);

} // namespace matriarch::config
