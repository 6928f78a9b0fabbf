#include "http/answering.hpp"

#include <algorithm>
#include <memory>
#include <utility>

#include "http/osb_answers.hpp"
#include "model/names.hpp"

namespace matriarch::http {

bool matches(const request& got, std::initializer_list<std::string_view> pattern) {
  return std::equal(got.segments.begin(), got.segments.end(), pattern.begin(), pattern.end(),
                    [](const std::string& segment, std::string_view wanted) {
                      return wanted == "*" ? !segment.empty() : segment == wanted;
                    });
}

response nothing_here() {
  return osb::error(404, "there is nothing at this path; the API begins with /v2/catalog");
}

void refuse_method(reply& to, const std::string& allowed) {
  auto answer = osb::error(405, "this path takes " + allowed + " only");
  answer.headers.emplace_back("Allow", allowed);
  to.send(std::move(answer));
}

void answer_from(front_desk& desk, const std::string& instance_id, reply to,
                 std::function<response(const model::instance_snapshot&)> read,
                 std::function<response(const model::verdict&)> after_removal) {
  if (auto known = desk.find(model::name_of(instance_id)))
    return to.send(read(*known));
  auto later = std::make_shared<reply>(std::move(to));
  desk.ask(model::lookup_request{instance_id}, model::request_patience,
           [later, read = std::move(read),
            after_removal = std::move(after_removal)](const model::verdict& said) {
             if (said.is == model::verdict_kind::done && said.instance)
               return later->send(read(*said.instance));
             if (said.is == model::verdict_kind::gone)
               return later->send(after_removal ? after_removal(said)
                                                : osb::error(404, said.description));
             later->send(osb::refusal(said));
           });
}

} // namespace matriarch::http
