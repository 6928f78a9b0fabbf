// The router alone, for its test: it is started, killed and started again.
#include "base/logging.hpp"
#include "router/router.hpp"

int main(int count, char** words) {
  matriarch::base::set_up_logging("info");
  return count == 2 ? matriarch::router::run(words[1]) : 2;
}
