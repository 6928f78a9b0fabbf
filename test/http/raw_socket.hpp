#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace matriarch::test {

/// One end of a TCP connection, byte by byte: it shows what an HTTP library would hide. Reading
/// gives up after the test's time limit.
class raw_socket {
public:
  explicit raw_socket(int descriptor = -1) : descriptor_(descriptor) {}
  /// Connects to 127.0.0.1, from an address of 127.0.0.0/8: from 127.0.0.`last`.
  static raw_socket to(std::uint16_t port, std::uint8_t last = 1);
  raw_socket(raw_socket&& other) noexcept;
  raw_socket& operator=(raw_socket&& other) noexcept;
  ~raw_socket();

  [[nodiscard]] int descriptor() const { return descriptor_; }

  /// False if the other side accepts no more.
  bool send(std::string_view bytes);
  /// Whatever arrives first; empty at the end of the stream, after a reset, or when nothing came.
  [[nodiscard]] std::string receive();
  /// Reads up to and including `end`; everything that came if it never came.
  [[nodiscard]] std::string receive_until(std::string_view end);
  /// The next `count` bytes; fewer if no more came.
  [[nodiscard]] std::string receive_exactly(std::size_t count);
  /// Everything up to the end of the stream. Empty optional if it does not end.
  [[nodiscard]] std::optional<std::string> receive_all();
  /// True if the other side has closed and nothing is left to read.
  [[nodiscard]] bool at_end();
  /// True if nothing waits to be read at this moment.
  [[nodiscard]] bool silent();
  /// Sends nothing more, and can still receive.
  void end_sending();
  void close();
  /// Closes so that the other side sees a reset instead of an end.
  void reset();

private:
  bool more();

  int descriptor_ = -1;
  std::string buffer_;
  bool ended_ = false;
  bool timed_out_ = false;
};

/// An HTTP answer as it came.
struct raw_answer {
  int status = 0;
  std::string head;
  std::string body;

  /// The value of a header; empty if it is not there.
  [[nodiscard]] std::string header(std::string_view name) const;
};

/// Reads one answer; `without_body` after HEAD. The status is 0 if none came.
[[nodiscard]] raw_answer read_answer(raw_socket& from, bool without_body = false);

/// Sends `text` on a connection of its own and reads one answer.
[[nodiscard]] raw_answer ask(std::uint16_t port, std::string_view text);

/// A listening socket on a free port of 127.0.0.1.
class raw_listener {
public:
  raw_listener();
  ~raw_listener();
  raw_listener(const raw_listener&) = delete;
  raw_listener& operator=(const raw_listener&) = delete;

  [[nodiscard]] std::uint16_t port() const { return port_; }
  [[nodiscard]] raw_socket accept();
  void close();

private:
  int descriptor_ = -1;
  std::uint16_t port_ = 0;
};

} // namespace matriarch::test
