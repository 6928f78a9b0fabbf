#pragma once

#include "model/engine.hpp"

namespace matriarch::engines::postgresql {

/// The highest number of connections, senders, slots or workers that PostgreSQL accepts.
inline constexpr long greatest_backend_count = 262'143;

/// Refuses invalid names, parameters that Patroni, the cell or Matriarch sets itself, and values
/// that Patroni would silently replace by its default.
[[nodiscard]] model::checked_parameters check_parameters(const model::given_parameters& given);

} // namespace matriarch::engines::postgresql
