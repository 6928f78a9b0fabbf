#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.hpp"
#include "model/ports.hpp"

/// The values of ports' keys.
namespace matriarch::store {

[[nodiscard]] std::string encode_port_use(const model::port_use& use);
/// `revision`: the key's.
[[nodiscard]] result<model::port_use> decode_port_use(std::string_view text, std::int64_t revision);
/// `text`, which replaces an earlier use of the same port, with the unknown members of `before`. If
/// `before` is another instance's use, its unknown members are dropped: they are not true of this
/// instance.
[[nodiscard]] std::string with_unknown_of(const model::port_use& before, std::string text);

} // namespace matriarch::store
