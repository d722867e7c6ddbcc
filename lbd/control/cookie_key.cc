#include "lbd/control/cookie_key.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/random.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <fstream>

#include "lbd/base/check.h"
#include "lbd/net/digest.h"

namespace lbd::control {
namespace {

constexpr std::size_t kKeyChars = 43;  // 32 bytes in base64url

std::string read_key(const std::string& path) {
  std::string key;
  std::ifstream file(path);
  std::getline(file, key);
  return key;
}

/// Whole or not at all: a key that is half written would be taken for good.
bool write_key(const std::string& path, const std::string& key) {
  const std::string fresh = fmt::format("{}.{}", path, ::getpid());
  const int fd = ::open(fresh.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  if (fd < 0) return false;
  const std::string line = key + "\n";
  const bool written = ::write(fd, line.data(), line.size()) == static_cast<ssize_t>(line.size());
  const bool good = written && ::fsync(fd) == 0;
  ::close(fd);
  if (good && ::rename(fresh.c_str(), path.c_str()) == 0) return true;
  const int error = errno;
  ::unlink(fresh.c_str());
  errno = error;
  return false;
}

}  // namespace

std::string random_cookie_key() {
  std::array<char, 32> bytes{};
  LBD_CHECK(::getrandom(bytes.data(), bytes.size(), 0) == static_cast<ssize_t>(bytes.size()));
  return net::base64url({bytes.data(), bytes.size()});
}

Outcome<std::string> kept_cookie_key(const std::string& state_dir) {
  const std::string path = state_dir + "/cookie.key";
  std::string key = read_key(path);
  if (key.size() >= kKeyChars) return {boost::system::in_place_value, std::move(key)};
  key = random_cookie_key();
  if (write_key(path, key)) return {boost::system::in_place_value, std::move(key)};
  return failure(fmt::format("cannot keep {}: {}", path, std::strerror(errno)));
}

}  // namespace lbd::control
