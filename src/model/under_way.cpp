#include "model/under_way.hpp"

#include "base/utf8.hpp"

namespace matriarch::model {

std::optional<std::string> requests_under_way::enter(const std::string& instance_id) {
  if (all_ >= most)
    return "too many requests are under way; try again";
  auto& own = of_.try_emplace(instance_id, 0).first->second;
  if (own >= most_of_one)
    return "too many requests for the service instance " + matriarch::quoted(instance_id)
           + " are under way; try again";
  ++own;
  ++all_;
  return std::nullopt;
}

void requests_under_way::leave(const std::string& instance_id) {
  --all_;
  if (auto found = of_.find(instance_id); --found->second == 0)
    of_.erase(found);
}

} // namespace matriarch::model
