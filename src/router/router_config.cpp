#include "router/router_config.hpp"

#include <algorithm>

#include <fmt/format.h>

#include "config/yaml_reader.hpp"
#include "router/certificate.hpp"
#include "router/endpoint.hpp"

namespace matriarch::router {

namespace {

using config::section;

/// A Unix socket's path has room for 107 bytes; HAProxy adds up to 20 of its own when it binds.
constexpr std::size_t longest_data_dir = 70;

/// HAProxy limits times to 2^31 - 1 ms; a day stays far below that, even in sums.
constexpr std::chrono::hours longest_time{24};

std::chrono::milliseconds time_between(const section& from, std::string_view name,
                                       std::chrono::milliseconds least,
                                       std::chrono::milliseconds otherwise) {
  std::chrono::milliseconds given{from.milliseconds(name, otherwise.count())};
  if (given < least || given > longest_time)
    from.refuse(name, fmt::format("{} must be between {}ms and 24h", name, least.count()));
  return given;
}

std::string host(const section& from, std::string_view name) {
  auto text = from.text(name, "127.0.0.1");
  if (!is_host(text))
    from.refuse(
        name, fmt::format("\"{}\" is no address to listen on; write one such as 127.0.0.1", text));
  return text;
}

/// An id must be valid in a key of etcd and easy to read.
constexpr std::size_t longest_id = 128;

void read_id(const section& from, router_config& into) {
  into.id = from.has("id") ? from.text("id") : std::string{};
  auto is_plain = [](unsigned char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-'
           || c == '_' || c == '.' || c == ':';
  };
  if (into.id.size() > longest_id || !std::all_of(into.id.begin(), into.id.end(), is_plain))
    from.refuse("id",
                fmt::format("id may have letters, digits, -, _, . and :, {} at most", longest_id));
}

void read_ports(const section& from, router_config& into) {
  auto ports = from.child_or_empty("ports");
  ports.allow({"first", "last"});
  into.first_port = static_cast<std::uint16_t>(ports.number("first", 1, 65535, into.first_port));
  into.last_port = static_cast<std::uint16_t>(ports.number("last", 1, 65535, into.last_port));
  if (into.first_port > into.last_port)
    ports.refuse(
        fmt::format("ports: first, {}, is above last, {}", into.first_port, into.last_port));
  into.slots = static_cast<int>(from.number("slots", 1, 100, into.slots));
}

void read_limits(const section& from, limit_settings& into) {
  from.allow({"reserve", "routers", "nearly_full", "per_source", "first_bytes"});
  into.reserve = static_cast<int>(from.number("reserve", 0, 100'000, into.reserve));
  into.routers = static_cast<int>(from.number("routers", 1, 1'000, into.routers));
  into.nearly_full = static_cast<int>(from.number("nearly_full", 0, 100, into.nearly_full));
  into.per_source = static_cast<int>(from.number("per_source", 0, 100, into.per_source));
  into.first_bytes =
      time_between(from, "first_bytes", std::chrono::milliseconds{100}, into.first_bytes);
}

void read_router(const section& from, router_config& into) {
  from.allow({"id", "bind_host", "ports", "slots", "data_dir", "haproxy", "maxconn",
              "max_connections_per_port", "limits", "check_interval", "hard_stop_after",
              "max_old_workers", "stop_grace", "status"});
  // Earlier releases reloaded HAProxy at each change; operators' files with these keys must still
  // work.
  for (auto gone : {"hard_stop_after", "max_old_workers"})
    if (from.has(gone))
      from.warn(gone, fmt::format("router.{} has no effect any more, for HAProxy is not reloaded "
                                  "when instances come and go; take it out",
                                  gone));
  read_id(from, into);
  read_ports(from, into);
  into.bind_host = host(from, "bind_host");
  into.data_dir = from.text("data_dir");
  if (into.data_dir.front() != '/' || into.data_dir == "/")
    from.refuse("data_dir", "data_dir must be an absolute path of a directory of the router's own");
  while (into.data_dir.back() == '/')
    into.data_dir.pop_back();
  if (into.data_dir.size() > longest_data_dir)
    from.refuse("data_dir", fmt::format("data_dir may have {} characters at most, for a socket's "
                                        "path below it must stay short",
                                        longest_data_dir));
  if (std::any_of(into.data_dir.begin(), into.data_dir.end(),
                  [](unsigned char c) { return c <= ' ' || c == '\'' || c == '"' || c == '\\'; }))
    from.refuse("data_dir", "data_dir must not contain spaces, quotes or backslashes");
  into.haproxy = from.text("haproxy", into.haproxy);
  if (into.haproxy.front() != '/')
    from.refuse("haproxy",
                "haproxy must be the absolute path of HAProxy, such as /usr/sbin/haproxy");
  into.maxconn = static_cast<int>(from.number("maxconn", 1, 1'000'000, into.maxconn));
  into.limits.per_port =
      static_cast<int>(from.number("max_connections_per_port", 1, 1'000'000, into.limits.per_port));
  read_limits(from.child_or_empty("limits"), into.limits);
  into.check_interval =
      time_between(from, "check_interval", std::chrono::milliseconds{50}, into.check_interval);
  into.stop_grace = time_between(from, "stop_grace", std::chrono::milliseconds{0}, into.stop_grace);

  auto status = from.child_or_empty("status");
  status.allow({"bind_host", "port"});
  into.status_host = host(status, "bind_host");
  into.status_port = static_cast<std::uint16_t>(status.number("port", 0, 65535, 8890));
}

void read_tls(const section& from, broker_front& into) {
  from.allow({"certificate", "key"});
  // Without a key of its own the certificate's file holds it.
  into.tls_certificate =
      from.has("key") ? from.file("certificate") : from.secret_file("certificate");
  if (from.has("key"))
    into.tls_key = from.secret_file("key");
  if (auto pem = read_certificate(into.tls_certificate, into.tls_key); !pem)
    from.refuse(from.has("key") ? "key" : "certificate", "broker.tls: " + pem.error());
}

broker_front read_broker(const section& from) {
  from.allow({"listen", "servers", "tls"});
  broker_front front;
  front.listen = static_cast<std::uint16_t>(from.number("listen", 1, 65535));
  front.servers = from.texts("servers");
  if (front.servers.empty())
    from.refuse("broker needs servers, a list such as [127.0.0.1:3000]");
  for (const auto& server : front.servers)
    if (!endpoint_of(server))
      from.refuse("servers", fmt::format("\"{}\" is no broker's address; write host:port", server));
  if (from.has("tls"))
    read_tls(from.child("tls"), front);
  return front;
}

router_config read(const section& top) {
  router_config config;
  top.belong_to("router");
  top.allow({"router", "broker", "etcd"});
  read_router(top.child("router"), config);
  if (top.has("broker"))
    config.broker = read_broker(top.child("broker"));
  config.etcd = config::read_etcd(top.child("etcd"));
  config.warnings = top.warnings();
  return config;
}

template <class Parse>
result<router_config> loaded(Parse parse) {
  try {
    return read(parse());
  } catch (const config::config_error& wrong) {
    return failure{wrong.message};
  }
}

} // namespace

result<router_config> parse_router_config(const std::string& path, const std::string& text) {
  return loaded([&] { return section::parse_text(path, text); });
}

result<router_config> load_router_config(const std::string& path) {
  return loaded([&] { return section::parse_file(path); });
}

} // namespace matriarch::router
