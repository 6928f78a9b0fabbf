#include "config/yaml_reader.hpp"

#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <limits>
#include <numeric>
#include <sstream>

#include <yaml-cpp/anchor.h>
#include <yaml-cpp/eventhandler.h>

#include "base/utf8.hpp"

namespace matriarch::config {

namespace {

/// Deeper than any configuration; also stops at a mapping that contains itself through an alias.
constexpr int deepest_nesting = 64;

/// More values than any configuration has; also stops aliases that multiply.
constexpr int most_values = 1'000'000;

[[noreturn]] void fail(const std::string& path, int line, const std::string& why) {
  // The text may repeat the file's content, which need not be text.
  throw config_error{path + ":" + std::to_string(line) + ": " + one_line(why, why.size())};
}

int line_of_node(const YAML::Node& node) {
  // yaml-cpp counts lines from 0; a node that was not parsed from a text has line -1.
  return std::max(node.Mark().line + 1, 1);
}

std::string quoted(std::string_view text) {
  return '"' + std::string(text) + '"';
}

std::string joined(const std::vector<std::string>& words) {
  std::string text;
  for (const auto& word : words)
    text += (text.empty() ? "" : ", ") + word;
  return text;
}

/// Notes where documents begin; ignores everything else.
class document_counter : public YAML::EventHandler {
public:
  std::vector<int> lines; ///< from 0

  void OnDocumentStart(const YAML::Mark& where) override { lines.push_back(where.line); }
  void OnDocumentEnd() override {}
  void OnNull(const YAML::Mark&, YAML::anchor_t) override {}
  void OnAlias(const YAML::Mark&, YAML::anchor_t) override {}
  void OnScalar(const YAML::Mark&, const std::string&, YAML::anchor_t,
                const std::string&) override {}
  void OnSequenceStart(const YAML::Mark&, const std::string&, YAML::anchor_t,
                       YAML::EmitterStyle::value) override {}
  void OnSequenceEnd() override {}
  void OnMapStart(const YAML::Mark&, const std::string&, YAML::anchor_t,
                  YAML::EmitterStyle::value) override {}
  void OnMapEnd() override {}
};

/// The line, from 1, at which a second document begins. YAML::LoadAll() could tell too, but it
/// never ends for some texts that begin with a comma.
std::optional<int> line_of_second_document(const std::string& text) {
  std::istringstream in{text};
  YAML::Parser parser{in};
  document_counter seen;
  while (seen.lines.size() < 2 && parser.HandleNextDocument(seen)) {
  }
  if (seen.lines.size() < 2)
    return std::nullopt;
  return std::max(seen.lines[1] + 1, 1);
}

/// The first line, from 1, with a tab in its indentation.
std::optional<int> line_indented_by_tab(const std::string& text) {
  std::istringstream in{text};
  int number = 1;
  for (std::string line; std::getline(in, line); ++number)
    if (auto word = line.find_first_not_of(' '); word != std::string::npos && line[word] == '\t')
      return number;
  return std::nullopt;
}

/// Describes the value that was found, for an error message.
std::string kind_of(const YAML::Node& node) {
  switch (node.Type()) {
  case YAML::NodeType::Scalar:
    return quoted(node.Scalar());
  case YAML::NodeType::Sequence:
    return "a list";
  case YAML::NodeType::Map:
    return "a mapping";
  default:
    return "nothing";
  }
}

/// Like kind_of(), but without the value: where a mapping or a list should be, it may be a secret.
std::string structure_of(const YAML::Node& node) {
  return node.IsScalar() ? "a text" : kind_of(node);
}

bool name_character(char c) {
  return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_';
}

/// The first pass over a parsed document: expands variables and finds errors that yaml-cpp accepts.
class first_pass {
public:
  explicit first_pass(const std::string& path) : path_(path) {}

