// Finds the users of a node's sessions by the processes' titles.
#include "engines/postgresql/cell/backends.hpp"

#include <doctest/doctest.h>

using matriarch::engines::postgresql::may_write;
using matriarch::engines::postgresql::user_in_title;

TEST_CASE("a session's title begins with the cluster, where there is one, and its user") {
  CHECK(user_in_title("postgres: db: binding_1 db 127.0.0.1(4711) idle", "db") == "binding_1");
  CHECK(user_in_title("postgres: binding_1 db 127.0.0.1(4711) idle", "db") == "binding_1");
  CHECK(user_in_title("postgres: db: binding_1 db [local] SELECT", "db") == "binding_1");
  // A cluster with the same name as the user, and one with another name.
  CHECK(user_in_title("postgres: db: db db [local] idle", "db") == "db");
  CHECK(user_in_title("postgres: other: binding_1 db [local] idle", "db") != "binding_1");
}

TEST_CASE("a process that is no session belongs to no user") {
  for (const char* title :
       {"postgres: db: checkpointer ", "postgres: db: walwriter", "/usr/bin/python3 patroni", "",
        "postgres: ", "postgres: db: ", "binding_1 db [local] idle"})
    CHECK_MESSAGE(user_in_title(title, "db") == "", title);
}

TEST_CASE("a session in a statement counts as writing, unless the statement only reads") {
  for (const char* title : {"postgres: db: binding_1 db 127.0.0.1(4711) INSERT",
                            "postgres: db: binding_1 db [local] COPY",
                            "postgres: db: binding_1 db [local] CREATE TABLE AS",
                            "postgres: binding_1 db [local] UPDATE waiting"})
    CHECK_MESSAGE(may_write(title, "db"), title);
  for (const char* title :
       {"postgres: db: binding_1 db [local] idle", "postgres: db: binding_1 db [local] SELECT",
        "postgres: db: binding_1 db [local] idle in transaction",
        "postgres: db: binding_1 db [local] idle in transaction (aborted)",
        "postgres: db: binding_1 db 127.0.0.1(4711) authentication",
        "postgres: db: walsender replicator 127.0.0.1(4711) streaming 0/3000148",
        "postgres: db: autovacuum worker db", "postgres: db: parallel worker for PID 4711",
        "postgres: db: logical replication worker for subscription 4711",
        "postgres: db: startup recovering 000000010000000000000003", "postgres: db: checkpointer ",
        "psql", "postgres: db: binding_1 db [local] DELETE waiting",
        "postgres: db: binding_1 db [local] VACUUM",
        "postgres: db: binding_1 db [local] DROP TABLE"})
    CHECK_MESSAGE(!may_write(title, "db"), title);
}

TEST_CASE("on a disk that is full and fills further, any statement counts as writing") {
  for (const char* title :
       {"postgres: db: binding_1 db [local] SELECT", "postgres: db: binding_1 db [local] DELETE",
        "postgres: db: binding_1 db [local] SELECT waiting"})
    CHECK_MESSAGE(may_write(title, "db", true), title);
  for (const char* title :
       {"postgres: db: binding_1 db [local] idle",
        "postgres: db: walsender replicator 127.0.0.1(4711) streaming 0/3000148",
        "postgres: db: autovacuum worker db"})
    CHECK_MESSAGE(!may_write(title, "db", true), title);
}
