#include "platform.hpp"

#include <algorithm>

#include "model/names.hpp"
#include "requests.hpp"

namespace matriarch::simulation {

namespace {

using namespace std::chrono_literals;
using model::operation_state;
using model::verdict_kind;

// Cloud Controller's time-out for a broker's answer.
constexpr model::duration patience = 60s;
constexpr model::duration pause_after_refusal = 2s;
constexpr model::duration pause_when_away = 500ms;
constexpr model::duration poll_pause = 1s;

template <class Request>
bool is(const model::request& what) {
  return std::holds_alternative<Request>(what);
}

std::string id_of(const model::request& what) {
  return std::visit([](const auto& asked) { return asked.instance_id; }, what);
}

const char* name_of(const model::request& what) {
  if (is<model::provision_request>(what))
    return "provision";
  if (is<model::update_request>(what))
    return "update";
  if (is<model::deprovision_request>(what))
    return "deprovision";
  if (is<model::rebuild_request>(what))
    return "rebuild";
  return is<model::bind_request>(what) ? "bind" : "unbind";
}

} // namespace

std::string platform::state() const {
  if (done())
    return "has done everything";
  std::string text = name_of(errands_[current_].what);
  return text + (polling_ ? " is polled" : request_ ? " waits for an answer" : " is to be sent");
}

/// Like a proxy, prefers the broker that says that it is active, and then the one that it used
/// before.
simulated_broker* platform::proxy() {
  simulated_broker* best = nullptr;
  int merit = 0;
  for (const auto& one : here_.brokers) {
    if (!one->answers())
      continue;
    bool preferred = preferred_ == one->line().shared_from_this();
    int its_merit = 1 + (preferred ? 1 : 0) + (one->active() ? 2 : 0);
    if (its_merit > merit)
      best = one.get();
    merit = std::max(merit, its_merit);
  }
  if (best != nullptr)
    preferred_ = best->line().shared_from_this();
  return best;
}

/// Whether the connection has ended or the time-out has passed.
bool platform::lost(const question& one) const {
  return one.asked->is_cut() || here_.outside.now() > one.since + patience;
}

void platform::tend() {
  if (request_ && request_->answer->has_value()) {
    auto said = std::move(**request_->answer);
    request_.reset();
    judge(said);
  } else if (request_ && lost(*request_)) {
    request_.reset();
    unanswered();
  }
  if (!done() && !request_ && !polling_ && here_.outside.now() >= again_at_)
    begin();
  poll();
}

void platform::begin() {
  const auto& now = errands_[current_];
  if (!begun_) {
    begun_ = true;
    again_at_ = here_.outside.now() + now.pause;
    if (now.pause > 0ms)
      return;
  }
  auto* to = proxy();
  if (to == nullptr) {
    again_at_ = here_.outside.now() + pause_when_away;
    return;
  }
  auto id = id_of(now.what);
  if (is<model::deprovision_request>(now.what))
    doomed_.insert(id);
  else if (!is<model::provision_request>(now.what))
    histories_[id].promised = true; // the instance existed before
  request_ = {preferred_, here_.outside.now(), to->ask(now.what)};
}

void platform::unanswered() {
  auto& now = errands_[current_];
  if (now.mitigated && is<model::provision_request>(now.what))
    now.what = deprovision(id_of(now.what));
  again_at_ = here_.outside.now() + pause_when_away;
}

void platform::judge(const model::verdict& said) {
  auto& now = errands_[current_];
  auto id = id_of(now.what);
  bool removal = is<model::deprovision_request>(now.what) || is<model::unbind_request>(now.what);
  switch (said.is) {
  case verdict_kind::created:
  case verdict_kind::done:
    if (said.bound)
      keep_credentials(*said.bound);
    return next_errand();
  case verdict_kind::accepted:
    histories_[id].promised = true;
    if (now.not_awaited)
      return next_errand();
    polling_ = true;
    return;
  case verdict_kind::unavailable:
    unanswered();
    again_at_ = here_.outside.now() + pause_after_refusal;
    return;
  case verdict_kind::busy:
    if (!now.patient)
      break;
    again_at_ = here_.outside.now() + pause_after_refusal;
    return;
  case verdict_kind::gone:
    if (removal)
      return next_errand();
    break;
  case verdict_kind::not_found:
    // The HTTP routes answer 410 here.
    if (is<model::deprovision_request>(now.what) && !promised(id))
      return next_errand();
    break;
  default:
    break;
  }
  complain(std::string{name_of(now.what)} + " was refused: " + said.description);
  next_errand();
}

/// Whether the instance must exist, as far as the platform knows.
bool platform::promised(const std::string& instance_id) {
  return histories_[instance_id].promised && !doomed_.contains(instance_id);
}

void platform::next_errand() {
  ++current_;
  polling_ = begun_ = false;
  again_at_ = here_.outside.now();
}

void platform::keep_credentials(const model::binding& bound) {
  auto [kept, fresh] = credentials_.emplace(bound.binding_id, bound.role);
  if (!fresh && kept->second != bound.role)
    complain("binding " + bound.binding_id + " has other credentials than before");
}

// -- polling -------------------------------------------------------------------------------------

void platform::poll() {
  for (auto at = lookups_.begin(); at != lookups_.end();) {
    auto& [id, one] = *at;
    if (one.answer->has_value()) {
      const auto& said = **one.answer;
      if (said.is == verdict_kind::done && said.instance)
        learn(id, *said.instance);
      else
        learn_absence(id, said);
    } else if (!lost(one)) {
      ++at;
      continue;
    }
    at = lookups_.erase(at);
  }
  if (here_.outside.now() < poll_at_)
    return;
  poll_at_ = here_.outside.now() + poll_pause;
  std::vector<std::string> known;
  for (const auto& [id, told] : histories_)
    known.push_back(id);
  for (const auto& id : known)
    poll(id);
}

/// Asks like the HTTP route: the snapshot first, else the directory.
void platform::poll(const std::string& instance_id) {
  auto* to = proxy();
  if (to == nullptr || lookups_.contains(instance_id))
    return;
  if (auto known = to->find(model::name_of(instance_id)))
    return learn(instance_id, *known);
  lookups_[instance_id] = {preferred_, here_.outside.now(),
                           to->ask(model::lookup_request{instance_id})};
}

void platform::learn(const std::string& instance_id, const model::instance_snapshot& known) {
  auto& told = histories_[instance_id];
  const auto& op = known.known.current;
  if (told.gone)
    complain(instance_id + " is there again after it was gone");
  auto& ids = told.operations;
  if (std::ranges::find(ids, op.id) == ids.end()) {
    ids.push_back(op.id);
    told.ended.reset();
  } else if (ids.back() != op.id) {
    complain("an older operation of " + instance_id + " is told of again");
  }
  if (told.ended && op.state != *told.ended)
    complain("an operation of " + instance_id + " had ended and is otherwise now");
  if (op.state == operation_state::in_progress)
    return;
  bool own = polling_ && !done() && id_of(errands_[current_].what) == instance_id;
  bool fails = own && errands_[current_].fails;
  if (own && fails != (op.state == operation_state::failed))
    complain("an operation of " + instance_id + " that cannot be done ended otherwise");
  if (!told.ended && !fails && op.state == operation_state::failed)
    complain("an operation of " + instance_id + " failed: " + op.description);
  told.ended = op.state;
  bool removal = !done() && is<model::deprovision_request>(errands_[current_].what);
  if (polling_ && id_of(errands_[current_].what) == instance_id && !removal)
    next_errand();
}

void platform::learn_absence(const std::string& instance_id, const model::verdict& said) {
  auto& told = histories_[instance_id];
  if (said.is != verdict_kind::gone && said.is != verdict_kind::not_found)
    return; // 503: it is asked again
  if (promised(instance_id))
    complain(instance_id + " was accepted and is not there: " + said.description);
  if (said.is == verdict_kind::not_found && told.gone)
    complain(instance_id + " was gone (410) and is unknown (404) now");
  told.promised = false;
  told.gone = told.gone || said.is == verdict_kind::gone;
  if (polling_ && id_of(errands_[current_].what) == instance_id)
    next_errand();
}

void platform::complain(const std::string& what) {
  if (std::ranges::find(complaints_, what) == complaints_.end())
    complaints_.push_back(what);
}

} // namespace matriarch::simulation
