#pragma once

#include <string>
#include <string_view>

#include "store/keyring.hpp"
#include "tls/authorities.hpp"

/// The value of `/matriarch/authority`.
namespace matriarch::store {

/// The authorities' keys are sealed with `keys`.
[[nodiscard]] std::string encode_authorities(const tls::authorities& known, const keyring& keys);

/// What was read, and whether it would be written otherwise now: with the newest key.
struct stored_authorities {
  tls::authorities known;
  bool sealed_as_now = true;
};
[[nodiscard]] result<stored_authorities> decode_authorities(std::string_view text,
                                                            const keyring& keys);

} // namespace matriarch::store
