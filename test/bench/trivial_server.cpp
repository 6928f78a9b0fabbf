// The server of this project with a handler that does nothing: what `make bench` compares with.
#include <csignal>
#include <cstdio>
#include <cstdlib>

#include "http/server.hpp"

int main(int count, char** words) {
  if (count != 3) {
    std::fprintf(stderr, "usage: trivial_server ADDRESS PORT\n");
    return 2;
  }
  sigset_t ends;
  sigemptyset(&ends);
  sigaddset(&ends, SIGTERM);
  sigaddset(&ends, SIGINT);
  // Blocked before any thread starts, so that only sigwait() below gets them.
  pthread_sigmask(SIG_BLOCK, &ends, nullptr);

  matriarch::http::server_options options;
  options.bind_host = words[1];
  options.port = static_cast<std::uint16_t>(std::atoi(words[2]));
  matriarch::http::server trivial{options,
                                  [](matriarch::http::request, matriarch::http::responder answer) {
                                    answer.send({200, "{}", {}, "application/json"});
                                  }};
  if (auto error = trivial.start()) {
    std::fprintf(stderr, "trivial_server: %s\n", error->c_str());
    return 1;
  }
  int number = 0;
  sigwait(&ends, &number);
  trivial.stop();
  return 0;
}
