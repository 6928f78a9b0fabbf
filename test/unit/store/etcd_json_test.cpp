#include "store/etcd_json.hpp"

#include <doctest/doctest.h>

#include <string>

#include "base/json.hpp"
#include "store/wording.hpp"

namespace matriarch::store {

namespace codec = etcd_json;

namespace {

// Answers of etcd 3.4.23, without ids that do not matter.
const std::string header = R"("header":{"cluster_id":"9151734699010623715","revision":"5"})";

std::string error_body(int code, const std::string& message) {
  return R"({"error":")" + message + R"(","message":")" + message + R"(","code":)"
         + std::to_string(code) + "}";
}

} // namespace

TEST_CASE("a prefix becomes the range from itself to its successor") {
  CHECK(keys_below("/service/").first == "/service/");
  CHECK(keys_below("/service/").last == "/service0");
  CHECK(keys_below("a\xff\xff").last == "b");
  // In etcd a zero byte means "to the end".
  CHECK(keys_below("\xff").last == std::string(1, '\0'));
  CHECK(keys_below("").first == std::string(1, '\0'));
  CHECK(keys_below("").last == std::string(1, '\0'));
}

TEST_CASE("a transaction's body has its compares and operations in order") {
  transaction what;
  what.compares = {absent("a"),
                   unchanged_since("b", 7),
                   has_value("c", "x"),
                   {compare::subject::mod_revision, compare::relation::less, "d", 9, {}}};
  what.then = {put{"a", "1", 0}, put{"b", "2", 44}, erase{{"c", "d"}}, read{{"e", ""}}};
  what.otherwise = {read{{"a", "b"}}};
  CHECK(codec::transaction_body(what)
        == R"({"compare":[{"key":"YQ==","result":"EQUAL","target":"CREATE","create_revision":"0"},)"
           R"({"key":"Yg==","result":"EQUAL","target":"MOD","mod_revision":"7"},)"
           R"({"key":"Yw==","result":"EQUAL","target":"VALUE","value":"eA=="},)"
           R"({"key":"ZA==","result":"LESS","target":"MOD","mod_revision":"9"}],)"
           R"("success":[{"request_put":{"key":"YQ==","value":"MQ=="}},)"
           R"({"request_put":{"key":"Yg==","value":"Mg==","lease":"44"}},)"
           R"({"request_delete_range":{"key":"Yw==","range_end":"ZA=="}},)"
           R"({"request_range":{"key":"ZQ=="}}],)"
           R"("failure":[{"request_range":{"key":"YQ==","range_end":"Yg=="}}]})");
}

TEST_CASE("reads are linearizable") {
  CHECK(codec::range_body({"a", "b"}) == R"({"key":"YQ==","range_end":"Yg=="})");
  CHECK(codec::newest_body({"a", ""}, 6)
        == R"({"key":"YQ==","min_mod_revision":"7","sort_target":"MOD","sort_order":"DESCEND",)"
           R"("limit":"1","keys_only":true})");
}

TEST_CASE("a watch asks for progress notifications and for fragments") {
  CHECK(codec::watch_body({"a", "b"}, 8)
        == R"({"create_request":{"key":"YQ==","range_end":"Yg==","start_revision":"8",)"
           R"("progress_notify":true,"fragment":true}})");
}

TEST_CASE("lease requests carry 64-bit numbers as text") {
  CHECK(codec::grant_body(std::chrono::seconds{5}) == R"({"TTL":"5"})");
  CHECK(codec::lease_body(7751717488246567178) == R"({"ID":"7751717488246567178"})");
}

TEST_CASE("a transaction is committed if etcd says so, and refused if it does not") {
  transaction what;
  what.then = {put{"a", "x", 0}};
  auto committed = codec::read_commit(
      "{" + header + R"(,"succeeded":true,"responses":[{"response_put":{}}]})", what);
  REQUIRE(committed.ok());
  CHECK(committed->state == commit_state::committed);
  CHECK(committed->at == 5);
  // `false` is left out.
  auto refused = codec::read_commit("{" + header + "}", what);
  REQUIRE(refused.ok());
  CHECK(refused->state == commit_state::refused);
}

TEST_CASE("each read of a transaction has its list, even an empty one") {
  transaction what;
  what.otherwise = {read{{"a", ""}}, erase{{"x", ""}}, read{{"b", ""}}};
  auto answer = codec::read_commit(
      "{" + header
          + R"(,"responses":[{"response_range":{"kvs":[{"key":"YQ==","create_revision":"2",)"
            R"("mod_revision":"3","version":"1","value":"eA==","lease":"44"}],"count":"1"}},)"
            R"({"response_delete_range":{"deleted":"1"}},{"response_range":{}}]})",
      what);
  REQUIRE(answer.ok());
  REQUIRE(answer->reads.size() == 2);
  REQUIRE(answer->reads[0].size() == 1);
  const auto& found = answer->reads[0][0];
  CHECK(found.key == "a");
  CHECK(found.value == "x");
  CHECK(found.create_revision == 2);
  CHECK(found.mod_revision == 3);
  CHECK(found.lease == 44);
  CHECK(answer->reads[1].empty());
}

TEST_CASE("an answer with too few reads is refused") {
  transaction what;
  what.then = {read{{"a", ""}}};
  CHECK_FALSE(codec::read_commit("{" + header + R"(,"succeeded":true})", what).ok());
}

TEST_CASE("a JSON text that is not etcd's is no answer") {
  for (const char* text : {"", "{}", "[]", "null", R"({"succeeded":true})", "<html>"}) {
    CAPTURE(text);
    CHECK_FALSE(codec::read_commit(text, {}).ok());
    CHECK_FALSE(codec::read_range(text).ok());
    CHECK_FALSE(codec::read_lease(text).ok());
    CHECK_FALSE(codec::read_watch_line(text).ok());
  }
}

TEST_CASE("the error about a broken value names its key but not the value") {
  auto read = codec::read_range("{" + header
                                + R"(,"kvs":[{"key":"YQ==","value":"secret*value"}],"count":"1"})");
  REQUIRE_FALSE(read.ok());
  CHECK(read.error().find("the value of a") != std::string::npos);
  CHECK(read.error().find("secret") == std::string::npos);
}

TEST_CASE("a range may be empty, and its count may exceed what it shows") {
  auto empty = codec::read_range("{" + header + "}");
  REQUIRE(empty.ok());
  CHECK(empty->at == 5);
  CHECK(empty->cluster == "9151734699010623715");
  CHECK(empty->found.empty());
  CHECK(empty->count == 0);
  auto counted = codec::read_range("{" + header + R"(,"count":"12"})");
  REQUIRE(counted.ok());
  CHECK(counted->count == 12);
}

TEST_CASE("the start of the next page is found without parsing this page") {
  auto page = [](const std::string& rest) {
    return R"({"header":{"revision":"7"},"kvs":[{"key":"YQ==","value":"eA=="},{"key":"Yg==","value":"eQ=="}])"
           + rest;
  };
  CHECK(codec::next_page(page(R"(,"more":true,"count":"9"})")) == std::string{"b\0", 2});
  CHECK_FALSE(codec::next_page(page(R"(,"count":"2"})")));
  CHECK_FALSE(codec::next_page(R"({"header":{},"more":true})"));
  CHECK_FALSE(codec::next_page(R"({"kvs":[{"key":"Y"}],"more":true})"));
  CHECK_FALSE(codec::next_page(""));
}

TEST_CASE("answers to grants and keep-alives are read alike; a lease that is gone has ttl 0") {
  auto granted = codec::read_lease("{" + header + R"(,"ID":"99","TTL":"5"})");
  REQUIRE(granted.ok());
  CHECK(granted->id == 99);
  CHECK(granted->ttl.count() == 5);
  auto kept = codec::read_lease(R"({"result":{)" + header + R"(,"ID":"99","TTL":"5"}})" + "\n");
  REQUIRE(kept.ok());
  CHECK(kept->ttl.count() == 5);
  auto gone = codec::read_lease(R"({"result":{)" + header + R"(,"ID":"99"}})");
  REQUIRE(gone.ok());
  CHECK(gone->ttl.count() == 0);
}

TEST_CASE("an error in place of a keep-alive's result is a failure with etcd's words") {
  auto read = codec::read_lease(
      R"({"error":{"grpc_code":14,"http_code":503,"message":"etcdserver: no leader"}})");
  REQUIRE_FALSE(read.ok());
  CHECK(read.error() == "etcdserver: no leader");
}

TEST_CASE("a watch's events are puts unless they say otherwise, in their order") {
  auto line = codec::read_watch_line(
      R"({"result":{)" + header
      + R"(,"events":[{"kv":{"key":"YQ==","create_revision":"4","mod_revision":"4",)"
        R"("value":"eQ=="}},)"
        R"({"type":"DELETE","kv":{"key":"YQ==","mod_revision":"5"}}]}})");
  REQUIRE(line.ok());
  REQUIRE(line->events.size() == 2);
  CHECK(line->events[0].what == change::kind::put);
  CHECK(line->events[0].entry.value == "y");
  CHECK(line->events[0].entry.mod_revision == 4);
  CHECK(line->events[1].what == change::kind::erase);
  CHECK(line->events[1].entry.key == "a");
  CHECK(line->events[1].entry.value.empty());
  CHECK(line->events[1].entry.mod_revision == 5);
  CHECK_FALSE(line->fragment);
  CHECK(line->error.empty());
}

TEST_CASE("a watch's line tells whether it is created, continued, compacted or ended") {
  auto created = codec::read_watch_line(R"({"result":{)" + header + R"(,"created":true}})");
  REQUIRE(created.ok());
  CHECK(created->created);
  CHECK(created->at == 5);
  auto fragment = codec::read_watch_line(R"({"result":{)" + header + R"(,"fragment":true}})");
  REQUIRE(fragment.ok());
  CHECK(fragment->fragment);
  auto compacted = codec::read_watch_line(R"({"result":{)" + header
                                          + R"(,"canceled":true,"compact_revision":"4"}})");
  REQUIRE(compacted.ok());
  CHECK(compacted->canceled);
  CHECK(compacted->compacted == 4);
  CHECK_FALSE(compacted->error.empty());
  auto ended = codec::read_watch_line(
      R"({"error":{"grpc_code":14,"http_code":503,"message":"etcdserver: no leader",)"
      R"("http_status":"Service Unavailable"}})");
  REQUIRE(ended.ok());
  CHECK(ended->error == "etcdserver: no leader");
}

TEST_CASE("etcd's refusals are read in both of their forms") {
  auto plain = codec::read_refusal(error_body(5, "etcdserver: requested lease not found"));
  CHECK(plain.code == 5);
  CHECK(plain.message == "etcdserver: requested lease not found");
  auto streamed = codec::read_refusal(
      R"({"error":{"grpc_code":14,"http_code":503,"message":"etcdserver: no leader"}})");
  CHECK(streamed.code == 14);
  CHECK(streamed.message == "etcdserver: no leader");
  auto foreign = codec::read_refusal("Not Found\n");
  CHECK(foreign.code == -1);
  CHECK(foreign.message == "Not Found\n");
}

TEST_CASE("a transaction that etcd refuses before it writes is certainly not done") {
  auto certain = [](int status, int code, const std::string& message) {
    return codec::certainly_not_done(status, codec::read_refusal(error_body(code, message)));
  };
  CHECK(certain(400, 3, "etcdserver: duplicate key given in txn request"));
  CHECK(certain(404, 5, "etcdserver: requested lease not found"));
  CHECK(certain(503, 14, "etcdserver: no leader"));
  CHECK(certain(429, 8, "etcdserver: too many requests"));
  CHECK(codec::certainly_not_done(404, {-1, "Not Found"}));
}

TEST_CASE("a refused token is recognised, and means that nothing was done") {
  for (const char* words :
       {"etcdserver: invalid auth token", "etcdserver: user name is empty",
        "auth: revision in header is old", "etcdserver: revision of auth store is old",
        "rpc error: code = Unauthenticated desc = etcdserver: invalid auth token"}) {
    CAPTURE(words);
    CHECK(codec::refuses_token(500, {2, words}));
    CHECK(codec::certainly_not_done(500, {2, words}));
  }
  CHECK(codec::users_changed_meanwhile({3, "etcdserver: revision of auth store is old"}));
  CHECK_FALSE(codec::users_changed_meanwhile({16, "etcdserver: invalid auth token"}));
  CHECK(codec::refuses_token(401, {-1, "who are you?"}));
  CHECK(codec::refuses_token(0, {16, "in other words"}));
  CHECK_FALSE(codec::refuses_token(403, {7, "etcdserver: permission denied"}));
  CHECK_FALSE(codec::refuses_token(400, {3, "etcdserver: duplicate key given in txn request"}));
  CHECK_FALSE(codec::refuses_token(503, {14, "etcdserver: no leader"}));
}

TEST_CASE("a transaction that etcd may have written is not reported as not done") {
  auto certain = [](int status, int code, const std::string& message) {
    return codec::certainly_not_done(status, codec::read_refusal(error_body(code, message)));
  };
  CHECK_FALSE(certain(503, 14, "etcdserver: request timed out"));
  CHECK_FALSE(
      certain(503, 14, "etcdserver: request timed out, possibly due to previous leader failure"));
  CHECK_FALSE(certain(503, 14, "etcdserver: leader changed"));
  CHECK_FALSE(certain(503, 14, "etcdserver: server stopped"));
  CHECK_FALSE(certain(503, 14, "transport is closing"));
  CHECK_FALSE(certain(429, 8, "etcdserver: mvcc: database space exceeded"));
  CHECK_FALSE(certain(500, 2, "etcdserver: something new"));
  CHECK_FALSE(codec::certainly_not_done(502, {-1, "Bad Gateway"}));
  CHECK_FALSE(codec::certainly_not_done(408, {-1, "Request Timeout"}));
}

TEST_CASE("an etcd without space is recognised by its message") {
  auto is_out = [](const std::string& message) {
    return codec::is_out_of_space(codec::read_refusal(error_body(8, message)));
  };
  CHECK(is_out("etcdserver: mvcc: database space exceeded"));
  CHECK_FALSE(is_out("etcdserver: too many requests"));
}

TEST_CASE("another endpoint is tried if the endpoint is at fault, not the request") {
  CHECK(codec::worth_another_endpoint(503, {14, "etcdserver: no leader"}));
  CHECK(codec::worth_another_endpoint(404, {-1, "Not Found"}));
  CHECK_FALSE(codec::worth_another_endpoint(400, {3, "etcdserver: key is not provided"}));
  CHECK_FALSE(codec::worth_another_endpoint(404, {5, "etcdserver: requested lease not found"}));
}

TEST_CASE("a message is one line of bounded length, cut between characters") {
  CHECK(bounded("short") == "short");
  CHECK(bounded("two\nlines\x01") == "two lines ");
  CHECK(bounded(std::string(1000, 'x')) == std::string(200, 'x') + "...");
  // "ä" is two bytes; the 200th byte is the first of one.
  std::string umlauts = "x";
  for (int i = 0; i < 200; ++i)
    umlauts += "\xc3\xa4";
  CHECK(bounded(umlauts) == umlauts.substr(0, 199) + "...");
}

} // namespace matriarch::store
