#include "store/router_json.hpp"

#include <algorithm>
#include <charconv>

#include "base/json.hpp"

namespace matriarch::store {

std::string encode_router_report(const model::router_report& known) {
  json::document out;
  out.SetObject();
  json::add(out, "id", known.id, out);
  json::add(out, "host", known.host, out);
  json::add(out, "owner", known.owner, out);
  json::add(out, "serves", std::to_string(known.serves), out);
  json::value ports(rapidjson::kArrayType);
  for (auto port : known.unbound)
    ports.PushBack(static_cast<int>(port), out.GetAllocator());
  json::add(out, "unbound", std::move(ports), out);
  json::value addresses(rapidjson::kArrayType);
  for (const auto& one : known.addresses)
    addresses.PushBack(json::string(one, out), out.GetAllocator());
  if (!addresses.Empty())
    json::add(out, "addresses", std::move(addresses), out);
  json::value unserved(rapidjson::kArrayType);
  for (const auto& one : known.unserved) {
    json::value entry(rapidjson::kObjectType);
    json::add(entry, "instance", one.instance, out);
    json::add(entry, "why", one.why, out);
    unserved.PushBack(entry, out.GetAllocator());
  }
  json::add(out, "unserved", std::move(unserved), out);
  json::add(out, "silent", known.silent, out);
  return json::text_of(out);
}

result<model::router_report> decode_router_report(std::string_view text) {
  auto parsed = json::parse(text);
  if (!parsed)
    return failure{"a router's key holds no JSON: " + parsed.error()};
  if (!parsed->IsObject())
    return failure{"a router's key holds no object"};
  model::router_report known;
  known.id = json::string_member(*parsed, "id");
  if (known.id.empty())
    return failure{"a router's key holds no id"};
  known.host = json::string_member(*parsed, "host");
  known.owner = json::string_member(*parsed, "owner");
  const auto serves = json::string_member(*parsed, "serves");
  const auto* end = serves.data() + serves.size();
  auto read = std::from_chars(serves.data(), end, known.serves);
  if (read.ec != std::errc{} || read.ptr != end || known.serves < 0)
    return failure{"serves of router " + known.id + " is no revision"};
  if (const auto* ports = json::member(*parsed, "unbound")) {
    if (!ports->IsArray())
      return failure{"unbound of router " + known.id + " is no list"};
    for (const auto& port : ports->GetArray()) {
      if (!port.IsInt() || port.GetInt() < 1 || port.GetInt() > 65'535)
        return failure{"unbound of router " + known.id + " contains an invalid port"};
      known.unbound.push_back(static_cast<std::uint16_t>(port.GetInt()));
    }
    std::sort(known.unbound.begin(), known.unbound.end());
  }
  // Routers of earlier releases write no addresses.
  if (const auto* addresses = json::member(*parsed, "addresses"); addresses && addresses->IsArray())
    for (const auto& one : addresses->GetArray())
      if (one.IsString())
        known.addresses.emplace_back(one.GetString(), one.GetStringLength());
  if (const auto* unserved = json::member(*parsed, "unserved")) {
    if (!unserved->IsArray())
      return failure{"unserved of router " + known.id + " is no list"};
    for (const auto& one : unserved->GetArray()) {
      auto instance = json::string_member(one, "instance");
      if (instance.empty())
        return failure{"unserved of router " + known.id + " has an entry without an instance"};
      known.unserved.push_back({std::move(instance), json::string_member(one, "why")});
    }
    std::sort(known.unserved.begin(), known.unserved.end());
  }
  known.silent = json::string_member(*parsed, "silent");
  return known;
}

} // namespace matriarch::store
