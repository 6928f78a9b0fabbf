#include "actors/instance_bindings.hpp"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <utility>

#include "model/acceptance.hpp"
#include "model/names.hpp"
#include "store/binding_json.hpp"
#include "store/keys.hpp"
#include "store/port_json.hpp"
#include "store/unknown_members.hpp"

namespace matriarch::actors {

namespace {

using namespace std::chrono_literals;
namespace keys = store::keys;

constexpr caf::timespan port_patience = 10s; // the registry answers from memory
// Above the time that the database actor allows for one order, including the wait for a worker.
constexpr caf::timespan database_patience = 60s;
// Pause between two tries. A failover takes seconds, and a client waiting for a binding should see
// it end.
constexpr caf::timespan pause_when_awaited = 250ms;
// The removal of a role waits for applications' transactions, for seconds or hours: looked at again
// soon at first, then less and less often.
constexpr caf::timespan first_pause_when_lingering = 500ms;
constexpr caf::timespan pause_when_lingering = 5s;
// Removals of one instance at a time. Removals that are being repeated leave room for new ones.
constexpr std::size_t most_removals = 4;
constexpr std::size_t most_lingering_removals = 2;
// If a role cannot be made, its tenant has to correct something, so waiting clients are told early.
// Not if the role is only late, as on a busy machine.
constexpr caf::timespan pause_when_unmade = 1s;
constexpr caf::timespan tell_unmade_after = 5s;
// A database refuses a user well within this time if nothing holds it up; an order waits 600 ms for
// replicas that are behind. After a second no login may succeed.
constexpr caf::timespan refused_by_cells_after = 750ms;
// After such an order a cell ends sessions for 12 s, also those of logins under way.
constexpr caf::timespan refused_by_cells_again = 4s;
// A replica that is held back serves no clients, so it is looked at again soon.
constexpr caf::timespan pause_when_held_back = 1s;
// A platform that can poll gets the final answer at once if it is known by then.
constexpr caf::timespan poll_after = 2s;
// Platforms give up after 60 s, some of the clients behind them sooner. They get an answer within
// half of that.
constexpr caf::timespan longest_wait = 25s;
// etcd takes 128 operations in a transaction; the record may be one of them.
constexpr std::size_t most_settled_at_once = 100;

/// A user name that no other binding has or will have, well below the limit of 63 bytes.
std::string role_name(std::string id) {
  std::erase(id, '-');
  return "binding_" + id;
}

bool is_new_reader(const model::binding& one) {
  return one.read_only && one.phase == model::binding_phase::creating;
}

} // namespace

// -- from etcd ------------------------------------------------------------------------------------

void instance_bindings::learn(const store::key_value& entry, bool erased) {
  if (entry.mod_revision <= at_)
    return;
  auto before = std::ranges::find_if(
      bindings_, [&](const auto& one) { return key_of(one.first) == entry.key; });
  if (before != bindings_.end())
    bindings_.erase(std::string{before->first});
  unreadable_.erase(entry.key);
  if (!erased)
    learn_one(entry);
}

void instance_bindings::learn_one(const store::key_value& entry) {
  auto read = store::decode_binding(entry.value, keeper_.name(), *keeper_.setup().keys);
  if (read.ok()) {
    bindings_[read->binding_id] = *read;
  } else {
    unreadable_.insert(entry.key);
    spdlog::error("{} cannot be read and is left alone: {}", entry.key, read.error());
  }
}

std::set<std::string> instance_bindings::unreadable() const {
  std::set<std::string> names;
  for (const auto& key : unreadable_)
    names.insert(key.substr(keys::bindings(keeper_.name()).size()));
  return names;
}

void instance_bindings::relearn(const std::vector<store::key_value>& found, store::revision at) {
  if (at < at_)
    return;
  bindings_.clear();
  unreadable_.clear();
  for (const auto& entry : found)
    learn_one(entry);
}

void instance_bindings::forget() {
  bindings_.clear();
  unreadable_.clear();
  unmade_.clear();
  late_.clear();
  leaving_.clear();
  remove_again_.clear();
  caught_up_.clear();
  cut_short_ = false;
  unserved_.clear();
  unserved_words_.clear();
  confirmed_.reset();
  rights_.forget();
  at_ = 0;
  for (auto& one : std::exchange(waiting_, {}))
    one.owed.deliver(
        model::verdict{one.removal ? model::verdict_kind::done : model::verdict_kind::not_found,
                       one.removal ? "" : "the service instance has been removed"});
}

// -- requests -------------------------------------------------------------------------------------

void instance_bindings::bind(const model::bind_request& asked, answer owed) {
  if (unreadable_.contains(key_of(asked.wanted.binding_id))) {
    owed.deliver(model::verdict{model::verdict_kind::unavailable,
                                model::unreadable(asked.wanted.binding_id)});
    return;
  }
  const auto& outside = keeper_.setup().outside;
  auto ruling = model::judge_bind(
      asked, record(), bindings_,
      {outside.new_id(), {role_name(outside.new_id()), outside.new_password()}, outside.now()});
  const auto& id = asked.wanted.binding_id;
  if (ruling.write) {
    if (!keeper_.may_act(owed))
      return;
    bool wants_port =
        ruling.write->read_only && record().endpoints[model::endpoint::read_only] == 0;
    if (wants_port)
      write_with_port(std::move(*ruling.write), owed);
    else
      write_new(std::move(*ruling.write), owed);
  } else if (ruling.answer.is == model::verdict_kind::accepted) {
    wait(id, owed, false, asked.may_poll);
  } else if (ruling.answer.is == model::verdict_kind::done) {
    owed.deliver(success(model::verdict_kind::done, id));
  } else {
    owed.deliver(std::move(ruling.answer));
  }
}

void instance_bindings::write_new(model::binding fresh, answer owed) {
  auto what = write_of(fresh);
  what.compares.push_back(store::absent(key_of(fresh.binding_id)));
  keeper_.commit(std::move(what), [this, owed, fresh](const write_result& came) mutable {
    if (!came.done()) {
      owed.deliver(model::verdict{model::verdict_kind::unavailable, came.why});
      return;
    }
    bindings_[fresh.binding_id] = fresh;
    at_ = came.at;
    host_.publish();
    wait(fresh.binding_id, owed, false, fresh.polled);
  });
}

/// The first read-only binding of an instance opens its second public port, also while there is no
/// replica: the router leads to the leader until there are replicas.
void instance_bindings::write_with_port(model::binding fresh, answer owed) {
  keeper_.hold(true);
  auto done = [this, fresh = std::move(fresh), owed](const port_offer& offer) mutable {
    keeper_.hold(false);
    if (offer.port != 0)
      return take_port(std::move(fresh), offer, owed);
    leave_port(); // the offer may still arrive late
    owed.deliver(model::verdict{model::verdict_kind::refused, offer.why});
    host_.go_on();
  };
  keeper_.self()
      ->request(keeper_.setup().ports, port_patience,
                port_order{keys::read_only_holder(keeper_.name())})
      .then([done](const port_offer& offer) mutable { done(offer); },
            [done](const caf::error&) mutable {
              done({0, 0, 0, "no port could be reserved in time; try again"});
            });
}

/// Gives an offered port back, so that other instances can get it.
void instance_bindings::leave_port() {
  keeper_.self()->send(keeper_.setup().ports,
                       port_settled{keys::read_only_holder(keeper_.name()), false});
}

void instance_bindings::take_port(model::binding fresh, const port_offer& offer, answer owed) {
  const auto* known = keeper_.record();
  if (known == nullptr) {
    leave_port();
    owed.deliver(model::verdict{model::verdict_kind::not_found, "the instance was removed"});
    return host_.go_on();
  }
  auto next = *known;
  next.endpoints[model::endpoint::read_only] = offer.port;
  auto port_key = keys::port(offer.port);
  keeper_.write(
      std::move(next),
      {offer.at == 0 ? store::absent(port_key) : store::unchanged_since(port_key, offer.at)},
      {store::put{port_key, store::encode_port_use({keeper_.name(), std::nullopt, 0})},
       store::put{keys::read_only_allocation(keeper_.name()), std::to_string(offer.port)},
       store::put{keys::next_port, std::to_string(offer.next)}},
      [this, fresh = std::move(fresh), owed](const write_result& came) mutable {
        keeper_.self()->send(keeper_.setup().ports,
                             port_settled{keys::read_only_holder(keeper_.name()), came.done()});
        if (came.done())
          return write_new(std::move(fresh), owed);
        owed.deliver(model::verdict{model::verdict_kind::unavailable, came.why});
      });
}

void instance_bindings::unbind(const model::unbind_request& asked, answer owed) {
  if (unreadable_.contains(key_of(asked.binding_id))) {
    owed.deliver(
        model::verdict{model::verdict_kind::unavailable, model::unreadable(asked.binding_id)});
    return;
  }
  auto ruling = model::judge_unbind(asked, record(), bindings_, keeper_.setup().outside.new_id(),
                                    keeper_.setup().outside.now());
  if (ruling.answer.is == model::verdict_kind::done) {
    if (keeper_.may_act(owed))
      erase_now(asked.binding_id, owed);
  } else if (ruling.answer.is != model::verdict_kind::accepted) {
    owed.deliver(std::move(ruling.answer));
  } else if (!ruling.write) {
    wait(asked.binding_id, owed, true, asked.may_poll);
  } else if (keeper_.may_act(owed)) {
    auto leaving = std::move(*ruling.write);
    keeper_.commit(write_of(leaving), [this, owed, leaving](const write_result& came) mutable {
      if (!came.done()) {
        owed.deliver(model::verdict{model::verdict_kind::unavailable, came.why});
        return;
      }
      bindings_[leaving.binding_id] = leaving;
      at_ = came.at;
      host_.publish();
      refuse_binds(leaving.binding_id);
      wait(leaving.binding_id, owed, true, leaving.polled);
    });
  }
}

/// Unbinds a binding without a role of its own: only its record is deleted.
void instance_bindings::erase_now(const std::string& binding_id, answer owed) {
  auto next = record();
  next.ended_bindings[binding_id] = {keeper_.setup().outside.now()};
  model::forget_ended_bindings(next, keeper_.setup().outside.now());
  keeper_.write(std::move(next), {}, {store::erase{{key_of(binding_id), ""}}},
                [this, owed, binding_id](const write_result& came) mutable {
                  if (!came.done()) {
                    owed.deliver(model::verdict{model::verdict_kind::unavailable, came.why});
                    return;
                  }
                  bindings_.erase(binding_id);
                  at_ = came.at;
                  host_.publish();
                  refuse_binds(binding_id);
                  owed.deliver(model::verdict{model::verdict_kind::done});
                });
}

std::vector<store::operation> instance_bindings::rewritten() const {
  std::vector<store::operation> puts;
  for (const auto& [id, one] : bindings_)
    puts.push_back(put_of(one));
  return puts;
}

bool instance_bindings::has_old_seals() const {
  return std::ranges::any_of(bindings_, [this](const auto& one) {
    return store::has_old_seals(one.second.unknown, *keeper_.setup().keys);
  });
}

// -- waiting requests -----------------------------------------------------------------------------

void instance_bindings::wait(const std::string& binding_id, const answer& owed, bool removal,
                             bool may_poll) {
  waiting_.push_back({binding_id, owed, removal, may_poll, keeper_.self()->clock().now()});
  host_.wake(may_poll ? poll_after : longest_wait);
}

bool instance_bindings::pending() const {
  return std::ranges::any_of(
      bindings_, [](const auto& one) { return one.second.phase != model::binding_phase::ready; });
}

model::verdict instance_bindings::success(model::verdict_kind is,
                                          const std::string& binding_id) const {
  model::verdict said{is, ""};
  said.instance = host_.snapshot();
  if (auto found = bindings_.find(binding_id); found != bindings_.end()) {
    said.operation_id = found->second.operation_id;
    said.bound = found->second;
  }
  return said;
}

void instance_bindings::tell_ready(const std::string& binding_id) {
  // The request that created the binding has waited longest.
  auto is = model::verdict_kind::created;
  std::erase_if(waiting_, [&](waiter& one) {
    if (one.binding_id != binding_id || one.removal)
      return false;
    one.owed.deliver(success(is, binding_id));
    is = model::verdict_kind::done;
    return true;
  });
}

void instance_bindings::tell_removed(const std::string& binding_id) {
  std::erase_if(waiting_, [&](waiter& one) {
    bool concerned = one.binding_id == binding_id && one.removal;
    if (concerned)
      one.owed.deliver(model::verdict{model::verdict_kind::done, note_on_replicas()});
    return concerned;
  });
}

/// An unbind supersedes a bind that is under way.
void instance_bindings::refuse_binds(const std::string& binding_id) {
  std::erase_if(waiting_, [&](waiter& one) {
    bool concerned = one.binding_id == binding_id && !one.removal;
    if (concerned)
      one.owed.deliver(
          model::verdict{model::verdict_kind::busy, "the binding of this id is being removed"});
    return concerned;
  });
}

void instance_bindings::tell_pollers() {
  if (waiting_.empty())
    return;
  auto now = keeper_.self()->clock().now();
  const auto trouble_of = troubles();
  std::erase_if(waiting_, [&](waiter& one) {
    if (one.may_poll && now >= one.since + poll_after) {
      one.owed.deliver(success(model::verdict_kind::accepted, one.binding_id));
      return true;
    }
    auto trouble = trouble_of.find(one.binding_id);
    bool hopeless = trouble != trouble_of.end() && !one.removal && !one.may_poll
                    && now >= one.since + tell_unmade_after && !is_late(one.binding_id);
    if (now < one.since + longest_wait && !hopeless)
      return false;
    auto why = trouble != trouble_of.end()      ? trouble->second
               : !seen().running(seen().leader) ? "the cluster has no leader"
               : refusal().empty()              ? what_is_awaited(one.binding_id)
                                                : refusal();
    one.owed.deliver(model::verdict{model::verdict_kind::unavailable,
                                    why + "; the request goes on, ask again for its state"});
    return true;
  });
  for (const auto& one : waiting_)
    host_.wake(one.since + (one.may_poll ? poll_after : longest_wait) - now);
}

/// Whether its role may only need more time.
bool instance_bindings::is_late(const std::string& binding_id) const {
  auto found = bindings_.find(binding_id);
  return found != bindings_.end() && late_.contains(role_of(found->second));
}

/// The reason for waiting when nothing has been refused.
std::string instance_bindings::what_is_awaited(const std::string& binding_id) const {
  auto found = bindings_.find(binding_id);
  bool compares = found != bindings_.end() && found->second.read_only
                  && found->second.phase == model::binding_phase::creating
                  && !rights_.served(found->second);
  return compares ? "its read rights are still being compared with the objects in the database"
                  : "the cluster's leader could not be asked";
}

// -- the loop -------------------------------------------------------------------------------------

std::string instance_bindings::key_of(const std::string& binding_id) const {
  return keys::binding(keeper_.name(), model::name_of(binding_id));
}

/// Writes a binding to etcd, on condition that the record has not changed since this actor read it.
etcd_write instance_bindings::write_of(const model::binding& next) const {
  auto key = key_of(next.binding_id);
  auto value = store::encode_binding(next, keeper_.name(), *keeper_.setup().keys);
  etcd_write what;
  what.compares = {store::unchanged_since(keys::record(keeper_.name()), keeper_.at())};
  what.operations = {store::put{key, value}};
  what.witness = {key, ""};
  what.made = [value](const auto& found) { return !found.empty() && found.front().value == value; };
  return what;
}

store::operation instance_bindings::put_of(const model::binding& one) const {
  return store::put{key_of(one.binding_id),
                    store::encode_binding(one, keeper_.name(), *keeper_.setup().keys)};
}

/// The present leader and its timeline, as text. There must be a leader.
std::string instance_bindings::term() const {
  const auto& seen = host_.observations().living.seen;
  return seen.leader + " " + std::to_string(seen.members.at(seen.leader).timeline);
}

bool instance_bindings::leads(const std::string& by) const {
  return seen().running(seen().leader) && term() == by;
}

/// The creations of bindings that log in as the owner; each needs a login test.
std::set<std::string> instance_bindings::sharing() const {
  std::set<std::string> ids;
  for (const auto& [id, one] : bindings_)
    if (one.phase == model::binding_phase::creating && one.role.username.empty())
      ids.insert(one.operation_id);
  return ids;
}

/// The roles that the leader should have; nothing if there is no leader or nothing to do.
std::optional<instance_bindings::state_of_roles> instance_bindings::wanted_state() const {
  const auto& known = record();
  const auto& seen = host_.observations().living.seen;
  if (!known.desired.exists || !seen.running(seen.leader))
    return std::nullopt;
  state_of_roles wanted;
  wanted.sharing = sharing();
  if (!model::has_own_roles(known, bindings_) && wanted.sharing.empty())
    return std::nullopt;
  wanted.term = term();
  wanted.owner_logs_in = model::owner_logs_in(known, bindings_);
  wanted.some_unknown = !unreadable_.empty();
  for (const auto& [id, one] : bindings_) {
    if (one.role.username.empty())
      continue;
    // A reader's role is made after its rights, also those on the replicas.
    bool early =
        one.read_only && one.phase == model::binding_phase::creating && !rights_.served(one);
    if (one.phase == model::binding_phase::removing)
      wanted.revoked.push_back(one.role.username);
    else if (early)
      wanted.later.insert(one.role.username);
    else
      wanted.wanted.push_back({one.role, one.read_only, known.living.in_force.connection_limit,
                               one.expires_at, one.phase == model::binding_phase::creating});
  }
  return wanted;
}

std::map<std::string, std::string> instance_bindings::running_replicas() const {
  std::map<std::string, std::string> running;
  for (const auto& [name, member] : seen().members)
    if (name != seen().leader && member.running())
      running[name] = member.login_url;
  return running;
}

void instance_bindings::tend(bool takes_writes) {
  tell_pollers();
  if (!takes_writes)
    return have_refused_by_cells();
  rights_.tend(bindings_);
  // While an order is under way, the state of the roles is not known.
  if (!asking_)
    tend_roles();
  else
    hurry();
  tend_removal();
  have_refused_by_cells();
}

/// The roles of bindings that are being removed, if they have their own roles.
std::set<std::string> instance_bindings::to_be_refused() const {
  std::set<std::string> roles;
  for (const auto& [id, one] : bindings_)
    if (one.phase == model::binding_phase::removing && !one.role.username.empty())
      roles.insert(one.role.username);
  return roles;
}

/// The running nodes that may not know yet that all these roles are refused.
std::set<std::string> instance_bindings::that_let_in(const std::set<std::string>& roles) const {
  const auto& seen = host_.observations().living.seen;
  bool led = seen.running(seen.leader);
  bool are_refused = std::ranges::includes(refused_, roles) && (!led || refused_by_ == term());
  std::set<std::string> nodes;
  if (led && !are_refused)
    nodes.insert(seen.leader);
  for (const auto& [name, url] : running_replicas())
    if (!are_refused || !caught_up_.contains(name))
      nodes.insert(name);
  return nodes;
}

/// Has cells refuse revoked roles. What the database itself does can be held up by sessions, by a
/// replica's replay or by a missing leader; what a cell refuses cannot.
void instance_bindings::have_refused_by_cells() {
  auto now = keeper_.self()->clock().now();
  auto roles = record().desired.exists ? to_be_refused() : std::set<std::string>{};
  auto& since = by_cells_.since;
  erase_if(since, [&](const auto& one) { return !roles.contains(one.first); });
  for (const auto& role : std::exchange(roles, {})) {
    auto due = since.try_emplace(role, now).first->second + refused_by_cells_after;
    if (now >= due)
      roles.insert(role);
    else
      host_.wake(due - now);
  }
  auto nodes = roles.empty() ? std::set<std::string>{} : that_let_in(roles);
  if (nodes.empty()) {
    by_cells_.nodes.clear();
    return;
  }
  bool asked = std::ranges::includes(by_cells_.nodes, nodes)
               && std::ranges::includes(by_cells_.roles, roles);
  auto next = by_cells_.asked_at + refused_by_cells_again;
  if (!asked || now >= next) {
    end_sessions(nodes, roles);
    by_cells_.asked_at = now;
    by_cells_.nodes = std::move(nodes);
    by_cells_.roles = std::move(roles);
    next = now + refused_by_cells_again;
  }
  host_.wake(next - now);
}

void instance_bindings::end_sessions(const std::set<std::string>& nodes,
                                     const std::set<std::string>& roles) const {
  for (const auto& id : nodes)
    if (const auto* where = keeper_.record() ? keeper_.record()->living.find_node(id) : nullptr)
      keeper_.self()->send(keeper_.setup().cells,
                           sessions_order{where->cell, where->node_id, record().living.scope,
                                          keeper_.heard().fleet, roles});
}

/// Hurries the order under way if a role is to be refused that this order does not refuse: neither
/// its login tests nor its wait for replicas may hold up the revocation.
void instance_bindings::hurry() {
  for (const auto& [id, one] : bindings_)
    if (one.phase == model::binding_phase::removing && !refused_in_it_.contains(one.role.username))
      hurry_->store(true);
}

void instance_bindings::tend_roles() {
  auto wanted = wanted_state();
  const auto& known = record();
  bool nothing_to_make =
      known.desired.exists && !model::has_own_roles(known, bindings_) && sharing().empty();
  bool made = wanted ? confirmed_ == wanted && !cut_short_ : nothing_to_make;
  unserved_.clear();
  if (made && settle())
    return;
  if (!made && hold_back_at_once())
    return;
  note_unserved();
  if (!wanted)
    return;
  bool held_back = may_be_let_go();
  bool again = std::ranges::any_of(leaving_, [](const auto& one) { return !one.second.empty(); });
  if (made && unmade_.empty() && !held_back && !note_may_be_over() && !again)
    return;
  auto pause = !made              ? (refusal_.empty() ? caf::timespan{0}
                                     : pending()      ? pause_when_awaited
                                                      : patience_.pause(wanted->term))
               : !unmade_.empty() ? pause_when_unmade
               : held_back        ? pause_when_held_back
                                  : pause_when_lingering;
  auto now = keeper_.self()->clock().now();
  if (now < answered_at_ + pause)
    return host_.wake(answered_at_ + pause - now);
  ask(std::move(*wanted));
}

/// Removes each role by itself, so that none waits for another. Roles that were not tried yet come
/// first, and there is always room for one more of them.
void instance_bindings::tend_removal() {
  if (leaving_.empty() || !record().desired.exists || !seen().running(seen().leader))
    return;
  auto now = keeper_.self()->clock().now();
  auto is_in_use = [this](const std::string& role) {
    return std::ranges::any_of(bindings_, [&](const auto& one) {
      return one.second.role.username == role && one.second.phase != model::binding_phase::removing;
    });
  };
  for (bool lingering : {false, true})
    for (const auto& [role, why] : leaving_) {
      if (removing_.size() >= (lingering ? most_lingering_removals : most_removals))
        return;
      if (removing_.contains(role) || why.empty() == lingering || is_in_use(role))
        continue;
      auto again_at = remove_again_[role].at;
      if (lingering && now < again_at)
        host_.wake(again_at - now);
      else
        ask_for_removal(role);
    }
}

void instance_bindings::ask(state_of_roles wanted) {
  asking_ = true;
  hurry_ = std::make_shared<std::atomic<bool>>(false);
  refused_in_it_ = {wanted.revoked.begin(), wanted.revoked.end()};
  confirmed_.reset();
  patience_.begin(wanted.term);
  const auto& known = record();
  const auto& leader = seen().members.at(seen().leader);
  role_order order{keeper_.name(),
                   leader.login_url,
                   known.living.secret_of(model::secret_name::superuser),
                   known.living.secret_of(model::secret_name::application),
                   wanted.owner_logs_in,
                   !wanted.sharing.empty(),
                   wanted.wanted,
                   wanted.some_unknown,
                   wanted.revoked,
                   wanted.later,
                   {},
                   hurry_};
  bool revokes = !std::ranges::includes(refused_, refused_in_it_) || refused_by_ != wanted.term;
  if (revokes && !refused_in_it_.empty())
    order.replicas = running_replicas();
  replicas_asked_ = running_replicas().size();
  auto done = [this, wanted = std::move(wanted)](const role_answer& said) {
    asking_ = false;
    if (!keeper_.record())
      return host_.go_on();
    if (said.ok) {
      confirmed_ = wanted;
      refused_ = refused_in_it_;
      erase_if(refused_, [&](const std::string& role) {
        auto there = said.leaving.find(role);
        return there != said.leaving.end() && !there->second.empty();
      });
      refused_by_ = wanted.term;
    }
    note_answer(said);
    if (leads(wanted.term))
      at_hand_ = said.at_hand;
    host_.go_on();
    at_hand_.reset();
  };
  keeper_.self()
      ->request(keeper_.engine().actor, database_patience, std::move(order))
      .then([done](const role_answer& said) { done(said); },
            [done](const caf::error&) {
              done({false, "the database did not answer in time"});
            });
}

void instance_bindings::note_answer(const role_answer& said) {
  answered_at_ = keeper_.self()->clock().now();
  auto before = troubles();
  patience_.end(said.ok);
  if (said.ok) {
    replicas_ = said.replicas;
    replayed_ = said.replayed;
    caught_up_ = said.caught_up;
    unmade_ = said.unmade;
    late_ = said.late;
    cut_short_ = said.cut_short;
    // A removal's remark about a role stays until the next removal of the role.
    for (auto& [role, why] : std::exchange(leaving_, said.leaving))
      if (auto there = leaving_.find(role); there != leaving_.end() && there->second.empty())
        there->second = why;
  }
  if (said.kept_out && !refused_in_it_.empty())
    end_sessions({seen().leader}, refused_in_it_);
  if (said.why == refusal_ && before == troubles())
    return;
  refusal_ = said.why;
  if (!said.why.empty())
    spdlog::warn("instance {}: the roles of its bindings are not up to date yet: {}",
                 keeper_.name(), said.why);
  log_troubles(before);
  host_.publish();
}

void instance_bindings::ask_for_removal(const std::string& role) {
  removing_.insert(role);
  const auto& known = record();
  const auto& leader = seen().members.at(seen().leader);
  role_removal order{keeper_.name(),
                     leader.login_url,
                     known.living.secret_of(model::secret_name::superuser),
                     known.living.secret_of(model::secret_name::application),
                     role,
                     running_replicas()};
  for (const auto& [other, why] : leaving_)
    if (other != role)
      order.others.insert(other);
  auto now = keeper_.self()->clock().now();
  auto& first = remove_again_[role].first;
  first = first.value_or(now);
  order.asked_for = std::chrono::duration_cast<std::chrono::milliseconds>(now - *first);
  order.at_hand = std::exchange(at_hand_, {});
  auto done = [this, role, at = term()](const role_removal_answer& said) {
    removing_.erase(role);
    // Another leader may still have the role; the removal is ordered again there.
    if (keeper_.record() && (!said.gone || leads(at)))
      note_removal(role, said);
    host_.go_on();
  };
  keeper_.self()
      ->request(keeper_.engine().actor, database_patience, std::move(order))
      .then([done](const role_removal_answer& said) { done(said); },
            [done](const caf::error&) {
              done({false, "the database did not answer in time"});
            });
}

void instance_bindings::note_removal(const std::string& role, const role_removal_answer& said) {
  auto before = troubles();
  auto shut = said.replicas_kept_out;
  if (said.kept_out)
    shut.insert(seen().leader);
  // Cells refuse only bindings' roles, not the owner.
  if (role != record().living.secret_of(model::secret_name::application).username)
    end_sessions(shut, {role});
  if (said.gone) {
    leaving_.erase(role);
    remove_again_.erase(role);
  } else if (auto there = leaving_.find(role); there != leaving_.end()) {
    there->second = said.why;
    auto& next = remove_again_[role];
    next.pause = std::clamp(2 * next.pause, first_pause_when_lingering, pause_when_lingering);
    next.at = keeper_.self()->clock().now() + next.pause;
  }
  for (const auto& [other, why] : said.others)
    if (auto there = leaving_.find(other); there != leaving_.end() && there->second.empty())
      there->second = why;
  if (before == troubles())
    return;
  log_troubles(before);
  host_.publish();
}

std::map<std::string, std::string> instance_bindings::troubles() const {
  std::map<std::string, std::string> found;
  for (const auto& [id, one] : bindings_) {
    const auto& role = role_of(one);
    bool leaves = one.phase == model::binding_phase::removing;
    if (one.role.username.empty() && one.phase != model::binding_phase::creating)
      continue; // the trouble concerns another binding that shares the owner
    const auto& among = leaves ? leaving_ : unmade_;
    if (auto there = among.find(role); there != among.end() && !there->second.empty())
      found[id] = leaves ? "it can no longer be used, but its role " + role
                               + " is not removed yet: " + there->second
                         : there->second;
  }
  return found;
}

void instance_bindings::log_troubles(const std::map<std::string, std::string>& before) const {
  for (const auto& [id, why] : troubles())
    if (auto known = before.find(id); known == before.end() || known->second != why)
      spdlog::warn("instance {}: binding {}: {}", keeper_.name(), id, why);
}

/// The role in a binding's credentials.
std::string instance_bindings::role_of(const model::binding& one) const {
  return one.role.username.empty()
             ? record().living.secret_of(model::secret_name::application).username
             : one.role.username;
}

/// Whether a replica has come since a binding was noted as missing on some or all replicas.
bool instance_bindings::note_may_be_over() const {
  const auto& seen = host_.observations().living.seen;
  auto running = std::ranges::count_if(seen.members, [&](const auto& one) {
    return one.first != seen.leader && one.second.running();
  });
  return static_cast<std::size_t>(running) > replicas_asked_
         && std::ranges::any_of(bindings_,
                                [](const auto& one) { return !one.second.note.empty(); });
}

std::string instance_bindings::note_on_replicas() const {
  if (replicas_ == 0)
    return "when this was done no replica was streaming from the leader; only the leader has the "
           "change until one streams";
  if (replayed_ < replicas_)
    return "when this was done " + std::to_string(replayed_) + " of " + std::to_string(replicas_)
           + " replicas had the change";
  return {};
}

std::string instance_bindings::note_on(const model::binding& one) const {
  auto note = note_on_replicas();
  auto of_rights = one.read_only ? rights_.note() : std::string{};
  return note.empty() || of_rights.empty() ? note + of_rights : note + "; " + of_rights;
}

/// The roles are up to date. Writes new bindings as ready, erases removed ones, and clears the
/// notes of bindings that have reached all replicas.
bool instance_bindings::settle() {
  settlement what;
  std::vector<store::operation> operations;
  auto next = record();
  bool held = hold_back(next, true);
  for (const auto& [id, one] : bindings_) {
    if (operations.size() == most_settled_at_once)
      break;
    if (one.phase == model::binding_phase::removing) {
      if (leaving_.contains(one.role.username))
        continue;
      operations.push_back(store::erase{{key_of(id), ""}});
      what.ended.push_back(id);
      next.ended_bindings[id] = {keeper_.setup().outside.now(), one.operation_id};
      continue;
    }
    bool fresh = one.phase == model::binding_phase::creating;
    if (fresh && unmade_.contains(role_of(one)))
      continue;
    auto note = note_on(one);
    if (fresh ? one.read_only && !rights_.served(one) : one.note.empty() || !note.empty())
      continue;
    if (is_new_reader(one) && held)
      continue; // ready once the routers know who is held back
    if (fresh && !is_served(one))
      continue;
    auto ready = one;
    ready.phase = model::binding_phase::ready;
    if (!one.role.username.empty())
      ready.note = note;
    operations.push_back(put_of(ready));
    if (fresh)
      what.made[id] = note;
    else
      what.reached.push_back(id);
  }
  if (operations.empty() && !held)
    return false;
  model::forget_ended_bindings(next, keeper_.setup().outside.now());
  keeper_.write(std::move(next), {}, std::move(operations),
                [this, what = std::move(what)](const write_result& came) {
                  if (!came.done()) {
                    spdlog::warn("instance {}: bindings not written: {}", keeper_.name(), came.why);
                    return;
                  }
                  at_ = came.at;
                  settled(what);
                });
  return true;
}

bool instance_bindings::is_served(const model::binding& fresh) {
  auto wanted = route(fresh.read_only);
  auto wait = model::waits_for(*host_.observations().routing, wanted);
  if (wait.over())
    return true;
  unserved_[fresh.read_only] = wanted;
  return false;
}

model::route instance_bindings::route(bool read_only) const {
  return {host_.observations().routed_at,
          record().endpoints[read_only ? model::endpoint::read_only : model::endpoint::primary],
          true, keeper_.name()};
}

bool instance_bindings::is_told_of(bool read_only) const {
  return !unreadable_.empty() || std::ranges::any_of(bindings_, [&](const auto& one) {
    return one.second.read_only == read_only && one.second.phase != model::binding_phase::creating;
  });
}

void instance_bindings::note_unserved() {
  std::string words;
  for (const auto& [read_only, wanted] : unserved_) {
    auto wait = model::waits_for(*host_.observations().routing, wanted);
    auto more = model::words_of(wait, *host_.observations().routing, wanted);
    words += (words.empty() || more.empty() ? "" : "; ") + more;
    if (!wait.unbound.empty() && !is_told_of(read_only))
      host_.change_port(read_only ? model::endpoint::read_only : model::endpoint::primary);
  }
  if (words == std::exchange(unserved_words_, words))
    return;
  host_.publish();
}

std::vector<model::route> instance_bindings::unserved() const {
  std::vector<model::route> all;
  for (const auto& [read_only, wanted] : unserved_)
    all.push_back(wanted);
  return all;
}

/// Holds back nodes from clients. A node that may lack a revocation lets revoked users in, also a
/// node that is only coming back; a node that lacks a new reader's role refuses that reader. No
/// client may be led to such a node until it has the roles. Returns whether this changes anything.
/// `asked`: the leader was just asked which replicas have the roles.
bool instance_bindings::hold_back(model::record& next, bool asked) const {
  bool changes_who_gets_in = std::ranges::any_of(bindings_, [&](const auto& one) {
    return one.second.phase == model::binding_phase::removing
           || (asked && is_new_reader(one.second));
  });
  bool changes = false;
  for (auto& node : next.living.nodes) {
    bool is_safe = node.node_id == seen().leader || caught_up_.contains(node.node_id);
    bool hold = !is_safe && (changes_who_gets_in || node.held_back)
                && model::has_own_roles(next, bindings_);
    changes |= hold != std::exchange(node.held_back, hold);
  }
  return changes;
}

/// Holds back nodes even while another order is under way: the last order tells which nodes may
/// lack a revocation.
bool instance_bindings::hold_back_at_once() {
  auto next = record();
  if (!confirmed_ || !hold_back(next, false))
    return false;
  keeper_.write(std::move(next), {}, {}, [this](const write_result& came) {
    if (!came.done())
      spdlog::warn("instance {}: nodes are not held back yet: {}", keeper_.name(), came.why);
  });
  return true;
}

/// Whether a node is held back that may have caught up since.
bool instance_bindings::may_be_let_go() const {
  return std::ranges::any_of(record().living.nodes, [&](const auto& node) {
    return node.held_back && seen().running(node.node_id);
  });
}

void instance_bindings::settled(const settlement& what) {
  for (const auto& [id, note] : what.made) {
    auto& one = bindings_[id];
    one.phase = model::binding_phase::ready;
    if (!one.role.username.empty())
      one.note = note;
  }
  for (const auto& id : what.reached)
    bindings_[id].note.clear();
  for (const auto& id : what.ended) {
    // The leader has removed the role, so the confirmed state no longer includes it.
    if (auto ended = bindings_.find(id); ended != bindings_.end() && confirmed_)
      std::erase(confirmed_->revoked, ended->second.role.username);
    bindings_.erase(id);
  }
  host_.publish();
  for (const auto& [id, note] : what.made)
    tell_ready(id);
  for (const auto& id : what.ended)
    tell_removed(id);
}

} // namespace matriarch::actors
