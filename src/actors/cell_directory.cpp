#include "actors/cell_directory.hpp"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <iterator>
#include <map>
#include <optional>
#include <set>
#include <string_view>

#include "actors/alarm.hpp"
#include "actors/cell_certifier.hpp"
#include "actors/last_words.hpp"
#include "actors/orphan_watch.hpp"
#include "store/keys.hpp"

namespace matriarch::actors {

namespace {

namespace keys = store::keys;

// All instances on a lost cell ask for a turn at once, and the first one to ask is not always the
// most urgent.
constexpr caf::timespan gathering = std::chrono::seconds{1};
constexpr caf::timespan between_publications = std::chrono::milliseconds{100};
// A router that hangs, or a foreign one, must not keep certificates from being renewed.
constexpr model::duration routers_patience = std::chrono::minutes{1};

class cell_directory {
public:
  cell_directory(cell_directory_actor::pointer self, const cell_directory_setup& setup)
      : self_(self), alarm_(self), repair_(setup.repair), out_(*setup.out),
        authority_(setup.authority), certificates_{setup.public_host, &setup.out->status,
                                                   setup.outside.now} {
    for (const auto& cell : setup.cells) {
      model::cell_view view;
      view.guid = cell.guid;
      view.availability_zone = cell.availability_zone;
      view.uri = cell.uri;
      view.username = cell.username;
      views_.push_back(std::move(view));
      agents_.emplace(cell.guid, spawn_cell_agent(self_->system(), cell, setup.http, certificates_,
                                                  setup.plans, self_));
      not_asked_yet_.insert(cell.guid);
    }
    std::ranges::sort(views_, {}, &model::cell_view::guid);
    for (const auto& view : views_)
      view_of_.emplace(view.guid, view_of_.size());
    orphans_ = spawn_orphan_watch(
        self_->system(), {setup.store, self_, setup.outside, setup.active_value, setup.out});
    certifier_ =
        spawn_cell_certifier(self_->system(), {setup.cells, setup.store, self_, setup.outside,
                                               setup.active_value, setup.out});
    for (const auto& [guid, agent] : agents_)
      own(agent);
    own(orphans_);
    own(certifier_);
    news_.after = repair_.after;
    publish();
  }

  cell_directory_actor::behavior_type behavior() {
    self_->set_exit_handler([this](const caf::exit_msg& told) {
      for (const auto& [guid, agent] : agents_)
        self_->send_exit(agent, told.reason);
      self_->send_exit(orphans_, told.reason);
      self_->send_exit(certifier_, told.reason);
      self_->quit(told.reason);
    });
    self_->set_down_handler([this](const caf::down_msg& down) {
      // Without its agent a cell's orders would never be answered, so this actor ends with any of
      // its children.
      if (children_.contains(down.source))
        return self_->quit(down.reason);
      end_turns_of(down.source);
    });
    return {
        [this](start_order& order) { return pass_on(order); },
        [this](removal_order& order) { return pass_on(order); },
        [this](halt_order& order) { return pass_on(order); },
        [this](orphan_order& order) { return pass_on(order); },
        [this](const sessions_order& order) {
          if (auto found = agents_.find(order.cell); found != agents_.end())
            self_->send(found->second, order);
        },
        [this](placement_order& order) -> caf::result<model::placement> {
          auto owed = self_->make_response_promise<model::placement>();
          waiting_.emplace_back(std::move(order), owed);
          place_waiting();
          return owed;
        },
        [this](const cells_in_use& now) { note(now); },
        [this](const users_wanted& asked) {
          cell_users found;
          if (auto cell = on_cell_.find(asked.cell); cell != on_cell_.end())
            for (const auto& [node_id, used] : cell->second.user_of)
              found.names.emplace(used->name);
          for (const auto* used : reserving_)
            if (std::ranges::find(used->reserved, asked.cell) != used->reserved.end())
              found.names.emplace(used->name);
          found.heard_of = used_by_.size();
          return found;
        },
        [this](const cell_health& seen) { note(seen); },
        [this](const turn_wanted& asked) { line_up(asked); },
        [this](const turn_over& over) { end_turn(over.scope); },
        [this](const key_listing& all) {
          announced_.clear();
          for (const auto& entry : all.found)
            announced_.insert(entry.key);
          self_->send(certifier_, all);
          watch(active_, etcd_reachable_, true);
        },
        [this](const key_changes& changed) {
          for (const auto& c : changed.changes)
            if (c.what == store::change::kind::erase)
              announced_.erase(c.entry.key);
            else
              announced_.insert(c.entry.key);
          self_->send(certifier_, changed);
          look_at(changed);
          judge();
        },
        [this](cell_trust& now) { note(now); },
        [this](const cell_listing& seen) {
          note_addresses(seen);
          compare(seen);
        },
        [this](const model::forget_request& what) { return forget(what.cell); },
        [this](model::orphan_removal& what) -> caf::result<model::verdict> {
          auto owed = self_->make_response_promise<model::verdict>();
          owed.delegate(orphans_, std::move(what));
          return owed;
        },
        [this](const activity& now) {
          self_->send(orphans_, now);
          self_->send(certifier_, now);
          if (authority_)
            self_->send(authority_, now);
          fleet_ = now.fleet;
          seeking_.clear();
          turns_.clear();
          watch(now.active, etcd_reachable_, listed_);
        },
        [this](const etcd_reachable& now) { watch(active_, now.reachable, listed_); },
        [this](tick_atom) {
          if (!alarm_.rings())
            return;
          judge();
          give_turns();
          if (to_publish_)
            publish();
        },
    };
  }

private:
  template <class Order>
  caf::result<cell_answer> pass_on(Order& order) {
    auto owed = self_->make_response_promise<cell_answer>();
    auto found = agents_.find(order.cell);
    if (found == agents_.end())
      owed.deliver(cell_answer{cell_answer::kind::unsent,
                               "cell " + order.cell + " is not in the configuration"});
    else
      owed.delegate(found->second, std::move(order));
    return owed;
  }

