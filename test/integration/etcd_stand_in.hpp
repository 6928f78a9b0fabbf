#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cstdio>
#include <functional>
#include <mutex>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace matriarch::test {

/// An HTTP server on a free loopback port that answers as a test wants: for answers that a healthy
/// etcd never gives.
class etcd_stand_in {
public:
  enum class after {
    close, ///< an ordinary answer
    cut,   ///< the connection breaks within the answer, or before it if the status is 0
    stay,  ///< the answer is a stream that goes on with `push`
  };
  struct reply {
    int status = 200;
    std::string body;
    after then = after::close;
  };
  /// Called with path and body of each request, on any thread.
  using handler = std::function<reply(const std::string&, const std::string&)>;

  explicit etcd_stand_in(handler answers) : answers_(std::move(answers)) {
    listener_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    auto* generic = reinterpret_cast<sockaddr*>(&address);
    if (::bind(listener_, generic, size) != 0 || ::listen(listener_, 16) != 0
        || ::getsockname(listener_, generic, &size) != 0)
      throw std::runtime_error{"no free loopback port"};
    url_ = "http://127.0.0.1:" + std::to_string(ntohs(address.sin_port));
    accepting_ = std::thread{[this] { accept(); }};
  }

  ~etcd_stand_in() {
    ::shutdown(listener_, SHUT_RDWR);
    accepting_.join();
    for (auto fd : connections_)
      ::shutdown(fd, SHUT_RDWR);
    for (auto& one : serving_)
      one.join();
    for (auto fd : connections_)
      ::close(fd);
    ::close(listener_);
  }
  etcd_stand_in(const etcd_stand_in&) = delete;
  etcd_stand_in& operator=(const etcd_stand_in&) = delete;

  [[nodiscard]] const std::string& url() const { return url_; }
  [[nodiscard]] int requests() const { return requests_; }

  /// Sends bytes on all open streams.
  void push(const std::string& bytes) {
    std::lock_guard guard{mutex_};
    for (auto fd : streams_)
      send_chunk(fd, bytes);
  }

  /// Ends all open streams cleanly.
  void cut() {
    std::lock_guard guard{mutex_};
    for (auto fd : streams_) {
      send_chunk(fd, {});
      ::shutdown(fd, SHUT_RDWR);
    }
    streams_.clear();
  }

private:
  static void send(int fd, const std::string& bytes) {
    [[maybe_unused]] auto sent = ::send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
  }

  static void send_chunk(int fd, const std::string& bytes) {
    std::array<char, 32> size{};
    std::snprintf(size.data(), size.size(), "%zx\r\n", bytes.size());
    send(fd, size.data() + bytes + "\r\n");
  }

  void accept() {
    for (int fd = -1; (fd = ::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC)) >= 0;) {
      connections_.push_back(fd);
      serving_.emplace_back([this, fd] { serve(fd); });
    }
  }

  /// One request on each connection.
  void serve(int fd) {
    std::string got;
    std::array<char, 4096> part{};
    auto more = [&] {
      auto count = ::recv(fd, part.data(), part.size(), 0);
      if (count > 0)
        got.append(part.data(), static_cast<std::size_t>(count));
      return count > 0;
    };
    auto end = std::string::npos;
    while ((end = got.find("\r\n\r\n")) == std::string::npos)
      if (!more())
        return;
    auto length = got.find("Content-Length: ");
    auto size = length < end ? std::stoul(got.substr(length + 16)) : 0;
    while (got.size() < end + 4 + size)
      if (!more())
        return;
    auto path = got.substr(0, got.find(" HTTP/"));
    path = path.substr(path.find(' ') + 1);
    ++requests_;
    auto answer = answers_(path, got.substr(end + 4, size));
    if (answer.status != 0) {
      auto head = "HTTP/1.1 " + std::to_string(answer.status) + " x\r\nConnection: close\r\n";
      if (answer.then == after::stay) {
        std::lock_guard guard{mutex_};
        send(fd, head + "Transfer-Encoding: chunked\r\n\r\n");
        send_chunk(fd, answer.body);
        streams_.push_back(fd);
        return;
      }
      auto promised = answer.body.size() + (answer.then == after::cut ? 10 : 0);
      send(fd, head + "Content-Length: " + std::to_string(promised) + "\r\n\r\n" + answer.body);
    }
    ::shutdown(fd, SHUT_RDWR);
  }

  handler answers_;
  std::string url_;
  int listener_ = -1;
  std::atomic<int> requests_ = 0;
  std::mutex mutex_;
  std::vector<int> streams_;
  // Only the accepting thread changes these, and the destructor once that thread has ended.
  std::vector<int> connections_;
  std::vector<std::thread> serving_;
  std::thread accepting_;
};

} // namespace matriarch::test
