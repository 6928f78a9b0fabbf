#pragma once

#include <caf/all.hpp>

#include <cstdint>
#include <unordered_map>
#include <utility>

namespace matriarch::actors {

/// Answers that an actor owes for calls into a library with its own thread. Only the actor may
/// deliver a promise, so the library's thread sends the ticket and the answer to the actor.
template <class Answer>
class pending_answers {
public:
  using promise = caf::typed_response_promise<Answer>;

  std::uint64_t add(promise owed) {
    owed_.emplace(++last_ticket_, std::move(owed));
    return last_ticket_;
  }

  void keep(std::uint64_t ticket, Answer answer) {
    auto found = owed_.find(ticket);
    if (found == owed_.end())
      return;
    found->second.deliver(std::move(answer));
    owed_.erase(found);
  }

private:
  std::uint64_t last_ticket_ = 0;
  std::unordered_map<std::uint64_t, promise> owed_;
};

} // namespace matriarch::actors