  void note(const cell_health& seen) {
    auto& view = views_.at(view_of_.at(seen.guid));
    const auto before = view;
    view.reachable = seen.reachable;
    view.last_error = seen.why;
    if (seen.told) {
      view.told = true;
      view.capacity = seen.capacity;
      view.fencing = seen.fencing.empty() ? "unknown" : seen.fencing;
      view.control_tls = seen.control_tls;
      view.halts = seen.halts;
      view.limits = seen.limits;
      view.memory = seen.memory;
      view.disk = seen.disk;
      view.full_nodes = seen.full_nodes;
    }
    view.engine_version = seen.engine_version;
    view.plan_faults = seen.plan_faults;
    not_asked_yet_.erase(seen.guid);
    lacking_control_tls_ += lacks_control_tls(view) - lacks_control_tls(before);
    out_.status.control_tls = lacking_control_tls_ == 0;
    // Cells are asked every few seconds and nearly always answer the same.
    if (view.reachable != before.reachable)
      judge();
    renew(seen.guid);
    if (view != before)
      publish();
    place_waiting();
  }

  /// Foreign cells do not say how they fence.
  static int lacks_control_tls(const model::cell_view& view) {
    return view.fencing != "unknown" && !view.control_tls ? 1 : 0;
  }

  void note(cell_trust& now) {
    auto& view = views_.at(view_of_.at(now.guid));
    view.tls = std::move(now.words);
    view.lacks_certificate = now.lacks_certificate;
    publish();
  }

  /// A cell with a new key or certificate may answer from now on, and its agent is waiting.
  void look_at(const key_changes& changed) {
    for (const auto& c : changed.changes) {
      auto guid = c.entry.key.substr(keys::cells.size());
      auto agent = agents_.find(guid.substr(0, guid.find('/')));
      if (agent != agents_.end() && c.what == store::change::kind::put)
        self_->send(agent->second, look_atom::value);
    }
  }

