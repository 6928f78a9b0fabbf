#include "engines/postgresql/cell/settings_check.hpp"

#include <algorithm>
#include <array>
#include <numeric>
#include <optional>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "base/json.hpp"
#include "base/utf8.hpp"

namespace matriarch::engines::postgresql {

namespace {

// Each plan costs one start of PostgreSQL.
constexpr std::size_t most_plans = 1'000;
// PostgreSQL itself has some 350.
constexpr std::size_t most_parameters = 1'000;
// An extension's name and its parameter's, of 63 bytes each.
constexpr std::size_t longest_name = 127;
constexpr std::size_t longest_value = 8'192;
// Most differing letters for a likely typing error.
constexpr std::size_t likely_slips = 2;

bool is_name(std::string_view name) {
  auto may_begin = [](char c) { return (c >= 'a' && c <= 'z') || c == '_'; };
  if (name.empty() || name.size() > longest_name)
    return false;
  bool begins = true;
  int periods = 0;
  for (char c : name) {
    if (c == '.') {
      if (begins || ++periods > 1)
        return false;
      begins = true;
      continue;
    }
    if (!may_begin(c) && (begins || !((c >= '0' && c <= '9') || c == '$')))
      return false;
    begins = false;
  }
  return !begins;
}

/// Directives of postgresql.conf that read other files.
bool is_include(std::string_view name) {
  return name == "include" || name == "include_dir" || name == "include_if_exists";
}

std::vector<std::string_view> split(std::string_view text, char at) {
  std::vector<std::string_view> parts;
  while (true) {
    auto end = text.find(at);
    parts.push_back(text.substr(0, end));
    if (end == std::string_view::npos)
      return parts;
    text.remove_prefix(end + 1);
  }
}

/// Number of letters to insert, remove or replace to turn one into the other.
std::size_t distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), std::size_t{0});
  for (std::size_t i = 0; i < a.size(); ++i) {
    auto diagonal = std::exchange(row[0], i + 1);
    for (std::size_t j = 0; j < b.size(); ++j) {
      auto here = std::min({row[j] + 1, row[j + 1] + 1, diagonal + (a[i] == b[j] ? 0 : 1)});
      diagonal = std::exchange(row[j + 1], here);
    }
  }
  return row.back();
}

std::string likely_meant(const std::string& name, const installed_postgresql& has) {
  std::string meant;
  auto nearest = likely_slips + 1;
  for (const auto& [other, ignored] : has.parameters) {
    if (std::max(name.size(), other.size()) > std::min(name.size(), other.size()) + likely_slips)
      continue;
    if (auto away = distance(name, other); away < nearest) {
      nearest = away;
      meant = other;
    }
  }
  return meant;
}

/// The allowed values of a parameter, where PostgreSQL's message does not name them.
std::string allowed(const complaint& what, const installed_postgresql& has) {
  auto found = has.parameters.find(what.parameter);
  if (found == has.parameters.end())
    return {};
  const auto& is = found->second;
  if (is.type == "BOOLEAN")
    return "it is on or off";
  if ((is.type == "INTEGER" || is.type == "REAL") && what.message.find("..") == std::string::npos)
    return fmt::format("it is {} from {} to {}", is.type == "REAL" ? "a number" : "an integer",
                       is.least, is.most);
  return {};
}

/// The libraries in a list as PostgreSQL reads it: separated by commas, and in double quotes if a
/// name contains commas or spaces. Nothing if PostgreSQL could not read it; PostgreSQL then loads
/// none.
std::optional<std::vector<std::string>> libraries_in(std::string_view list) {
  auto is_space = [](char c) { return c == ' '; };
  std::vector<std::string> found;
  std::size_t at = 0;
  auto skip_spaces = [&] {
    while (at < list.size() && is_space(list[at]))
      ++at;
  };
  skip_spaces();
  if (at == list.size())
    return found;
  while (true) {
    std::string name;
    if (at < list.size() && list[at] == '"') {
      for (++at;; ++at) {
        if (at == list.size())
          return std::nullopt;
        if (list[at] == '"' && (++at == list.size() || list[at] != '"'))
          break;
        name += list[at];
      }
    } else {
      while (at < list.size() && list[at] != ',')
        name += list[at++];
      while (!name.empty() && is_space(name.back()))
        name.pop_back();
      if (name.empty())
        return std::nullopt;
    }
    found.push_back(std::move(name));
    skip_spaces();
    if (at == list.size())
      return found;
    if (list[at++] != ',')
      return std::nullopt;
    skip_spaces();
  }
}

std::string in_place_of_libdir(std::string path, const installed_postgresql& has) {
  constexpr std::string_view libdir = "$libdir";
  if (path == libdir || path.starts_with("$libdir/"))
    path.replace(0, libdir.size(), has.library_dir);
  return path;
}

