// The daemon. Everything it does is in replicator/engine; here are its options and its exit codes:
// 0 stopped in order, 1 failed, 2 usage or configuration, 3 refused by a safety rule.
#include <cstdio>
#include <iostream>
#include <optional>
#include <string>

#include <CLI/CLI.hpp>

#include "replicator/control/config.hpp"
#include "replicator/control/log.hpp"
#include "replicator/control/protocol_text.hpp"
#include "replicator/engine/daemon.hpp"
#include "replicator/engine/engine.hpp"
#include "replicator/engine/process.hpp"
#include "replicator/engine/scratch.hpp"

namespace {

constexpr int kExitFailed = 1;
constexpr int kExitUsage = 2;
constexpr int kExitRefused = 3;

struct Options {
  std::string config;
  std::string check_config;
  std::string pid_file;
  bool exit_with_parent = false;
  bool debug = false;
  twinblock::engine::ScratchOptions scratch;
  std::string scratch_size;
};

void add_options(CLI::App& app, Options& o) {
  app.set_version_flag("--version", std::string{"twinblockd "} + twinblock::engine::kDaemonVersion);
  app.footer(
      "Exit codes: 0 stopped in order, 1 failed, 2 usage or configuration, 3 refused by a safety rule.");
  app.add_option("--config", o.config, "configuration file (default /etc/twinblock/twinblock.toml)");
  app.add_option("--check-config", o.check_config, "check a configuration file and exit");
  app.add_option("--pid-file", o.pid_file, "write the process id here; removed at the end");
  app.add_flag("--exit-with-parent", o.exit_with_parent, "stop when the parent process dies");
  app.add_flag("--debug", o.debug, "log more");
  auto* scratch = app.add_option("--scratch", o.scratch.file, "serve this one file, unreplicated");
  app.add_option("--nbd", o.scratch.nbd, "with --scratch: unix:PATH or tcp:HOST:PORT (port 0: any)")
      ->needs(scratch);
  app.add_option("--export", o.scratch.export_name, "with --scratch: name of the export")->needs(scratch);
  app.add_option("--size", o.scratch_size, "with --scratch: make the file, e.g. 1GiB")->needs(scratch);
}

int report(const twinblock::engine::Problem& problem) {
  std::fprintf(stderr, "twinblockd: %s\n  safe: %s\n  next: %s\n", problem.message.c_str(),
               problem.what_is_safe.c_str(), problem.next_step.c_str());
  return problem.refused ? kExitRefused : kExitFailed;
}

int check_config(const std::string& path) {
  const auto checked = twinblock::control::check_config(path);
  for (const auto& problem : checked.problems) std::fprintf(stderr, "%s\n", problem.text().c_str());
  if (checked.config) std::printf("%s: no problems\n", path.c_str());
  return checked.config ? 0 : kExitUsage;
}

int run(Options& o) {
  namespace engine = twinblock::engine;
  if (!o.check_config.empty()) return check_config(o.check_config);
  engine::block_signals();
  if (o.exit_with_parent) engine::exit_with_parent();
  engine::PidFile pid_file;
  if (!o.pid_file.empty()) {
    if (auto written = pid_file.write(o.pid_file); !written) return report(written.error());
  }
  if (!o.scratch.file.empty()) {
    if (!o.scratch_size.empty()) {
      const auto size = twinblock::control::parse_size(o.scratch_size);
      if (!size || *size == 0) {
        std::fprintf(stderr,
                     "twinblockd: --size: \"%s\" is no size; allowed: 4096, 64KiB, 256MiB, 1.5GiB, 2TiB\n",
                     o.scratch_size.c_str());
        return kExitUsage;
      }
      o.scratch.size = twinblock::ByteCount{*size};
    }
    const auto served = engine::run_scratch(o.scratch);
    return served ? 0 : report(served.error());
  }
  return engine::run_daemon(o.config.empty() ? twinblock::control::kDefaultConfigPath : o.config);
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{
      "Keeps block devices identical on two nodes and serves them over NBD. twinblock(8) commands it."};
  Options options;
  add_options(app, options);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    const int code = app.exit(e);
    return code == 0 ? 0 : kExitUsage;
  }
  twinblock::control::LogOptions log;
  if (options.debug) log.level = twinblock::control::LogLevel::kDebug;
  twinblock::control::log_setup(log);
  const int code = run(options);
  twinblock::control::log_shutdown();
  return code;
}
