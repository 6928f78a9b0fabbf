#pragma once

#include <caf/all.hpp>

#include <exception>

namespace matriarch::actors {

/// Has an exception that ends this actor be the reason that others hear: CAF keeps nothing of what it
/// said. To be called where the actor begins.
template <class SelfPointer>
void keep_last_words(SelfPointer self) {
  self->set_exception_handler([](std::exception_ptr& thrown) -> caf::error {
    try {
      std::rethrow_exception(thrown);
    } catch (const std::exception& why) {
      return caf::make_error(caf::sec::runtime_error, why.what());
    } catch (...) {
      return caf::make_error(caf::sec::runtime_error, "an exception of no known kind");
    }
  });
}

} // namespace matriarch::actors
