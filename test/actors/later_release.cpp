#include "later_release.hpp"

#include "base/json.hpp"
#include "store/keys.hpp"

namespace matriarch::simulation {

namespace {

constexpr const char* member = "of_a_later_release";
constexpr const char* content = "kept";

void put(json::value& object, json::document& owner) {
  object.RemoveMember(member);
  json::add(object, member, content, owner);
}

bool has(const json::value& object) {
  return json::string_member(object, member) == content;
}

json::document parsed(const std::string& text) {
  auto read = json::parse(text);
  return read.ok() ? std::move(*read) : json::document{};
}

} // namespace

void later_release::write(world& into) {
  for (const auto& entry : into.etcd.range(store::keys_below(store::keys::services))) {
    bool is_record = entry.key.ends_with("/state");
    if (!is_record && entry.key.find("/bindings/") == std::string::npos)
      continue;
    auto document = parsed(entry.value);
    if (!document.IsObject())
      continue;
    auto& noted = marks_[entry.key];
    noted = {entry.create_revision};
    put(document, document);
    if (is_record) {
      put(document["desired"], document);
      put(document["operation"], document);
      noted.operation = json::string_member(document["operation"], "id");
      for (auto& node : document["nodes"].GetArray()) {
        put(node, document);
        noted.nodes.insert(json::string_member(node, "node_id"));
      }
    }
    into.etcd.put(entry.key, json::text_of(document));
  }
}

std::vector<std::string> later_release::missing(const world& from) const {
  std::vector<std::string> all;
  auto expect = [&](bool holds, const std::string& otherwise) {
    if (!holds)
      all.push_back(otherwise);
  };
  for (const auto& [key, noted] : marks_) {
    auto found = from.etcd.range({key, ""});
    if (found.empty() || found.front().create_revision != noted.made_at)
      continue;
    const auto document = parsed(found.front().value);
    expect(has(document), key + " has lost what a later release wrote");
    if (!key.ends_with("/state"))
      continue;
    expect(has(document["desired"]), key + " has lost it of what is desired");
    expect(has(document["operation"])
               == (json::string_member(document["operation"], "id") == noted.operation),
           key + " has lost it of the operation, or says it of the next one");
    for (const auto& node : document["nodes"].GetArray())
      if (auto id = json::string_member(node, "node_id"); noted.nodes.contains(id))
        expect(has(node), key + " has lost it of node " + id);
  }
  return all;
}

std::string without_later_members(const std::string& value) {
  auto document = parsed(value);
  if (!document.IsObject() || !document.HasMember(member))
    return value;
  document.RemoveMember(member);
  return json::text_of(document);
}

} // namespace matriarch::simulation
