#include "store/etcd_users.hpp"

#include <deque>
#include <map>
#include <memory>
#include <utility>

#include "base/base64.hpp"
#include "base/json.hpp"
#include "store/etcd_json.hpp"

namespace matriarch::store::etcd_users {

namespace {

/// The keys of a permission, in base64 as in etcd's JSON: the first and the end of the range.
using range = std::pair<std::string, std::string>;
/// The permissions of a role: READ, WRITE or READWRITE for each range.
using permissions = std::map<range, std::string>;

range range_of(const key_range& keys) {
  return {base::to_base64(keys.first), base::to_base64(keys.last)};
}

std::string grant_body(const std::string& role, const range& keys, const std::string& type) {
  json::document body;
  body.SetObject();
  json::value inner{rapidjson::kObjectType};
  json::add(inner, "permType", type, body);
  json::add(inner, "key", keys.first, body);
  json::add(inner, "range_end", keys.second, body);
  json::add(body, "name", role, body);
  json::add(body, "perm", std::move(inner), body);
  return json::text_of(body);
}

/// Calls `read` for each entry of the answer's list of that name. etcd leaves empty lists out.
template <class Read>
void each_of(const answer& from, const char* name, Read read) {
  auto parsed = json::parse(from.body);
  if (!parsed)
    return;
  if (const auto* list = json::member(*parsed, name); list != nullptr && list->IsArray())
    for (const auto& one : list->GetArray())
      read(one);
}

permissions permissions_in(const answer& from) {
  permissions all;
  each_of(from, "perm", [&](const json::value& one) {
    // READ is etcd's zero value, which its JSON leaves out.
    all[{json::string_member(one, "key"), json::string_member(one, "range_end")}] =
        json::string_member(one, "permType", "READ");
  });
  return all;
}

bool says(const answer& from, std::string_view message) {
  return etcd_json::read_refusal(from.body).message == message;
}

constexpr std::string_view no_user = "etcdserver: user name not found";
constexpr std::string_view no_role = "etcdserver: role name not found";
constexpr std::string_view user_exists = "etcdserver: user name already exists";
constexpr std::string_view role_exists = "etcdserver: role name already exists";
constexpr std::string_view denied = "etcdserver: permission denied";

/// A user being made or deleted: a list of steps, each one call, done in order. Each step finds out
/// or does what is missing, so that the whole work can be repeated.
class work : public std::enable_shared_from_this<work> {
public:
  work(ask etcd, std::string username, std::function<void(std::string)> done)
      : etcd_(std::move(etcd)), name_(std::move(username)), done_(std::move(done)) {}

  void admit(std::string password, const std::vector<key_range>& readable,
             const std::vector<key_range>& writable) {
    password_ = std::move(password);
    for (const auto& keys : readable)
      wanted_[range_of(keys)] = "READ";
    for (const auto& keys : writable) {
      auto& type = wanted_[range_of(keys)];
      type = type == "READ" ? "READWRITE" : "WRITE";
    }
    look_at_user([this](bool exists) { admit_role(exists); });
  }

  void dismiss() {
    look_at_user([this](bool exists) {
      if (exists)
        step("/v3/auth/user/delete", json::object_text({{"name", name_}}), no_user);
      step("/v3/auth/role/delete", json::object_text({{"role", name_}}), no_role);
      next();
    });
  }

private:
  // -- steps --------------------------------------------------------------------

  /// Adds a call that succeeds with status 200, or with a refusal that has this message.
  void step(std::string path, std::string body, std::string_view also_well) {
    steps_.push_back([this, path = std::move(path), body = std::move(body), also_well] {
      call(path, body, [this, also_well](const answer& got) {
        if (got.status == 200 || (!also_well.empty() && says(got, also_well)))
          next();
        else
          fail(got);
      });
    });
  }

  void call(std::string path, std::string body, std::function<void(const answer&)> with) {
    etcd_(std::move(path), std::move(body),
          [self = shared_from_this(), with = std::move(with)](const answer& got) { with(got); });
  }

