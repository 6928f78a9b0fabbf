#pragma once

#include "base/times.hpp"

namespace matriarch::model {

using base::text_of;

} // namespace matriarch::model
