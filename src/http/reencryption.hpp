#pragma once

#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "http/routes.hpp"

namespace matriarch::http {

/// What became of having the secrets of many instances written anew.
struct reencryption_report {
  struct entry {
    std::string instance_id;
    std::string why;
  };
  std::size_t instances = 0; ///< that were rewritten
  std::vector<entry> failed;
};

/// Has the secrets of all instances written anew, a few instances at a time, and tells `done` once.
/// An instance that is removed meanwhile is in neither list.
void reencrypt_all(const backend& behind, std::function<void(reencryption_report)> done);

} // namespace matriarch::http
