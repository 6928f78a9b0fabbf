#pragma once

#include <caf/all.hpp>

#include <exception>

namespace matriarch::actors {

/// Makes an exception that ends this actor the reason that other actors see; CAF does not keep the
/// exception's text. Call it where the actor begins.
template <class SelfPointer>
void keep_last_words(SelfPointer self) {
  self->set_exception_handler([](std::exception_ptr& thrown) -> caf::error {
    try {
      std::rethrow_exception(thrown);
    } catch (const std::exception& why) {
      return caf::make_error(caf::sec::runtime_error, why.what());
    } catch (...) {
      return caf::make_error(caf::sec::runtime_error, "an unknown exception");
    }
  });
}

} // namespace matriarch::actors
