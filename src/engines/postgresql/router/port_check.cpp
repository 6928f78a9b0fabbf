#include "engines/postgresql/router/port_check.hpp"

namespace matriarch::engines::postgresql {

const router::engine_check& port_check() {
  static constexpr router::engine_check check{
      .engine = "postgresql",
      // A whole request to cancel (16 bytes, its code is 80877102) takes no place of PostgreSQL's,
      // which would wait for the rest of one that says that it is longer. It is dealt with at once, and
      // has to get through while a port is full: it is how a query is ended that holds it up.
      .admission =
          "    tcp-request content set-var(sess.start) req.payload(0,8),hex\n"
          "    tcp-request content set-var(sess.cancels) int(1) if { var(sess.start) -m str "
          "0000001004D2162E } { req.len eq 16 }\n"
          "    tcp-request content accept if { var(sess.cancels) -m found }\n",
      // The scope comes first: Patroni's answer is then always read to its end. Without the scope an
      // address that another cluster has got meanwhile would be taken for this one's.
      .checks =
          "    option httpchk\n"
          "    http-check send meth GET uri-lf \"/%[be_name,map({checks},none)]\" hdr X-Member "
          "\"%[be_name]/%[srv_name]\"\n"
          "    http-check expect string-lf '\"scope\": \"%[be_name,map({scopes},-)]\"'\n"
          "    http-check expect status 200\n",
      // Paths of Patroni's REST API. A replica that is so far behind serves reads that are too old to
      // be of use, and one that has lost its leader's WAL never catches up: 64 MB are some seconds of a
      // busy leader's WAL.
      .leader = "primary",
      .replica = "replica?lag=64MB",
      .connections_parameter = "max_connections",
      .parameters_of = "postgresql",
      // PostgreSQL's own numbers, which are Patroni's too.
      .usual_connections = 100,
      .most_connections = 262'143};
  return check;
}

} // namespace matriarch::engines::postgresql
