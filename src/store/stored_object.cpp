#include "store/stored_object.hpp"

namespace matriarch::store {

const known_members credentials_members{{"username", "password"}};

std::string place_of(const std::string& owner, const char* field) {
  return owner + "/" + field;
}

json::value encode_credentials(const model::credentials& c, const std::string& place,
                               const keyring& keys, json::document& owner) {
  json::value pair{rapidjson::kObjectType};
  json::add(pair, "username", c.username, owner);
  json::add(pair, "password", keys.seal(c.password, place), owner);
  return pair;
}

json::value encode_texts(const std::map<std::string, std::string>& texts, json::document& owner) {
  json::value object{rapidjson::kObjectType};
  for (const auto& [name, text] : texts)
    object.AddMember(json::string(name, owner), json::string(text, owner), owner.GetAllocator());
  return object;
}

std::map<std::string, std::string> decode_texts(const json::value& object, const char* name) {
  std::map<std::string, std::string> texts;
  if (const auto* found = json::member(object, name); found != nullptr && found->IsObject())
    for (const auto& m : found->GetObject())
      if (m.value.IsString())
        texts.emplace(std::string{m.name.GetString(), m.name.GetStringLength()},
                      std::string{m.value.GetString(), m.value.GetStringLength()});
  return texts;
}

json::value encode_list(const std::vector<std::string>& texts, json::document& owner) {
  json::value list{rapidjson::kArrayType};
  for (const auto& text : texts)
    list.PushBack(json::string(text, owner), owner.GetAllocator());
  return list;
}

std::vector<std::string> decode_list(const json::value& object, const char* name) {
  std::vector<std::string> texts;
  if (const auto* list = json::member(object, name); list != nullptr && list->IsArray())
    for (const auto& text : list->GetArray())
      if (text.IsString())
        texts.emplace_back(text.GetString(), text.GetStringLength());
  return texts;
}

} // namespace matriarch::store
