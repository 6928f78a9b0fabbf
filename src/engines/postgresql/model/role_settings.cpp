#include "engines/postgresql/model/role_settings.hpp"

#include <algorithm>
#include <array>
#include <set>
#include <string_view>
#include <utility>

namespace matriarch::engines::postgresql {

namespace {

constexpr std::array<std::string_view, 4> never_copied{
    "role", "session_authorization", "local_preload_libraries", "session_preload_libraries"};

std::string name_of(const std::string& setting) {
  return setting.substr(0, setting.find('='));
}

/// The names in a setting's value, separated by commas.
std::set<std::string> names_in(const std::string& setting) {
  std::set<std::string> names;
  std::string_view rest = setting;
  rest.remove_prefix(std::min(rest.size(), rest.find('=') + 1));
  while (!rest.empty()) {
    const auto comma = std::min(rest.size(), rest.find(','));
    names.emplace(rest.substr(0, comma));
    rest.remove_prefix(std::min(rest.size(), comma + 1));
  }
  return names;
}

} // namespace

std::optional<role_settings> settings_from_owner(const role_settings& own,
                                                 const role_settings& owners) {
  std::set<std::string> copied;
  for (const auto& one : own)
    if (name_of(one) == copied_mark)
      copied = names_in(one);
  role_settings next;
  std::set<std::string> its_own;
  for (const auto& one : own)
    if (auto name = name_of(one); name != copied_mark && !copied.contains(name)) {
      next.push_back(one);
      its_own.insert(std::move(name));
    }
  std::string names;
  for (const auto& one : owners) {
    auto name = name_of(one);
    if (its_own.contains(name) || std::ranges::find(never_copied, name) != never_copied.end())
      continue;
    next.push_back(one);
    names += (names.empty() ? "" : ",") + name;
  }
  if (!names.empty())
    next.push_back(std::string{copied_mark} + "=" + names);
  if (std::set<std::string>(next.begin(), next.end())
      == std::set<std::string>(own.begin(), own.end()))
    return std::nullopt;
  return next;
}

} // namespace matriarch::engines::postgresql
