// One HTTP request to the local daemon over its unix socket, with a deadline: a daemon that is gone, hung or
// answers nonsense is the same to an operator, "unreachable", and never costs more than the deadline.
#pragma once

#include <cstdint>
#include <string>

#include "base/units.hpp"

namespace twinblock::cli {

struct Response {
  unsigned status{};
  std::string body;
};

// What went wrong before an answer was there; `hung` if someone accepted but did not answer in time.
struct Unreachable {
  std::string what;
  bool hung{};
};

struct Request {
  std::string method{"GET"};
  std::string target;
  std::string body;
  Duration deadline{Duration::seconds(10)};  // for the whole exchange
};

class Client {
 public:
  explicit Client(std::string socket_path) : socket_path_{std::move(socket_path)} {}

  // True: `response` is set. False: `problem` is.
  [[nodiscard]] bool ask(const Request& request, Response& response, Unreachable& problem) const;
  [[nodiscard]] const std::string& socket_path() const { return socket_path_; }

 private:
  std::string socket_path_;
};

}  // namespace twinblock::cli