  void next() {
    if (steps_.empty()) {
      done_({});
      return;
    }
    auto now = std::move(steps_.front());
    steps_.pop_front();
    now();
  }

  void fail(const answer& got) {
    done_(says(got, denied) ? got.error + "; this program's own user of etcd needs the role root"
                            : got.error);
  }

  // -- the user's state ---------------------------------------------------------

  void look_at_user(std::function<void(bool)> found) {
    call("/v3/auth/user/get", json::object_text({{"name", name_}}),
         [this, found = std::move(found)](const answer& got) {
           if (name_ == "root") {
             done_("user \"root\" is etcd's own and cannot be an instance's");
             return;
           }
           if (says(got, no_user)) {
             found(false);
             return;
           }
           if (got.status != 200) {
             fail(got);
             return;
           }
           bool foreign = false;
           each_of(got, "roles", [&](const json::value& role) {
             foreign = foreign || !role.IsString() || role.GetString() != name_;
           });
           if (foreign)
             done_("user \"" + name_
                   + "\" of etcd has roles that were not given by this program; rename it");
           else
             found(true);
         });
  }

  // -- admitting ----------------------------------------------------------------

  void admit_role(bool user_is_there) {
    call("/v3/auth/role/get", json::object_text({{"role", name_}}),
         [this, user_is_there](const answer& got) {
           if (got.status != 200 && !says(got, no_role)) {
             fail(got);
             return;
           }
           if (got.status != 200)
             step("/v3/auth/role/add", json::object_text({{"name", name_}}), role_exists);
           auto has = got.status == 200 ? permissions_in(got) : permissions{};
           for (const auto& [keys, type] : has)
             if (!wanted_.contains(keys))
               step("/v3/auth/role/revoke",
                    json::object_text(
                        {{"role", name_}, {"key", keys.first}, {"range_end", keys.second}}),
                    {});
           // A grant replaces the role's earlier permission on the same keys.
           for (const auto& [keys, type] : wanted_)
             if (auto found = has.find(keys); found == has.end() || found->second != type)
               step("/v3/auth/role/grant", grant_body(name_, keys, type), {});
           steps_.push_back([this, user_is_there] {
             if (user_is_there)
               keep_password();
             else
               add_user();
           });
           step("/v3/auth/user/grant", json::object_text({{"user", name_}, {"role", name_}}), {});
           next();
         });
  }

  void add_user() {
    call("/v3/auth/user/add", json::object_text({{"name", name_}, {"password", password_}}),
         [this](const answer& got) {
           if (got.status == 200)
             next();
           else if (says(got, user_exists))
             set_password();
           else
             fail(got);
         });
  }

  /// Setting a password ends all of the user's sessions: done only if the password differs.
  void keep_password() {
    call("/v3/auth/authenticate", json::object_text({{"name", name_}, {"password", password_}}),
         [this](const answer& got) {
           if (got.status == 200)
             next();
           else
             set_password();
         });
  }

  void set_password() {
    call("/v3/auth/user/changepw", json::object_text({{"name", name_}, {"password", password_}}),
         [this](const answer& got) {
           if (got.status == 200)
             next();
           else
             fail(got);
         });
  }

  ask etcd_;
  std::string name_;
  std::string password_;
  permissions wanted_;
  std::deque<std::function<void()>> steps_;
  std::function<void(std::string)> done_;
};

} // namespace

void admit(ask etcd, std::string username, std::string password,
           const std::vector<key_range>& readable, const std::vector<key_range>& writable,
           std::function<void(std::string)> done) {
  std::make_shared<work>(std::move(etcd), std::move(username), std::move(done))
      ->admit(std::move(password), readable, writable);
}

void dismiss(ask etcd, std::string username, std::function<void(std::string)> done) {
  std::make_shared<work>(std::move(etcd), std::move(username), std::move(done))->dismiss();
}

} // namespace matriarch::store::etcd_users
