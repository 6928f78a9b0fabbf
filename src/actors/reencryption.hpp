#pragma once

#include <chrono>
#include <functional>
#include <string>
#include <vector>

#include "model/requests.hpp"

namespace matriarch::actors {

/// Asks one instance. The answer comes once, from any thread or from within the call.
using ask_instance = std::function<void(model::request, std::chrono::milliseconds patience,
                                        std::function<void(model::verdict)> answer)>;

/// Re-encrypts the secrets of those instances, a few at a time, and calls `done` once. An instance
/// that is removed in the meantime is in neither list of the report; instances with unreadable
/// records count as failed.
void reencrypt_all(std::vector<std::string> instance_ids, std::vector<std::string> unreadable,
                   ask_instance ask, std::function<void(model::reencryption_report)> done);

} // namespace matriarch::actors
