#pragma once

#include <vector>

#include "http/front_desk.hpp"
#include "http/server.hpp"

namespace matriarch::http {

/// Who asks for `/healthz`, and how.
struct health_question {
  /// The operator is told which plans and instances are not well; everybody how many.
  bool by_operator = false;
  /// `?active`: also 503 where this broker is not the one that acts, for a balancer that looks at the
  /// status alone.
  bool must_be_active = false;
};

/// The answer at `/healthz`. 503 only where there is nothing to serve: a broker that has lost etcd
/// still answers reads.
[[nodiscard]] response health_answer(const broker_health& now,
                                     const std::vector<model::cell_view>& cells,
                                     const model::routers& routers, const health_question& asked);

} // namespace matriarch::http
