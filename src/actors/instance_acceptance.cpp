#include "actors/instance_acceptance.hpp"

#include <utility>

#include "model/acceptance.hpp"
#include "model/names.hpp"
#include "store/keys.hpp"
#include "store/port_json.hpp"

namespace matriarch::actors {

namespace {

using namespace std::chrono_literals;
namespace keys = store::keys;

constexpr caf::timespan offer_patience = 10s; // the registry answers from memory

} // namespace

void instance_acceptance::accept(model::provision_request asked, answer owed) {
  begin(model::accept_stages.front(), std::make_shared<newcomer>(newcomer{std::move(asked), owed}));
}

void instance_acceptance::begin(model::accept_stage stage, const newcomer_ptr& who) {
  switch (stage) {
  case model::accept_stage::offer_port:
    return reserve_port(who);
  case model::accept_stage::create_record:
    return create(who);
  case model::accept_stage::take_port:
    return take_port(who);
  case model::accept_stage::confirm:
    return confirm(who);
  }
}

void instance_acceptance::go_on(model::accept_stage stage, model::stage_end how,
                                const std::string& why, const newcomer_ptr& who) {
  auto next = model::after(stage, how, record() != nullptr, why);
  if (next.stage)
    return begin(*next.stage, who);
  if (next.refusal) {
    who->owed.deliver(std::move(*next.refusal));
    self()->send(setup().ports, port_settled{name(), false}); // the offer may still arrive late
    host_.not_accepted();
    return;
  }
  host_.tell(model::operation_accepted{record()->current.type, record()->current.id,
                                       record()->endpoints[model::endpoint::primary]});
  host_.publish();
  who->owed.deliver(
      model::verdict{model::verdict_kind::accepted, "", record()->current.id, host_.snapshot()});
}

void instance_acceptance::reserve_port(const newcomer_ptr& who) {
  keeper_.hold(true);
  auto done = [this, who](const port_offer& offer, model::stage_end without) {
    keeper_.hold(false);
    who->offer = offer;
    go_on(model::accept_stage::offer_port, offer.port != 0 ? model::stage_end::done : without,
          offer.why, who);
    host_.go_on();
  };
  self()
      ->request(setup().ports, offer_patience, port_order{name()})
      .then([done](const port_offer& offer) { done(offer, model::stage_end::none_free); },
            [done](const caf::error&) {
              done({0, 0, 0, "no port could be reserved in time"}, model::stage_end::failed);
            });
}

void instance_acceptance::create(const newcomer_ptr& who) {
  model::new_instance_values values{setup().outside.new_id(), {}, setup().outside.now()};
  auto add = [&](std::string_view which, const std::string& username) {
    values.secrets[which] = {username, setup().outside.new_password()};
  };
  for (const auto& one : keeper_.engine().decisions->secrets())
    add(one.name, std::string{one.username});
  // etcd's users are named after the scopes that they may write.
  if (setup().etcd_users)
    add(model::secret_name::etcd, "scope-" + model::scope_of(name(), 1));
  auto fresh = model::new_record(who->asked, std::move(values));
  const auto scope = fresh.living.scope;
  keeper_.write(std::move(fresh), {store::absent(keys::leader(scope))}, erasures_of_another_life(),
                [this, who](const write_result& came) {
                  bool led =
                      came.is == write_result::kind::refused && came.active && came.record.empty();
                  go_on(model::accept_stage::create_record,
                        came.done() ? model::stage_end::done
                        : led       ? model::stage_end::led
                                    : model::stage_end::failed,
                        came.why, who);
                });
}

/// A forgotten node writes its scope's keys again when its cell is back, and with an earlier
/// `initialize` no new node would ever bootstrap. So all keys of the instance are erased, except
/// the record: etcd refuses to put a key that the same transaction erases.
std::vector<store::operation> instance_acceptance::erasures_of_another_life() const {
  auto all = store::keys_below(keys::everything_of(name()));
  auto after_record = keeper_.key() + '\0';
  return {store::erase{{all.first, keeper_.key()}}, store::erase{{after_record, all.last}}};
}

void instance_acceptance::take_port(const newcomer_ptr& who) {
  const auto& offer = who->offer;
  auto port_key = keys::port(offer.port);
  keeper_.write(
      model::written_by(model::accept_stage::take_port, *record(), offer.port),
      {offer.at == 0 ? store::absent(port_key) : store::unchanged_since(port_key, offer.at)},
      {store::put{port_key, store::encode_port_use({name(), std::nullopt, 0})},
       store::put{keys::allocation(name()), std::to_string(offer.port)},
       store::put{keys::next_port, std::to_string(offer.next)},
       store::erase{{keys::tombstone(name()), ""}}},
      [this, who](const write_result& came) {
        bool taken = came.is == write_result::kind::refused && keeper_.heard().active && record();
        if (came.done() || taken)
          self()->send(setup().ports, port_settled{name(), true});
        go_on(model::accept_stage::take_port,
              came.done() ? model::stage_end::done
              : taken     ? model::stage_end::taken
                          : model::stage_end::failed,
              came.why, who);
      });
}

void instance_acceptance::confirm(const newcomer_ptr& who) {
  keeper_.write(model::written_by(model::accept_stage::confirm, *record(), who->offer.port), {}, {},
                [this, who](const write_result& came) {
                  go_on(model::accept_stage::confirm,
                        came.done() ? model::stage_end::done : model::stage_end::failed, came.why,
                        who);
                });
}

void instance_acceptance::undo() {
  etcd_write what;
  what.compares = {store::unchanged_since(keeper_.key(), keeper_.at())};
  what.operations = {store::erase{{keeper_.key(), ""}},
                     store::erase{{keys::allocation(name()), ""}}};
  if (record()->endpoints[model::endpoint::primary] != 0)
    what.operations.push_back(
        store::erase{{keys::port(record()->endpoints[model::endpoint::primary]), ""}});
  what.witness = {keeper_.key(), ""};
  what.made = [](const auto& found) { return found.empty(); };
  keeper_.commit(std::move(what), [this](const write_result& came) {
    if (came.done()) {
      host_.tell(model::provision_undone{});
      keeper_.forget();
    }
  });
}

} // namespace matriarch::actors