  void visit(YAML::Node node, const std::string& where, int depth) {
    if (depth > deepest_nesting || ++values_ > most_values)
      fail(path_, line_of_node(node), where + " is nested too deeply or refers to itself");
    if (node.IsScalar()) {
      expand(node, where);
    } else if (node.IsSequence()) {
      for (std::size_t i = 0; i < node.size(); ++i)
        visit(node[i], where + "[" + std::to_string(i) + "]", depth + 1);
    } else if (node.IsMap()) {
      std::vector<std::pair<std::string, int>> seen;
      for (auto entry : node) {
        const auto line = line_of_node(entry.first);
        if (!entry.first.IsScalar())
          fail(path_, line, "a key must be a word, found " + kind_of(entry.first));
        const auto key = entry.first.Scalar();
        const auto earlier = std::ranges::find(seen, key, &std::pair<std::string, int>::first);
        if (earlier != seen.end())
          fail(path_, line,
               "key " + quoted(key) + " appears twice" + (where.empty() ? "" : " in " + where)
                   + "; the first is on line " + std::to_string(earlier->second));
        seen.emplace_back(key, line);
        visit(entry.second, where.empty() ? key : where + "." + key, depth + 1);
      }
    }
  }

private:
  void expand(YAML::Node& node, const std::string& where) {
    const auto text = node.Scalar();
    if (text.find("${") == std::string::npos)
      return;
    // A value with aliases is visited once for each reference, but must be expanded only once.
    if (std::ranges::any_of(expanded_, [&](const auto& other) { return other.is(node); }))
      return;
    std::string outcome;
    for (std::size_t at = 0; at < text.size();) {
      const auto rest = std::string_view(text).substr(at);
      if (rest.starts_with("$${")) {
        outcome += "${";
        at += 3;
      } else if (rest.starts_with("${")) {
        std::size_t end = 2;
        while (end < rest.size() && name_character(rest[end]))
          ++end;
        if (end == 2 || end == rest.size() || rest[end] != '}')
          fail(path_, line_of_node(node),
               where
                   + " has a \"${\" that is not followed by a variable's name and \"}\"; "
                     "write \"$${\" for a literal \"${\"");
        const std::string name(rest.substr(2, end - 2));
        const auto* value = std::getenv(name.c_str());
        if (value == nullptr)
          fail(path_, line_of_node(node),
               where + " needs the environment variable " + name + ", which is not set");
        outcome += value;
        at += end + 1;
      } else {
        outcome += text[at++];
      }
    }
    node = outcome;
    expanded_.push_back(node);
  }

