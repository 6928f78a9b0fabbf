#include "engines/postgresql/router/port_check.hpp"

namespace matriarch::engines::postgresql {

const router::engine_check& port_check() {
  static constexpr router::engine_check check{
      .engine = "postgresql",
      // A complete cancel request (16 bytes, code 80877102) needs no connection slot of PostgreSQL;
      // a request that announces more bytes would make PostgreSQL wait for them. Cancel requests
      // are let through at once, also while a port is full: they end the queries that fill it.
      .admission =
          "    tcp-request content set-var(sess.start) req.payload(0,8),hex\n"
          "    tcp-request content set-var(sess.cancels) int(1) if { var(sess.start) -m str "
          "0000001004D2162E } { req.len eq 16 }\n"
          "    tcp-request content accept if { var(sess.cancels) -m found }\n",
      // The scope is checked first, so that Patroni's answer is always read to its end. Without
      // this check, another cluster that has got a node's former address would be taken for this
      // one.
      .checks =
          "    option httpchk\n"
          "    http-check send meth GET uri-lf \"/%[be_name,map({checks},none)]\" hdr X-Member "
          "\"%[be_name]/%[srv_name]\"\n"
          "    http-check expect string-lf '\"scope\": \"%[be_name,map({scopes},-)]\"'\n"
          "    http-check expect status 200\n",
      // Paths of Patroni's REST API. A replica further behind than this serves reads that are too
      // old, and one that lacks its leader's WAL never catches up. 64 MB are some seconds of a busy
      // leader's WAL.
      .leader = "primary",
      .replica = "replica?lag=64MB",
      .connections_parameter = "max_connections",
      .parameters_of = "postgresql",
      // PostgreSQL's default, which is Patroni's, too.
      .usual_connections = 100,
      .most_connections = 262'143};
  return check;
}

} // namespace matriarch::engines::postgresql
