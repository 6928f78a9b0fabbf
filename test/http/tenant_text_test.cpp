// Texts for users of the platform do not reveal where the platform's parts are.
#include "http/tenant_text.hpp"

#include <libpq-fe.h>

#include <future>
#include <set>

#include "base/event_loop.hpp"
#include "stand_in_broker.hpp"

using namespace matriarch;
using namespace matriarch::test;

namespace {

struct place {
  std::string host;
  std::string ip;
  std::string port;
};

const std::vector<place> places{
    {"cell-z1-3.internal", "10.20.30.40", "5432"},
    {"dbhost", "127.4.0.17", "8008"},
    {"etcd_1", "192.168.0.9", "2379"},
    {"CELL7", "fd00::17", "30"},
    {"10.1.2.3", "10.1.2.3", "65535"},
    {"a.b.example.org", "fe80::1%eth0", "443"},
};

/// Error messages of libraries and services, with placeholders: H for the host, A for its address,
/// P for its port.
const std::vector<std::string> failures{
    // libpq
    R"(cannot connect to the leader: connection to server at "<H>" (<A>), port <P> failed: Connection refused)",
    R"(connection to server at "<A>", port <P> failed: FATAL:  password authentication failed for user "x")",
    R"(connection to server at "<H>", port <P> failed: timeout expired)",
    R"(connection to server at "<A>", port <P> failed: FATAL:  no pg_hba.conf entry for host "<A>", user "x", database "db", no encryption)",
    "could not connect to server: Connection refused\n\tIs the server running on host \"<H>\" "
    "(<A>) and "
    "accepting\n\tTCP/IP connections on port <P>?",
    R"(could not translate host name "<H>" to address: Name or service not known)",
    R"(could not parse network address "<H>": Name or service not known)",
    R"(server certificate for "<H>" does not match host name "<H>")",
    R"(connection to server on socket "/data/<H>/run/.s.PGSQL.<P>" failed: No such file or directory)",
    // libcurl
    "GET http://<H>:<P>/healthz: Failed to connect to <H> port <P> after 3 ms: Couldn't connect to "
    "server",
    "PUT https://user@<H>:<P>/v2/x?a=b: Could not resolve host: <H>",
    "Failed to connect to <H> port <P> from <A> port 0 after 3 ms: Connection refused",
    "connect to <A> port <P> failed: Connection refused",
    "SSL: certificate subject name '<H>' does not match target host name '<H>'",
    "SSL: no alternative certificate subject name matches target host name '<H>'",
    "OpenSSL SSL_connect: SSL_ERROR_SYSCALL in connection to <H>:<P>",
    // etcd, and other Go programs
    "etcd cannot be reached: a transaction on /service/b1/state and 3 more: http://<H>:<P> "
    "answered 503: "
    "etcdserver: no leader; nothing was changed, try again",
    R"(connection error: desc = "transport: Error while dialing dial tcp <H>:<P>: connect: connection refused")",
    "Get \"http://<H>:<P>/\": dial tcp: lookup <H> on <A>: no such host",
    // Patroni, and other Python programs
    "the switchover failed and is tried again: Patroni answered 503: Failed to access API of node "
    "<H>:<P>",
    "HTTPConnectionPool(host='<H>', port=<P>): Max retries exceeded with url: /patroni (Caused by "
    "NewConnectionError('Failed to establish a new connection: [Errno 111] Connection refused'))",
    // PostgreSQL
    R"(could not connect to the primary server: connection to server at "<H>" (<A>), port <P> failed: x)",
    // a cell
    "cell z1 has not confirmed the removal of node n1 (answered 500: cannot remove "
    "/srv/<H>/nodes/n1: Read-only file system); last seen: master running",
    "answered 502: cannot reach postgres://admin:secret@<H>:<P>/postgres",
};

std::string filled(std::string text, const place& with) {
  for (const auto& [name, value] : {std::pair<std::string, std::string>{"<H>", with.host},
                                    {"<A>", with.ip},
                                    {"<P>", with.port}})
    for (auto at = text.find(name); at != std::string::npos; at = text.find(name, at))
      text.replace(at, name.size(), value);
  return text;
}

std::set<std::string> words_of(const std::string& text) {
  std::set<std::string> words;
  std::string word;
  for (char c : text + " ")
    if (std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '.' || c == '-' || c == '_'
        || c == ':' || c == '%') {
      word += c;
    } else {
      while (!word.empty() && (word.back() == ':' || word.back() == '.'))
        word.pop_back();
      words.insert(std::exchange(word, {}));
    }
  return words;
}

void names_nothing_of(const std::string& text, const place& where) {
  CAPTURE(text);
  auto words = words_of(text);
  for (const auto& told : {where.host, where.ip, where.port, where.host + ":" + where.port})
    CHECK_MESSAGE((told.empty() || !words.contains(told)), told);
  CHECK(text.find("://") == std::string::npos);
}

/// libpq's message about a connection that fails.
std::string said_by_libpq(const std::string& how) {
  std::unique_ptr<PGconn, decltype(&PQfinish)> failed{PQconnectdb(how.c_str()), PQfinish};
  REQUIRE(PQstatus(failed.get()) == CONNECTION_BAD);
  return PQerrorMessage(failed.get());
}

std::string said_by_libcurl(const std::string& url) {
  base::event_loop loop;
  std::promise<base::outcome> ended;
  base::outgoing what;
  what.url = url;
  loop.send(std::move(what), [&](base::outcome came) { ended.set_value(std::move(came)); });
  auto came = ended.get_future().get();
  REQUIRE(came.status == 0);
  return came.error;
}

} // namespace