/// The paths where PostgreSQL looks for a library of that name. Empty if that cannot be checked
/// now: for a path relative to the data directory, and if $libdir is not known.
std::vector<std::string> places_of(const std::string& parameter, const std::string& name,
                                   const cell::engine_parameters& parameters,
                                   const installed_postgresql& has) {
  bool has_path = name.find('/') != std::string::npos;
  if (has.library_dir.empty() && (!has_path || name.starts_with("$libdir")))
    return {};
  if (has_path) {
    auto path = in_place_of_libdir(name, has);
    return path.front() == '/' ? std::vector{path} : std::vector<std::string>{};
  }
  // Users may set this parameter themselves, so PostgreSQL loads these from one directory only.
  if (parameter == "local_preload_libraries")
    return {has.library_dir + "/plugins/" + name};
  auto path = parameters.find("dynamic_library_path");
  std::vector<std::string> places;
  for (auto one : split(path == parameters.end() ? std::string_view{"$libdir"} : path->second, ':'))
    places.push_back(in_place_of_libdir(std::string{one}, has) + "/" + name);
  return places;
}

} // namespace

std::optional<std::string> why_no_parameter(std::string_view name, std::string_view value) {
  if (!is_name(name) || is_include(name))
    return "is no name of a PostgreSQL parameter: small letters, digits, _ and $, and a period "
           "after "
           "an extension's name";
  if (std::ranges::any_of(value,
                          [](unsigned char c) { return (c < ' ' && c != '\t') || c == 0x7f; }))
    return "must not contain control characters";
  return std::nullopt;
}

result<plans_parameters> parse_plans(const std::string& body) {
  auto parsed = json::parse(body);
  if (!parsed)
    return failure{"the body is no JSON: " + parsed.error()};
  const auto* plans = json::member(*parsed, "plans");
  if (plans == nullptr || !plans->IsObject())
    return failure{"the body needs plans, an object with an object of parameters for each plan id"};
  if (plans->MemberCount() > most_plans)
    return failure{fmt::format("plans has {} plans; {} are allowed at most", plans->MemberCount(),
                               most_plans)};
  plans_parameters all;
  for (const auto& plan : plans->GetObject()) {
    std::string id{plan.name.GetString(), plan.name.GetStringLength()};
    if (!plan.value.IsObject())
      return failure{fmt::format("plans.{} must be an object of PostgreSQL's parameters, whose "
                                 "values are texts",
                                 matriarch::quoted(id))};
    if (plan.value.MemberCount() > most_parameters)
      return failure{fmt::format("plans.{} has {} parameters; {} are allowed at most",
                                 matriarch::quoted(id), plan.value.MemberCount(), most_parameters)};
    auto& parameters = all[id];
    for (const auto& one : plan.value.GetObject()) {
      std::string name{one.name.GetString(), one.name.GetStringLength()};
      auto field = fmt::format("plans.{}.{}", matriarch::quoted(id), matriarch::quoted(name));
      if (auto wrong = why_no_parameter(name, ""))
        return failure{field + " " + *wrong};
      if (!one.value.IsString())
        return failure{field + " must be a text"};
      std::string text{one.value.GetString(), one.value.GetStringLength()};
      if (text.size() > longest_value)
        return failure{fmt::format("{} has {} bytes; {} are allowed at most", field, text.size(),
                                   longest_value)};
      if (auto wrong = why_no_parameter(name, text))
        return failure{field + " " + *wrong};
      parameters.emplace(std::move(name), std::move(text));
    }
  }
  return all;
}

namespace {

json::document described(const installed_postgresql& has) {
  json::document body;
  body.SetObject();
  json::add(body, "version", has.version, body);
  json::value libraries{rapidjson::kArrayType};
  for (const auto& one : has.libraries)
    libraries.PushBack(json::string(one, body), body.GetAllocator());
  json::add(body, "libraries", std::move(libraries), body);
  return body;
}

} // namespace

std::string text_of(const installed_postgresql& has) {
  auto body = described(has);
  json::value parameters{rapidjson::kObjectType};
  for (const auto& [name, one] : has.parameters) {
    json::value entry{rapidjson::kObjectType};
    json::add(entry, "type", one.type, body);
    json::add(entry, "context", one.context, body);
    if (!one.least.empty()) {
      json::add(entry, "min", one.least, body);
      json::add(entry, "max", one.most, body);
    }
    parameters.AddMember(json::string(name, body), entry, body.GetAllocator());
  }
  json::add(body, "parameters", std::move(parameters), body);
  return json::text_of(body);
}

