#pragma once

#include <string>
#include <string_view>

#include "base/result.hpp"
#include "model/record.hpp"
#include "store/keyring.hpp"

/// The values of bindings' keys.
namespace matriarch::store {

/// `name`: the instance's name in keys. A sealed password can be opened only in its own binding.
[[nodiscard]] std::string encode_binding(const model::binding& known, std::string_view name,
                                         const keyring& keys);
[[nodiscard]] result<model::binding> decode_binding(std::string_view text, std::string_view name,
                                                    const keyring& keys);

} // namespace matriarch::store