  const std::string& path_;
  std::vector<YAML::Node> expanded_;
  int values_ = 0;
};

/// Levenshtein's distance, but swapped neighbours count as one edit: a usual typing error.
std::size_t distance(std::string_view left, std::string_view right) {
  std::vector<std::vector<std::size_t>> table(left.size() + 1,
                                              std::vector<std::size_t>(right.size() + 1));
  for (std::size_t i = 0; i <= left.size(); ++i)
    table[i][0] = i;
  for (std::size_t j = 0; j <= right.size(); ++j)
    table[0][j] = j;
  for (std::size_t i = 1; i <= left.size(); ++i)
    for (std::size_t j = 1; j <= right.size(); ++j) {
      const auto other = left[i - 1] == right[j - 1] ? 0u : 1u;
      table[i][j] =
          std::min({table[i - 1][j] + 1, table[i][j - 1] + 1, table[i - 1][j - 1] + other});
      if (i > 1 && j > 1 && left[i - 1] == right[j - 2] && left[i - 2] == right[j - 1])
        table[i][j] = std::min(table[i][j], table[i - 2][j - 2] + 1);
    }
  return table[left.size()][right.size()];
}

} // namespace

std::optional<std::string> nearest(std::string_view word,
                                   const std::vector<std::string>& candidates) {
  std::optional<std::string> best;
  auto best_distance = std::numeric_limits<std::size_t>::max();
  for (const auto& candidate : candidates) {
    const auto edits = distance(word, candidate);
    // A third of the letters: "usrname" is near "username", "backups" is not near "broker".
    const auto near = std::max<std::size_t>(1, std::max(word.size(), candidate.size()) / 3);
    if (edits <= near && edits < best_distance) {
      best = candidate;
      best_distance = edits;
    }
  }
  return best;
}

section::section(std::string path, std::string where, YAML::Node node, int line,
                 shared_warnings warnings)
    : path_(std::move(path)), where_(std::move(where)), node_(std::move(node)), line_(line),
      warnings_(std::move(warnings)) {}

section section::parse_file(const std::string& path) {
  std::ostringstream text;
  // `<<` also fails on an empty file, so errno decides.
  errno = 0;
  std::ifstream file(path, std::ios::binary);
  if (!file || (!(text << file.rdbuf()) && errno != 0))
    throw config_error{
        path + ":1: the configuration cannot be read: " + std::strerror(errno != 0 ? errno : EIO)};
  return parse_text(path, text.str());
}

section section::parse_text(const std::string& path, const std::string& text) {
  try {
    if (auto line = line_of_second_document(text))
      fail(path, *line, "a second YAML document starts here; a configuration is one document");
    auto root = YAML::Load(text);
    if (!root.IsDefined() || root.IsNull())
      fail(path, 1, "the configuration is empty");
    if (!root.IsMap())
      fail(path, line_of_node(root),
           "a configuration is a mapping of keys to values, found " + kind_of(root));
    first_pass(path).visit(root, "", 0);
    return section(path, "", root, line_of_node(root),
                   std::make_shared<std::vector<std::string>>());
  } catch (const YAML::Exception& error) {
    const auto at = std::max(error.mark.line + 1, 1);
    if (auto line = line_indented_by_tab(text); line && *line <= at)
      fail(path, *line, "not valid YAML: the line begins with a tab; YAML indents by spaces");
    fail(path, at, "not valid YAML: " + error.msg);
  }
}

std::string section::full_name(std::string_view name) const {
  return where_.empty() ? std::string(name) : where_ + "." + std::string(name);
}

int section::line_of(std::string_view name) const {
  for (const auto& entry : node_)
    if (entry.first.Scalar() == name)
      return line_of_node(entry.first);
  return line_;
}

std::optional<YAML::Node> section::find(std::string_view name) const {
  for (const auto& entry : node_)
    if (entry.first.Scalar() == name && !entry.second.IsNull())
      return entry.second;
  return std::nullopt;
}

void section::allow(const std::vector<std::string_view>& allowed) const {
  const std::vector<std::string> candidates(allowed.begin(), allowed.end());
  for (const auto& name : names()) {
    if (std::ranges::find(candidates, name) != candidates.end())
      continue;
    const auto near = nearest(name, candidates);
    refuse(name, "unknown key " + quoted(name) + (where_.empty() ? "" : " in " + where_)
                     + (near ? "; did you mean " + quoted(*near) + "?" : ";")
                     + " Allowed: " + joined(candidates));
  }
}

bool section::has(std::string_view name) const {
  return find(name).has_value();
}

section section::child(std::string_view name) const {
  const auto found = find(name);
  if (!found)
    refuse_missing(name, "a mapping");
  if (!found->IsMap())
    refuse(name, full_name(name) + " must be a mapping, found " + structure_of(*found));
  return section(path_, full_name(name), *found, line_of(name), warnings_);
}

section section::child_or_empty(std::string_view name) const {
  if (has(name))
    return child(name);
  return section(path_, full_name(name), YAML::Node(YAML::NodeType::Map), line_of(name), warnings_);
}

std::vector<section> section::children(std::string_view name) const {
  const auto found = find(name);
  if (!found)
    return {};
  if (!found->IsSequence())
    refuse(name, full_name(name) + " must be a list, found " + structure_of(*found));
  std::vector<section> list;
  for (std::size_t i = 0; i < found->size(); ++i) {
    const auto item = (*found)[i];
    const auto item_name = full_name(name) + "[" + std::to_string(i) + "]";
    if (!item.IsMap())
      fail(path_, line_of_node(item),
           item_name + " must be a mapping, found " + structure_of(item));
    list.push_back(section(path_, item_name, item, line_of_node(item), warnings_));
  }
  return list;
}

std::optional<std::string> section::scalar(std::string_view name, std::string_view wanted) const {
  const auto found = find(name);
  if (!found)
    return std::nullopt;
  if (!found->IsScalar())
    refuse(name,
           full_name(name) + " must be " + std::string(wanted) + ", found " + kind_of(*found));
  return found->Scalar();
}

std::string section::text(std::string_view name, std::optional<std::string> otherwise) const {
  const auto found = scalar(name, "a text");
  if (found && !found->empty())
    return *found;
  if (found)
    refuse(name, full_name(name) + " must not be empty");
  if (!otherwise)
    refuse_missing(name, "a text");
  return *otherwise;
}

std::string section::secret(std::string_view name) const {
  const auto file_name = std::string(name) + "_file";
  if (!has(file_name)) {
    if (!has(name))
      refuse(name, full_name(name) + " is missing; it must be a text, or " + file_name
                       + " must name a file whose first line it is");
    return text(name);
  }
  if (has(name))
    refuse(file_name, full_name(name) + " and " + file_name + " are both there; keep one of them");
  auto content = secret_file_text(file_name);
  auto line = content.substr(0, content.find_first_of("\r\n"));
  if (line.empty())
    refuse(file_name, full_name(file_name)
                          + " names a file whose first line is empty; the secret "
                            "must stand there");
  return line;
}

std::string section::file(std::string_view name) const {
  auto path = text(name);
  struct stat status {};
  std::ifstream opened(path);
  if (!opened || ::stat(path.c_str(), &status) != 0)
    refuse(name,
           full_name(name) + ": the file " + path + " cannot be read: " + std::strerror(errno));
  if (S_ISDIR(status.st_mode))
    refuse(name, full_name(name) + " must name a file; " + path + " is a directory");
  return path;
}

namespace {

/// A file that cannot be read gives an empty text; its parser then reports the error.
std::string text_of_file(const std::string& path) {
  std::ifstream opened(path, std::ios::binary);
  std::ostringstream text;
  text << opened.rdbuf();
  return text.str();
}

} // namespace

std::string section::file_text(std::string_view name) const {
  return text_of_file(file(name));
}

std::string section::secret_file(std::string_view name) const {
  auto path = file(name);
  struct stat status {};
  if (::stat(path.c_str(), &status) == 0 && (status.st_mode & S_IROTH) != 0)
    warn(name, full_name(name) + ": every user of this machine can read " + path
                   + "; chmod 0600 keeps it to its owner");
  return path;
}

std::string section::secret_file_text(std::string_view name) const {
  return text_of_file(secret_file(name));
}

std::int64_t section::number(std::string_view name, std::int64_t least, std::int64_t greatest,
                             std::optional<std::int64_t> otherwise) const {
  const auto wanted =
      "an integer from " + std::to_string(least) + " to " + std::to_string(greatest);
  const auto found = scalar(name, wanted);
  if (!found) {
    if (!otherwise)
      refuse_missing(name, wanted);
    return *otherwise;
  }
  std::int64_t value = 0;
  const auto* end = found->data() + found->size();
  const auto parsed = std::from_chars(found->data(), end, value);
  if (parsed.ec != std::errc() || parsed.ptr != end || value < least || value > greatest)
    refuse(name, full_name(name) + " must be " + wanted + ", found " + quoted(*found));
  return value;
}

bool section::flag(std::string_view name, std::optional<bool> otherwise) const {
  const auto found = scalar(name, "true or false");
  if (!found) {
    if (!otherwise)
      refuse_missing(name, "true or false");
    return *otherwise;
  }
  if (*found != "true" && *found != "false")
    refuse(name, full_name(name) + " must be true or false, found " + quoted(*found));
  return *found == "true";
}

std::vector<std::string> section::texts(std::string_view name) const {
  const auto found = find(name);
  if (!found)
    return {};
  if (!found->IsSequence())
    refuse(name, full_name(name) + " must be a list of texts, found " + kind_of(*found));
  std::vector<std::string> list;
  for (std::size_t i = 0; i < found->size(); ++i) {
    const auto item = (*found)[i];
    if (!item.IsScalar() || item.Scalar().empty())
      fail(path_, line_of_node(item),
           full_name(name) + "[" + std::to_string(i) + "] must be a text that is not empty, found "
               + kind_of(item));
    list.push_back(item.Scalar());
  }
  return list;
}

std::int64_t section::milliseconds(std::string_view name,
                                   std::optional<std::int64_t> otherwise) const {
  constexpr std::string_view wanted = "a duration such as 250ms, 10s, 5m, 2h or 7d";
  const auto found = scalar(name, wanted);
  if (!found) {
    if (!otherwise)
      refuse_missing(name, wanted);
    return *otherwise;
  }
  std::int64_t count = 0;
  const auto* end = found->data() + found->size();
  const auto parsed = std::from_chars(found->data(), end, count);
  const std::string_view unit(parsed.ptr, static_cast<std::size_t>(end - parsed.ptr));
  const std::int64_t factor = unit == "ms"  ? 1
                              : unit == "s" ? 1'000
                              : unit == "m" ? 60'000
                              : unit == "h" ? 3'600'000
                              : unit == "d" ? 86'400'000
                                            : 0;
  if (parsed.ec != std::errc() || count < 0 || factor == 0
      || count > std::numeric_limits<std::int64_t>::max() / factor)
    refuse(name, full_name(name) + " must be " + std::string(wanted) + ", found " + quoted(*found));
  return count * factor;
}

std::vector<std::string> section::names() const {
  std::vector<std::string> list;
  for (const auto& entry : node_)
    list.push_back(entry.first.Scalar());
  return list;
}

YAML::Node section::node(std::string_view name) const {
  return find(name).value_or(YAML::Node());
}

void section::refuse(std::string_view name, const std::string& why) const {
  fail(path_, line_of(name), why);
}

void section::refuse(const std::string& why) const {
  fail(path_, line_, why);
}

void section::belong_to(std::string_view mine) const {
  // A router's configuration has a section `broker` too.
  std::string_view other = has("router")                    ? "router"
                           : has("cell")                    ? "cell"
                           : has("catalog") || has("cells") ? "broker"
                                                            : mine;
  if (other != mine && !has(mine == "broker" ? "catalog" : mine))
    throw config_error{path_ + " is the configuration of `matriarch " + std::string{other}
                       + "`, and this is `matriarch " + std::string{mine} + "`; see conf/"
                       + (mine == "broker" ? "production" : std::string{mine}) + ".yml"};
}

void section::warn(std::string_view name, const std::string& why) const {
  warnings_->push_back(path_ + ":" + std::to_string(line_of(name)) + ": " + why);
}

void section::refuse_missing(std::string_view name, std::string_view wanted) const {
  // If the key is there without a value, the error names the key's own line.
  fail(path_, line_of(name), full_name(name) + " is missing; it must be " + std::string(wanted));
}

} // namespace matriarch::config
