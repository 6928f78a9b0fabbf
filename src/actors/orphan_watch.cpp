#include "actors/orphan_watch.hpp"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <functional>

#include "actors/alarm.hpp"
#include "actors/last_words.hpp"
#include "base/utf8.hpp"
#include "model/names.hpp"
#include "store/grave_json.hpp"
#include "store/keys.hpp"
#include "store/tombstone_json.hpp"

namespace matriarch::actors {

namespace {

using namespace std::chrono_literals;
namespace keys = store::keys;

// Above the etcd client's own time-out: its answer always comes first.
constexpr caf::timespan store_patience = 10s;
// As for any removal: an order may wait behind others at its agent, and then takes time.
constexpr caf::timespan cell_patience = 120s;
// Graves and tombstones are kept for days, so hourly clearing is often enough.
constexpr caf::timespan clearing_pause = 1h;
// A broker that has just become active has more urgent work.
constexpr caf::timespan first_clearing = 1min;
// etcd takes 128 in a transaction.
constexpr std::size_t most_operations = 100;

class orphan_watch {
public:
  orphan_watch(orphan_watch_actor::pointer self, orphan_watch_setup setup)
      : self_(self), alarm_(self), setup_(std::move(setup)) {}

  orphan_watch_actor::behavior_type behavior() {
    return {
        [this](const cell_comparison& seen) { compare(seen); },
        [this](const model::orphan_removal& what) { return remove(what); },
        [this](const activity& now) {
          activity_ = now;
          suspects_.clear();
          orphans_.clear();
          publish();
          if (now.active)
            alarm_.set(first_clearing);
        },
        [this](tick_atom) {
          if (!alarm_.rings() || !activity_.active)
            return;
          alarm_.set(clearing_pause);
          clear_old();
        },
    };
  }

private:
  using answer = caf::typed_response_promise<model::verdict>;

  /// Commits only while this broker is the active one.
  void commit(
      std::vector<store::compare> compares, std::vector<store::operation> what,
      std::function<void(const store::commit_result&)> then,
      std::function<void()> otherwise = [] {}) {
    store::transaction asked;
    asked.compares = std::move(compares);
    asked.compares.push_back(store::has_value(keys::active, setup_.active_value));
    asked.then = std::move(what);
    self_->request(setup_.store, store_patience, std::move(asked))
        .then(
            [then, otherwise](const store::commit_result& came) {
              if (came.state == store::commit_state::committed)
                then(came);
              else
                otherwise();
            },
            [otherwise](const caf::error&) { otherwise(); });
  }

  // -- orphans ------------------------------------------------------------------------------------

  void compare(const cell_comparison& seen) {
    if (!activity_.active)
      return;
    auto now = self_->clock().now();
    auto cleared = cleared_at_.find(seen.cell);
    bool clear = cleared == cleared_at_.end() || now - cleared->second >= clearing_pause;
    if (clear)
      cleared_at_[seen.cell] = now;
    if (seen.without_record.empty()) {
      suspects_.erase(seen.cell);
      report(seen.cell, {});
    }
    if (clear)
      clear_some(store::keys_below(keys::graves_on(seen.cell)), [seen, this](
                                                                    const store::key_value& entry) {
        auto grave = store::decode_grave(entry.value);
        return grave.ok()
               && model::has_served(node_in(entry.key), *grave, seen.listed, setup_.outside.now());
      });
    look_for_graves(seen, 0, {});
  }

  /// Reads the graves of nodes without a record, from the node at index `from` on. If that fails,
  /// the next comparison tries again.
  void look_for_graves(const cell_comparison& seen, std::size_t from,
                       std::set<std::string> buried) {
    if (from >= seen.without_record.size()) {
      if (from > 0)
        judge(seen, buried);
      return;
    }
    const auto end = std::min(from + most_operations, seen.without_record.size());
    std::vector<store::operation> graves;
    for (auto i = from; i < end; ++i)
      graves.emplace_back(
          store::read{{keys::grave(seen.cell, seen.without_record[i].node_id), ""}});
    commit({}, std::move(graves),
           [this, seen, end, buried = std::move(buried)](const store::commit_result& came) mutable {
             for (const auto& one : came.reads)
               for (const auto& entry : one)
                 buried.insert(node_in(entry.key));
             look_for_graves(seen, end, std::move(buried));
           });
  }

