#include "model/node_limits.hpp"

#include <array>
#include <charconv>
#include <system_error>
#include <utility>

#include <fmt/format.h>

namespace matriarch::model {

namespace {

constexpr std::array<std::pair<std::string_view, std::int64_t>, 3> units_of_size{
    {{"TB", 1024 * 1024 * megabyte}, {"GB", 1024 * megabyte}, {"MB", megabyte}}};

/// Takes the digits off the beginning of a text; nothing if there are none, or too many.
std::optional<std::int64_t> take_number(std::string_view& text) {
  constexpr std::size_t longest = 9;
  std::int64_t number = 0;
  const auto parsed = std::from_chars(text.data(), text.data() + text.size(), number);
  const auto length = static_cast<std::size_t>(parsed.ptr - text.data());
  if (parsed.ec != std::errc() || length > longest || number < 0)
    return std::nullopt;
  text.remove_prefix(length);
  return number;
}

} // namespace

std::optional<std::int64_t> bytes_of(std::string_view text) {
  const auto number = take_number(text);
  if (!number)
    return std::nullopt;
  while (text.starts_with(' '))
    text.remove_prefix(1);
  for (const auto& [name, factor] : units_of_size)
    if (text == name && *number <= most_bytes / factor)
      return *number * factor;
  return std::nullopt;
}

std::string size_in_words(std::int64_t bytes) {
  for (const auto& [name, factor] : units_of_size)
    if (bytes >= factor && bytes % factor == 0)
      return fmt::format("{} {}", bytes / factor, name);
  return fmt::format("{} MB", bytes / megabyte);
}

std::optional<std::int64_t> hundredths_of(std::string_view text) {
  constexpr std::int64_t whole = 100;
  const auto before = take_number(text);
  if (!before)
    return std::nullopt;
  if (text.empty())
    return *before * whole;
  if (text.front() != '.' || text.size() < 2 || text.size() > 3)
    return std::nullopt;
  text.remove_prefix(1);
  const auto digits = text.size();
  const auto after = take_number(text);
  if (!after || !text.empty())
    return std::nullopt;
  return *before * whole + (digits == 1 ? *after * 10 : *after);
}

std::string cpu_in_words(std::int64_t hundredths) {
  constexpr std::int64_t whole = 100;
  if (hundredths % whole == 0)
    return std::to_string(hundredths / whole);
  return fmt::format("{}.{:02}", hundredths / whole, hundredths % whole);
}

std::vector<std::pair<std::string, std::string>> parameters_of(const node_limits& limits) {
  std::vector<std::pair<std::string, std::string>> all;
  for (const auto& [name, most] : {std::pair{"NODE_MEMORY", limits.memory},
                                   {"NODE_PROCESSES", limits.processes},
                                   {"NODE_DISK", limits.disk}})
    if (most > 0)
      all.emplace_back(name, std::to_string(most));
  if (limits.cpu > 0)
    all.emplace_back("NODE_CPU", cpu_in_words(limits.cpu));
  return all;
}

} // namespace matriarch::model
