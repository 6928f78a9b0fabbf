#pragma once

#include <memory>
#include <string>
#include <vector>

#include "actors/instance_host.hpp"
#include "actors/record_keeper.hpp"
#include "model/accept_stages.hpp"
#include "model/requests.hpp"

namespace matriarch::actors {

/// The acceptance of a new instance, as part of its actor: does the stages of
/// model::accept_stages one after the other, and answers the request after the last one. An
/// instance that was not accepted is undone; nobody has been promised it.
class instance_acceptance {
public:
  using answer = caf::typed_response_promise<model::verdict>;

  /// Keeper and host must outlive this object.
  instance_acceptance(record_keeper& keeper, instance_host& host) : keeper_(keeper), host_(host) {}
  instance_acceptance(const instance_acceptance&) = delete;
  instance_acceptance& operator=(const instance_acceptance&) = delete;

  /// Begins with the first stage. There must be no record.
  void accept(model::provision_request asked, answer owed);
  /// Removes a record that was not promised to anybody: after a crash, or after a failure of etcd.
  void undo();

private:
  /// A provision that is being accepted.
  struct newcomer {
    model::provision_request asked;
    answer owed;
    port_offer offer = {};
  };
  using newcomer_ptr = std::shared_ptr<newcomer>;

  void begin(model::accept_stage stage, const newcomer_ptr& who);
  void go_on(model::accept_stage stage, model::stage_end how, const std::string& why,
             const newcomer_ptr& who);
  void reserve_port(const newcomer_ptr& who);
  void create(const newcomer_ptr& who);
  void take_port(const newcomer_ptr& who);
  void confirm(const newcomer_ptr& who);
  [[nodiscard]] std::vector<store::operation> erasures_of_another_life() const;

  [[nodiscard]] const std::string& name() const { return keeper_.name(); }
  [[nodiscard]] const model::record* record() const { return keeper_.record(); }
  [[nodiscard]] const instance_setup& setup() const { return keeper_.setup(); }
  [[nodiscard]] service_instance_actor::pointer self() const { return keeper_.self(); }

  record_keeper& keeper_;
  instance_host& host_;
};

} // namespace matriarch::actors
