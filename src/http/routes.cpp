#include "http/routes.hpp"

#include <openssl/crypto.h>
#include <openssl/evp.h>

#include <algorithm>

#include "http/admin.hpp"
#include "http/osb.hpp"
#include "model/json.hpp"
#include "model/names.hpp"

namespace matriarch::http {

namespace {

using namespace std::chrono_literals;

// A caller who cannot poll waits for the end of an operation for so long; platforms give up after
// 60 s.
constexpr std::chrono::milliseconds synchronous_patience = 50s;

std::string base64(const std::string& text) {
  std::string encoded(4 * ((text.size() + 2) / 3) + 1, '\0');
  int size = EVP_EncodeBlock(reinterpret_cast<unsigned char*>(encoded.data()),
                             reinterpret_cast<const unsigned char*>(text.data()),
                             static_cast<int>(text.size()));
  encoded.resize(static_cast<std::size_t>(size));
  return encoded;
}

/// In constant time for texts of one length.
bool same_secret(std::string_view a, std::string_view b) {
  return a.size() == b.size() && CRYPTO_memcmp(a.data(), b.data(), a.size()) == 0;
}

/// `2.0` to `2.99…`: minor versions only add.
bool supported_version(const std::string& version) {
  if (!version.starts_with("2.") || version.size() < 3)
    return false;
  return std::all_of(version.begin() + 2, version.end(),
                     [](char c) { return c >= '0' && c <= '9'; });
}

/// Whether the segments are these; `*` stands for any.
bool matches(const request& got, std::initializer_list<std::string_view> pattern) {
  return std::equal(got.segments.begin(), got.segments.end(), pattern.begin(), pattern.end(),
                    [](const std::string& segment, std::string_view wanted) {
                      return wanted == "*" ? !segment.empty() : segment == wanted;
                    });
}

class routes : public std::enable_shared_from_this<routes> {
public:
  routes(route_settings settings, backend behind)
      : settings_(std::move(settings)), behind_(std::move(behind)),
        authorization_(base64(settings_.username + ":" + settings_.password)) {}

  void serve(request got, responder to) const {
    if (const auto* identity = got.header("x-broker-api-request-identity"))
      echo_identity(*identity, to);
    if (matches(got, {"healthz"}))
      return got.verb == method::get ? to.send(health()) : wrong_method(to, "GET");
    if (auto refused = refuse_access(got))
      return to.send(std::move(*refused));
    if (matches(got, {"v2", "catalog"}))
      return got.verb == method::get ? to.send(osb::catalog(settings_.catalog, cells()->size()))
                                     : wrong_method(to, "GET");
    if (matches(got, {"v2", "service_instances", "*"}))
      return instance(got, got.segments[2], std::move(to));
    if (matches(got, {"v2", "service_instances", "*", "last_operation"}))
      return got.verb == method::get ? last_operation(got.segments[2], std::move(to))
                                     : wrong_method(to, "GET");
    if (matches(got, {"v2", "service_instances", "*", "service_bindings", "*"}))
      return binding(got, got.segments[2], got.segments[4], std::move(to));
    if (matches(got, {"v2", "service_instances", "*", "service_bindings", "*", "last_operation"}))
      return got.verb == method::get
                 ? binding_last_operation(got.segments[2], got.segments[4], std::move(to))
                 : wrong_method(to, "GET");
    if (!got.segments.empty() && got.segments[0] == "admin")
      return admin(got, std::move(to));
    to.send(osb::error(404, "there is nothing at this path; the API begins with /v2/catalog"));
  }

private:
  using cell_table = model::cell_table;

  [[nodiscard]] cell_table cells() const { return behind_.cells(); }

  /// Every answer to this request carries the identity it came with (OSB, "Request Identity").
  static void echo_identity(const std::string& identity, responder& to) {
    to.add_header("X-Broker-API-Request-Identity", identity);
  }

  static void wrong_method(responder& to, const std::string& allowed) {
    auto answer = osb::error(405, "this path takes " + allowed + " only");
    answer.headers.emplace_back("Allow", allowed);
    to.send(std::move(answer));
  }

  // -- access -------------------------------------------------------------------------------------

  [[nodiscard]] std::optional<response> refuse_access(const request& got) const {
    if (!authorized(got)) {
      auto answer = osb::error(401, "the user name or the password is wrong; send them by basic "
                                    "authentication");
      answer.headers.emplace_back("WWW-Authenticate", "Basic realm=\"matriarch\"");
      return answer;
    }
    if (got.segments.empty() || got.segments[0] != "v2")
      return std::nullopt;
    const auto* version = got.header("x-broker-api-version");
    if (version == nullptr && !settings_.strict)
      return std::nullopt;
    if (version == nullptr)
      return osb::error(412, "the header X-Broker-API-Version is missing; send 2.17");
    if (!supported_version(*version))
      return osb::error(412, "X-Broker-API-Version " + *version
                                 + " is not supported; this broker speaks 2.17");
    return std::nullopt;
  }

