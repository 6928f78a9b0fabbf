#include "http/routes.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <mutex>
#include <set>
#include <unordered_set>

#include "base/json.hpp"
#include "base/utf8.hpp"
#include "http/admin.hpp"
#include "http/catalog_page.hpp"
#include "http/forwarded.hpp"
#include "http/originating_identity.hpp"
#include "http/osb_answers.hpp"
#include "http/osb_bindings.hpp"
#include "http/osb_requests.hpp"
#include "http/tenant_text.hpp"
#include "model/names.hpp"

namespace matriarch::http {

namespace {

using namespace std::chrono_literals;

// A caller who cannot poll waits for the end of an operation for so long; platforms give up after
// 60 s.
constexpr std::chrono::milliseconds synchronous_patience = 50s;

// The same for a binding, which the instance's actor gives up after 25 s by itself.
constexpr std::chrono::milliseconds binding_patience = 28s;
// Descriptions of all sorts of trouble; what is well has few.
constexpr std::size_t most_looked_through = 1'000;
// Credentials and parameters are longer, and never the same twice.
constexpr std::size_t longest_looked_through = 512;
// Of polls, by each thread. Each keeps what it was made of, some kilobytes.
constexpr std::size_t answers_remembered = 256;
// How much of a wrong header an error repeats.
constexpr std::size_t longest_shown = 100;
// Every answer to a request carries the identity it came with (OSB, "Request Identity").
constexpr const char* identity_header = "x-broker-api-request-identity";
constexpr const char* identity_name = "X-Broker-API-Request-Identity";

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

bool is_utf8_throughout(const request& got) {
  return std::ranges::all_of(got.segments, is_utf8)
         && std::ranges::all_of(got.query, [](const auto& pair) { return is_utf8(pair.second); });
}

class routes : public std::enable_shared_from_this<routes> {
public:
  routes(route_settings settings, backend behind)
      : settings_(std::move(settings)), behind_(std::move(behind)), platform_(settings_.platform),
        admin_(settings_.admin.empty() ? settings_.platform : settings_.admin),
        pages_(settings_.catalog) {}

  /// What strangers are refused costs them more than it costs here: nothing is read of a body, and
  /// few of them get a line in the trail.
  admission admit(const request& got) {
    if (is_open(got))
      return {};
    auto since = std::chrono::steady_clock::now();
    auto who = read_authorization(got);
    if (auto user = user_of(got, who))
      return {std::nullopt, std::move(*user)};
    auto answer = no_access();
    if (auto left_out = may_be_written(since))
      settings_.audit(
          audit_line({std::make_shared<const request>(got), who.username, refused_access, since,
                      client_of(got)},
                     answer, std::chrono::floor<model::duration>(std::chrono::system_clock::now()),
                     *left_out));
    return {std::move(answer), {}};
  }

  void serve(request arrived, responder to_sender) {
    auto since = std::chrono::steady_clock::now();
    auto whole = std::make_shared<const request>(std::move(arrived));
    const auto& got = *whole;
    reply to{std::move(to_sender)};
    if (const auto* identity = got.header(identity_header))
      to.add_header(identity_name, *identity);
    if (is_open(got))
      return got.verb == method::get ? to.send(health(got)) : wrong_method(to, "GET");
    if (got.user.empty())
      return to.send(no_access());
    if (auto action = action_of(got); !action.empty())
      to.audit({whole, got.user, action, since, client_of(got)}, settings_.audit);
    if (auto wrong = refuse_head(got))
      return to.send(std::move(*wrong));
    if (auto again = answered_before(got))
      return to.send(std::move(*again));
    if (is_for_tenants(got))
      to.reword([self = shared_from_this(), whole](std::string body) {
        return self->for_tenants(*whole, std::move(body));
      });
    route(got, std::move(to));
  }

private:
  using cell_table = model::cell_table;

  /// Answers that say nothing of addresses, as long as the cells are these. Platforms poll each of their
  /// instances, and most say the same.
  struct looked_through {
    cell_table cells;
    std::unordered_set<std::string> harmless;
  };

