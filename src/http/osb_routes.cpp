#include "http/osb_routes.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <type_traits>
#include <utility>
#include <variant>

#include "base/json.hpp"
#include "base/utf8.hpp"
#include "http/answering.hpp"
#include "http/originating_identity.hpp"
#include "http/osb_answers.hpp"
#include "model/names.hpp"

namespace matriarch::http {

namespace {

using namespace std::chrono_literals;

// How long a caller that cannot poll waits for the end of an operation; platforms give up after 60
// s.
constexpr std::chrono::milliseconds synchronous_patience = 50s;

// The same for a binding; the instance's actor itself gives up after 25 s.
constexpr std::chrono::milliseconds binding_patience = 28s;
// Answers to polls kept by each thread. Each keeps the snapshot it was made from, some kilobytes.
constexpr std::size_t answers_remembered = 256;
// How much of a wrong header an error repeats.
constexpr std::size_t longest_shown = 100;

/// `2.0` to `2.99…`: minor versions only add.
bool supported_version(const std::string& version) {
  if (!version.starts_with("2.") || version.size() < 3)
    return false;
  return std::all_of(version.begin() + 2, version.end(),
                     [](char c) { return c >= '0' && c <= '9'; });
}

/// How long the instance may take for a binding.
std::chrono::milliseconds patience(bool may_poll) {
  return may_poll ? std::chrono::milliseconds{model::request_patience} : binding_patience;
}

/// The answer to a poll of an instance, as it is sent.
struct poll_answer {
  model::snapshot_ptr of;
  model::cell_table cells; ///< the cells whose addresses it hides
  response said;
};

} // namespace

osb_routes::osb_routes(std::shared_ptr<const route_settings> settings, front_desk& desk)
    : settings_(std::move(settings)), desk_(desk), pages_(settings_->catalog),
      for_tenants_(settings_->internal_hosts, desk) {}

void osb_routes::serve(const std::shared_ptr<const request>& whole, reply to) {
  const auto& got = *whole;
  if (auto wrong = refuse_version(got))
    return to.send(std::move(*wrong));
  if (auto again = answered_before(got))
    return to.send(std::move(*again));
  // The operator chooses the catalog's descriptions.
  if (got.segments.size() > 1 && got.segments[1] != "catalog")
    to.reword([self = shared_from_this(), whole](std::string body) {
      return self->for_tenants_.reworded(*whole, std::move(body));
    });
  route(got, std::move(to));
}

void osb_routes::route(const request& got, reply to) {
  if (matches(got, {"v2", "catalog"}))
    return got.verb == method::get ? to.send(pages_.page(desk_.cells()->size())->answer(got))
                                   : refuse_method(to, "GET");
  if (matches(got, {"v2", "service_instances", "*"}))
    return instance(got, got.segments[2], std::move(to));
  if (matches(got, {"v2", "service_instances", "*", "last_operation"}))
    return got.verb == method::get ? last_operation(got, std::move(to)) : refuse_method(to, "GET");
  if (matches(got, {"v2", "service_instances", "*", "service_bindings", "*"}))
    return binding(got, got.segments[2], got.segments[4], std::move(to));
  if (matches(got, {"v2", "service_instances", "*", "service_bindings", "*", "last_operation"}))
    return got.verb == method::get ? binding_last_operation(got, std::move(to))
                                   : refuse_method(to, "GET");
  to.send(nothing_here());
}

std::optional<response> osb_routes::refuse_version(const request& got) const {
  const auto* version = got.header("x-broker-api-version");
  if (version == nullptr && !settings_->strict)
    return std::nullopt;
  if (version == nullptr)
    return osb::error(412, "the header X-Broker-API-Version is missing; send 2.17");
  if (!supported_version(*version))
    return osb::error(412, "X-Broker-API-Version " + legible(*version, longest_shown)
                               + " is not supported; this broker speaks 2.17");
  return std::nullopt;
}

/// The answer to a poll, reused as long as nothing changes: platforms ask this most. Each of the
/// server's threads keeps some; an instance that takes another's place in the table is answered
/// anew.
std::optional<response> osb_routes::answered_before(const request& got) const {
  if (got.verb != method::get || !matches(got, {"v2", "service_instances", "*", "last_operation"}))
    return std::nullopt;
  auto known = desk_.find(model::name_of(got.segments[2]));
  if (!known)
    return std::nullopt;
  thread_local std::array<poll_answer, answers_remembered> remembered;
  auto& here = remembered[std::hash<const void*>{}(known.get()) / alignof(std::max_align_t)
                          % answers_remembered];
  auto by = desk_.cells();
  if (here.of != known || here.cells != by) {
    here = {known, by, osb::last_operation(*known)};
    here.said.body = for_tenants_.reworded(got, std::move(here.said.body));
  }
  return here.said;
}

// -- reading ----------------------------------------------------------------------------------------

/// Answers for an instance that is unknown here: known ones are answered before.
void osb_routes::last_operation(const request& got, reply to) const {
  answer_from(desk_, got.segments[2], std::move(to), osb::last_operation,
              [poll = got](const auto& gone) {
                return osb::end_of_removal(gone.left ? gone.left->operation_id : std::string{},
                                           poll, 410, gone.description);
              });
}

void osb_routes::fetch_binding(const std::string& id, const std::string& binding_id,
                               reply to) const {
  answer_from(desk_, id, std::move(to), [self = shared_from_this(), binding_id](const auto& known) {
    auto found = known.bindings.find(binding_id);
    if (auto refused = self->refuse_credentials())
      return *refused;
    return found == known.bindings.end() ? osb::no_binding(known, binding_id)
                                         : osb::fetched_binding(self->view(known, found->second));
  });
}

void osb_routes::binding_last_operation(const request& got, reply to) const {
  answer_from(
      desk_, got.segments[2], std::move(to),
      [got](const auto& known) {
        auto now = std::chrono::floor<model::duration>(std::chrono::system_clock::now());
        return osb::binding_last_operation(known, got.segments[4], got, now);
      },
      [got](const auto& gone) { return osb::binding_last_operation(gone, got.segments[4], got); });
}

/// Credentials without the certificate of the authority would be incomplete. The authority is
/// missing only for a moment, at the very first start of a fleet or if etcd cannot be reached.
std::optional<response> osb_routes::refuse_credentials() const {
  if (!desk_.authority().empty())
    return std::nullopt;
  return osb::refusal({model::verdict_kind::unavailable,
                       "it is not known yet who signs the databases' certificates; try again"});
}

osb::binding_view osb_routes::view(const model::instance_snapshot& known,
                                   const model::binding& which) const {
  const auto* service = settings_->catalog.find_service(which.service_id);
  const auto* plan = service == nullptr ? nullptr : service->find_plan(which.plan_id);
  const auto* engine = settings_->engines->find(known.known.living.engine.text());
  return {known,
          which,
          engine == nullptr ? settings_->engines->usual() : *engine,
          settings_->advertise_host,
          desk_.authority(),
          plan != nullptr && plan->provision.superuser_in_bindings};
}

// -- writing ----------------------------------------------------------------------------------------

/// Parses a change by what the catalog and the cells allow now: `then` gets a valid one; the sender
/// of an invalid one gets the error.
template <class Parse, class Then>
void osb_routes::parse(const request& got, reply to, Parse read, Then then) {
  auto identity = read_originating_identity(got);
  if (!identity.ok())
    return to.send(osb::error(400, identity.error()));
  auto table = desk_.cells();
  auto page = pages_.page(table->size());
  auto checked = read(osb::rules{settings_->catalog, *table, page->schemas(), settings_->strict,
                                 *identity ? (*identity)->text() : std::string{}});
  if (auto* wrong = std::get_if<response>(&checked))
    to.send(std::move(*wrong));
  else
    then(std::move(std::get<0>(checked)), std::make_shared<reply>(std::move(to)));
}

void osb_routes::instance(const request& got, const std::string& id, reply to) {
  switch (got.verb) {
  case method::get:
    return answer_from(desk_, id, std::move(to), osb::instance);
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
    return refuse_method(to, "GET, PUT, PATCH, DELETE");
  }
}

void osb_routes::binding(const request& got, const std::string& id, const std::string& binding_id,
                         reply to) {
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
    return refuse_method(to, "GET, PUT, DELETE");
  }
}

