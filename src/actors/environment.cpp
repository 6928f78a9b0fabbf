#include "actors/environment.hpp"

#include <openssl/rand.h>

#include <stdexcept>

#include "model/smooth_clock.hpp"

namespace matriarch::actors {

namespace {

template <std::size_t Size>
std::array<unsigned char, Size> random_bytes() {
  std::array<unsigned char, Size> bytes{};
  // Without randomness no password can be made, so there is no way to continue.
  if (RAND_bytes(bytes.data(), static_cast<int>(Size)) != 1)
    throw std::runtime_error{"OpenSSL has no random bytes"};
  return bytes;
}

/// A version 4 UUID.
std::string random_uuid() {
  auto bytes = random_bytes<16>();
  bytes[6] = static_cast<unsigned char>((bytes[6] & 0x0f) | 0x40);
  bytes[8] = static_cast<unsigned char>((bytes[8] & 0x3f) | 0x80);
  constexpr std::string_view digits = "0123456789abcdef";
  std::string text;
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    if (i == 4 || i == 6 || i == 8 || i == 10)
      text += '-';
    text += digits[bytes[i] >> 4];
    text += digits[bytes[i] & 0x0f];
  }
  return text;
}

/// 192 bits in characters that need no escaping anywhere.
std::string random_password() {
  constexpr std::string_view letters =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
  std::string text;
  for (auto byte : random_bytes<32>())
    text += letters[byte % letters.size()];
  return text;
}

} // namespace

environment real_environment() {
  struct shared_clock {
    std::mutex guard;
    model::smooth_clock smooth;
  };
  auto clock = std::make_shared<shared_clock>();
  return {[clock] {
            std::lock_guard lock{clock->guard};
            return clock->smooth.read(std::chrono::steady_clock::now(),
                                      std::chrono::system_clock::now());
          },
          random_uuid, random_password};
}

} // namespace matriarch::actors