  /// What a poll of an instance is answered, as it is sent.
  struct poll_answer {
    model::snapshot_ptr of;
    cell_table cells; ///< that it is worded by
    response said;
  };

  /// The answer to a poll, made once as long as nothing changes: platforms ask this most. Each of the
  /// server's threads remembers some; another instance in the same place costs what it did before.
  [[nodiscard]] std::optional<response> answered_before(const request& got) const {
    if (got.verb != method::get
        || !matches(got, {"v2", "service_instances", "*", "last_operation"}))
      return std::nullopt;
    auto known = find(got.segments[2]);
    if (!known)
      return std::nullopt;
    thread_local std::array<poll_answer, answers_remembered> remembered;
    auto& here = remembered[std::hash<const void*>{}(known.get()) / alignof(std::max_align_t)
                            % answers_remembered];
    auto by = cells();
    if (here.of != known || here.cells != by) {
      here = {known, by, osb::last_operation(*known)};
      here.said.body = for_tenants(got, std::move(here.said.body));
    }
    return here.said;
  }

  void route(const request& got, reply to) {
    if (matches(got, {"v2", "catalog"}))
      return got.verb == method::get ? to.send(pages_.page(cells()->size())->answer(got))
                                     : wrong_method(to, "GET");
    if (matches(got, {"v2", "service_instances", "*"}))
      return instance(got, got.segments[2], std::move(to));
    if (matches(got, {"v2", "service_instances", "*", "last_operation"}))
      return got.verb == method::get ? last_operation(got, std::move(to)) : wrong_method(to, "GET");
    if (matches(got, {"v2", "service_instances", "*", "service_bindings", "*"}))
      return binding(got, got.segments[2], got.segments[4], std::move(to));
    if (matches(got, {"v2", "service_instances", "*", "service_bindings", "*", "last_operation"}))
      return got.verb == method::get ? binding_last_operation(got, std::move(to))
                                     : wrong_method(to, "GET");
    if (!got.segments.empty() && got.segments[0] == "admin")
      return admin(got, std::move(to));
    to.send(osb::error(404, "there is nothing at this path; the API begins with /v2/catalog"));
  }

  [[nodiscard]] cell_table cells() const { return behind_.cells(); }

  /// Whether users of the platform read the answer. What the catalog describes is the operator's own
  /// choice of words.
  static bool is_for_tenants(const request& got) {
    return got.segments.size() > 1 && got.segments[0] == "v2" && got.segments[1] != "catalog";
  }

  [[nodiscard]] bool is_harmless(const std::string& body, const cell_table& now) const {
    std::lock_guard lock{looking_};
    return looked_through_.cells == now && looked_through_.harmless.contains(body);
  }

  void note_harmless(const std::string& body, const cell_table& now) const {
    std::lock_guard lock{looking_};
    if (looked_through_.cells != now || looked_through_.harmless.size() == most_looked_through)
      looked_through_ = {now, {}};
    looked_through_.harmless.insert(body);
  }

  /// An answer whose description says nothing of where the platform's parts are, whoever's words it
  /// repeats. This is the one place that all such answers pass; the log, the audit trail and the
  /// operator's answers say more.
  [[nodiscard]] std::string for_tenants(const request& asked, std::string body) const {
    if (body.find(R"("description":)") == std::string::npos)
      return body;
    auto known_cells = cells();
    if (is_harmless(body, known_cells))
      return body;
    auto parsed = json::parse(body);
    if (!parsed.ok() || !parsed->IsObject())
      return body;
    auto said = parsed->FindMember("description");
    if (said == parsed->MemberEnd() || !said->value.IsString())
      return body;
    host_names names;
    names.internal.assign(settings_.internal_hosts.begin(), settings_.internal_hosts.end());
    for (const auto& cell : *known_cells) {
      names.internal.push_back(host_in(cell.uri));
      names.shown.emplace_back(cell.guid);
    }
    std::string_view text{said->value.GetString(), said->value.GetStringLength()};
    if (without_addresses(text, names) == text) {
      if (body.size() <= longest_looked_through)
        note_harmless(body, known_cells);
      return body;
    }
    // What the sender has named itself may be repeated.
    names.shown.insert(names.shown.end(), asked.segments.begin(), asked.segments.end());
    auto shown = without_addresses(text, names);
    if (shown == text)
      return body;
    said->value = json::string(shown, *parsed);
    return json::text_of(*parsed);
  }

