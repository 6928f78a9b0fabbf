#include "store/formats.hpp"

#include <algorithm>

namespace matriarch::store {

std::optional<std::string> why_not_to_read(const json::value& object) {
  // A number that is cut off or ignored could be taken for a format that this release may read.
  for (const char* name : {"format", "min_reader"})
    if (const auto* found = json::member(object, name); found != nullptr && !found->IsInt64())
      return std::string{name} + " is no whole number";
  auto needed = json::integer_member(object, "min_reader");
  if (needed <= own_format)
    return std::nullopt;
  return "a later release has written it: readers have to know format " + std::to_string(needed)
         + ", and this release knows " + std::to_string(own_format) + "; upgrade this server";
}

std::optional<std::string> why_not_to_act(std::string_view fleet) {
  if (fleet.empty())
    return std::nullopt;
  auto parsed = json::parse(fleet);
  if (parsed.ok() && parsed->IsObject())
    return why_not_to_read(*parsed);
  return "it is damaged (" + (parsed.ok() ? "not an object" : parsed.error())
         + "), so the formats of the fleet's values are unknown; write those of its "
           "newest "
           "broker, as {\"format\":…,\"min_reader\":…}";
}

std::optional<std::string> fleet_format_after(std::string_view before) {
  auto parsed = json::parse(before);
  auto was = [&](const char* name) {
    return parsed.ok() ? json::integer_member(*parsed, name) : 0;
  };
  auto format = std::max<std::int64_t>(was("format"), own_format);
  auto min_reader = std::max<std::int64_t>(was("min_reader"), own_min_reader);
  if (was("format") == format && was("min_reader") == min_reader)
    return std::nullopt;
  json::document now;
  now.SetObject();
  json::add(now, "format", format, now);
  json::add(now, "min_reader", min_reader, now);
  return json::text_of(now);
}

} // namespace matriarch::store
