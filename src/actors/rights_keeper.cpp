#include "actors/rights_keeper.hpp"

#include <spdlog/spdlog.h>

#include <algorithm>

#include "actors/instance_bindings.hpp"
#include "model/acceptance.hpp"

namespace matriarch::actors {

namespace {

using namespace std::chrono_literals;

// Readers' rights that were lost, or that an application took away, are restored within this time.
constexpr caf::timespan pause_between = 60s;
// Objects that an application was changing are usually free again soon.
constexpr caf::timespan pause_when_skipped = 5s;
// Between two rounds of a comparison that takes many, so that other instances get their turn.
constexpr caf::timespan pause_when_cut_short = 250ms;
// Pause between two tries. A failover takes seconds, and a client waiting for a reader should see
// it end.
constexpr caf::timespan pause_when_awaited = 250ms;
// A note is for people, so it names a few objects only.
constexpr std::size_t most_named = 3;

} // namespace

void rights_keeper::forget() {
  done_.reset();
  skipped_.clear();
  trouble_.clear();
}

std::optional<rights_keeper::subject> rights_keeper::present(const bindings& known) const {
  const auto& record = *keeper_.record();
  const auto& seen = host_.observations().living.seen;
  if (!record.desired.exists || !model::has_own_roles(record, known) || !seen.running(seen.leader))
    return std::nullopt;
  subject now;
  now.term = seen.leader + " " + std::to_string(seen.members.at(seen.leader).timeline);
  for (const auto& [id, one] : known) {
    if (one.role.username.empty() || one.phase == model::binding_phase::removing)
      continue;
    if (one.read_only)
      now.readers.insert(one.role.username);
    if (one.phase == model::binding_phase::ready)
      now.roles.insert(one.role.username);
  }
  return now;
}

caf::timespan rights_keeper::pause(const subject& wanted, const bindings& known) const {
  if (!trouble_.empty()) {
    bool awaited = std::ranges::any_of(known, [&](const auto& one) {
      return one.second.read_only && one.second.phase == model::binding_phase::creating;
    });
    return awaited ? pause_when_awaited : patience_.pause(wanted.term);
  }
  if (cut_short_)
    return pause_when_cut_short;
  if (!done_ || !done_->covers(wanted))
    return caf::timespan{0};
  return skipped_.empty() ? pause_between : pause_when_skipped;
}

void rights_keeper::tend(const bindings& known) {
  if (asking_)
    return;
  auto wanted = present(known);
  if (!wanted)
    return;
  if (done_ && done_->term != wanted->term) // another leader may not have all of it
    done_.reset();
  const auto now = keeper_.self()->clock().now();
  const auto at = tried_at_ + pause(*wanted, known);
  if (now < at)
    return host_.wake(at - now);
  ask(std::move(*wanted));
}

void rights_keeper::ask(subject of) {
  asking_ = true;
  patience_.begin(of.term);
  const auto& known = *keeper_.record();
  const auto& leader =
      host_.observations().living.seen.members.at(host_.observations().living.seen.leader);
  rights_order order{
      keeper_.name(), leader.login_url, known.living.secret_of(model::secret_name::superuser),
      known.living.secret_of(model::secret_name::application).username, !of.readers.empty()};
  auto done = [this, of = std::move(of)](const rights_answer& said) {
    asking_ = false;
    if (keeper_.record())
      note_answer(of, said);
    host_.go_on();
  };
  // No time-out: the database actor bounds the work, and the wait for a turn depends on the number
  // of instances. Asking again would make that wait longer.
  keeper_.self()
      ->request(keeper_.engine().actor, caf::infinite, std::move(order))
      .then([done](const rights_answer& said) { done(said); },
            [done](const caf::error&) {
              done({false, "the database did not answer in time"});
            });
}

void rights_keeper::note_answer(const subject& of, const rights_answer& said) {
  tried_at_ = keeper_.self()->clock().now();
  cut_short_ = said.ok && !said.complete;
  patience_.end(said.ok);
  if (said.ok && said.complete) {
    done_ = of;
    skipped_ = said.skipped;
  }
  auto why = said.ok ? std::string{} : "the rights of the bindings' roles: " + said.why;
  if (why == trouble_)
    return;
  trouble_ = why;
  if (!why.empty())
    spdlog::warn("instance {}: not up to date yet: {}", keeper_.name(), why);
  host_.publish();
}

std::string rights_keeper::note() const {
  if (skipped_.empty())
    return {};
  std::string names;
  for (std::size_t i = 0; i < std::min(skipped_.size(), most_named); ++i)
    names += (names.empty() ? "" : ", ") + skipped_[i];
  if (skipped_.size() > most_named)
    names += " and " + std::to_string(skipped_.size() - most_named) + " more";
  return "objects that cannot be read until an application's transaction has ended: " + names;
}

} // namespace matriarch::actors