  static void wrong_method(reply& to, const std::string& allowed) {
    auto answer = osb::error(405, "this path takes " + allowed + " only");
    answer.headers.emplace_back("Allow", allowed);
    to.send(std::move(answer));
  }

  // -- access -------------------------------------------------------------------------------------

  /// Where a request came from through proxies that are trusted; empty if through none.
  [[nodiscard]] std::string client_of(const request& got) const {
    if (got.header("x-forwarded-for") == nullptr)
      return {};
    return forwarded_client(got, [this](const model::ip_address& proxy) {
      if (settings_.trusted_proxies)
        return std::ranges::any_of(*settings_.trusted_proxies,
                                   [&](const auto& range) { return range.contains(proxy); });
      return is_own_router(proxy);
    });
  }

  /// Whether a router of the fleet lives at that address. On a loopback one only of this machine: it
  /// is everybody's.
  [[nodiscard]] bool is_own_router(const model::ip_address& proxy) const {
    auto known = behind_.routers();
    return std::ranges::any_of(known->living, [&](const auto& one) {
      const auto& said = one.second.said;
      return (!proxy.is_loopback() || said.host == settings_.machine)
             && std::ranges::find(said.addresses, proxy.text()) != said.addresses.end();
    });
  }

  /// Whether strangers may ask this.
  static bool is_open(const request& got) { return matches(got, {"healthz"}); }

  /// Whether a line about a refusal may go into the trail now, and how many could not before.
  std::optional<std::uint64_t> may_be_written(line_limiter::time_point now) {
    if (!settings_.audit)
      return std::nullopt;
    std::lock_guard guard{refusals_mutex_};
    return refusals_.admit(now);
  }

  /// Whose credentials these are, if they are good for that path.
  [[nodiscard]] std::optional<std::string> user_of(const request& got,
                                                   const authorization& who) const {
    if (got.segments.empty() || got.segments[0] == "v2")
      return platform_.admit(who);
    if (got.segments[0] == "admin")
      return admin_.admit(who);
    auto as_platform = platform_.admit(who);
    return as_platform ? as_platform : admin_.admit(who);
  }

  [[nodiscard]] response no_access() const {
    auto answer = osb::error(401, settings_.admin.empty()
                                      ? "the user name, the password or the token is wrong"
                                      : "the user name, the password or the token is wrong, or not "
                                        "for this path: /v2 takes the platform's credentials, "
                                        "/admin the operator's");
    answer.headers.emplace_back("WWW-Authenticate", "Basic realm=\"matriarch\"");
    if (!settings_.platform.tokens.empty() || !settings_.admin.tokens.empty())
      answer.headers.emplace_back("WWW-Authenticate", "Bearer realm=\"matriarch\"");
    return answer;
  }

  /// What is wrong with a request whatever its path.
  [[nodiscard]] std::optional<response> refuse_head(const request& got) const {
    if (!is_utf8_throughout(got))
      return osb::error(400, "the path and the query have to be UTF-8, percent-encoded");
    if (got.segments.empty() || got.segments[0] != "v2")
      return std::nullopt;
    const auto* version = got.header("x-broker-api-version");
    if (version == nullptr && !settings_.strict)
      return std::nullopt;
    if (version == nullptr)
      return osb::error(412, "the header X-Broker-API-Version is missing; send 2.17");
    if (!supported_version(*version))
      return osb::error(412, "X-Broker-API-Version " + legible(*version, longest_shown)
                                 + " is not supported; this broker speaks 2.17");
    return std::nullopt;
  }

