#include <exception>
#include <iostream>

#include "cli/command_line.hpp"

int main(int argc, char** argv) {
  try {
    const auto code =
        matriarch::cli::run(std::vector<std::string>(argv + 1, argv + argc), std::cout, std::cerr);
    // A full disk shows only here, and must not look like success to a script.
    if (!std::cout.flush()) {
      std::cerr << "matriarch: the output cannot be written" << std::endl;
      return matriarch::cli::exit_failure;
    }
    return code;
  } catch (const std::exception& error) {
    std::cerr << "matriarch: " << error.what() << std::endl;
    return matriarch::cli::exit_failure;
  }
}
