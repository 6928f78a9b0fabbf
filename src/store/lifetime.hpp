#pragma once

#include <memory>
#include <utility>

namespace matriarch::store {

/// A member of an object that hands out callbacks: they do nothing once the object is gone. The
/// object must be destroyed on the thread that makes the calls.
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
