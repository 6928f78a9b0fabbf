#include "base/background.hpp"

#include <doctest/doctest.h>

#include <future>
#include <thread>
#include <vector>

using namespace matriarch::base;

TEST_CASE("jobs run in order on one thread that is not the caller's") {
  std::vector<int> order;
  std::vector<std::thread::id> threads;
  std::promise<void> all_done;
  background worker;
  for (int i = 0; i < 100; ++i)
    worker.submit([&, i] {
      order.push_back(i);
      threads.push_back(std::this_thread::get_id());
      if (i == 99)
        all_done.set_value();
    });
  all_done.get_future().wait();
  REQUIRE(order.size() == 100);
  for (int i = 0; i < 100; ++i) {
    CHECK(order[static_cast<std::size_t>(i)] == i);
    CHECK(threads[static_cast<std::size_t>(i)] == threads[0]);
  }
  CHECK(threads[0] != std::this_thread::get_id());
}

TEST_CASE("the destructor waits for the running job") {
  bool ended = false;
  {
    std::promise<void> begun;
    std::promise<void> go_on;
    background worker;
    worker.submit([&] {
      begun.set_value();
      go_on.get_future().wait();
      ended = true;
    });
    begun.get_future().wait();
    go_on.set_value();
  }
  CHECK(ended);
}
