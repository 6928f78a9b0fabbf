#include "cell/api.hpp"

#include <openssl/crypto.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <set>
#include <system_error>
#include <utility>

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include "base/base64.hpp"
#include "cell/machine_room.hpp"
#include "cell/wire_names.hpp"
#include "tls/certificate.hpp"

namespace matriarch::cell {

namespace {

/// The prefix of bindings' roles. Only the broker gives such names.
constexpr std::string_view role_of_binding = "binding_";

std::string left_alone_words(const std::string& node_id) {
  return fmt::format(
      "the node {} is here, and this cell cannot read its record: it is left alone; the "
      "cell's log says why",
      node_id);
}

std::int64_t milliseconds_now() {
  return std::chrono::duration_cast<std::chrono::milliseconds>(
             std::chrono::system_clock::now().time_since_epoch())
      .count();
}

http::response answer(int status, std::string_view description = {}, const char* error = nullptr) {
  json::document body;
  body.SetObject();
  if (error)
    json::add(body, "error", error, body);
  if (!description.empty())
    json::add(body, "description", description, body);
  http::response made;
  made.status = status;
  made.body = json::text_of(body);
  return made;
}

/// Such a name needs no quotes in any file.
bool is_role_of_binding(std::string_view name) {
  return name.starts_with(role_of_binding) && std::ranges::all_of(name, [](char c) {
           return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_';
         });
}

/// The broker's claim in a request's headers; the failure is a fault of the client.
result<fencing_claim> claim_of(const http::request& asked) {
  fencing_claim claim;
  if (const auto* scope = asked.header("x-matriarch-scope"))
    claim.scope = *scope;
  if (const auto* fleet = asked.header("x-matriarch-fleet"))
    claim.fleet = *fleet;
  if (const auto* text = asked.header("x-matriarch-revision")) {
    std::int64_t revision = 0;
    const auto* end = text->data() + text->size();
    auto [stopped, error] = std::from_chars(text->data(), end, revision);
    if (error != std::errc{} || stopped != end || revision < 0)
      return failure{"the header X-Matriarch-Revision must be an integer of 0 or more"};
    claim.revision = revision;
  }
  return claim;
}

bool is_health(const http::request& asked) {
  return asked.segments.size() == 1 && asked.segments[0] == "healthz";
}

/// Lets clients without credentials reach /healthz only, before any of a body is read.
http::admission admit(const http::request& asked, const std::string& expected) {
  const auto* given = asked.header("authorization");
  if (given && given->size() == expected.size()
      && CRYPTO_memcmp(given->data(), expected.data(), given->size()) == 0)
    return {std::nullopt, "broker"};
  if (is_health(asked))
    return {};
  auto refused = answer(401, "the cell's user name and password are needed");
  refused.headers.emplace_back("WWW-Authenticate", "Basic realm=\"matriarch cell\"");
  return {std::move(refused), {}};
}

/// Adds a node's address, and the certificate that it certainly shows there. The broker never again
/// connects with less, so a certificate is reported only if the node certainly shows it.
void add_whereabouts(json::value& into, const node& of, json::document& owner) {
  const auto& where = of.what().record.where;
  auto shows = of.shows();
  json::add(into, "host", where.host, owner);
  json::add(into, "port", where.port, owner);
  json::add(into, "api_port", where.api_port, owner);
  json::add(into, "certified", shows.data, owner);
  json::add(into, "api_certified", shows.api, owner);
}

http::response answer_of(const json::document& body, int status = 200) {
  http::response made;
  made.status = status;
  made.body = json::text_of(body);
  return made;
}

} // namespace

api::api(agent& cell, base::event_loop& loop)
    : cell_(cell), loop_(loop),
      expected_authorization_(
          "Basic " + base::to_base64(cell.config().username + ":" + cell.config().password)) {}

http::service api::service() {
  auto serve_if_there =
      life_.guard([this](const http::request& asked, const reply& to) { serve(asked, to); });
  return {[expected = expected_authorization_](const http::request& asked) {
            return admit(asked, expected);
          },
          [serve_if_there, &loop = loop_](http::request asked, http::responder responder) {
            auto to = std::make_shared<http::responder>(std::move(responder));
            loop.post(
                [serve_if_there, to, asked = std::move(asked)] { serve_if_there(asked, to); });
          }};
}

void api::serve(const http::request& asked, const reply& to) {
  using http::method;
  const auto& path = asked.segments;
  if (is_health(asked)) {
    if (asked.verb != method::get && asked.verb != method::head)
      return to->send(answer(405, "healthz can only be read, with GET"));
    return to->send(health());
  }
  if (path.size() == 2 && path[0] == "v2" && path[1] == cell_.engine().name())
    return judge_settings(asked, to);
  if (path.size() < 2 || path.size() > 4 || path[0] != "v2" || path[1] != "service_instances"
      || (path.size() == 4 && path[3] != "key" && path[3] != "certificate" && path[3] != "sessions"
          && path[3] != "halted"))
    return to->send(answer(404, "there is nothing here; see GET /healthz and "
                                "GET /v2/service_instances"));
  if (path.size() == 2) {
    if (asked.verb != method::get)
      return to->send(answer(405, "the list of nodes can only be read, with GET"));
    return to->send(listing());
  }
  if (path.size() == 4) {
    if (asked.verb != method::put)
      return to->send(answer(405, "a node's key, certificate and sessions, and its stop, "
                                  "are requested with PUT"));
    if (path[3] == "sessions")
      return end_sessions(path[2], asked, to);
    if (path[3] == "halted")
      return halt(path[2], asked, to);
    return path[3] == "key" ? make_key(path[2], asked, to) : take_certificate(path[2], asked, to);
  }
  if (asked.verb == method::put)
    return provision(path[2], asked, to);
  if (asked.verb == method::del)
    return deprovision(path[2], asked, to);
  to->send(answer(405, "a node is made with PUT and removed with DELETE"));
}

/// Answers which engine is here, or (PUT) with which plans' settings the engine does not start.
/// Changes nothing.
void api::judge_settings(const http::request& asked, const reply& to) {
  if (asked.verb != http::method::get && asked.verb != http::method::put)
    return to->send(answer(405, fmt::format("{} is looked at with GET, and compared with the "
                                            "settings of plans by PUT",
                                            cell_.engine().title())));
  auto said = [to](const result<std::string>& came) {
    if (!came)
      return to->send(answer(503, came.error()));
    http::response made;
    made.body = *came;
    to->send(std::move(made));
  };
  if (asked.verb == http::method::get)
    return cell_.engine().describe_settings(said);
  if (auto wrong = cell_.engine().judge_settings(asked.body, said))
    to->send(answer(400, *wrong));
}

http::response api::health() const {
  const auto& engine = cell_.engine();
  const auto& config = cell_.config();
  auto refused = engine.ready() == readiness::refused;
  auto can = cell_.driver().can();
  json::document body;
  body.SetObject();
  json::add(body, "status", refused ? "degraded" : "ok", body);
  json::add(body, "guid", config.guid, body);
  json::add(body, "availability_zone", config.availability_zone, body);
  json::add(body, "nodes", static_cast<std::int64_t>(cell_.nodes().size()), body);
  json::add(body, "capacity", static_cast<std::int64_t>(config.capacity), body);
  // The broker shows this text for the cell, so a cell that cannot fence leaders says so in it.
  json::add(body, "fencing", std::string{name_of(can.how)} + (refused ? ", unguarded" : ""), body);
  if (refused)
    json::add(body, "guard", engine.why_refused(), body);
  json::add(body, wire::api_tls, true, body); // earlier agents cannot do it
  json::add(body, wire::halts, true, body);   // nor that
  json::add(body, "isolation", can.isolation, body);
  json::add(body, "full",
            std::ranges::count_if(
                cell_.nodes(),
                [](const auto& one) { return one.second->disk_is() != disk_state::roomy; }),
            body);
  json::value limits{rapidjson::kObjectType};
  json::add(limits, "memory", can.limits.memory, body);
  json::add(limits, "processes", can.limits.processes, body);
  json::add(limits, "cpu", can.limits.cpu, body);
  json::add(limits, "disk", can.limits.disk, body);
  json::add(body, "limits", std::move(limits), body);
  auto has = room_of(cell_.config().data_dir);
  json::add(body, "memory", has.memory, body);
  json::add(body, "disk", has.disk, body);
  if (auto version = engine.version(); !version.empty())
    json::add(body, engine.name(), version, body);
  json::add(body, "etcd", cell_.reaches_etcd() ? "reachable" : "unreachable", body);
  return answer_of(body);
}

http::response api::listing() const {
  json::document body;
  body.SetObject();
  json::value nodes{rapidjson::kArrayType};
  for (const auto& [id, which] : cell_.nodes()) {
    const auto& state = which->what();
    const auto& request = state.record.request;
    json::value entry{rapidjson::kObjectType};
    json::add(entry, "node_id", id, body);
    json::add(entry, "scope", request.scope, body);
    json::add(entry, "service_id", request.service_id, body);
    json::add(entry, "plan_id", request.plan_id, body);
    json::add(entry, "state", which->word(), body);
    json::add(entry, "certificate", state.certificate.empty() ? "none" : state.certificate, body);
    json::add(entry, wire::api_tls, state.record.api_tls, body);
    json::value disk{rapidjson::kObjectType};
    json::add(disk, "state", word_for(which->disk_is()), body);
    json::add(disk, "used", which->disk().used, body);
    json::add(disk, "limit", request.limits.disk, body);
    json::add(entry, "disk", std::move(disk), body);
    add_whereabouts(entry, *which, body);
    nodes.PushBack(entry, body.GetAllocator());
  }
  json::add(body, "nodes", std::move(nodes), body);
  return answer_of(body);
}

http::response api::whereabouts(int status, const node& of) {
  json::document body;
  body.SetObject();
  add_whereabouts(body, of, body);
  return answer_of(body, status);
}

http::response api::full() const {
  return answer(422,
                fmt::format("the cell {} is full: it has {} nodes and a capacity of {}",
                            cell_.config().guid, cell_.nodes().size(), cell_.config().capacity),
                "CapacityExceeded");
}

http::response api::no_address_left() const {
  return answer(422,
                fmt::format("the cell {} has no address left: it has {} nodes and {} addresses, of "
                            "which others may hold some",
                            cell_.config().guid, cell_.nodes().size(),
                            cell_.config().endpoints.size()),
                "CapacityExceeded");
}

void api::provision(const std::string& node_id, const http::request& asked, const reply& to) {
  if (!is_node_id(node_id))
    return to->send(
        answer(400, fmt::format("a node's id is 1 to {} letters, digits, '_', '-', '.' or "
                                "'~', and does not start with a dot",
                                longest_node_id)));
  auto claim = claim_of(asked);
  if (!claim)
    return to->send(answer(400, claim.error()));
  auto wanted = parse_node_request(node_id, asked.body, cell_.engine().rules());
  if (!wanted)
    return to->send(answer(400, wanted.error()));
  if (!claim->scope.empty() && claim->scope != wanted->scope)
    return to->send(
        answer(400, fmt::format("the header X-Matriarch-Scope is not the body's {}", wire::scope)));
  claim->scope = wanted->scope;
  if (auto refusal = cell_.memory().refusal_of(*claim))
    return to->send(answer(412, *refusal, "StaleRequest"));
  if (cell_.memory().buried(node_id))
    return to->send(answer(410, fmt::format("the node {} was removed from this cell; node ids are "
                                            "used once",
                                            node_id)));
  if (cell_.leaves_alone(node_id))
    return to->send(answer(409, left_alone_words(node_id)));
  if (auto known = cell_.find(node_id))
    return provision_again(known, *wanted, *claim, to);
  if (cell_.engine().ready() == readiness::unknown)
    return cell_.engine().when_known(
        life_.guard([this, node_id, asked, to] { provision(node_id, asked, to); }));
  if (cell_.engine().ready() == readiness::refused)
    return to->send(answer(422,
                           fmt::format("the cell {} starts no nodes: {}", cell_.config().guid,
                                       cell_.engine().why_refused()),
                           "Unguarded"));
  if (cell_.nodes().size() >= cell_.config().capacity)
    return to->send(full());
  auto key = cell_.keys().take(node_id);
  auto where = key ? std::optional{key->where} : cell_.free_endpoint();
  if (!where)
    return to->send(no_address_left());

  cell_.memory().note(*claim);
  cell_.memory().occupy(*where);
  if (auto error = cell_.save_memory())
    return to->send(answer(500, *error));
  auto made = cell_.add(*std::move(wanted), *where, key);
  to->send(made ? whereabouts(201, **made) : answer(500, made.error()));
}

void api::provision_again(const node_ptr& known, const node_request& wanted,
                          const fencing_claim& claim, const reply& to) {
  const auto& request = known->what().record.request;
  if (wanted.scope != request.scope || wanted.plan_id != request.plan_id
      || wanted.service_id != request.service_id)
    return to->send(
        answer(409, fmt::format("the node {} is here already, with another scope or plan",
                                request.node_id)));
  if (cell_.memory().note(claim))
    if (auto error = cell_.save_memory())
      return to->send(answer(500, *error));
  if (auto why_not = known->resume())
    return to->send(answer(503, fmt::format("the node {} does not run again yet: {}; ask again",
                                            known->id(), *why_not)));
  known->launch_now();
  to->send(whereabouts(200, *known));
}

void api::deprovision(const std::string& node_id, const http::request& asked, const reply& to) {
  if (!is_node_id(node_id))
    return to->send(answer(410, "there can be no node of that id"));
  // A cell's API is that of a service broker, and a removal destroys data: the request must name what
  // it removes.
  for (const char* name : {"service_id", "plan_id"})
    if (const auto* given = asked.query_value(name); given == nullptr || given->empty())
      return to->send(answer(400, fmt::format("{} is missing in the query", name)));
  auto claim = claim_of(asked);
  if (!claim)
    return to->send(answer(400, claim.error()));
  auto known = cell_.find(node_id);
  if (known) {
    const auto& scope = known->what().record.request.scope;
    if (!claim->scope.empty() && claim->scope != scope)
      return to->send(answer(400, fmt::format("the node {} belongs to the scope {}, not to {}",
                                              node_id, scope, claim->scope)));
    claim->scope = scope;
  }
  if (auto refusal = cell_.memory().refusal_of(*claim))
    return to->send(answer(412, *refusal, "StaleRequest"));
  bool changed = cell_.memory().note(*claim);
  if (!cell_.memory().buried(node_id)) {
    auto now = milliseconds_now();
    cell_.memory().forget_old(now, cell_.scopes());
    cell_.memory().bury(node_id, now);
    if (known)
      cell_.memory().rest(known->what().record.where, now);
    changed = true;
  }
  if (changed)
    if (auto error = cell_.save_memory())
      return to->send(answer(500, *error));
  if (cell_.leaves_alone(node_id))
    return to->send(answer(500, left_alone_words(node_id)));
  if (!known)
    return to->send(answer(410, fmt::format("there is no node {} here", node_id)));
  known->remove([to, node_id](const std::optional<std::string>& not_yet) {
    to->send(!not_yet ? answer(200)
                      : answer(503, fmt::format("the node {} is not gone yet: {}; the removal goes "
                                                "on, ask again",
                                                node_id, *not_yet)));
  });
}

/// The node that a request is about, with its scope in the claim; nullptr if the request is refused,
/// which it has been told then.
api::node_ptr api::node_claimed(const std::string& node_id, fencing_claim& claim,
                                const reply& to) const {
  auto which = cell_.find(node_id);
  if (!which) {
    to->send(answer(410, fmt::format("there is no node {} here", node_id)));
    return nullptr;
  }
  const auto& scope = which->what().record.request.scope;
  if (!claim.scope.empty() && claim.scope != scope) {
    to->send(answer(
        400, fmt::format("the node {} belongs to {}, not to {}", node_id, scope, claim.scope)));
    return nullptr;
  }
  claim.scope = scope;
  if (auto refusal = cell_.memory().refusal_of(claim)) {
    to->send(answer(412, *refusal, "StaleRequest"));
    return nullptr;
  }
  return which;
}

/// Stops a node until it is asked for again, and answers how far its data is.
void api::halt(const std::string& node_id, const http::request& asked, const reply& to) {
  auto claim = claim_of(asked);
  if (!claim)
    return to->send(answer(400, claim.error()));
  auto which = node_claimed(node_id, *claim, to);
  if (!which)
    return;
  if (cell_.memory().note(*claim))
    if (auto error = cell_.save_memory())
      return to->send(answer(500, *error));
  which->halt([to, node_id](const result<model::data_at_stop>& data) {
    if (!data)
      return to->send(answer(
          503, fmt::format("the node {} has not stopped: {}; ask again", node_id, data.error())));
    json::document body;
    body.SetObject();
    json::add(body, "halted", true, body);
    json::add(body, "position", data->position, body);
    json::add(body, "history", data->history, body);
    json::add(body, "led", data->led, body);
    to->send(answer_of(body));
  });
}

/// For roles that may no longer log in, while a node does not know that, or while nobody can log in
/// to end their sessions. New sessions of these roles are ended too for a while: until the broker
/// can log in, or asks again.
void api::end_sessions(const std::string& node_id, const http::request& asked, const reply& to) {
  auto claim = claim_of(asked);
  if (!claim)
    return to->send(answer(400, claim.error()));
  auto body = json::parse(asked.body);
  const auto* listed = body ? json::member(*body, "roles") : nullptr;
  if (listed == nullptr || !listed->IsArray() || listed->Empty())
    return to->send(answer(400, "the body needs roles, an array of names"));
  std::set<std::string> roles;
  for (const auto& one : listed->GetArray()) {
    if (!one.IsString()
        || !is_role_of_binding(std::string_view{one.GetString(), one.GetStringLength()}))
      return to->send(answer(
          400, fmt::format("roles has a name that is no binding's: each begins with {} and has "
                           "small letters, digits and underscores",
                           role_of_binding)));
    roles.emplace(one.GetString(), one.GetStringLength());
  }
  auto which = node_claimed(node_id, *claim, to);
  if (!which)
    return;
  auto error = which->keep_out(std::move(roles));
  to->send(error ? answer(500, *error) : answer(200));
}

/// The refusal of a request about a node's certificate, if it is refused.
std::optional<http::response> api::refuse_certificate(const std::string& node_id,
                                                      const http::request& asked) const {
  if (!is_node_id(node_id))
    return answer(400, "there can be no node of that id");
  auto claim = claim_of(asked);
  if (!claim)
    return answer(400, claim.error());
  if (auto refusal = cell_.memory().refusal_of(*claim))
    return answer(412, *refusal, "StaleRequest");
  if (cell_.memory().buried(node_id))
    return answer(410, fmt::format("the node {} was removed from this cell", node_id));
  return std::nullopt;
}

/// Makes a key for a node, which may not exist yet: its address is decided with the key, for the
/// certificate names it. Starts nothing; a key that is not used is forgotten.
void api::make_key(const std::string& node_id, const http::request& asked, const reply& to) {
  if (auto refused = refuse_certificate(node_id, asked))
    return to->send(*std::move(refused));
  auto now = node_keys::clock::now();
  auto& keys = cell_.keys();
  keys.forget_old(now);
  keys.forget(node_id);
  auto known = cell_.find(node_id);
  if (!known && cell_.nodes().size() + keys.size() >= cell_.config().capacity)
    return to->send(full());
  auto where = known ? std::optional{known->what().record.where} : cell_.free_endpoint();
  if (!where)
    return to->send(no_address_left());
  auto request = keys.make(node_id, *where, now);
  if (!request)
    return to->send(answer(500, request.error()));
  json::document body;
  body.SetObject();
  json::add(body, "certificate_request", *request, body);
  json::add(body, "host", where->host, body);
  to->send(answer_of(body));
}

void api::take_certificate(const std::string& node_id, const http::request& asked,
                           const reply& to) {
  if (auto refused = refuse_certificate(node_id, asked))
    return to->send(*std::move(refused));
  auto* waiting = cell_.keys().find(node_id);
  if (!waiting)
    return to->send(answer(409, fmt::format("no key of the node {} waits for a certificate; have "
                                            "one made first, with PUT …/key",
                                            node_id)));
  auto body = json::parse(asked.body);
  auto certificate = body ? json::string_member(*body, "certificate") : std::string{};
  auto authorities = body ? json::string_member(*body, "authorities") : std::string{};
  if (!tls::belong_together({waiting->key, certificate}))
    return to->send(answer(400, "the body needs a certificate, in PEM, of the key that was made "
                                "here last for this node"));
  waiting->certificate = std::move(certificate);
  waiting->authorities = std::move(authorities);
  const auto* api_too = json::member(*body, wire::api_tls);
  waiting->api_tls = api_too != nullptr && api_too->IsBool() && api_too->GetBool();
  auto known = cell_.find(node_id);
  if (!known)
    return to->send(answer(200)); // the node does not exist yet
  auto error = known->renew(*cell_.keys().take(node_id));
  to->send(error ? answer(500, *error) : answer(200));
}

} // namespace matriarch::cell
