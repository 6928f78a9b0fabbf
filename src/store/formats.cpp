#include "store/formats.hpp"

namespace matriarch::store {

std::optional<std::string> why_not_to_read(const json::value& object) {
  // Cut off or passed over, a number that cannot be read would be taken for one that may be.
  for (const char* name : {"format", "min_reader"})
    if (const auto* found = json::member(object, name); found != nullptr && !found->IsInt64())
      return std::string{name} + " is no whole number";
  auto needed = json::integer_member(object, "min_reader");
  if (needed <= own_format)
    return std::nullopt;
  return "a later release has written it: who reads it has to know format " + std::to_string(needed)
         + ", and this release knows " + std::to_string(own_format) + "; upgrade this server";
}

} // namespace matriarch::store