TEST_CASE("no failure's text tells a tenant where it happened") {
  for (const auto& failure : failures)
    for (const auto& where : places)
      names_nothing_of(without_addresses(filled(failure, where), {}), where);
}

TEST_CASE("the texts of libpq and libcurl for a real failure tell a tenant nothing of where it "
          "happened") {
  // Nobody listens on port 1023. libcurl reports milliseconds, and no failure takes that many.
  names_nothing_of(without_addresses(said_by_libpq("host=127.0.0.1 port=1023 user=x"), {}),
                   {"127.0.0.1", "127.0.0.1", "1023"});
  names_nothing_of(without_addresses(said_by_libpq("host=localhost port=1023 user=x"), {}),
                   {"localhost", "127.0.0.1", "1023"});
  names_nothing_of(without_addresses(said_by_libpq("host=node-1.invalid port=1023 user=x"), {}),
                   {"node-1.invalid", "", "1023"});
  names_nothing_of(without_addresses(said_by_libcurl("http://127.0.0.1:1023/healthz"), {}),
                   {"127.0.0.1", "127.0.0.1", "1023"});
  names_nothing_of(without_addresses(said_by_libcurl("http://node-1.invalid:1023/healthz"), {}),
                   {"node-1.invalid", "", "1023"});
}

TEST_CASE("texts without an address stay as they are") {
  for (const std::string plain :
       {"master running; replicas copying, stopped",
        "no members",
        "service_id \"x\" is not in the catalog; see GET /v2/catalog",
        "X-Broker-API-Version 3.0 is not supported; this broker speaks 2.17",
        "parameters.cells names 2 cells, but the cluster is to have 3 nodes; name more",
        "removing 0d9c from cell z1; last seen: master running; replicas running",
        "the public port 30007 is given to another; no port of 30000 to 32767 is free",
        "master running; 1 of 2 routers does not serve port 30007 yet",
        "master running; no router is there that serves port 30007; waiting for one",
        "replicas running; port 30007 cannot be opened by a router: something else on its machine "
        "has it, and no public port is free",
        "the Content-Type is \"text/plain\"; send application/json, and/or nothing",
        "the credentials expired at 2026-11-26T10:55:27.000Z, at 10:55:27",
        "the role x is revoked, and not gone yet: permission denied for schema public (1:2)",
        "a row (a, b) = ('c', \"d\"): [e] {f} <g> `h` i=j...",
        "",
        ":",
        "/",
        "\"\"",
        "(",
        "port",
        "port 80",
        "there is nothing at this path; the API begins with /v2/catalog"})
    CHECK(without_addresses(plain, {}) == plain);
}

TEST_CASE("the reason stays when the address goes") {
  CHECK(without_addresses(
            "connection to server at \"127.4.0.17\", port 5432 failed: Connection refused", {})
        == "connection to server at [address] failed: Connection refused");
  CHECK(without_addresses("connection to server at \"db\" (127.4.0.17), port 5432 failed: timeout "
                          "expired; ask again",
                          {})
        == "connection to server at [address] failed: timeout expired; ask again");
  CHECK(without_addresses("GET http://c1:80/x: Failed to connect to c1 port 80 after 0 ms: no", {})
        == "GET [address]: Failed to connect to [address] after 0 ms: no");
}

