#pragma once

#include <array>
#include <optional>
#include <string>

#include "model/record.hpp"
#include "model/requests.hpp"

/// How a new instance is accepted: stage by stage. A crash before the last one leaves a record that
/// says `accepting`, which nobody was promised, and which is taken back.
namespace matriarch::model {

enum class accept_stage {
  offer_port,    ///< one is reserved; nothing is written yet
  create_record, ///< phase `accepting`, if there is neither a record nor a leader of that name
  take_port,     ///< port, allocation and record in one transaction
  confirm,       ///< phase `accepted`; the snapshot and the answer follow
};

/// In their order.
inline constexpr std::array accept_stages{accept_stage::offer_port, accept_stage::create_record,
                                          accept_stage::take_port, accept_stage::confirm};

/// What came of a stage.
enum class stage_end {
  done,
  none_free, ///< there is no port to be had
  led,       ///< somebody leads a cluster of that name
  taken,     ///< somebody else has the port meanwhile
  failed,    ///< it could not be done now
};

/// What follows. With neither a stage nor a refusal the instance is accepted.
struct accept_next {
  std::optional<accept_stage> stage = {};
  std::optional<verdict> refusal = {};
};

/// `recorded`: whether the record is written by now. `why`: what was said of a stage that is not
/// done, for the one who asked.
[[nodiscard]] accept_next after(accept_stage stage, stage_end how, bool recorded,
                                const std::string& why = {});

/// The record as that stage writes it; of those that write none, as it is.
[[nodiscard]] record written_by(accept_stage stage, record known, int port);

} // namespace matriarch::model