  void note(const cells_in_use& now) {
    auto& used = user_named(now.name);
    auto before = signs_of(used);
    tally(used, -1);
    used.nodes = now.nodes;
    used.reserved.clear();
    reserving_.erase(&used);
    tally(used, 1);
    auto who = caf::actor_cast<caf::actor_addr>(self_->current_sender());
    if (used.who != who)
      used.told = 0;
    used.who = who;
    if (news_.watching && used.told != news_number_)
      tell(used);
    tell_addresses(used);
    // A fleet has many instances, and few of their changes matter to a cell's signs of life.
    bool tells = before != signs_of(used) || std::ranges::any_of(before, [this](const auto& one) {
                   return one.second != sign_of(one.first);
                 });
    if (now.nodes->empty())
      used_by_.erase(now.name);
    if (tells)
      judge();
    publish();
  }

  // -- which cells are lost -----------------------------------------------------------------------

  /// A cell's silence counts only while this broker is active and etcd answers, and only from that
  /// time on.
  void watch(bool active, bool etcd, bool listed) {
    active_ = active;
    etcd_reachable_ = etcd;
    listed_ = listed;
    bool watching = active_ && etcd_reachable_ && listed_;
    if (watching != news_.watching)
      unresponsive_since_.clear();
    judge(watching);
  }

  void judge() { judge(news_.watching); }

  void judge(bool watching) {
    cell_news now{watching, {}, "", repair_.after};
    if (watching) {
      auto at =
          std::chrono::duration_cast<model::steady_time>(self_->clock().now().time_since_epoch());
      auto judged = model::judge_cells(signs(), unresponsive_since_, at, repair_.after);
      unresponsive_since_ = std::move(judged.unresponsive_since);
      // A forgotten cell that shows a sign of life has come back.
      std::erase_if(forgotten_,
                    [this](const auto& guid) { return !unresponsive_since_.contains(guid); });
      now.lost = std::move(judged.lost);
      now.halted = std::move(judged.halted);
      if (judged.look_again_at)
        alarm_.set(*judged.look_again_at - at);
    }
    if (now == news_)
      return;
    say(now);
    const auto before = std::exchange(news_, std::move(now));
    ++news_number_;
    for (auto& view : views_)
      view.lost = news_.lost.contains(view.guid);
    out_.status.repair_halted.store(std::make_shared<const std::string>(news_.halted));
    publish();
    bool concerns_all = before.watching != news_.watching || before.halted != news_.halted;
    std::set<std::string> changed;
    std::ranges::set_symmetric_difference(before.lost, news_.lost,
                                          std::inserter(changed, changed.end()));
    if (concerns_all)
      for (auto& [name, used] : used_by_)
        tell(used);
    else
      for (const auto& guid : changed)
        for (const auto& [node_id, used] : on_cell_[guid].user_of)
          if (used->told != news_number_)
            tell(*used);
  }

  /// Refuses to forget a cell that shows any sign of life: it may still run its nodes.
  model::forget_report forget(const std::string& guid) {
    auto all = signs();
    auto cell = std::ranges::find(all, guid, &model::cell_signs::guid);
    if (cell == all.end())
      return {false, "", {}};
    std::string why;
    if (!news_.watching)
      why = "this broker is not the active one, or etcd cannot be reached";
    else if (cell->reachable)
      why = "it answers; remove it from the configuration, or move its nodes, instead";
    else if (cell->announced)
      why = "its lease in etcd is alive, so the machine runs; repair the way to it instead";
    else if (cell->members)
      why = "a node on it is alive in etcd; try again when its key has ended, in half a minute";
    if (!why.empty())
      return {true, why, {}};
    spdlog::warn("cell {} is forgotten: an operator reported that it will never come back", guid);
    forgotten_.insert(guid);
    judge();
    return {true, "", {}};
  }

  void note_addresses(const cell_listing& seen) {
    auto& known = addresses_[seen.guid];
    known.clear();
    std::set<const user*> concerned;
    const auto& here = on_cell_[seen.guid].user_of;
    for (const auto& node : seen.nodes) {
      if (node.at.database.empty())
        continue;
      known[node.node_id] = node.at;
      if (auto found = here.find(node.node_id); found != here.end())
        concerned.insert(found->second);
    }
    for (const auto* used : concerned)
      tell_addresses(*used);
  }

