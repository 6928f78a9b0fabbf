#include "store/binding_json.hpp"

#include "model/words.hpp"
#include "store/stored_object.hpp"

namespace matriarch::store {

namespace {

const known_members binding_members{{"binding_id", "service_id", "plan_id", "app_guid",
                                     "parameters", "predecessor", "read_only", "role", "phase",
                                     "operation_id", "polled", "created_at", "asked_at",
                                     "expires_at", "renew_before", "note", "format", "min_reader"},
                                    {{"role", &credentials_members}}};

/// The owner of a binding's role, for place_of().
std::string owner_of_role(std::string_view name, const std::string& binding_id) {
  return std::string{name} + "/bindings/" + binding_id;
}

} // namespace

std::string encode_binding(const model::binding& known, std::string_view name,
                           const keyring& keys) {
  writer out;
  out.add("binding_id", known.binding_id);
  out.add("service_id", known.service_id);
  out.add("plan_id", known.plan_id);
  out.add("app_guid", known.app_guid);
  out.add("parameters", known.parameters);
  out.add("predecessor", known.predecessor);
  out.add("read_only", known.read_only);
  if (!known.role.username.empty())
    out.add_credentials("role", known.role, owner_of_role(name, known.binding_id), keys);
  out.add("phase", model::text_of(known.phase));
  out.add("operation_id", known.operation_id);
  out.add("polled", known.polled);
  out.add("created_at", milliseconds_of(known.created_at));
  out.add("asked_at", milliseconds_of(known.asked_at));
  if (known.expires_at)
    out.add("expires_at", milliseconds_of(*known.expires_at));
  if (known.renew_before)
    out.add("renew_before", milliseconds_of(*known.renew_before));
  out.add("note", known.note);
  add_unknown(out.owner, known.unknown, binding_members, out.owner);
  return out.text();
}

result<model::binding> decode_binding(std::string_view text, std::string_view name,
                                      const keyring& keys) {
  return decode_own<model::binding>(text, "binding", [&](reader& in, const json::value& object) {
    model::binding known;
    known.binding_id = in.text("binding_id");
    known.service_id = in.text("service_id");
    known.plan_id = in.text("plan_id");
    known.app_guid = json::string_member(object, "app_guid");
    known.parameters = json::string_member(object, "parameters", "{}");
    known.predecessor = json::string_member(object, "predecessor");
    known.read_only = in.flag("read_only", false);
    known.role = in.credentials("role", owner_of_role(name, known.binding_id), keys);
    // From before bindings had phases: a binding was written when it was ready.
    known.phase = json::member(object, "phase") == nullptr
                      ? model::binding_phase::ready
                      : in.word("phase", model::binding_phases);
    known.operation_id = json::string_member(object, "operation_id");
    known.polled = in.flag("polled", false);
    known.created_at = in.time_if_any("created_at").value_or(model::wall_time{});
    known.asked_at = in.time_if_any("asked_at").value_or(known.created_at);
    known.expires_at = in.time_if_any("expires_at");
    known.renew_before = in.time_if_any("renew_before");
    known.note = json::string_member(object, "note");
    known.unknown = unknown_in(object, binding_members);
    return known;
  });
}

} // namespace matriarch::store