std::string text_of(const installed_postgresql& has, const plans_faults& faults,
                    const plans_unjudged& unjudged) {
  auto body = described(has);
  json::value all{rapidjson::kObjectType};
  for (const auto& [plan, found] : faults) {
    json::value list{rapidjson::kArrayType};
    for (const auto& one : found)
      list.PushBack(json::string(one.words, body), body.GetAllocator());
    all.AddMember(json::string(plan, body), list, body.GetAllocator());
  }
  json::add(body, "faults", std::move(all), body);
  json::value rest{rapidjson::kObjectType};
  for (const auto& [plan, why] : unjudged)
    rest.AddMember(json::string(plan, body), json::string(why, body), body.GetAllocator());
  if (!unjudged.empty())
    json::add(body, "unjudged", std::move(rest), body);
  return json::text_of(body);
}

std::string version_in(std::string_view printed) {
  constexpr std::string_view before = "(PostgreSQL) ";
  auto at = printed.find(before);
  if (at == std::string_view::npos)
    return {};
  printed.remove_prefix(at + before.size());
  return std::string{printed.substr(0, printed.find_first_of(" \n"))};
}

std::map<std::string, described_parameter> parse_description(std::string_view printed) {
  // name, context, group, type, default, least, most, description, and more of it
  constexpr std::size_t fields = 8;
  std::map<std::string, described_parameter> all;
  for (auto line : split(printed, '\n')) {
    auto part = split(line, '\t');
    if (part.size() < fields || part[0].empty())
      continue;
    auto text = [&](std::size_t i) { return std::string{part[i]}; };
    all[text(0)] = {text(1), text(3), text(4), text(5), text(6)};
  }
  return all;
}

std::string render_settings(const cell::engine_parameters& parameters) {
  std::string text;
  for (const auto& [name, value] : parameters) {
    text += name + " = '";
    for (char c : value) {
      if (c == '\'' || c == '\\')
        text += c;
      text += c;
    }
    text += "'\n";
  }
  return text;
}

std::vector<complaint> complaints_in(std::string_view printed) {
  constexpr std::array<std::string_view, 4> severities{
      "LOG:  ", "WARNING:  ", "ERROR:  ", "FATAL:  "};
  constexpr std::array<std::string_view, 2> additions{"DETAIL:  ", "HINT:  "};
  constexpr std::string_view unrecognised = "unrecognized configuration parameter ";
  std::vector<complaint> all;
  bool counts = false; // whether what was said last is among them
  for (auto line : split(printed, '\n')) {
    for (auto addition : additions)
      if (counts && line.starts_with(addition)) {
        auto& detail = all.back().detail;
        detail += (detail.empty() ? "" : " ") + std::string{line.substr(addition.size())};
      }
    auto severity =
        std::ranges::find_if(severities, [&](auto one) { return line.starts_with(one); });
    if (severity == severities.end())
      continue;
    line.remove_prefix(severity->size());
    counts = !line.starts_with("skipping missing configuration file")
             && !line.starts_with("configuration file \"");
    if (!counts)
      continue;
    // The file is only a trial's, so its name helps nobody.
    line = line.substr(0, line.find(" in file \""));
    complaint one;
    one.message = line;
    one.unknown = line.starts_with(unrecognised);
    constexpr std::string_view before = "parameter \"";
    if (auto at = line.find(before); at != std::string_view::npos) {
      auto name = line.substr(at + before.size());
      one.parameter = name.substr(0, name.find('"'));
    }
    all.push_back(std::move(one));
  }
  return all;
}

std::string words_of(const complaint& what, const installed_postgresql& has) {
  if (what.unknown) {
    auto meant = likely_meant(what.parameter, has);
    return fmt::format("PostgreSQL {} has no parameter \"{}\"{}", has.version, what.parameter,
                       meant.empty() ? "" : fmt::format("; is \"{}\" meant?", meant));
  }
  auto more = what.detail.empty() ? allowed(what, has) : what.detail;
  return more.empty() ? what.message : fmt::format("{} ({})", what.message, more);
}

std::vector<settings_fault>
missing_libraries(const cell::engine_parameters& parameters, const installed_postgresql& has,
                  const std::function<bool(const std::string& path)>& exists) {
  std::vector<settings_fault> faults;
  for (const std::string parameter :
       {"shared_preload_libraries", "session_preload_libraries", "local_preload_libraries"}) {
    auto given = parameters.find(parameter);
    auto names = given == parameters.end() ? std::nullopt : libraries_in(given->second);
    if (!names)
      continue;
    for (const auto& name : *names) {
      auto places = places_of(parameter, name, parameters, has);
      bool there = places.empty() || std::ranges::any_of(places, [&](const auto& path) {
                     return exists(path) || exists(path + ".so");
                   });
      if (!there)
        faults.push_back({parameter, fmt::format("{} names the library \"{}\", which is not "
                                                 "installed for PostgreSQL {}",
                                                 parameter, name, has.version)});
    }
  }
  return faults;
}

} // namespace matriarch::engines::postgresql
