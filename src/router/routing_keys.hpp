#pragma once

#include <string_view>

/// The keys in etcd that say which instance is reached where.
namespace matriarch::router {

enum class key_kind {
  other,
  allocation,
  read_only_allocation,
  authority,
  routing, ///< something else below /routing/
  record,
  member,
  leader,
  config,
  router
};

/// What a key is about: `owner` is the instance or the scope.
struct key_meaning {
  key_kind is = key_kind::other;
  std::string_view owner = {};
  std::string_view member = {};
};

/// The key has to outlive what is returned.
[[nodiscard]] key_meaning meaning_of(std::string_view key);

} // namespace matriarch::router
