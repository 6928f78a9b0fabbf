#pragma once

#include <string_view>

#include "base/result.hpp"
#include "model/data_position.hpp"

namespace matriarch::engines::postgresql {

/// How far the data of a PostgreSQL is that does not run, by its `global/pg_control`: the place and the
/// timeline of its last checkpoint. The clean stop of a leader ends with a checkpoint; of a replica, the
/// file has only its last restartpoint. Of one that did not stop cleanly nothing is known.
[[nodiscard]] result<model::data_at_stop> data_in_control_file(std::string_view content);

} // namespace matriarch::engines::postgresql
