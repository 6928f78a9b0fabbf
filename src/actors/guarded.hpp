#pragma once

#include <exception>
#include <string>

#include <spdlog/spdlog.h>

namespace matriarch::actors {

/// What a job gives; what it throws becomes an answer that says so. A worker that an exception ended
/// would take the jobs of everybody with it. `Answer` counts as a failure as it is made by default.
template <class Answer, class Job>
Answer guarded(const Job& job) {
  Answer failed;
  try {
    return job();
  } catch (const std::exception& why) {
    failed.why = why.what();
  } catch (...) {
    failed.why = "an exception of no known kind";
  }
  spdlog::error("a job ended in an exception: {}", failed.why);
  failed.why = "an error in the broker itself: " + failed.why;
  return failed;
}

} // namespace matriarch::actors