  /// Finds nodes in a cell's list that no instance has reported, and nodes that need a certificate.
  void compare(const cell_listing& seen) {
    to_renew_[seen.guid] = seen;
    renew(seen.guid);
    if (!news_.watching)
      return;
    std::set<std::string> recorded;
    for (const auto& [node_id, used] : on_cell_[seen.guid].user_of)
      recorded.emplace(node_id);
    cell_comparison compared{seen.guid, {}, model::unrecorded(seen.nodes, recorded)};
    for (const auto& node : seen.nodes)
      compared.listed.insert(node.node_id);
    self_->send(orphans_, std::move(compared));
  }

  /// Renews the certificates of the nodes in a cell's latest list, as soon as what this depends on
  /// is known.
  void renew(const std::string& guid) {
    auto by = out_.status.authority.load();
    auto found = to_renew_.find(guid);
    if (!news_.watching || !by || certificates_.public_host.empty() || found == to_renew_.end()
        || !routers_believe_signers())
      return;
    // Live nodes get TLS for their API only when every cell's agent supports it.
    auto control_too = not_asked_yet_.empty() && out_.status.control_tls;
    for (const auto& node : found->second.certificates)
      if ((control_too && !node.control_tls)
          || tls::is_to_be_renewed(node.certificate,
                                   certificates_.hosts_of(node.node_id, node.host), *by,
                                   certificates_.now()))
        self_->send(agents_.at(guid), renewal_order{node.node_id, node.scope, fleet_});
    to_renew_.erase(found);
  }

  /// Whether every router trusts the current signers. A router that did not would drop a node with
  /// a new certificate and end its sessions.
  [[nodiscard]] bool routers_believe_signers() {
    auto told_at = out_.status.authority_told_at.load();
    if (told_at != told_of_signers_.first)
      told_of_signers_ = {told_at, certificates_.now()};
    if (told_at == 0)
      return false;
    auto routers = out_.status.routers.load();
    return certificates_.now() >= told_of_signers_.second + routers_patience
           || (routers->awaited && model::waits_for(*routers, {told_at, 0, false}).over());
  }

  void say(const cell_news& now) const {
    for (const auto& guid : now.lost)
      if (!news_.lost.contains(guid))
        spdlog::warn("cell {} is lost: nothing has been heard of it or its nodes for {} s; its "
                     "nodes are replaced",
                     guid, std::chrono::duration_cast<std::chrono::seconds>(repair_.after).count());
    for (const auto& guid : news_.lost)
      if (now.watching && !now.lost.contains(guid))
        spdlog::info("cell {} is not lost any more", guid);
    if (!now.halted.empty() && now.halted != news_.halted)
      spdlog::warn("{}", now.halted);
  }

  [[nodiscard]] std::vector<model::cell_signs> signs() const {
    std::map<std::string, model::cell_signs> by_guid;
    for (const auto& view : views_)
      by_guid[view.guid].reachable = view.reachable;
    // Nodes may also be on cells that are no longer in the configuration.
    for (const auto& [guid, sum] : on_cell_)
      if (sum.recorded > 0)
        by_guid[guid].members = sum.members > 0;
    std::vector<model::cell_signs> all;
    for (auto& [guid, cell] : by_guid) {
      cell.guid = guid;
      cell.forgotten = forgotten_.contains(guid);
      cell.announced = announced_.contains(keys::cell(guid));
      all.push_back(cell);
    }
    return all;
  }

  /// An instance, as a user of cells.
  struct user {
    std::string_view name;
    std::shared_ptr<const cells_in_use::places> nodes =
        std::make_shared<const cells_in_use::places>();
    /// Cells of the instance's present and planned nodes, until the instance reports its nodes.
    std::vector<std::string> reserved;
    caf::actor_addr who;
    std::uint64_t told = 0; ///< number of the last cell news that was sent to the instance
  };

  user& user_named(const std::string& name) {
    auto known = used_by_.try_emplace(name).first;
    known->second.name = known->first;
    return known->second;
  }

  /// Sends the cell news to an instance. An instance with no node on the changed cells gets the
  /// news with its next change, before it has a node there.
  void tell(user& used) {
    used.told = news_number_;
    if (auto alive = caf::actor_cast<caf::strong_actor_ptr>(used.who))
      self_->send(caf::actor_cast<service_instance_actor>(alive), news_);
  }

