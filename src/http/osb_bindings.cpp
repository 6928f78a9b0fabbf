#include "http/osb_bindings.hpp"

#include "base/json.hpp"
#include "base/times.hpp"
#include "base/utf8.hpp"
#include "http/osb_answers.hpp"
#include "model/acceptance.hpp"
#include "model/names.hpp"

namespace matriarch::http::osb {

namespace {

json::value credentials_json(const model::credentials& user, const binding_view& shown, int port,
                             json::document& owner) {
  return shown.engine.credentials_of({user, shown.host, port, shown.authority}, owner);
}

/// The superuser in a binding's credentials.
json::value superuser_json(const binding_view& shown, json::document& owner) {
  const auto& known = shown.known.known;
  auto whole = credentials_json(known.living.secret_of(model::secret_name::superuser), shown,
                                known.endpoints[model::endpoint::primary], owner);
  json::value object{rapidjson::kObjectType};
  for (const auto* name : {"username", "password", "uri"})
    json::add(object, name, std::move(whole[name]), owner);
  return object;
}

json::value endpoints_json(const std::string& host, int port, json::document& owner) {
  json::value ports{rapidjson::kArrayType};
  ports.PushBack(json::string(std::to_string(port), owner), owner.GetAllocator());
  json::value endpoint{rapidjson::kObjectType};
  json::add(endpoint, "host", host, owner);
  json::add(endpoint, "ports", std::move(ports), owner);
  json::add(endpoint, "protocol", "tcp", owner);
  json::value endpoints{rapidjson::kArrayType};
  endpoints.PushBack(endpoint, owner.GetAllocator());
  return endpoints;
}

/// When the credentials end, if they do.
void add_binding_metadata(json::document& body, const model::binding& which) {
  json::value metadata{rapidjson::kObjectType};
  if (which.expires_at)
    json::add(metadata, "expires_at", base::text_of(*which.expires_at), body);
  if (which.renew_before)
    json::add(metadata, "renew_before", base::text_of(*which.renew_before), body);
  if (!metadata.ObjectEmpty())
    json::add(body, "metadata", std::move(metadata), body);
}

json::document binding_json(const binding_view& shown) {
  const auto& known = shown.known.known;
  const auto& which = shown.which;
  const auto user = which.role.username.empty()
                        ? known.living.secret_of(model::secret_name::application)
                        : which.role;
  int port =
      known.endpoints[which.read_only ? model::endpoint::read_only : model::endpoint::primary];
  if (port == 0)
    port = known.endpoints[model::endpoint::primary];
  json::document body;
  body.SetObject();
  auto credentials = credentials_json(user, shown, port, body);
  if (shown.with_superuser)
    json::add(credentials, "superuser", superuser_json(shown, body), body);
  json::add(body, "credentials", std::move(credentials), body);
  json::add(body, "endpoints", endpoints_json(shown.host, port, body), body);
  add_binding_metadata(body, which);
  if (!which.note.empty())
    json::add(body, "description", which.note, body);
  return body;
}

} // namespace

response binding(int status, const binding_view& shown) {
  return answer(status, binding_json(shown));
}

response fetched_binding(const binding_view& shown) {
  if (shown.which.phase != model::binding_phase::ready)
    return error(404,
                 "binding " + matriarch::quoted(shown.which.binding_id)
                     + (shown.which.phase == model::binding_phase::creating ? " is still being made"
                                                                            : " is being removed"));
  auto body = binding_json(shown);
  json::add(body, "parameters", object_in(shown.which.parameters, body), body);
  return answer(200, body);
}

response binding_last_operation(const model::verdict& gone, const std::string& binding_id,
                                const request& poll) {
  std::string operation_id;
  if (gone.left)
    if (auto ended = gone.left->ended_bindings.find(binding_id);
        ended != gone.left->ended_bindings.end())
      operation_id = ended->second.operation_id;
  return end_of_removal(operation_id, poll, 410, gone.description);
}

response binding_last_operation(const model::instance_snapshot& known,
                                const std::string& binding_id, const request& poll,
                                model::wall_time now) {
  auto found = known.bindings.find(binding_id);
  if (found == known.bindings.end()) {
    auto ended = known.known.ended_bindings.find(binding_id);
    return ended == known.known.ended_bindings.end()
               ? no_binding(known, binding_id)
               : end_of_removal(ended->second.operation_id, poll, 410,
                                "binding " + matriarch::quoted(binding_id) + " has been removed");
  }
  const auto& which = found->second;
  if (which.phase == model::binding_phase::ready)
    return {200, state_text("succeeded", which.note), {}};
  auto trouble = known.binding_troubles.find(binding_id);
  const auto& why =
      trouble == known.binding_troubles.end() ? known.roles_wait_for : trouble->second;
  if (now <= which.asked_at + model::longest_binding_operation)
    return in_progress(why);
  return {200,
          state_text("failed", "not done in time, and still tried: "
                                   + (why.empty() ? "the cluster has no leader" : why)),
          {}};
}

response no_binding(const model::instance_snapshot& known, const std::string& binding_id) {
  if (!known.unreadable_bindings.contains(model::name_of(binding_id)))
    return error(404, "there is no binding " + matriarch::quoted(binding_id));
  return refusal({model::verdict_kind::unavailable, model::unreadable(binding_id)});
}

} // namespace matriarch::http::osb
