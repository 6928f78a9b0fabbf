#include "model/accept_stages.hpp"

#include <algorithm>

namespace matriarch::model {

accept_next after(accept_stage stage, stage_end how, bool recorded, const std::string& why) {
  switch (how) {
  case stage_end::done: {
    const auto* next = std::ranges::find(accept_stages, stage) + 1;
    if (next == accept_stages.end())
      return {};
    // If the first port was taken, another port is offered. The record exists by then: skip its
    // creation.
    bool there = *next == accept_stage::create_record && recorded;
    return {there ? *(next + 1) : *next};
  }
  case stage_end::taken:
    // The registry of ports did not know yet that this port is taken.
    return {accept_stage::offer_port};
  case stage_end::none_free:
    // A record exists: answer `unavailable`, for the record has to be removed before the end.
    return {{}, verdict{recorded ? verdict_kind::unavailable : verdict_kind::refused, why}};
  case stage_end::led:
    // A leader key without a record means live data: refuse, and remove nothing.
    return {{},
            verdict{verdict_kind::unavailable, "this id has a cluster with a leader but no "
                                               "record; matriarch orphans shows its nodes"}};
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
