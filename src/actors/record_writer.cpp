#include "actors/record_writer.hpp"

#include <utility>
#include <variant>

#include "store/keys.hpp"
#include "store/port_json.hpp"

namespace matriarch::actors {

namespace {

using namespace std::chrono_literals;
namespace keys = store::keys;

// Above the etcd client's own time-out: its answer always comes first.
constexpr caf::timespan store_patience = 10s;
constexpr caf::timespan retry_pause = 500ms;
constexpr std::size_t asked_in_refusal = 3; // the record, `/matriarch/active`, the witness

} // namespace

void record_writer::commit(etcd_write what, after then) {
  keep_unknown_of_ports(what.operations);
  what.compares.push_back(store::has_value(keys::active, setup_.active_value));
  under_way_ = std::make_unique<attempt>(attempt{std::move(what), std::move(then)});
  send();
}

/// Keeps members that a later release has written into this instance's port uses.
void record_writer::keep_unknown_of_ports(std::vector<store::operation>& operations) const {
  auto later = setup_.out->status.later_ports.load();
  if (later->empty())
    return;
  for (auto& operation : operations)
    if (auto* put = std::get_if<store::put>(&operation))
      if (auto before = later->find(put->key); before != later->end())
        put->value = store::with_unknown_of(before->second, std::move(put->value));
}

void record_writer::try_again() {
  under_way_->open = true;
  send();
}

void record_writer::wait() {
  self_->delayed_send(self_, retry_pause, again_atom::value);
}

/// The callback may begin another change.
void record_writer::end(const write_result& came) {
  auto ended = std::move(under_way_);
  ended->then(came);
}

void record_writer::send() {
  const auto& what = under_way_->what;
  store::transaction asked;
  asked.compares = what.compares;
  asked.then = what.operations;
  asked.otherwise = {store::read{{keys::record(name_), ""}}, store::read{{keys::active, ""}},
                     store::read{what.witness}};
  self_->request(setup_.store, store_patience, std::move(asked))
      .then(
          [this](const store::commit_result& came) {
            switch (came.state) {
            case store::commit_state::committed:
              return end({write_result::kind::done, came.at});
            case store::commit_state::refused:
              if (came.reads.size() == asked_in_refusal)
                return end(judge_refusal(under_way_->what, came));
              return wait();
            case store::commit_state::unknown:
              if (came.over && !under_way_->open)
                return look(came.error);
              return wait();
            case store::commit_state::not_done:
              if (under_way_->open)
                return wait();
              return end(
                  {write_result::kind::not_done, 0,
                   "etcd cannot be reached: " + came.error + "; nothing was changed, try again"});
            }
          },
          [this](const caf::error&) { wait(); });
}

void record_writer::look(const std::string& why) {
  store::transaction asked;
  asked.then = {store::read{under_way_->what.witness}};
  self_->request(setup_.store, store_patience, std::move(asked))
      .then(
          [this, why](const store::commit_result& came) {
            if (came.state != store::commit_state::committed || came.reads.size() != 1)
              return wait();
            const auto& witness = came.reads.front();
            if (under_way_->what.made(witness))
              return end({write_result::kind::done,
                          witness.empty() ? came.at : witness.front().mod_revision});
            end({write_result::kind::not_done, 0,
                 "etcd does not take it: " + why + "; nothing was changed, try again"});
          },
          [this](const caf::error&) { wait(); });
}

write_result record_writer::judge_refusal(const etcd_write& what,
                                          const store::commit_result& came) const {
  const auto& record = came.reads[0];
  const auto& active = came.reads[1];
  const auto& witness = came.reads[2];
  if (what.made(witness))
    return {write_result::kind::done, witness.empty() ? came.at : witness.front().mod_revision};
  bool acts = !active.empty() && active.front().value == setup_.active_value;
  return {write_result::kind::refused, came.at,
          acts ? "this instance was changed at the same time; try again"
               : "this broker is not the active one; try again in a few seconds",
          acts, record};
}

} // namespace matriarch::actors
