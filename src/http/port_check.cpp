#include "http/port_check.hpp"

#include <chrono>
#include <future>
#include <memory>

#include "base/event_loop.hpp"
#include "http/server.hpp"

namespace matriarch::http {

namespace {

constexpr std::chrono::seconds patience{5};

/// The health page at that address, if a Matriarch server answers there.
std::optional<json::document> health_at(const std::string& host, std::uint16_t port,
                                        const std::optional<recognised_by>& tls) {
  auto promised = std::make_shared<std::promise<base::outcome>>();
  auto answer = promised->get_future();
  base::outgoing ask;
  // For an address that stands for all of the machine's, one of them is asked.
  auto at = host == "0.0.0.0" || host == "::" ? "127.0.0.1" : host;
  auto place =
      (at.find(':') == std::string::npos ? at : "[" + at + "]") + ":" + std::to_string(port);
  ask.url = "http://" + place + "/healthz";
  if (tls) {
    ask.url = "https://" + tls->name + "/healthz";
    ask.reached_at = place;
    ask.tls.authority_text = tls->authority;
  }
  base::event_loop loop;
  loop.send(std::move(ask),
            [promised](base::outcome came) { promised->set_value(std::move(came)); });
  if (answer.wait_for(patience) != std::future_status::ready)
    return std::nullopt;
  auto body = json::parse(answer.get().body);
  if (!body || json::string_member(*body, "status").empty())
    return std::nullopt;
  return *std::move(body);
}

} // namespace

void look_at_port(const std::string& host, std::uint16_t port, const is_itself& is_it,
                  base::findings& found, const std::optional<recognised_by>& tls) {
  server_options options;
  options.bind_host = host;
  options.port = port;
  server probe{options, [](request, responder) {}};
  auto wrong = probe.start();
  if (!wrong)
    return found.good("address", host + ":" + std::to_string(port) + " is free");
  auto health = health_at(host, port, tls);
  if (health && is_it(*health))
    found.good("address", host + ":" + std::to_string(port) + " has this server already");
  else
    found.fault("address", *wrong + (health ? "; another server of Matriarch's has it" : ""));
}

} // namespace matriarch::http
