// `matriarch broker` alone, for its test. The arguments name actors that end with an error as soon
// as the broker serves.
#include <caf/all.hpp>

#include "actors/singletons.hpp"
#include "base/logging.hpp"
#include "cli/broker.hpp"

int main(int count, char** words) {
  if (count < 2)
    return 2;
  matriarch::base::set_up_logging("info");
  auto code = matriarch::broker::run(words[1], [&](const matriarch::actors::singletons& all) {
    for (int i = 2; i < count; ++i)
      caf::anon_send_exit(all.all().at(words[i]), caf::exit_reason::unhandled_exception);
  });
  matriarch::base::flush_log();
  return code;
}