  // -- reading ------------------------------------------------------------------------------------

  /// 503 only where there is nothing to serve: a broker that has lost etcd still answers reads. With
  /// `?active` also where this broker is not the one that acts, for a balancer that looks at the
  /// status alone.
  [[nodiscard]] response health(const request& got) const {
    auto now = behind_.health();
    json::document body;
    body.SetObject();
    auto routers = behind_.routers();
    bool well = now.etcd_reachable && !now.etcd_refuses_writes && routers->all_well();
    json::add(body, "status", !now.loaded ? "starting" : well ? "ok" : "degraded", body);
    json::add(body, "etcd",
              !now.etcd_reachable       ? "unreachable"
              : now.etcd_refuses_writes ? "refuses writes"
                                        : "reachable",
              body);
    if (now.etcd_age)
      json::add(body, "etcd_age", static_cast<std::int64_t>(now.etcd_age->count()), body);
    json::add(body, "active", now.active, body);
    if (!now.must_not_act.empty())
      json::add(body, "must_not_act", now.must_not_act, body);
    json::add(body, "instances_loaded", now.loaded, body);
    json::value unreachable{rapidjson::kArrayType};
    json::value lost{rapidjson::kArrayType};
    json::value uncertified{rapidjson::kArrayType};
    for (const auto& cell : *cells()) {
      if (cell.lacks_certificate)
        uncertified.PushBack(json::string(cell.guid, body), body.GetAllocator());
      if (!cell.reachable)
        unreachable.PushBack(json::string(cell.guid, body), body.GetAllocator());
      if (cell.lost)
        lost.PushBack(json::string(cell.guid, body), body.GetAllocator());
    }
    json::add(body, "unreachable_cells", std::move(unreachable), body);
    json::add(body, "lost_cells", std::move(lost), body);
    json::add(body, "cells_without_certificate", std::move(uncertified), body);
    add_plan_faults(body, got);
    if (!now.repair_halted.empty())
      json::add(body, "repair_halted", now.repair_halted, body);
    json::add(body, "routers", static_cast<std::int64_t>(routers->living.size()), body);
    json::add(body, "routing", model::words_of(*routers), body);
    json::value lost_ports{rapidjson::kArrayType};
    for (const auto& [port, instance] : routers->lost_ports)
      lost_ports.PushBack(port, body.GetAllocator());
    json::add(body, "lost_ports", std::move(lost_ports), body);
    json::add(body, "silent_routers", static_cast<std::int64_t>(routers->silent()), body);
    json::add(body, "unserved_instances",
              static_cast<std::int64_t>(routers->unserved_instances().size()), body);
    json::add(body, "unwell_instances", static_cast<std::int64_t>(now.unwell_instances), body);
    // How many is no secret; which ones is for the operator, who may be asked for by a credential.
    if (!now.some_unwell.empty() && admin_.admit(read_authorization(got))) {
      json::value some{rapidjson::kArrayType};
      for (const auto& id : now.some_unwell)
        some.PushBack(json::string(id, body), body.GetAllocator());
      json::add(body, "unwell", std::move(some), body);
    }
    bool fit = now.loaded && (now.active || got.query_value("active") == nullptr);
    return {fit ? 200 : 503, json::text_of(body), {}};
  }

  /// Plans with which some cell's PostgreSQL does not start. Anybody may see how many there are; what
  /// is wrong is for the operator.
  void add_plan_faults(json::document& body, const request& got) const {
    std::set<std::string> plans;
    json::value faults{rapidjson::kArrayType};
    for (const auto& cell : *cells())
      for (const auto& one : cell.plan_faults) {
        plans.insert(one.plan_id);
        for (const auto& words : one.words) {
          json::value entry{rapidjson::kObjectType};
          json::add(entry, "cell", cell.guid, body);
          json::add(entry, "plan_id", one.plan_id, body);
          json::add(entry, "fault", words, body);
          faults.PushBack(entry, body.GetAllocator());
        }
      }
    json::add(body, "faulty_plans", static_cast<std::int64_t>(plans.size()), body);
    if (!plans.empty() && admin_.admit(read_authorization(got)))
      json::add(body, "plan_faults", std::move(faults), body);
  }

