// Whose sessions the processes of a node are, by their titles.
#include "engines/postgresql/cell/backends.hpp"

#include <doctest/doctest.h>

using matriarch::engines::postgresql::user_in_title;

TEST_CASE("a session's title begins with the cluster, where there is one, and its user") {
  CHECK(user_in_title("postgres: db: binding_1 db 127.0.0.1(4711) idle", "db") == "binding_1");
  CHECK(user_in_title("postgres: binding_1 db 127.0.0.1(4711) idle", "db") == "binding_1");
  CHECK(user_in_title("postgres: db: binding_1 db [local] SELECT", "db") == "binding_1");
  // One whose cluster is named like its user, and one that is named otherwise.
  CHECK(user_in_title("postgres: db: db db [local] idle", "db") == "db");
  CHECK(user_in_title("postgres: other: binding_1 db [local] idle", "db") != "binding_1");
}

TEST_CASE("a process that is no session is nobody's") {
  for (const char* title :
       {"postgres: db: checkpointer ", "postgres: db: walwriter", "/usr/bin/python3 patroni", "",
        "postgres: ", "postgres: db: ", "binding_1 db [local] idle"})
    CHECK_MESSAGE(user_in_title(title, "db") == "", title);
}
