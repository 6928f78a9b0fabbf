// The router alone, for its test: it is started, killed and started again.
#include "router/router.hpp"

int main(int count, char** words) {
  return count == 2 ? matriarch::router::run(words[1]) : 2;
}