  /// The newest snapshot of an instance, or nullptr.
  [[nodiscard]] model::snapshot_ptr find(const std::string& id) const {
    return behind_.find(model::name_of(id));
  }

  /// Answers with `read` of the instance: from its snapshot, or after etcd was asked whether it
  /// exists. `after_removal` answers for one that did; 404 if it is not set.
  void with_instance(const std::string& id, reply to,
                     std::function<response(const model::instance_snapshot&)> read,
                     std::function<response(const model::verdict&)> after_removal = {}) const {
    if (auto known = find(id))
      return to.send(read(*known));
    auto later = std::make_shared<reply>(std::move(to));
    behind_.ask(model::lookup_request{id}, model::request_patience,
                [later, read = std::move(read),
                 after_removal = std::move(after_removal)](const model::verdict& said) {
                  if (said.is == model::verdict_kind::done && said.instance)
                    return later->send(read(*said.instance));
                  if (said.is == model::verdict_kind::gone)
                    return later->send(after_removal ? after_removal(said)
                                                     : osb::error(404, said.description));
                  later->send(osb::refusal(said));
                });
  }

  /// Of an instance that is not known here: the others are answered before.
  void last_operation(const request& got, reply to) const {
    with_instance(got.segments[2], std::move(to), osb::last_operation,
                  [poll = got](const auto& gone) {
                    return osb::end_of_removal(gone.left ? gone.left->operation_id : std::string{},
                                               poll, 410, gone.description);
                  });
  }

  void fetch_binding(const std::string& id, const std::string& binding_id, reply to) const {
    with_instance(id, std::move(to), [self = shared_from_this(), binding_id](const auto& known) {
      auto found = known.bindings.find(binding_id);
      if (auto refused = self->refuse_credentials())
        return *refused;
      return found == known.bindings.end() ? osb::no_binding(known, binding_id)
                                           : osb::fetched_binding(self->view(known, found->second));
    });
  }

  void binding_last_operation(const request& got, reply to) const {
    with_instance(
        got.segments[2], std::move(to),
        [got](const auto& known) {
          auto now = std::chrono::floor<model::duration>(std::chrono::system_clock::now());
          return osb::binding_last_operation(known, got.segments[4], got, now);
        },
        [got](const auto& gone) {
          return osb::binding_last_operation(gone, got.segments[4], got);
        });
  }

  [[nodiscard]] std::string authority() const {
    return behind_.authority ? behind_.authority() : std::string{};
  }

  /// Credentials without the certificate that they are to be checked with would be incomplete. It
  /// takes a moment, and only at the very first start of a fleet or where etcd cannot be reached.
  [[nodiscard]] std::optional<response> refuse_credentials() const {
    if (!behind_.authority || !behind_.authority().empty())
      return std::nullopt;
    return osb::refusal({model::verdict_kind::unavailable,
                         "it is not known yet who signs the databases' certificates; try again"});
  }

  [[nodiscard]] osb::binding_view view(const model::instance_snapshot& known,
                                       const model::binding& which) const {
    const auto* service = settings_.catalog.find_service(which.service_id);
    const auto* plan = service == nullptr ? nullptr : service->find_plan(which.plan_id);
    return {known, which, settings_.advertise_host, authority(),
            plan != nullptr && plan->provision.superuser_in_bindings};
  }

  // -- writing ------------------------------------------------------------------------------------

  /// Has a change read by what the catalog and the cells allow now: `then` gets a good one, the
  /// sender hears of a bad one.
  template <class Parse, class Then>
  void parse(const request& got, reply to, Parse read, Then then) {
    auto identity = read_originating_identity(got);
    if (!identity.ok())
      return to.send(osb::error(400, identity.error()));
    auto table = cells();
    auto page = pages_.page(table->size());
    auto checked = read(osb::rules{settings_.catalog, *table, page->schemas(), settings_.strict,
                                   *identity ? (*identity)->text() : std::string{}});
    if (auto* wrong = std::get_if<response>(&checked))
      to.send(std::move(*wrong));
    else
      then(std::move(std::get<0>(checked)), std::make_shared<reply>(std::move(to)));
  }

