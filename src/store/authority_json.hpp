#pragma once

#include <string>
#include <string_view>

#include "store/keyring.hpp"
#include "tls/authorities.hpp"

/// The value of `/matriarch/authority`.
namespace matriarch::store {

/// Seals the authorities' private keys with `keys`.
[[nodiscard]] std::string encode_authorities(const tls::authorities& known, const keyring& keys);

/// The decoded value, and whether its keys are sealed with the newest key.
struct stored_authorities {
  tls::authorities known;
  bool sealed_as_now = true;
};
[[nodiscard]] result<stored_authorities> decode_authorities(std::string_view text,
                                                            const keyring& keys);

} // namespace matriarch::store
