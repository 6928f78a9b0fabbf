#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>

#include "base/directory_lock.hpp"
#include "base/event_loop.hpp"
#include "base/files.hpp"
#include "base/remover.hpp"
#include "cell/cell_config.hpp"
#include "cell/disk_gauge.hpp"
#include "cell/fence.hpp"
#include "cell/guid_holder.hpp"
#include "cell/node.hpp"
#include "cell/node_driver.hpp"
#include "cell/node_engine.hpp"
#include "cell/node_keys.hpp"
#include "store/announcer.hpp"
#include "store/lifetime.hpp"

namespace matriarch::cell {

/// A cell's nodes, and the facts that the cell must not forget about them. Everything happens on
/// the event loop's thread, so nothing is locked. These facts are on disk before the agent acts;
/// after a restart it carries on from what is on disk.
class agent {
public:
  using node_ptr = std::shared_ptr<node>;

  /// Reads what an earlier agent left in the data directory. The failure is an error in the
  /// configuration.
  static result<std::unique_ptr<agent>> open(const cell_config& config, node_driver& driver,
                                             node_engine& engine, base::event_loop& loop,
                                             store::etcd_client& etcd);
  /// Call it on the loop's thread. The nodes go on running.
  ~agent() = default;
  agent(const agent&) = delete;
  agent& operator=(const agent&) = delete;

  /// The identity with which it claims the cell's key in etcd.
  [[nodiscard]] claimant self() const;

  /// Begins to look after the nodes. `certificate_request`, if not empty, is announced for the
  /// broker to sign. `taken` is called, with the holder in words, if another cell has this guid.
  void start(const std::string& certificate_request, std::function<void(std::string)> taken);

  [[nodiscard]] const cell_config& config() const { return config_; }
  [[nodiscard]] const node_driver& driver() const { return driver_; }
  [[nodiscard]] node_engine& engine() const { return engine_; }
  /// Whether etcd answered when it was last asked.
  [[nodiscard]] bool reaches_etcd() const { return announcer_.reachable(); }

  [[nodiscard]] const std::map<std::string, node_ptr>& nodes() const { return nodes_; }
  /// The node of that id, or nullptr.
  [[nodiscard]] node_ptr find(const std::string& node_id) const;
  /// Whether a node of that id is here whose record cannot be read, for example because a later
  /// release wrote it.
  [[nodiscard]] bool leaves_alone(const std::string& node_id) const {
    return left_alone_.contains(node_id);
  }
  /// The scopes of the nodes that are here.
  [[nodiscard]] std::set<std::string> scopes() const;

  /// What must not be done again. Changes to it are saved before the agent acts on them.
  [[nodiscard]] fence& memory() { return fence_; }
  [[nodiscard]] std::optional<std::string> save_memory();

  [[nodiscard]] node_keys& keys() { return keys_; }
  /// Where the next node can go; nothing if every place is taken.
  [[nodiscard]] std::optional<endpoint> free_endpoint() const;

  /// Makes a node there, with the certificate of its key if there is one, and starts it.
  [[nodiscard]] result<node_ptr> add(node_request wanted, const endpoint& where,
                                     const std::optional<node_key>& key);

private:
  using clock = std::chrono::steady_clock;

  agent(const cell_config& config, node_driver& driver, node_engine& engine, base::event_loop& loop,
        store::etcd_client& etcd, base::directory_lock lock);

  [[nodiscard]] std::optional<std::string> load();
  [[nodiscard]] std::optional<std::string> load_memory();
  void load_node(const std::string& name);
  [[nodiscard]] std::optional<std::string> close_data_dir() const;
  [[nodiscard]] std::string directory_of(const std::string& node_id) const;
  [[nodiscard]] node_ptr make(node_record record);
  void tick();
  void bound_logs();

  cell_config config_;
  node_driver& driver_;
  node_engine& engine_;
  base::event_loop& loop_;
  base::directory_lock lock_;
  std::string identity_; ///< of the data directory
  fence fence_;
  store::announcer announcer_;
  base::remover remover_;
  disk_gauge gauge_;
  node_surroundings surroundings_;
  node_keys keys_;
  std::map<std::string, node_ptr> nodes_;
  std::set<std::string> left_alone_;
  clock::time_point last_tick_;
  store::lifetime life_;
};

} // namespace matriarch::cell
