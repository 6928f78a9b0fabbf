#include "actors/cell_directory.hpp"

#include <set>

namespace matriarch::actors {

namespace {

class cell_directory {
public:
  cell_directory(cell_directory_actor::pointer self, const std::vector<cell_settings>& cells,
                 const http_actor& http, published& out)
      : self_(self), out_(out) {
    for (const auto& cell : cells) {
      model::cell_view view;
      view.guid = cell.guid;
      view.availability_zone = cell.availability_zone;
      view.uri = cell.uri;
      view.username = cell.username;
      views_.push_back(std::move(view));
      agents_.emplace(cell.guid, spawn_cell_agent(self_->system(), cell, http, self_));
      not_asked_yet_.insert(cell.guid);
    }
    publish();
  }

  cell_directory_actor::behavior_type behavior() {
    self_->set_exit_handler([this](const caf::exit_msg& told) {
      for (const auto& [guid, agent] : agents_)
        self_->send_exit(agent, told.reason);
      self_->quit(told.reason);
    });
    return {
        [this](start_order& order) { return pass_on(order); },
        [this](removal_order& order) { return pass_on(order); },
        [this](placement_order& order) -> caf::result<model::placement> {
          auto owed = self_->make_response_promise<model::placement>();
          waiting_.emplace_back(std::move(order), owed);
          place_waiting();
          return owed;
        },
        [this](const cells_in_use& now) {
          if (now.cells.empty())
            used_by_.erase(now.name);
          else
            used_by_[now.name] = now.cells;
          publish();
        },
        [this](const cell_health& seen) { note(seen); },
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
    for (auto& view : views_) {
      if (view.guid != seen.guid)
        continue;
      view.reachable = seen.reachable;
      view.last_error = seen.why;
      if (seen.reachable) {
        view.capacity = seen.capacity;
        view.fencing = seen.fencing.empty() ? "unknown" : seen.fencing;
      }
    }
    not_asked_yet_.erase(seen.guid);
    publish();
    place_waiting();
  }

  /// Before every cell has been asked once, the first to answer would get everything.
  void place_waiting() {
    if (!not_asked_yet_.empty())
      return;
    for (auto& [order, owed] : waiting_) {
      auto chosen = model::choose_cells(order.where, views_);
      if (static_cast<int>(chosen.cells.size()) == order.where.count) {
        auto& reserved = used_by_[order.name];
        reserved = order.where.used;
        reserved.insert(reserved.end(), chosen.cells.begin(), chosen.cells.end());
        count();
      }
      owed.deliver(std::move(chosen));
    }
    if (!waiting_.empty())
      publish();
    waiting_.clear();
  }

  void count() {
    std::map<std::string, int> nodes;
    for (const auto& [name, cells] : used_by_)
      for (const auto& guid : cells)
        ++nodes[guid];
    for (auto& view : views_)
      view.nodes = nodes[view.guid];
  }

  void publish() {
    count();
    if (auto before = out_.status.cells.load(); before && *before == views_)
      return;
    out_.status.cells.store(std::make_shared<const std::vector<model::cell_view>>(views_));
  }

  cell_directory_actor::pointer self_;
  published& out_;
  std::vector<model::cell_view> views_;
  std::map<std::string, cell_agent_actor> agents_;
  std::map<std::string, std::vector<std::string>> used_by_; ///< the cells of each instance's nodes
  std::set<std::string> not_asked_yet_;
  std::vector<std::pair<placement_order, caf::typed_response_promise<model::placement>>> waiting_;
};

struct state {
  std::unique_ptr<cell_directory> self;
};

} // namespace

cell_directory_actor spawn_cell_directory(caf::actor_system& system,
                                          std::vector<cell_settings> cells, http_actor http,
                                          published& out) {
  return system.spawn(
      [](cell_directory_actor::stateful_pointer<state> self,
         const std::vector<cell_settings>& which, const http_actor& outside,
         published* to) -> cell_directory_actor::behavior_type {
        self->state.self = std::make_unique<cell_directory>(self, which, outside, *to);
        return self->state.self->behavior();
      },
      std::move(cells), std::move(http), &out);
}

} // namespace matriarch::actors
