#include <doctest/doctest.h>

#include <string>

#include "cli/tables.hpp"

using namespace matriarch::cli;

TEST_CASE("a table is aligned by character") {
  CHECK(table({{"A"}, {"LONG"}}, {{"ä", "1"}, {"xyz", ""}})
        == "A    LONG\n"
           "ä    1\n"
           "xyz\n");
}

TEST_CASE("a table cuts texts that are too wide") {
  CHECK(table({{"A", 4}, {"B"}}, {{"abcd", "1"}, {"abcde", "2"}, {"äöüßä", "3"}})
        == "A     B\n"
           "abcd  1\n"
           "abc…  2\n"
           "äöü…  3\n");
}

TEST_CASE("a table shows no control character") {
  CHECK(table({{"A"}}, {{"a\x1b[31m\nb\x7f"}}) == "A\na?[31m?b?\n");
  CHECK(printable("a\xC2\x9B"
                  "b")
        == "a ?b");
  CHECK(printable("\xC3\xA4") == "ä");
}

TEST_CASE("instances are shown with a line for each node") {
  const auto text = instances_table(R"([
    {"instance_id":"b1","allocated_port":30000,
     "operation":{"type":"provision","state":"succeeded",
                  "description":"master running; replicas running"},
     "nodes":[{"node_id":"n1","backend_id":"cell-z1-1","phase":"started",
               "role":"master","state":"running"},
              {"node_id":"n2","backend_id":"cell-z2-1","phase":"started",
               "role":"replica","state":"running"}]},
    {"instance_id":"b2","allocated_port":30001,
     "operation":{"type":"update","state":"in progress","description":"members stopped, stopped"},
     "nodes":[{"node_id":"n3","backend_id":"cell-z1-2","phase":"placed"},
              {"node_id":"n4","backend_id":"cell-z2-2","phase":"removing",
               "role":"replica","state":"running"}]},
    {"instance_id":"b3","nodes":[]}])");
  REQUIRE(text.ok());
  CHECK(*text
        == "INSTANCE  PORT   CELL       ROLE     STATE     OPERATION\n"
           "b1        30000  cell-z1-1  leader   running   provision succeeded\n"
           "                 cell-z2-1  replica  running\n"
           "b2        30001  cell-z1-2  -        placed    update in progress: members stopped, "
           "stopped\n"
           "                 cell-z2-2  replica  removing\n"
           "b3        -      -          -        -         -\n");
}

TEST_CASE("a node that runs and is not well stands out") {
  const auto text = instances_table(R"([{"instance_id":"b1","nodes":[
    {"backend_id":"c1","phase":"started","role":"master","state":"running","health":"well"},
    {"backend_id":"c2","phase":"started","role":"replica","state":"running","health":"stands"},
    {"backend_id":"c3","phase":"started","role":"replica","state":"starting","health":"starts"}]}])");
  REQUIRE(text.ok());
  CHECK(*text
        == "INSTANCE  PORT  CELL  ROLE     STATE              OPERATION\n"
           "b1        -     c1    leader   running            -\n"
           "                c2    replica  running, not well\n"
           "                c3    replica  starting\n");
}

TEST_CASE("missing instances and cells are told in words") {
  CHECK(*instances_table("[]") == "There are no service instances.\n");
  CHECK(*cells_table("[]") == "There are no cells.\n");
  CHECK(*routers_table("[]") == "There are no routers: no lease of one lives in etcd.\n");
}

