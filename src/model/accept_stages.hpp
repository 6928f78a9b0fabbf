#pragma once

#include <array>
#include <optional>
#include <string>

#include "model/record.hpp"
#include "model/requests.hpp"

/// The stages in which a new instance is accepted. A crash before the last stage leaves a record in
/// phase `accepting`. The platform has not been told that such an instance exists, so the next
/// broker removes the record.
namespace matriarch::model {

enum class accept_stage {
  offer_port,    ///< reserves a port; writes nothing yet
  create_record, ///< phase `accepting`; only if this name has neither a record nor a leader
  take_port,     ///< writes port, allocation and record in one transaction
  confirm, ///< phase `accepted`; afterwards the snapshot is published and the request answered
};

/// In the order in which they are done.
inline constexpr std::array accept_stages{accept_stage::offer_port, accept_stage::create_record,
                                          accept_stage::take_port, accept_stage::confirm};

/// The outcome of a stage.
enum class stage_end {
  done,
  none_free, ///< no port is free
  led,       ///< a cluster of that name has a leader
  taken,     ///< another instance took the port in the meantime
  failed,    ///< the stage could not be done now
};

/// What follows a stage. If both members are empty, the instance is accepted.
struct accept_next {
  std::optional<accept_stage> stage = {};
  std::optional<verdict> refusal = {};
};

/// The stage that follows, or the refusal. `recorded`: whether the record is in etcd by now. `why`:
/// the reason why the stage is not done, for the user.
[[nodiscard]] accept_next after(accept_stage stage, stage_end how, bool recorded,
                                const std::string& why = {});

/// The record as `stage` writes it. Stages that write no record return `known` unchanged.
[[nodiscard]] record written_by(accept_stage stage, record known, int port);

} // namespace matriarch::model