TEST_CASE("a configured host's name is an address, unless a cell has the same name") {
  host_names names{{"Keeper", "z1"}, {"z1", "10.0.0.7"}};
  CHECK(without_addresses("keeper says no, z1 says yes, 10.0.0.7 and 10.0.0.8 nothing", names)
        == "[address] says no, z1 says yes, 10.0.0.7 and [address] nothing");
}

TEST_CASE("the host of a URI") {
  CHECK(host_in("http://c1.internal:80/x") == "c1.internal");
  CHECK(host_in("https://user:pass@c1") == "c1");
  CHECK(host_in("http://[fd00::1]:80") == "fd00::1");
  CHECK(host_in("nothing").empty());
}

TEST_CASE("no answer below /v2 names an address, whatever text it repeats") {
  for (const auto& failure : failures)
    for (const auto& where : {places[0], places[3]}) {
      auto said = filled(failure, where);
      broker b{false};
      b.says = [&](const auto&) { return model::verdict{model::verdict_kind::unavailable, said}; };
      for (const auto& answer :
           {b.send("PUT", here, body_with()),
            b.send("PATCH", here, R"({"service_id":"service-id"})"),
            b.send("DELETE", here + "?" + ids), b.send("GET", here),
            b.send("GET", here + "/last_operation"),
            b.send("PUT", binding_path, R"({"service_id":"service-id","plan_id":"plan-id"})"),
            b.send("GET", binding_path), b.send("GET", binding_path + "/last_operation"),
            b.send("DELETE", binding_path + "?" + ids)})
        names_nothing_of(error_of(answer, 503), where);
    }
}

TEST_CASE("no state of an operation, and no note of a binding, names an address") {
  for (const auto& failure : failures) {
    const auto& where = places[0];
    auto said = filled(failure, where);
    auto one = ready_binding();
    one.note = said;
    auto known = std::make_shared<model::instance_snapshot>(*with_binding(one));
    known->progress = known->roles_wait_for = known->known.current.description = said;
    auto waiting = one;
    waiting.phase = model::binding_phase::creating;
    waiting.binding_id = "w";
    waiting.asked_at = std::chrono::floor<model::duration>(std::chrono::system_clock::now());
    known->bindings["w"] = waiting;
    broker b;
    auto description = [&](const std::string& path) {
      auto answer = b.send("GET", path);
      CHECK(answer.status == 200);
      return json::string_member(json_of(answer), "description");
    };
    for (auto state : {model::operation_state::in_progress, model::operation_state::failed,
                       model::operation_state::succeeded}) {
      known->known.current.state = state;
      b.known = std::make_shared<model::instance_snapshot>(*known);
      names_nothing_of(description(here + "/last_operation"), where);
      // The operator reads all of it.
      auto whole = json_of(b.send("GET", "/admin/service_instances/one"));
      CHECK(contains(json::text_of(whole), json::text_of(json::string(said, whole))));
    }
    names_nothing_of(description(binding_path), where);
    CHECK(contains(b.send("GET", binding_path).body, "db.example.org"));
    names_nothing_of(description(binding_path + "/last_operation"), where);
    names_nothing_of(description(here + "/service_bindings/w/last_operation"), where);
  }
}

TEST_CASE("an answer that one sender may read is not reused for another") {
  broker b;
  std::string said = "there is no instance 10.1.2.3:5432";
  b.says = [&](const auto&) { return model::verdict{model::verdict_kind::unavailable, said}; };
  auto told = [&](const std::string& instance) {
    return error_of(
        b.send("DELETE", "/v2/service_instances/" + instance + "?accepts_incomplete=true&" + ids),
        503);
  };
  CHECK(told("10.1.2.3:5432") == said);
  CHECK(told("another") == "there is no instance [address]");
  said = "alpha does not answer";
  CHECK(told("another") == said);
  CHECK(told("another") == said);
  model::cell_view alpha;
  alpha.uri = "http://alpha:80";
  b.cells = std::make_shared<const std::vector<model::cell_view>>(std::vector{alpha});
  CHECK(told("another") == "[address] does not answer");
}

TEST_CASE("the trail keeps the addresses that the sender does not see") {
  broker b;
  b.says = [](const auto&) {
    return model::verdict{model::verdict_kind::unavailable, "no answer from 10.1.2.3:80"};
  };
  CHECK(error_of(b.send("PUT", here + incomplete, body_with()), 503) == "no answer from [address]");
  auto trail = b.trail();
  REQUIRE(trail.size() == 1);
  CHECK(contains(trail[0], "10.1.2.3:80"));
}