  void judge(const cell_comparison& seen, const std::set<std::string>& buried) {
    auto ruled = model::judge_orphans(seen.without_record, buried, suspects_[seen.cell]);
    suspects_[seen.cell] = std::move(ruled.suspects);
    report(seen.cell, ruled.report);
    for (const auto& node : ruled.remove) {
      spdlog::warn("cell {} runs node {} of {}, which was removed before: removing it again",
                   seen.cell, node.node_id, node.scope);
      order_removal({seen.cell, node}, [](const cell_answer&) {});
    }
  }

  static std::string node_in(const std::string& grave) {
    return grave.substr(grave.rfind('/') + 1);
  }

  void order_removal(const model::orphan& which, std::function<void(const cell_answer&)> then) {
    auto warn = [which, then](const cell_answer& said) {
      if (said.is != cell_answer::kind::done)
        spdlog::warn("cell {} has not removed node {}, which has no record: {}", which.cell,
                     which.node.node_id, said.for_the_log());
      then(said);
    };
    self_
        ->request(setup_.cells, cell_patience,
                  orphan_order{which.cell, which.node, activity_.fleet})
        .then([warn](const cell_answer& said) { warn(said); },
              [warn](const caf::error&) {
                warn({cell_answer::kind::unknown, "no answer in time"});
              });
  }

  void report(const std::string& cell, const std::vector<model::listed_node>& found) {
    for (const auto& node : found)
      if (!orphans_[cell].contains(node.node_id))
        spdlog::warn("cell {} runs node {} of {}, which is in no record; see matriarch orphans",
                     cell, node.node_id, node.scope);
    auto& here = orphans_[cell];
    here.clear();
    for (const auto& node : found)
      here[node.node_id] = node;
    publish();
  }

  void publish() {
    auto all = std::make_shared<std::vector<model::orphan>>();
    for (const auto& [cell, nodes] : orphans_)
      for (const auto& [id, node] : nodes)
        all->push_back({cell, node});
    setup_.out->status.orphans.store(std::move(all));
  }

  // -- an operator's decision ---------------------------------------------------------------------

  caf::result<model::verdict> remove(const model::orphan_removal& what) {
    auto owed = self_->make_response_promise<model::verdict>();
    const auto& here = orphans_[what.cell];
    auto found = here.find(what.node_id);
    if (!activity_.active) {
      owed.deliver(model::verdict{model::verdict_kind::unavailable,
                                  "this broker is not the active one; ask that one"});
    } else if (found == here.end()) {
      owed.deliver(model::verdict{model::verdict_kind::not_found,
                                  "cell " + matriarch::quoted(what.cell) + " runs no orphan "
                                      + matriarch::quoted(what.node_id)
                                      + "; matriarch orphans shows those that there are"});
    } else {
      look_for_record({what.cell, found->second}, owed);
    }
    return owed;
  }

  static void not_now(answer owed) {
    owed.deliver(model::verdict{model::verdict_kind::unavailable,
                                "etcd did not answer, or this broker is not the active one any "
                                "more; nothing was changed, try again"});
  }

  /// Checks the record's text for the node's id: a record that this broker cannot decode may still
  /// list the node.
  void look_for_record(const model::orphan& which, answer owed) {
    auto record = keys::record(model::name_of_scope(which.node.scope));
    auto grave = keys::grave(which.cell, which.node.node_id);
    commit(
        {}, {store::read{{record, ""}}, store::read{{grave, ""}}},
        [this, which, record, owed](const store::commit_result& came) mutable {
          store::revision at = 0;
          if (!came.reads.empty() && !came.reads.front().empty()) {
            const auto& entry = came.reads.front().front();
            at = entry.mod_revision;
            if (entry.value.find(which.node.node_id) != std::string::npos) {
              owed.deliver(model::verdict{model::verdict_kind::refused,
                                          "the record " + record
                                              + " lists this node: it is not an "
                                                "orphan, and is removed with its instance"});
              return;
            }
          }
          auto buried = came.reads.size() < 2 || came.reads[1].empty()
                            ? std::string{}
                            : came.reads[1].front().value;
          bury(which, buried, at == 0 ? store::absent(record) : store::unchanged_since(record, at),
               owed);
        },
        [owed] { not_now(owed); });
  }

