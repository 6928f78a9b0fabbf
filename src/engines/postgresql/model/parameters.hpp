#pragma once

#include "model/engine.hpp"

namespace matriarch::engines::postgresql {

/// The greatest number of connections, senders, slots or workers that PostgreSQL takes.
inline constexpr long greatest_backend_count = 262'143;

/// Refuses a name that is none, a parameter that Patroni, the cell or this program sets itself, and a
/// value that Patroni would silently replace by its default.
[[nodiscard]] model::checked_parameters check_parameters(const model::given_parameters& given);

} // namespace matriarch::engines::postgresql
