#include "replicator/engine/daemon.hpp"

#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>

#include "replicator/control/config.hpp"
#include "replicator/control/http_server.hpp"
#include "replicator/control/log.hpp"
#include "replicator/engine/engine.hpp"
#include "replicator/engine/process.hpp"

namespace twinblock::engine {
namespace {

constexpr int kExitFailed = 1;
constexpr int kExitUsage = 2;
// Longer than a peer timeout, shorter than systemd's patience.
constexpr Duration kStopTime = Duration::seconds(30);

void make_folders(const control::Config& config) {
  std::error_code ignored;
  std::filesystem::create_directories(config.state_dir, ignored);
  std::filesystem::create_directories(std::filesystem::path{config.control}.parent_path(), ignored);
  for (const auto& mirror : config.mirrors) {
    std::filesystem::create_directories(std::filesystem::path{mirror.local_node().metadata}.parent_path(),
                                        ignored);
  }
}

}  // namespace

int run_daemon(const std::string& config_path) {
  const auto checked = control::check_config(config_path);
  for (const auto& problem : checked.problems) std::fprintf(stderr, "%s\n", problem.text().c_str());
  if (!checked.config) {
    std::fprintf(stderr,
                 "twinblockd: the configuration %s cannot be used\n  safe: Nothing was started or changed.\n"
                 "  next: correct it, then: twinblockd --check-config %s\n",
                 config_path.c_str(), config_path.c_str());
    return kExitUsage;
  }
  const control::Config& config = *checked.config;
  make_folders(config);
  control::EventRing events;
  auto engine = Engine::create(config, events);
  if (!engine) {
    std::fprintf(stderr, "twinblockd: the data path cannot start: %s\n", engine.error().message().c_str());
    return kExitFailed;
  }
  harden_memory();
  // Metadata is recovered, and every mirror in its place, before anybody can ask.
  (*engine)->start();

  control::HttpServerOptions options;
  options.unix_socket = config.control;
  if (config.http) options.tcp_address = config.http->text();
  options.node = config.node_name;
  options.daemon_version = kDaemonVersion;
  std::string problem;
  auto server = control::HttpServer::start(options, **engine, events, &problem);
  if (!server) {
    std::fprintf(stderr, "twinblockd: the control API cannot start: %s: %s\n", problem.c_str(),
                 server.error().message().c_str());
  } else {
    print_line("control on " + config.control);
    if ((*server)->tcp_port() != 0) print_line("http on port " + std::to_string((*server)->tcp_port()));
    control::log_info("daemon.ready", "serving", {{"node", config.node_name}, {"control", config.control}});
    const int signal = wait_for_signal();
    control::log_info("daemon.stop", "stopping", {{"signal", signal}});
  }
  const bool stopped = (*engine)->stop(kStopTime);
  if (server) (*server)->stop();
  if (!stopped) {
    // Something hangs (a disk, most likely). The next start recovers as after a crash.
    control::log_error("daemon.stop", "a mirror did not stop in time; ending as if killed");
    control::log_shutdown();
    _exit(kExitFailed);
  }
  return server ? 0 : kExitFailed;
}

}  // namespace twinblock::engine