  /// Sends an instance those of its nodes' addresses that differ between the cells' lists and its
  /// record.
  void tell_addresses(const user& used) {
    registered_addresses news;
    for (const auto& n : *used.nodes) {
      auto cell = addresses_.find(n.cell);
      if (cell == addresses_.end())
        continue;
      auto found = cell->second.find(n.node_id);
      if (found != cell->second.end() && found->second != n.at)
        news.nodes.insert(*found);
    }
    auto alive = caf::actor_cast<caf::strong_actor_ptr>(used.who);
    if (!news.nodes.empty() && alive)
      self_->send(caf::actor_cast<service_instance_actor>(alive), std::move(news));
  }

  // -- turns --------------------------------------------------------------------------------------

  struct seeker {
    std::string scope;
    bool leader_lost = false;
    caf::actor_addr who;
  };

  void line_up(const turn_wanted& asked) {
    auto sender = self_->current_sender();
    end_turn(asked.scope);
    self_->monitor(caf::actor_cast<service_instance_actor>(sender));
    if (seeking_.empty())
      gathered_at_ = self_->clock().now() + gathering;
    seeking_.push_back({asked.scope, asked.leader_lost, caf::actor_cast<caf::actor_addr>(sender)});
    alarm_.set(gathering);
  }

  /// Serves clusters that lost their leader first: they have at most one good copy left.
  void give_turns() {
    if (seeking_.empty())
      return;
    // The alarm may have rung for another reason, just before.
    if (auto now = self_->clock().now(); now < gathered_at_)
      return alarm_.set(gathered_at_ - now);
    while (static_cast<int>(turns_.size()) < repair_.parallel && !seeking_.empty()) {
      auto next = std::ranges::find_if(seeking_, &seeker::leader_lost);
      if (next == seeking_.end())
        next = seeking_.begin();
      if (auto alive = caf::actor_cast<caf::strong_actor_ptr>(next->who)) {
        turns_[next->scope] = next->who;
        self_->send(caf::actor_cast<service_instance_actor>(alive), turn_given{next->scope});
      }
      seeking_.erase(next);
    }
  }

  void end_turn(const std::string& scope) {
    std::erase_if(seeking_, [&](const seeker& one) { return one.scope == scope; });
    turns_.erase(scope);
    give_turns();
  }

  /// If that actor ends, this one ends, too.
  template <class Handle>
  void own(const Handle& child) {
    self_->monitor(child);
    children_.insert(child.address());
  }

  void end_turns_of(const caf::actor_addr& ended) {
    std::erase_if(seeking_, [&](const seeker& one) { return one.who == ended; });
    std::erase_if(turns_, [&](const auto& one) { return one.second == ended; });
    give_turns();
  }

  // -- placement ----------------------------------------------------------------------------------

  /// Waits until every cell has been asked once; otherwise the first cell to answer would get all
  /// nodes.
  void place_waiting() {
    if (!not_asked_yet_.empty())
      return;
    for (auto& [order, owed] : waiting_) {
      auto chosen = model::choose_cells(order.where, views_);
      if (static_cast<int>(chosen.cells.size()) == order.where.count) {
        auto& used = user_named(order.name);
        tally(used, -1);
        used.reserved = order.where.used;
        used.reserved.insert(used.reserved.end(), chosen.cells.begin(), chosen.cells.end());
        reserving_.insert(&used);
        tally(used, 1);
      }
      owed.deliver(std::move(chosen));
    }
    if (!waiting_.empty())
      publish();
    waiting_.clear();
  }

  /// Adds an instance's share to the sums, or subtracts it.
  void tally(user& used, int sign) {
    auto add_load = [&](const std::string& guid) {
      auto& sum = on_cell_[guid];
      sum.load += sign;
      if (auto found = view_of_.find(guid); found != view_of_.end())
        views_[found->second].nodes = sum.load;
    };
    for (const auto& guid : used.reserved)
      add_load(guid);
    for (const auto& n : *used.nodes) {
      if (used.reserved.empty())
        add_load(n.cell);
      auto& sum = on_cell_[n.cell];
      sum.recorded += sign;
      sum.members += n.member ? sign : 0;
      if (sign > 0)
        sum.user_of[n.node_id] = &used;
      else
        sum.user_of.erase(n.node_id);
    }
  }