TEST_CASE("one instance is shown in detail, without its credentials") {
  const auto text = instance_details(R"({"instance_id":"b1","service_id":"s","plan_id":"p",
    "organization_guid":"o","space_guid":"","scope":"b1","allocated_port":30000,
    "read_only_port":30001,"maintenance_version":"1.2.0",
    "settings":{"synchronous":"on","ttl":30,"parameters":{"max_connections":"200"}},
    "taking_up":{"synchronous":"off"},
    "bindings":[{"phase":"ready"},{"phase":"removing"},{"phase":"ready"}],
    "roles_wait_for":"a lock",
    "admin_credentials":{"username":"pgadmin","password":"s3cret"},
    "operation":{"type":"update","state":"succeeded","description":"master running"},
    "rebuild":{"id":"r1","state":"in progress","phase":"copying","description":"its nodes start"},
    "nodes":[{"node_id":"n1","backend_id":"c1","phase":"started",
               "role":"replica","state":"running","health":"it runs but does not replicate"}]})");
  REQUIRE(text.ok());
  CHECK(*text
        == "instance      b1\n"
           "scope         b1\n"
           "service       s\n"
           "plan          p\n"
           "organization  o\n"
           "space         -\n"
           "port          30000\n"
           "read-only     30001\n"
           "maintenance   1.2.0\n"
           "settings      synchronous on, ttl 30 s, max_connections 200\n"
           "taking up     synchronous off\n"
           "bindings      2 ready, 1 removing: a lock\n"
           "operation     update succeeded: master running\n"
           "repair        -\n"
           "rebuild       in progress (copying): its nodes start\n"
           "routers       -\n"
           "\n"
           "NODE  CELL  ROLE     STATE    PHASE    HEALTH\n"
           "n1    c1    replica  running  started  it runs but does not replicate\n");
  CHECK(instance_details("{}")->ends_with("\nIt has no nodes.\n"));
}

TEST_CASE("a rebuild that has ended says how") {
  auto shown = [](const std::string& rebuild) {
    auto text = instance_details(R"({"rebuild":)" + rebuild + "}");
    REQUIRE(text.ok());
    auto at = text->find("rebuild ");
    return text->substr(at, text->find('\n', at) - at);
  };
  CHECK(shown(R"({"state":"succeeded","phase":"ended","description":""})")
        == "rebuild       succeeded");
  CHECK(shown(R"({"state":"failed","phase":"ended","description":"no room"})")
        == "rebuild       failed: no room");
  CHECK(shown("7") == "rebuild       -");
}

TEST_CASE("a rebuild that has begun says where to look for its progress") {
  CHECK(rebuild_line(R"({"rebuild":"r1"})")->find("service-status") != std::string::npos);
  CHECK_FALSE(rebuild_line("{}").ok());
}

TEST_CASE("cells that cannot be reached, or cannot start a plan, stand out") {
  const auto text = cells_table(R"([
    {"guid":"cell-z1-1","uri":"http://127.0.0.1:8901","az":"z1","reachable":true,"nodes":3,
     "capacity":20,"fencing":"pid-namespace","limits":"cgroup: memory","tls":"TLS until 2027-02-01",
     "postgresql":"15.18","full_nodes":2,
     "plan_faults":[{"plan_id":"p1","faults":["PostgreSQL 15.18 has no parameter \"x\""]}, 1]},
    {"guid":"cell-z2-1","uri":"http://127.0.0.1:8903","az":"z2","reachable":false,"nodes":0,
     "capacity":0,"fencing":"","last_error":"connection refused",
     "tls":"no certificate: the cell has not announced itself in etcd"},
    {"guid":"foreign"}])");
  REQUIRE(text.ok());
  CHECK(*text
        == "CELL       ZONE  STATUS       NODES    POSTGRESQL  FENCING        "
           "LIMITS          TLS                   URI\n"
           "cell-z1-1  z1    reachable    3 of 20  15.18       pid-namespace  "
           "cgroup: memory  TLS until 2027-02-01  http://127.0.0.1:8901\n"
           "cell-z2-1  z2    UNREACHABLE  0        -           -              "
           "-               no certificate        http://127.0.0.1:8903\n"
           "foreign    -     unknown      -        -           -              "
           "-               -                     -\n"
           "\n"
           "1 of 3 cells cannot be reached by the broker.\n"
           "cell-z1-1: the disks of 2 nodes are nearly full: their databases only read\n"
           "cell-z1-1: plan p1: PostgreSQL 15.18 has no parameter \"x\"\n"
           "cell-z2-1: connection refused\n"
           "cell-z2-1: no certificate: the cell has not announced itself in etcd\n");
}

TEST_CASE("a lost cell stands out more than one that cannot be reached") {
  const auto text = cells_table(
      R"([{"guid":"c1","uri":"http://u","az":"z1","reachable":false,"lost":true,"nodes":0}])");
  REQUIRE(text.ok());
  CHECK(text->find("c1    z1    LOST") != std::string::npos);
}

TEST_CASE("forgetting a cell tells what becomes of each node on it") {
  CHECK(*forgotten_lines(R"({"cell":"c1","buried":[{"instance_id":"i1","node_id":"n1"}],
                             "replaced":[{"instance_id":"i2","node_id":"n2"}],"failed":[]})")
        == "Cell c1 is forgotten.\n"
           "  node n1 of i1 needs no confirmation of its removal any more\n"
           "  node n2 of i2 is replaced\n");
  for (const auto* answer : {"<html>", "[]", "{}"})
    CHECK_FALSE(forgotten_lines(answer).ok());
}

