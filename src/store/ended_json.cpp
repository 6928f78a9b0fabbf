#include "store/ended_json.hpp"

namespace matriarch::store {

const known_members ended_members{{"at", "operation_id"}};

void add_ended(writer& out, const std::map<std::string, model::ended_binding>& bindings) {
  json::value all{rapidjson::kObjectType};
  for (const auto& [binding_id, ended] : bindings) {
    json::value one{rapidjson::kObjectType};
    json::add(one, "at", milliseconds_of(ended.at), out.owner);
    if (!ended.operation_id.empty())
      json::add(one, "operation_id", ended.operation_id, out.owner);
    all.AddMember(json::string(binding_id, out.owner), one, out.owner.GetAllocator());
  }
  json::add(out.owner, "ended_bindings", std::move(all), out.owner);
}

std::map<std::string, model::ended_binding> read_ended(const json::value& object) {
  std::map<std::string, model::ended_binding> ended;
  const auto* all = json::member(object, "ended_bindings");
  if (all == nullptr || !all->IsObject())
    return ended;
  for (const auto& m : all->GetObject()) {
    // Earlier releases wrote only the time.
    const auto* at = m.value.IsObject() ? json::member(m.value, "at") : &m.value;
    if (at == nullptr || !at->IsInt64() || at->GetInt64() < 0 || at->GetInt64() >= year_10000)
      continue;
    ended[{m.name.GetString(), m.name.GetStringLength()}] = {
        model::wall_time{model::duration{at->GetInt64()}},
        m.value.IsObject() ? json::string_member(m.value, "operation_id") : std::string{}};
  }
  return ended;
}

} // namespace matriarch::store