  [[nodiscard]] bool authorized(const request& got) const {
    const auto* sent = got.header("authorization");
    if (sent == nullptr)
      return false;
    constexpr std::string_view scheme = "basic ";
    bool basic = sent->size() > scheme.size()
                 && std::equal(scheme.begin(), scheme.end(), sent->begin(), [](char a, char b) {
                      return a == (b >= 'A' && b <= 'Z' ? b - 'A' + 'a' : b);
                    });
    return basic && same_secret(std::string_view{*sent}.substr(scheme.size()), authorization_);
  }

  // -- reading ------------------------------------------------------------------------------------

  [[nodiscard]] response health() const {
    auto now = behind_.health();
    json::document body;
    body.SetObject();
    bool well = now.etcd_reachable && now.loaded;
    json::add(body, "status", well ? "ok" : "degraded", body);
    json::add(body, "etcd", now.etcd_reachable ? "reachable" : "unreachable", body);
    json::add(body, "active", now.active, body);
    json::add(body, "instances_loaded", now.loaded, body);
    json::value lost{rapidjson::kArrayType};
    for (const auto& cell : *cells())
      if (!cell.reachable)
        lost.PushBack(json::string(cell.guid, body), body.GetAllocator());
    json::add(body, "unreachable_cells", std::move(lost), body);
    return {200, json::text_of(body), {}};
  }

  /// The newest snapshot of an instance, or nullptr.
  [[nodiscard]] model::snapshot_ptr find(const std::string& id) const {
    return behind_.find(model::name_of(id));
  }

  /// Answers with `read` of the instance: from its snapshot, or after etcd was asked whether it
  /// exists. `after_removal` is the status for one that did.
  void with_instance(const std::string& id, responder to,
                     std::function<response(const model::instance_snapshot&)> read,
                     int after_removal = 404) const {
    if (auto known = find(id))
      return to.send(read(*known));
    auto later = std::make_shared<responder>(std::move(to));
    behind_.ask(model::lookup_request{id}, model::request_patience,
                [later, read = std::move(read), after_removal](const model::verdict& said) {
                  if (said.is == model::verdict_kind::done && said.instance)
                    return later->send(read(*said.instance));
                  if (said.is == model::verdict_kind::gone)
                    return later->send(osb::error(after_removal, said.description));
                  later->send(osb::refusal(said));
                });
  }

  void last_operation(const std::string& id, responder to) const {
    with_instance(id, std::move(to), osb::last_operation, 410);
  }

  void fetch_binding(const std::string& id, const std::string& binding_id, responder to) const {
    with_instance(id, std::move(to),
                  [binding_id, host = settings_.advertise_host](const auto& known) {
                    auto found = known.bindings.find(binding_id);
                    return found == known.bindings.end()
                               ? osb::error(404, "there is no binding " + model::quoted(binding_id))
                               : osb::binding(200, known, found->second, host);
                  });
  }

  void binding_last_operation(const std::string& id, const std::string& binding_id,
                              responder to) const {
    with_instance(id, std::move(to), [binding_id](const auto& known) {
      if (!known.bindings.contains(binding_id))
        return osb::error(404, "there is no binding " + model::quoted(binding_id));
      return response{200, R"({"state":"succeeded","description":"the binding exists"})", {}};
    });
  }

  // -- writing ------------------------------------------------------------------------------------

  /// What the current cells and the catalog allow; `holds` keeps the cells while a request is
  /// parsed.
  template <class Parse, class Then>
  void parse(responder to, Parse read, Then then) const {
    auto table = cells();
    auto checked = read(osb::rules{settings_.catalog, *table, settings_.strict});
    if (auto* wrong = std::get_if<response>(&checked))
      to.send(std::move(*wrong));
    else
      then(std::move(std::get<0>(checked)), std::make_shared<responder>(std::move(to)));
  }

  void instance(const request& got, const std::string& id, responder to) const {
    switch (got.verb) {
    case method::get:
      return with_instance(id, std::move(to), osb::instance);
    case method::put:
      return parse(
          std::move(to), [&](const auto& by) { return osb::provision(got, id, by); },
          [this](auto read, auto later) { start(std::move(read), 201, later); });
    case method::patch:
      return parse(
          std::move(to), [&](const auto& by) { return osb::update(got, id, by); },
          [this](auto read, auto later) { start(std::move(read), 200, later); });
    case method::del:
      return parse(
          std::move(to), [&](const auto& by) { return osb::deprovision(got, id, by); },
          [this](auto read, auto later) { start(std::move(read), 200, later); });
    default:
      return wrong_method(to, "GET, PUT, PATCH, DELETE");
    }
  }

