#include "model/accept_stages.hpp"

#include <algorithm>

namespace matriarch::model {

accept_next after(accept_stage stage, stage_end how, bool recorded, const std::string& why) {
  switch (how) {
  case stage_end::done: {
    const auto* next = std::ranges::find(accept_stages, stage) + 1;
    if (next == accept_stages.end())
      return {};
    // A port is offered once more when the first one was taken: the record is there.
    bool there = *next == accept_stage::create_record && recorded;
    return {there ? *(next + 1) : *next};
  }
  case stage_end::taken:
    // The registry of ports had not heard of it yet.
    return {accept_stage::offer_port};
  case stage_end::none_free:
    // Of an instance that is written down this is not the end: it is taken back first.
    return {{}, verdict{recorded ? verdict_kind::unavailable : verdict_kind::refused, why}};
  case stage_end::led:
    // Its data may be wanted by an operator: it is never undone.
    return {{},
            verdict{verdict_kind::unavailable, "a cluster that no record names leads under this "
                                               "id; matriarch orphans shows its nodes"}};
  case stage_end::failed:
    return {{}, verdict{verdict_kind::unavailable, why}};
  }
  return {{}, verdict{verdict_kind::unavailable, why}};
}

record written_by(accept_stage stage, record known, int port) {
  if (stage == accept_stage::take_port)
    known.endpoints[endpoint::primary] = port;
  if (stage == accept_stage::confirm)
    known.phase = record_phase::accepted;
  return known;
}

} // namespace matriarch::model
