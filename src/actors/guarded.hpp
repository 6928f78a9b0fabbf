#pragma once

#include <exception>
#include <string>

#include <spdlog/spdlog.h>

namespace matriarch::actors {

/// Returns the job's result. An exception becomes a failed answer instead of ending the worker,
/// which other jobs need. A default-made `Answer` must mean failure.
template <class Answer, class Job>
Answer guarded(const Job& job) {
  Answer failed;
  try {
    return job();
  } catch (const std::exception& why) {
    failed.why = why.what();
  } catch (...) {
    failed.why = "an unknown exception";
  }
  spdlog::error("a job ended in an exception: {}", failed.why);
  failed.why = "an error in the broker itself: " + failed.why;
  return failed;
}

} // namespace matriarch::actors
