#pragma once

#include <memory>
#include <string>
#include <vector>

#include "actors/cluster_steps.hpp"
#include "actors/cluster_watch.hpp"
#include "actors/instance_host.hpp"
#include "actors/record_keeper.hpp"

namespace matriarch::actors {

/// One of the instance's clusters: what is observed of it, and its steps.
struct cluster_part {
  cluster_watch watch;
  cluster_steps steps;
  bool turn_asked = false; ///< a turn for a repair was requested
  cluster_part(record_keeper& keeper, instance_host& host, const std::string& scope,
               model::cluster_observations& here)
      : watch(keeper, host, scope, here), steps(keeper, host, watch, here) {}
  void move_to(model::cluster_observations& there) {
    watch.move_to(there);
    steps.move_to(there);
  }
};

/// The clusters of one instance, as part of its actor: the one that serves and, during a rebuild,
/// the ones that come and go. This class makes and retires them as the record says, and speaks for
/// them to the cell directory: where their nodes are, and which cluster needs a turn for a repair.
class instance_clusters {
public:
  /// The clusters' observations go into `observations`. The references must outlive this object.
  instance_clusters(record_keeper& keeper, instance_host& host,
                    model::instance_observations& observations)
      : keeper_(keeper), host_(host), observations_(observations) {}
  instance_clusters(const instance_clusters&) = delete;
  instance_clusters& operator=(const instance_clusters&) = delete;

  /// One part for each cluster of the record; the serving cluster's comes first.
  [[nodiscard]] std::vector<cluster_part*> parts() const;
  [[nodiscard]] cluster_part* part_of(const std::string& scope) const;
  /// The part of the cluster that serves; nullptr if there is no record.
  [[nodiscard]] cluster_part* living() const { return living_.get(); }
  /// The part of the cluster that is to serve next; nullptr if there is none.
  [[nodiscard]] cluster_part* incoming() const { return incoming_.get(); }
  [[nodiscard]] model::cluster_observations& observations_of(const cluster_part& part) const;

  // -- with the record ----------------------------------------------------------------------------

  /// Makes a part for each cluster of the record. A cluster with a new role in the record keeps its
  /// observations and the steps under way.
  void arrange();
  /// Retires all parts: the record is gone.
  void retire_all();
  /// Destroys retired parts that wait for no answer. Called when no answer to one is on its way.
  void let_retired_go();
  /// Removes a cluster without nodes from the record, together with the keys that its nodes have
  /// written and no other keys below the same name.
  void forget(const model::forget_cluster& step);

  // -- the cell directory -------------------------------------------------------------------------

  /// Reports where the nodes are. Called after each write, too: it ends the instance's
  /// reservations.
  void report_cells();
  void report_changed_cells();
  void ask_for_turn(cluster_part& part, bool wanted);
  void give_turn(const std::string& scope);
  void forget_turn(cluster_part& part);

private:
  [[nodiscard]] cells_in_use::places places() const;
  void retire(std::unique_ptr<cluster_part> part, model::cluster_observations& of);

  record_keeper& keeper_;
  instance_host& host_;
  model::instance_observations& observations_;
  struct retired_part {
    std::unique_ptr<model::cluster_observations> here;
    std::unique_ptr<cluster_part> part;
  };
  std::unique_ptr<cluster_part> living_;
  std::unique_ptr<cluster_part> incoming_;
  std::unique_ptr<cluster_part> outgoing_;
  std::vector<retired_part> retired_; ///< of clusters that are no longer in the record
  std::shared_ptr<const cells_in_use::places> reported_; ///< as last sent to the cell directory
};

} // namespace matriarch::actors
