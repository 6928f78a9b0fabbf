#include "router/routing_keys.hpp"

#include <utility>

#include "model/record.hpp"
#include "store/keys.hpp"

namespace matriarch::router {

key_meaning meaning_of(std::string_view key) {
  for (auto [prefix, is] :
       {std::pair<std::string_view, key_kind>{store::keys::allocations, key_kind::allocation},
        {store::keys::read_only_allocations, key_kind::read_only_allocation}}) {
    if (!key.starts_with(prefix))
      continue;
    auto instance = key.substr(prefix.size());
    if (!instance.empty() && instance.find('/') == std::string_view::npos)
      return {is, instance};
    return {};
  }
  if (key == store::keys::shown_authority)
    return {key_kind::authority};
  if (key.starts_with(store::keys::routing))
    return {key_kind::routing};
  if (key.starts_with(store::keys::routers))
    return {key_kind::router};
  if (!key.starts_with(store::keys::services))
    return {};
  auto rest = key.substr(store::keys::services.size());
  auto slash = rest.find('/');
  if (slash == 0 || slash == std::string_view::npos)
    return {};
  auto owner = rest.substr(0, slash);
  rest = rest.substr(slash + 1);
  if (rest == "state")
    return {key_kind::record, owner};
  if (rest == "leader")
    return {key_kind::leader, owner};
  if (rest == "config")
    return {key_kind::config, owner};
  constexpr std::string_view members = "members/";
  if (rest.starts_with(members) && rest.size() > members.size()
      && rest.size() - members.size() <= model::longest_node_name
      && rest.find('/', members.size()) == std::string_view::npos)
    return {key_kind::member, owner, rest.substr(members.size())};
  return {};
}

} // namespace matriarch::router
