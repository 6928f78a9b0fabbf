#include "model/settings.hpp"

#include <algorithm>
#include <cstdint>

#include "base/json.hpp"
#include "model/names.hpp"

namespace matriarch::model {

bool same_nodes(const cluster_settings& a, const cluster_settings& b) {
  return a.node_type == b.node_type && a.limits == b.limits;
}

bool same_configuration(const cluster_settings& a, const cluster_settings& b) {
  return a.parameters == b.parameters && a.synchronous == b.synchronous && a.ttl == b.ttl;
}

std::string digest_of(const cluster_settings& settings) {
  // Nodes show this digest and brokers of other releases compare it: never change this text.
  json::document all;
  all.SetObject();
  if (settings.ttl != 0) {
    const std::int64_t ttl = settings.ttl;
    const auto retry_timeout = std::max<std::int64_t>(2, ttl / 3);
    json::add(all, "ttl", ttl, all);
    json::add(all, "loop_wait", std::max<std::int64_t>(1, ttl - 2 * retry_timeout), all);
    json::add(all, "retry_timeout", retry_timeout, all);
  }
  json::add(all, "synchronous_mode", settings.synchronous != synchronous_mode::off, all);
  json::add(all, "synchronous_mode_strict", settings.synchronous == synchronous_mode::strict, all);
  json::value parameters{rapidjson::kObjectType};
  for (const auto& [name, text] : settings.parameters)
    parameters.AddMember(json::string(name, all), json::string(text, all), all.GetAllocator());
  json::value of_engine{rapidjson::kObjectType};
  json::add(of_engine, "parameters", std::move(parameters), all);
  json::add(all, "postgresql", std::move(of_engine), all);
  return start_of_sha256(json::canonical_text_of(all), 16);
}

} // namespace matriarch::model