  void instance(const request& got, const std::string& id, reply to) {
    switch (got.verb) {
    case method::get:
      return with_instance(id, std::move(to), osb::instance);
    case method::put:
      return parse(
          got, std::move(to), [&](const auto& by) { return osb::provision(got, id, by); },
          [this](auto read, auto later) { start(std::move(read), 201, later); });
    case method::patch:
      return parse(
          got, std::move(to), [&](const auto& by) { return osb::update(got, id, by); },
          [this](auto read, auto later) { start(std::move(read), 200, later); });
    case method::del:
      return parse(
          got, std::move(to), [&](const auto& by) { return osb::deprovision(got, id, by); },
          [this](auto read, auto later) { start(std::move(read), 200, later); });
    default:
      return wrong_method(to, "GET, PUT, PATCH, DELETE");
    }
  }

  void binding(const request& got, const std::string& id, const std::string& binding_id, reply to) {
    switch (got.verb) {
    case method::get:
      return fetch_binding(id, binding_id, std::move(to));
    case method::put:
      return parse(
          got, std::move(to), [&](const auto& by) { return osb::bind(got, id, binding_id, by); },
          [this](auto read, auto later) { bind(std::move(read.asked), later); });
    case method::del:
      return parse(
          got, std::move(to), [&](const auto& by) { return osb::unbind(got, id, binding_id, by); },
          [this](auto read, auto later) { unbind(std::move(read.asked), later); });
    default:
      return wrong_method(to, "GET, PUT, DELETE");
    }
  }

  using later = std::shared_ptr<reply>;

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

  /// How long the instance may take for a binding.
  static std::chrono::milliseconds patience(bool may_poll) {
    return may_poll ? std::chrono::milliseconds{model::request_patience} : binding_patience;
  }

  void bind(model::bind_request asked, later to) const {
    if (auto refused = refuse_credentials())
      return to->send(*std::move(refused));
    auto patience_now = patience(asked.may_poll);
    behind_.ask(
        std::move(asked), patience_now,
        [self = shared_from_this(), to](const model::verdict& said) {
          bool created = said.is == model::verdict_kind::created;
          if (said.is == model::verdict_kind::accepted)
            return to->send(osb::accepted(said.operation_id));
          if ((!created && said.is != model::verdict_kind::done) || !said.bound || !said.instance)
            return to->send(osb::refusal(said));
          to->send(osb::binding(created ? 201 : 200, self->view(*said.instance, *said.bound)));
        });
  }

  void unbind(model::unbind_request asked, later to) const {
    auto patience_now = patience(asked.may_poll);
    behind_.ask(std::move(asked), patience_now, [to](const model::verdict& said) {
      if (said.is == model::verdict_kind::done && !said.description.empty())
        return to->send({200, json::object_text({{"description", said.description}}), {}});
      if (said.is == model::verdict_kind::done)
        return to->send({200, "{}", {}});
      if (said.is == model::verdict_kind::accepted)
        return to->send(osb::accepted(said.operation_id));
      if (said.is == model::verdict_kind::not_found)
        return to->send(osb::error(410, said.description));
      to->send(osb::refusal(said));
    });
  }

  // -- the operator's -----------------------------------------------------------------------------