  /// Writes the grave first: if the cell's answer is lost, the next comparison continues the
  /// removal.
  void bury(const model::orphan& which, const std::string& grave_before, store::compare unchanged,
            answer owed) {
    model::grave grave{which.node.scope, setup_.outside.now()};
    commit(
        {std::move(unchanged)},
        {store::put{keys::grave(which.cell, which.node.node_id),
                    store::encode_over(grave_before, std::move(grave))}},
        [this, which, owed](const store::commit_result&) {
          order_removal(which, [this, which, owed](const cell_answer& said) mutable {
            if (said.is != cell_answer::kind::done) {
              owed.deliver(model::verdict{model::verdict_kind::refused,
                                          "the removal is recorded and will be tried "
                                          "again each minute, but the cell has not removed it: "
                                              + said.why});
              return;
            }
            orphans_[which.cell].erase(which.node.node_id);
            publish();
            owed.deliver(model::verdict{model::verdict_kind::done});
          });
        },
        [owed] { not_now(owed); });
  }

  // -- clearing what is no longer needed ----------------------------------------------------------

  void clear_old() {
    auto now = setup_.outside.now();
    clear_some(store::keys_below(keys::tombstones), [now](const store::key_value& entry) {
      auto left = store::decode_tombstone(entry.value);
      return left.ok() && left->removed_at + model::tombstone_life < now;
    });
    // Graves on cells that list their nodes are cleared much sooner.
    clear_some(store::keys_below(keys::graves), [now](const store::key_value& entry) {
      auto grave = store::decode_grave(entry.value);
      return grave.ok() && model::has_served(node_in(entry.key), *grave, std::nullopt, now);
    });
  }

  /// Erases those of the keys that are no longer needed, one transaction at a time: there may be as
  /// many as instances were removed in a day. What fails is tried again at the next clearing.
  void clear_some(const store::key_range& where,
                  std::function<bool(const store::key_value&)> has_served) {
    commit({}, {store::read{where, most_operations}},
           [this, where, has_served = std::move(has_served)](const store::commit_result& came) {
             if (came.reads.empty() || came.reads.front().empty())
               return;
             const auto& found = came.reads.front();
             std::vector<store::compare> unchanged;
             std::vector<store::operation> gone;
             for (const auto& entry : found)
               if (has_served(entry)) {
                 // the key may have been written again since
                 unchanged.push_back(store::unchanged_since(entry.key, entry.mod_revision));
                 gone.emplace_back(store::erase{{entry.key, ""}});
               }
             auto go_on = [this, has_served, full = found.size() == most_operations,
                           rest = store::key_range{found.back().key + '\0', where.last}] {
               if (full)
                 clear_some(rest, has_served);
             };
             if (gone.empty())
               return go_on();
             commit(
                 std::move(unchanged), std::move(gone),
                 [go_on](const store::commit_result&) { go_on(); }, go_on);
           });
  }

  orphan_watch_actor::pointer self_;
  alarm<orphan_watch_actor::pointer> alarm_;
  orphan_watch_setup setup_;
  activity activity_;
  std::map<std::string, std::set<std::string>> suspects_;                    ///< by cell
  std::map<std::string, std::map<std::string, model::listed_node>> orphans_; ///< by cell and id
  std::map<std::string, caf::actor_clock::time_point> cleared_at_; ///< last clearing, by cell
};

struct state {
  std::unique_ptr<orphan_watch> self;
};

} // namespace

orphan_watch_actor spawn_orphan_watch(caf::actor_system& system, orphan_watch_setup setup) {
  return system.spawn(
      [](orphan_watch_actor::stateful_pointer<state> self,
         const orphan_watch_setup& with) -> orphan_watch_actor::behavior_type {
        keep_last_words(self);
        self->state.self = std::make_unique<orphan_watch>(self, with);
        return self->state.self->behavior();
      },
      std::move(setup));
}

} // namespace matriarch::actors
