// `matriarch cell` alone, so that its test needs none of the other subcommands.
#include "cell/cell.hpp"

int main(int count, char** arguments) {
  return count == 2 ? matriarch::cell::run(arguments[1]) : 2;
}
