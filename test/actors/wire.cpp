#include "wire.hpp"

#include <algorithm>
#include <utility>

#include "later_release.hpp"
#include "store/keys.hpp"
#include "store/record_json.hpp"

namespace matriarch::simulation {

namespace {

namespace keys = store::keys;
using namespace std::chrono_literals;

// The etcd client's time-out for a call; after it, the result is unknown.
constexpr duration etcd_patience = 3s;
constexpr duration database_patience = 5s;
// An order may reach a cell up to model::start_margin after its time-out; this is well within it.
constexpr duration lateness_of_orders = 2s;
constexpr duration lateness_of_others = 700ms;
// Delay of a write until after the orders that depend on it: longer than an order's way.
constexpr duration write_second = 200ms;
// The same for changes of roles.
constexpr duration change_second = 300ms;

bool writes(const store::transaction& what) {
  auto changes = [](const store::operation& one) {
    return !std::holds_alternative<store::read>(one);
  };
  return std::ranges::any_of(what.then, changes) || std::ranges::any_of(what.otherwise, changes);
}

const store::put* put_under(const store::transaction& what, const std::string& prefix) {
  for (const auto& one : what.then)
    if (const auto* put = std::get_if<store::put>(&one);
        put != nullptr && put->key.starts_with(prefix))
      return put;
  return nullptr;
}

bool places_nodes(const store::transaction& what, const store::keyring& sealed_with) {
  const auto* put = put_under(what, keys::services);
  if (put == nullptr || !put->key.ends_with("/state"))
    return false;
  auto next = store::decode_record(put->value, sealed_with);
  return next.ok() && std::ranges::any_of(next->living.nodes, [](const auto& n) {
           return n.phase == model::node_phase::placed;
         });
}

} // namespace

// -- effects in general --------------------------------------------------------------------------

template <class Answer>
void wire::emit(std::string what, traffic by, duration transit, duration patience,
                const std::function<void(Answer)>& reply, const Answer& unanswered,
                std::function<void(const std::function<void(Answer)>&)> apply) {
  auto heard = [self = shared_from_this(), reply](Answer came) {
    if (!self->cut_)
      reply(std::move(came));
  };
  send_out({std::move(what), by, transit, patience,
            [heard, apply = std::move(apply)](bool answered) {
              apply(answered ? std::function<void(Answer)>{heard} : [](Answer) {});
            },
            [heard, unanswered] { heard(unanswered); }});
}

void wire::send_out(effect one) {
  if (cut_)
    return;
  int number = ++effects_;
  auto become = fate_of ? fate_of(number) : way::through;
  if (cut_) // fate_of() may have cut the connection
    return;
  if (become == way::late && one.by == traffic::statement)
    become = way::undone;
  if (become != way::through)
    outside_.after(one.patience, one.give_up);
  switch (become) {
  case way::undone:
    break;
  case way::done:
    outside_.after(one.transit, [arrive = one.arrive] { arrive(false); });
    break;
  case way::late:
    outside_.after(one.patience
                       + (one.by == traffic::order ? lateness_of_orders : lateness_of_others),
                   [arrive = one.arrive] { arrive(false); });
    break;
  case way::through:
    if (one.transit == 0ms)
      return one.arrive(true);
    outside_.after(one.transit, [self = shared_from_this(), number] { self->arrive(number); });
    in_flight_.emplace(number, std::move(one));
    break;
  }
}

void wire::arrive(int number) {
  auto found = in_flight_.find(number);
  if (held_ || found == in_flight_.end())
    return;
  auto one = std::move(found->second);
  in_flight_.erase(found);
  one.arrive(true);
}

void wire::cut(const std::function<way(int nth)>& write_result) {
  cut_ = true;
  int nth = 0;
  for (auto& [number, one] : std::exchange(in_flight_, {}))
    switch (write_result(nth++)) {
    case way::through:
    case way::done:
      one.arrive(false);
      break;
    case way::late:
      if (one.by != traffic::statement)
        (one.by == traffic::order ? late_orders_ : late_).emplace_back([arrive = one.arrive] {
          arrive(false);
        });
      break;
    case way::undone:
      break;
    }
}

void wire::release() {
  held_ = false;
  for (auto& [number, one] : std::exchange(in_flight_, {}))
    one.arrive(true);
  release_all_but_orders();
  for (auto& one : std::exchange(late_orders_, {}))
    one();
}

void wire::release_all_but_orders() {
  for (auto& one : std::exchange(late_, {}))
    one();
}

std::vector<std::string> wire::in_flight() const {
  std::vector<std::string> words;
  for (const auto& [number, one] : in_flight_)
    words.push_back(one.what);
  return words;
}

// -- etcd ----------------------------------------------------------------------------------------

void wire::commit(const store::transaction& what, std::function<void(store::commit_result)> reply) {
  if (cut_)
    return;
  if (!writes(what))
    return outside_.commit(what, std::move(reply));
  if (planted_ == bug::act_first && places_nodes(what, *outside_.keys_to_read)) {
    commit_now(what, write_second, [](const auto&) {});
    return reply({store::commit_state::committed, outside_.etcd.at() + 1});
  }
  if (planted_ == bug::piecemeal_removal && put_under(what, keys::tombstones) != nullptr)
    return commit_in_pieces(what, reply);
  auto sent = what;
  if (planted_ == bug::any_request && put_under(what, keys::cells) != nullptr)
    sent.compares.clear();
  if (planted_ == bug::no_graves)
    std::erase_if(sent.then, [](const store::operation& one) {
      const auto* put = std::get_if<store::put>(&one);
      return put != nullptr && put->key.starts_with(keys::graves);
    });
  if (planted_ == bug::forgets_unknown)
    for (auto& one : sent.then)
      if (auto* put = std::get_if<store::put>(&one))
        put->value = without_later_members(put->value);
  commit_now(sent, how_.etcd, reply);
}

void wire::commit_now(const store::transaction& what, duration transit,
                      const std::function<void(store::commit_result)>& reply) {
  const auto* put = what.then.empty() ? nullptr : std::get_if<store::put>(&what.then.back());
  emit<store::commit_result>("a write" + (put == nullptr ? std::string{} : " of " + put->key),
                             traffic::request, transit, etcd_patience, reply,
                             {store::commit_state::unknown, 0, {}, "timed out"},
                             [this, what](const auto& answer) { outside_.commit(what, answer); });
}

void wire::commit_in_pieces(const store::transaction& what,
                            const std::function<void(store::commit_result)>& reply) {
  auto piece = what;
  piece.then = {what.then.front()};
  store::transaction rest;
  rest.then.assign(what.then.begin() + 1, what.then.end());
  commit_now(piece, how_.etcd, [this, rest, reply](const store::commit_result& came) {
    if (came.state != store::commit_state::committed || rest.then.empty())
      return reply(came);
    commit_in_pieces(rest, reply);
  });
}

void wire::grant_lease(std::chrono::seconds ttl, std::function<void(store::lease_result)> reply) {
  emit<store::lease_result>("a lease", traffic::request, how_.etcd, etcd_patience, reply, {},
                            [this, ttl](const auto& answer) { answer(outside_.grant_lease(ttl)); });
}

void wire::keep_lease(store::lease_id lease, std::function<void(store::lease_result)> reply) {
  emit<store::lease_result>(
      "a renewal of the lease", traffic::request, how_.etcd, etcd_patience, reply, {},
      [this, lease](const auto& answer) { answer(outside_.keep_lease(lease)); });
}

void wire::revoke_lease(store::lease_id lease, std::function<void(store::lease_result)> reply) {
  emit<store::lease_result>(
      "the lease's end", traffic::request, how_.etcd, etcd_patience, reply, {},
      [this, lease](const auto& answer) { answer(outside_.revoke_lease(lease)); });
}

void wire::admit_user(const std::string& username, const std::string& password,
                      std::function<void(bool)> reply) {
  emit<bool>("a new user of etcd", traffic::request, how_.etcd, etcd_patience, reply, false,
             [this, username, password](const auto& answer) {
               outside_.admit_user(username, password);
               answer(true);
             });
}

void wire::dismiss_user(const std::string& username, std::function<void(bool)> reply) {
  emit<bool>("the end of a user of etcd", traffic::request, how_.etcd, etcd_patience, reply, false,
             [this, username](const auto& answer) {
               outside_.dismiss_user(username);
               answer(true);
             });
}

// -- HTTP ----------------------------------------------------------------------------------------

void wire::send(const base::outgoing& what, std::function<void(base::outcome)> reply) {
  if (cut_)
    return;
  auto sent = what;
  if (auto refused = outside_.shake_hands(sent))
    return reply(*refused);
  sent.url = reached(sent.url);
  if (planted_ == bug::any_position && sent.url.ends_with("/halted"))
    reply = [reply](base::outcome came) {
      if (auto at = came.body.find(R"("position")"); at != std::string::npos)
        came.body = came.body.substr(0, at) + R"("position":1,"led":true})";
      reply(std::move(came));
    };
  if (sent.verb == "GET" && planted_ == bug::replay_believed && sent.url.ends_with("/patroni"))
    return outside_.send(sent, [reply](base::outcome came) {
      if (auto at = came.body.find(R"("xlog")"); at != std::string::npos)
        came.body = came.body.substr(0, at) + R"("xlog":{"replayed_location":9000000000000}})";
      reply(std::move(came));
    });
  if (sent.verb == "GET")
    return outside_.send(sent, std::move(reply));
  if (is_forgotten(sent))
    return reply({200, "{}", "", false});
  bool order = outside_.is_order(sent);
  if (order)
    outside_.expect_recorded(sent);
  emit<base::outcome>(sent.verb + " " + sent.url, order ? traffic::order : traffic::request,
                      order ? how_.cell : how_.patroni, sent.timeout, reply,
                      {0, "", "timed out", false},
                      [this, sent](const auto& answer) { outside_.send(sent, answer); });
}

bool wire::is_forgotten(const base::outgoing& what) const {
  if (planted_ != bug::not_taken_back || !what.url.ends_with("/config"))
    return false;
  auto known = outside_.record_of("db");
  return known && known->current.state == model::operation_state::failed;
}

// -- PostgreSQL ----------------------------------------------------------------------------------

void wire::set_roles(const std::string& conn_url, const roles& wanted,
                     std::function<void(result<roles_made>)> reply) {
  if (cut_)
    return;
  auto where = reached(conn_url);
  auto compared = outside_.compare_roles(where, wanted);
  if (!compared.ok())
    return reply(failure{compared.error()});
  auto what = *compared;
  auto transit = how_.database;
  auto heard = reply;
  if (planted_ == bug::early_unbind && !what.refused.empty()) {
    reply(roles_made{1, {}, {}});
    transit = change_second;
    heard = [](const auto&) {};
  }
  auto leaving = what.refused;
  if (planted_ == bug::no_revocation)
    what.refused.clear();
  emit<result<roles_made>>("roles", traffic::statement, transit, database_patience, heard,
                           failure{"timed out"}, [this, where, what, leaving](const auto& answer) {
                             auto made = outside_.change_roles(where, what);
                             if (made.ok() && planted_ == bug::no_revocation)
                               made->leaving.insert(leaving.begin(), leaving.end());
                             if (made.ok() && planted_ == bug::all_caught_up)
                               made->caught_up.insert(outside_.stands_still.begin(),
                                                      outside_.stands_still.end());
                             answer(made);
                           });
}

void wire::drop_roles(const std::string& conn_url, const std::set<std::string>& names,
                      std::function<void(result<std::set<std::string>>)> reply) {
  if (cut_)
    return;
  emit<result<std::set<std::string>>>("removal of roles", traffic::statement, how_.database,
                                      database_patience, reply, failure{"timed out"},
                                      [this, where = reached(conn_url), names](const auto& answer) {
                                        answer(outside_.drop_roles(where, names));
                                      });
}

void wire::keep_rights(const std::string& conn_url, bool readers,
                       std::function<void(result<bool>)> reply) {
  if (cut_)
    return;
  if (planted_ == bug::no_rights)
    return reply(true);
  emit<result<bool>>("rights", traffic::statement, how_.database, database_patience, reply,
                     failure{"timed out"},
                     [this, where = reached(conn_url), readers](const auto& answer) {
                       answer(outside_.keep_rights(where, readers));
                     });
}

std::string wire::reached(const std::string& url) {
  auto there = planted_ == bug::members_believed ? outside_.as_its_member_says(url) : url;
  outside_.note_connection(there);
  return there;
}

} // namespace matriarch::simulation
