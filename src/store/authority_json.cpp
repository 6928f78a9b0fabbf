#include "store/authority_json.hpp"

#include "base/json.hpp"

namespace matriarch::store {

namespace {

/// The place that the key is sealed for, see keyring::seal().
constexpr std::string_view place = "/matriarch/authority/key";

} // namespace

std::string encode_authorities(const tls::authorities& known, const keyring& keys) {
  json::document all;
  all.SetObject();
  json::value list{rapidjson::kArrayType};
  for (const auto& one : known.all) {
    json::value entry{rapidjson::kObjectType};
    json::add(entry, "certificate", one.pair.certificate, all);
    json::add(entry, "key", keys.seal(one.pair.key, place), all);
    json::add(entry, "shown_since",
              static_cast<std::int64_t>(one.shown_since.time_since_epoch().count()), all);
    list.PushBack(entry, all.GetAllocator());
  }
  json::add(all, "authorities", std::move(list), all);
  return json::text_of(all);
}

result<stored_authorities> decode_authorities(std::string_view text, const keyring& keys) {
  auto parsed = json::parse(text);
  if (!parsed)
    return failure{parsed.error()};
  const auto* list = json::member(*parsed, "authorities");
  if (list == nullptr || !list->IsArray() || list->Empty())
    return failure{"it lists no authorities"};
  stored_authorities read;
  for (const auto& entry : list->GetArray()) {
    tls::authority one;
    one.pair.certificate = json::string_member(entry, "certificate");
    auto sealed = json::string_member(entry, "key");
    auto key = keys.open(sealed, place);
    if (!key)
      return failure{key.error()};
    one.pair.key = *std::move(key);
    one.shown_since = model::wall_time{model::duration{json::integer_member(entry, "shown_since")}};
    auto said = tls::describe(one.pair.certificate);
    if (!said)
      return failure{said.error()};
    if (!tls::belong_together(one.pair))
      return failure{"a private key in it does not match its certificate"};
    one.until = said->valid.until;
    read.sealed_as_now = read.sealed_as_now && keys.seals_like(sealed);
    read.known.all.push_back(std::move(one));
  }
  return read;
}

} // namespace matriarch::store