  void binding(const request& got, const std::string& id, const std::string& binding_id,
               responder to) const {
    switch (got.verb) {
    case method::get:
      return fetch_binding(id, binding_id, std::move(to));
    case method::put:
      return parse(
          std::move(to), [&](const auto& by) { return osb::bind(got, id, binding_id, by); },
          [this](auto read, auto later) { bind(std::move(read.asked), later); });
    case method::del:
      return parse(
          std::move(to), [&](const auto& by) { return osb::unbind(got, id, binding_id, by); },
          [this](auto read, auto later) { unbind(std::move(read.asked), later); });
    default:
      return wrong_method(to, "GET, PUT, DELETE");
    }
  }

  using later = std::shared_ptr<responder>;

  /// A change that takes time: 202 at once, or the outcome once it is there. `on_success` is the
  /// status of a synchronous success.
  template <class Request>
  void start(osb::parsed<Request> read, int on_success, later to) const {
    bool wait = !read.accepts_incomplete;
    constexpr bool removal = std::is_same_v<Request, model::deprovision_request>;
    auto id = read.asked.instance_id;
    behind_.ask(std::move(read.asked), model::request_patience,
                [self = shared_from_this(), id, wait, on_success, to](const model::verdict& said) {
                  if (said.is == model::verdict_kind::done)
                    return to->send({200, "{}", {}});
                  // That it is not there is what a removal wants; 404 has no place in its answers.
                  if (removal && said.is == model::verdict_kind::not_found)
                    return to->send(osb::error(410, said.description));
                  if (said.is != model::verdict_kind::accepted)
                    return to->send(osb::refusal(said));
                  if (!wait)
                    return to->send(osb::accepted(said.operation_id));
                  self->wait_for_end(id, said.operation_id, on_success, to);
                });
  }

  void wait_for_end(const std::string& id, const std::string& operation_id, int on_success,
                    later to) const {
    behind_.ask(model::await_request{id, operation_id}, synchronous_patience,
                [operation_id, on_success, to](const model::verdict& said) {
                  if (said.is == model::verdict_kind::gone)
                    return to->send({on_success, "{}", {}});
                  if (said.is != model::verdict_kind::done || !said.instance)
                    return to->send(osb::accepted(operation_id));
                  const auto& op = said.instance->known.current;
                  if (op.id != operation_id)
                    return to->send(osb::error(500, "another request superseded this one"));
                  if (op.state == model::operation_state::failed)
                    return to->send(osb::error(500, op.description));
                  to->send({on_success, "{}", {}});
                });
  }

  void bind(model::bind_request asked, later to) const {
    auto wanted = asked.wanted;
    behind_.ask(std::move(asked), model::request_patience,
                [to, wanted, host = settings_.advertise_host](const model::verdict& said) {
                  bool created = said.is == model::verdict_kind::created;
                  if (!created && said.is != model::verdict_kind::done)
                    return to->send(osb::refusal(said));
                  to->send(osb::binding(created ? 201 : 200, *said.instance, wanted, host));
                });
  }

  void unbind(model::unbind_request asked, later to) const {
    behind_.ask(std::move(asked), model::request_patience, [to](const model::verdict& said) {
      if (said.is == model::verdict_kind::done)
        return to->send({200, "{}", {}});
      if (said.is == model::verdict_kind::not_found)
        return to->send(osb::error(410, said.description));
      to->send(osb::refusal(said));
    });
  }

  // -- the operator's -----------------------------------------------------------------------------

  void admin(const request& got, responder to) const {
    if (matches(got, {"admin", "cells"}))
      return got.verb == method::get ? to.send(admin::cells(*cells())) : wrong_method(to, "GET");
    if (matches(got, {"admin", "cells", "*", "demote"}))
      return got.verb == method::post ? demote(got.segments[2], std::move(to))
                                      : wrong_method(to, "POST");
    if (matches(got, {"admin", "service_instances"}))
      return got.verb == method::get ? to.send(admin::instances(behind_.all()))
                                     : wrong_method(to, "GET");
    if (matches(got, {"admin", "service_instances", "*"}))
      return got.verb == method::get
                 ? with_instance(got.segments[2], std::move(to), admin::instance)
                 : wrong_method(to, "GET");
    to.send(osb::error(404, "there is nothing at this path; see /admin/cells and "
                            "/admin/service_instances"));
  }

  void demote(const std::string& cell, responder to) const {
    auto later = std::make_shared<responder>(std::move(to));
    behind_.demote(model::demote_request{cell}, [later, cell](const model::demote_report& report) {
      later->send(admin::demoted(cell, report));
    });
  }

  route_settings settings_;
  backend behind_;
  std::string authorization_;
};

} // namespace

handler make_routes(route_settings settings, backend behind) {
  auto all = std::make_shared<const routes>(std::move(settings), std::move(behind));
  return [all](request got, responder to) { all->serve(std::move(got), std::move(to)); };
}

} // namespace matriarch::http