  void admin(const request& got, reply to) const {
    // How old a copy may be that was not confirmed since (RFC 9111, section 5.1).
    if (auto age = behind_.health().etcd_age)
      to.add_header("Age", std::to_string(age->count()));
    if (matches(got, {"admin", "cells"}))
      return got.verb == method::get ? to.send(admin::cells(*cells())) : wrong_method(to, "GET");
    if (matches(got, {"admin", "cells", "*", "demote"}))
      return got.verb == method::post ? demote(got.segments[2], std::move(to))
                                      : wrong_method(to, "POST");
    if (matches(got, {"admin", "cells", "*", "forget"}))
      return got.verb == method::post ? forget(got.segments[2], std::move(to))
                                      : wrong_method(to, "POST");
    if (matches(got, {"admin", "routers"}))
      return got.verb == method::get ? to.send(admin::routers(*behind_.routers()))
                                     : wrong_method(to, "GET");
    if (matches(got, {"admin", "orphans"}))
      return got.verb == method::get ? orphans(to) : wrong_method(to, "GET");
    if (matches(got, {"admin", "orphans", "*", "*"}))
      return got.verb == method::del
                 ? remove_orphan(got.segments[2], got.segments[3], std::move(to))
                 : wrong_method(to, "DELETE");
    if (matches(got, {"admin", "service_instances"}))
      return got.verb == method::get ? to.send(admin::instances(behind_.all()))
                                     : wrong_method(to, "GET");
    if (matches(got, {"admin", "service_instances", "*"}))
      return got.verb == method::get
                 ? with_instance(got.segments[2], std::move(to), admin::instance)
                 : wrong_method(to, "GET");
    if (matches(got, {"admin", "reencrypt"}))
      return got.verb == method::post ? reencrypt(std::move(to)) : wrong_method(to, "POST");
    to.send(osb::error(404, "there is nothing at this path; see /admin/cells, /admin/routers, "
                            "/admin/orphans and /admin/service_instances"));
  }

  /// Whether this broker is the one that knows; answers if it is not.
  bool must_act(reply& to) const {
    auto now = behind_.health();
    if (now.loaded && now.active)
      return true;
    to.send(osb::refusal({model::verdict_kind::unavailable,
                          now.loaded ? "this broker is not the active one; ask the one that is"
                                     : "the broker has not read its instances from etcd yet; try "
                                       "again"}));
    return false;
  }

  void forget(const std::string& cell, reply to) const {
    if (!must_act(to))
      return;
    auto later = std::make_shared<reply>(std::move(to));
    behind_.forget({cell}, [later, cell](const model::forget_report& report) {
      later->send(admin::forgotten(cell, report));
    });
  }

  void orphans(reply& to) const {
    if (must_act(to))
      to.send(admin::orphans(*behind_.orphans()));
  }

  void remove_orphan(const std::string& cell, const std::string& node_id, reply to) const {
    if (!must_act(to))
      return;
    auto later = std::make_shared<reply>(std::move(to));
    behind_.remove_orphan({cell, node_id}, [later](const model::verdict& said) {
      later->send(said.is == model::verdict_kind::done ? response{200, "{}", {}}
                                                       : osb::refusal(said));
    });
  }

  void reencrypt(reply to) const {
    // Another broker's instances would all fail, and of those not loaded nobody would hear.
    if (!must_act(to))
      return;
    auto later = std::make_shared<reply>(std::move(to));
    behind_.reencrypt_all([later](const model::reencryption_report& report) {
      later->send(admin::reencrypted(report));
    });
  }

  void demote(const std::string& cell, reply to) const {
    if (!must_act(to))
      return;
    auto later = std::make_shared<reply>(std::move(to));
    behind_.demote(model::demote_request{cell}, [later, cell](const model::demote_report& report) {
      later->send(admin::demoted(cell, report));
    });
  }

  route_settings settings_;
  backend behind_;
  gate platform_;
  gate admin_;
  catalog_pages pages_;
  std::mutex refusals_mutex_;
  line_limiter refusals_;
  mutable std::mutex looking_;
  mutable looked_through looked_through_;
};

} // namespace

service make_routes(route_settings settings, backend behind) {
  auto all = std::make_shared<routes>(std::move(settings), std::move(behind));
  return {[all](const request& got) { return all->admit(got); },
          [all](request got, responder to) { all->serve(std::move(got), std::move(to)); },
          identity_header, identity_name};
}

} // namespace matriarch::http
