#pragma once

#include <memory>
#include <utility>

namespace matriarch::store {

/// A member of an object that hands out callbacks: the callbacks do nothing once the object is
/// gone. Destroy the object on the thread that runs the callbacks.
class lifetime {
public:
  lifetime() = default;
  lifetime(const lifetime&) = delete;
  lifetime& operator=(const lifetime&) = delete;

  template <class Call>
  [[nodiscard]] auto guard(Call call) const {
    return [alive = std::weak_ptr<int>{token_}, call = std::move(call)](auto&&... arguments) {
      if (!alive.expired())
        call(std::forward<decltype(arguments)>(arguments)...);
    };
  }

private:
  std::shared_ptr<int> token_ = std::make_shared<int>();
};

} // namespace matriarch::store
