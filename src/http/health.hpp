#pragma once

#include <vector>

#include "http/front_desk.hpp"
#include "http/server.hpp"

namespace matriarch::http {

/// Who asks for `/healthz`, and in which way.
struct health_question {
  /// The operator's answer names the plans and instances with trouble; others get their number
  /// only.
  bool by_operator = false;
  /// `?active`: answers 503 also if this broker is not the active one, for load balancers that look
  /// only at the status.
  bool must_be_active = false;
};

/// The answer at `/healthz`. 503 only if the broker cannot serve anything: without etcd it still
/// answers reads.
[[nodiscard]] response health_answer(const broker_health& now,
                                     const std::vector<model::cell_view>& cells,
                                     const model::routers& routers, const health_question& asked);

} // namespace matriarch::http
