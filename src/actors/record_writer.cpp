#include "actors/record_writer.hpp"

#include "store/keys.hpp"

namespace matriarch::actors {

namespace {

using namespace std::chrono_literals;
namespace keys = store::keys;

// Above the etcd client's own time-out: its answer always comes first.
constexpr caf::timespan store_patience = 10s;
constexpr caf::timespan retry_pause = 500ms;
constexpr std::size_t asked_in_refusal = 3; // the record, `/matriarch/active`, the witness

} // namespace

void record_writer::commit(change what, after then) {
  what.compares.push_back(store::has_value(keys::active, active_value_));
  attempt(std::make_shared<const change>(std::move(what)), then, false);
}

/// `open`: an earlier try was not answered.
void record_writer::attempt(const std::shared_ptr<const change>& what, const after& then,
                            bool open) {
  store::transaction asked;
  asked.compares = what->compares;
  asked.then = what->operations;
  asked.otherwise = {store::read{{keys::record(name_), ""}}, store::read{{keys::active, ""}},
                     store::read{what->witness}};
  auto again = [this, what, then] {
    self_->delayed_send(self_, retry_pause, again_atom::value,
                        std::function<void()>{[this, what, then] { attempt(what, then, true); }});
  };
  self_->request(store_, store_patience, std::move(asked))
      .then(
          [this, what, then, open, again](const store::commit_result& came) {
            switch (came.state) {
            case store::commit_state::committed:
              return then({fate::kind::done, came.at});
            case store::commit_state::refused:
              if (came.reads.size() == asked_in_refusal)
                return then(judge_refusal(*what, came));
              return again();
            case store::commit_state::unknown:
              if (came.over && !open)
                return look(what, then, came.error, again);
              return again();
            case store::commit_state::not_done:
              if (open)
                return again();
              return then(
                  {fate::kind::not_done, 0,
                   "etcd cannot be reached: " + came.error + "; nothing was changed, try again"});
            }
          },
          [again](const caf::error&) { again(); });
}

void record_writer::look(const std::shared_ptr<const change>& what, const after& then,
                         const std::string& why, const std::function<void()>& again) {
  store::transaction asked;
  asked.then = {store::read{what->witness}};
  self_->request(store_, store_patience, std::move(asked))
      .then(
          [what, then, why, again](const store::commit_result& came) {
            if (came.state != store::commit_state::committed || came.reads.size() != 1)
              return again();
            const auto& witness = came.reads.front();
            if (what->made(witness))
              return then(
                  {fate::kind::done, witness.empty() ? came.at : witness.front().mod_revision});
            then({fate::kind::not_done, 0,
                  "etcd does not take it: " + why + "; nothing was changed, try again"});
          },
          [again](const caf::error&) { again(); });
}

fate record_writer::judge_refusal(const change& what, const store::commit_result& came) const {
  const auto& record = came.reads[0];
  const auto& active = came.reads[1];
  const auto& witness = came.reads[2];
  if (what.made(witness))
    return {fate::kind::done, witness.empty() ? came.at : witness.front().mod_revision};
  bool acts = !active.empty() && active.front().value == active_value_;
  return {fate::kind::refused, came.at,
          acts ? "this instance was changed at the same time; try again"
               : "this broker is not the active one; try again in a few seconds",
          acts, record};
}

} // namespace matriarch::actors