  /// What records and member keys say about a cell: whether it has nodes, and whether any of them
  /// has its member key.
  [[nodiscard]] std::pair<bool, bool> sign_of(const std::string& guid) const {
    auto found = on_cell_.find(guid);
    return found == on_cell_.end()
               ? std::pair{false, false}
               : std::pair{found->second.recorded > 0, found->second.members > 0};
  }
  [[nodiscard]] std::map<std::string, std::pair<bool, bool>> signs_of(const user& used) const {
    std::map<std::string, std::pair<bool, bool>> all;
    for (const auto& n : *used.nodes)
      all[n.cell] = sign_of(n.cell);
    return all;
  }

  /// Publishes at once, but not more often than people can read: the cost grows with the number of
  /// cells.
  void publish() {
    auto now = self_->clock().now();
    if (published_at_ && now < *published_at_ + between_publications) {
      to_publish_ = true;
      return alarm_.set(*published_at_ + between_publications - now);
    }
    to_publish_ = false;
    if (auto before = out_.status.cells.load(); before && *before == views_)
      return;
    published_at_ = now;
    out_.status.cells.store(std::make_shared<const std::vector<model::cell_view>>(views_));
  }

  cell_directory_actor::pointer self_;
  alarm<cell_directory_actor::pointer> alarm_;
  model::repair_settings repair_;
  published& out_;
  authority_keeper_actor authority_;
  certification certificates_;
  std::string fleet_;
  std::map<std::string, cell_listing>
      to_renew_; ///< by cell; lists whose certificates were not judged yet
  /// The revision at which routers were last told the signing authorities, and when this broker saw
  /// it.
  std::pair<store::revision, model::wall_time> told_of_signers_;
  std::vector<model::cell_view> views_;
  std::map<std::string, std::size_t> view_of_; ///< index into `views_`, by guid
  std::optional<caf::actor_clock::time_point> published_at_;
  bool to_publish_ = false;
  std::map<std::string, cell_agent_actor> agents_;
  orphan_watch_actor orphans_;
  cell_certifier_actor certifier_;
  std::set<caf::actor_addr> children_;  ///< agents, orphan watch and certifier
  std::map<std::string, user> used_by_; ///< by instance name
  std::set<const user*> reserving_;     ///< users with reserved cells
  struct sums {
    int load = 0;     ///< nodes and reservations
    int recorded = 0; ///< nodes in records
    int members = 0;  ///< those that have their member key
    /// By node id, whose text is in `user::nodes`.
    std::map<std::string_view, user*> user_of;
  };
  std::map<std::string, sums> on_cell_; ///< of all instances, by cell guid
  std::set<std::string> not_asked_yet_;
  /// From the cells' latest lists, by cell guid and node id.
  std::map<std::string, std::map<std::string, model::node_addresses>> addresses_;
  std::vector<std::pair<placement_order, caf::typed_response_promise<model::placement>>> waiting_;

  bool active_ = false;
  bool etcd_reachable_ = false;
  bool listed_ = false;             ///< etcd's keys have been read
  std::set<std::string> announced_; ///< keys below `/cells/`
  model::unresponsive_cells unresponsive_since_;
  std::set<std::string> forgotten_; ///< cells that an operator has given up
  cell_news news_;                  ///< sent to the instances
  std::uint64_t news_number_ = 1;
  int lacking_control_tls_ = 0; ///< number of Matriarch cells without it
  caf::actor_clock::time_point gathered_at_;
  std::vector<seeker> seeking_;                  ///< in the order of their requests
  std::map<std::string, caf::actor_addr> turns_; ///< by scope
};

struct state {
  std::unique_ptr<cell_directory> self;
};

} // namespace

cell_directory_actor spawn_cell_directory(caf::actor_system& system, cell_directory_setup setup) {
  return system.spawn(
      [](cell_directory_actor::stateful_pointer<state> self,
         const cell_directory_setup& with) -> cell_directory_actor::behavior_type {
        keep_last_words(self);
        self->state.self = std::make_unique<cell_directory>(self, with);
        return self->state.self->behavior();
      },
      std::move(setup));
}

} // namespace matriarch::actors