/// A change that takes time: answers 202 at once, or the result once it is there. `on_success` is
/// the status of a synchronous success.
template <class Request>
void osb_routes::start(osb::parsed<Request> read, int on_success, later to) const {
  bool wait = !read.accepts_incomplete;
  constexpr bool removal = std::is_same_v<Request, model::deprovision_request>;
  auto id = read.asked.instance_id;
  desk_.ask(std::move(read.asked), model::request_patience,
            [self = shared_from_this(), id, wait, on_success, to](const model::verdict& said) {
              if (said.is == model::verdict_kind::done)
                return to->send({200, "{}", {}});
              // A removal of something that is already gone has succeeded; 404 is not among its
              // answers.
              if (removal && said.is == model::verdict_kind::not_found)
                return to->send(osb::error(410, said.description));
              if (said.is != model::verdict_kind::accepted)
                return to->send(osb::refusal(said));
              if (!wait)
                return to->send(osb::accepted(said.operation_id));
              self->wait_for_end(id, said.operation_id, on_success, to);
            });
}

void osb_routes::wait_for_end(const std::string& id, const std::string& operation_id,
                              int on_success, later to) const {
  desk_.ask(model::await_request{id, operation_id}, synchronous_patience,
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

void osb_routes::bind(model::bind_request asked, later to) const {
  if (auto refused = refuse_credentials())
    return to->send(*std::move(refused));
  auto patience_now = patience(asked.may_poll);
  desk_.ask(
      std::move(asked), patience_now, [self = shared_from_this(), to](const model::verdict& said) {
        bool created = said.is == model::verdict_kind::created;
        if (said.is == model::verdict_kind::accepted)
          return to->send(osb::accepted(said.operation_id));
        if ((!created && said.is != model::verdict_kind::done) || !said.bound || !said.instance)
          return to->send(osb::refusal(said));
        to->send(osb::binding(created ? 201 : 200, self->view(*said.instance, *said.bound)));
      });
}

void osb_routes::unbind(model::unbind_request asked, later to) const {
  auto patience_now = patience(asked.may_poll);
  desk_.ask(std::move(asked), patience_now, [to](const model::verdict& said) {
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

} // namespace matriarch::http