TEST_CASE("orphans are shown with advice") {
  CHECK(*orphans_table("[]") == "There are no orphans.\n");
  const auto text = orphans_table(R"([{"cell":"c1","node_id":"n1","scope":"db"}])");
  REQUIRE(text.ok());
  CHECK(text->starts_with("CELL  NODE  SCOPE\nc1    n1    db\n"));
  CHECK(text->find("matriarch remove-orphan CELL NODE") != std::string::npos);
  CHECK_FALSE(orphans_table("{}").ok());
}

TEST_CASE("routers are shown with what waits for them, and the ports that they have lost") {
  const auto text = routers_table(R"([
    {"id":"r1","host":"h1","since":"2026-11-21T07:30:05.250Z","serves":"4711","behind":0,
     "awaited":true,"holds_up":0,"unbound":[],"lost":[]},
    {"id":"r2","host":"h2","since":"2026-11-21T07:30:06.000Z","serves":"4700","behind":11,
     "awaited":true,"holds_up":3,"unbound":[1,2,3,4,5,6,7],"lost":[{"port":4,"instance":"db"}]},
    {"id":"r3","host":"h3","serves":"1","behind":0,"awaited":false,"holds_up":0}])");
  REQUIRE(text.ok());
  CHECK(*text
        == "ROUTER  HOST  SINCE                     SERVES  BEHIND  STATUS          UNBOUND PORTS\n"
           "r1      h1    2026-11-21T07:30:05.250Z  4711    0       up to date      -\n"
           "r2      h2    2026-11-21T07:30:06.000Z  4700    11      HOLDS UP 3      1, 2, 3, 4, 5 "
           "and 2 more\n"
           "r3      h3    -                         1       0       not waited for  -\n"
           "\nPort 4 of instance db is not open at router r2: something else on its machine has "
           "it.\n");
}

TEST_CASE("a router that takes no connections, or not for all instances, is shown with why") {
  const auto text = routers_table(R"([
    {"id":"r1","host":"h1","since":"s","serves":"0","behind":7,"awaited":true,"holds_up":1,
     "unbound":[],"lost":[],"silent":"HAProxy does not answer","unserved":[]},
    {"id":"r2","host":"h2","since":"s","serves":"7","behind":0,"awaited":true,"holds_up":1,
     "unbound":[],"lost":[],"silent":"","unserved":[{"instance":"db","why":"no address"}]}])");
  REQUIRE(text.ok());
  CHECK(*text
        == "ROUTER  HOST  SINCE  SERVES  BEHIND  STATUS                UNBOUND PORTS\n"
           "r1      h1    s      0       7       TAKES NO CONNECTIONS  -\n"
           "r2      h2    s      7       0       HOLDS UP 1            -\n"
           "\nRouter r1 takes no connections: HAProxy does not answer.\n"
           "Router r2 does not serve instance db: no address.\n");
}

TEST_CASE("a re-encryption is reported in one line") {
  CHECK(*reencryption_line(R"({"instances":12,"failed":[]})")
        == "The secrets of 12 instances were written anew, with the newest key.\n");
  CHECK(*reencryption_line(R"({"instances":1,"failed":[]})")
        == "The secrets of 1 instance were written anew, with the newest key.\n");
  for (const auto* answer : {"<html>", "[]", "{}", R"({"instances":"1"})", R"({"instances":-1})"})
    CHECK_FALSE(reencryption_line(answer).ok());
}

TEST_CASE("an answer that is not a broker's is a failure") {
  for (const auto* answer : {"<html>", "{}", "[1]", "\"x\""}) {
    CHECK_FALSE(instances_table(answer).ok());
    CHECK_FALSE(cells_table(answer).ok());
    CHECK_FALSE(routers_table(answer).ok());
  }
  for (const auto* answer : {"<html>", "[]", "7"})
    CHECK_FALSE(instance_details(answer).ok());
}
