#include "replicator/engine/scratch.hpp"

#include <poll.h>

#include <future>
#include <memory>

#include "replicator/control/log.hpp"
#include "replicator/engine/nbd_server.hpp"
#include "replicator/engine/probe.hpp"
#include "replicator/engine/process.hpp"
#include "replicator/engine/scratch_export.hpp"
#include "replicator/engine/shard.hpp"
#include "transport/ring/error.hpp"

namespace twinblock::engine {
namespace {

const char* const kNothingChanged = "Nothing was changed.";

// A killed predecessor's lock lives until the kernel has ended its I/O.
constexpr int kOpenAttempts = 30;
constexpr int kOpenIntervalMs = 100;

struct Service {
  std::unique_ptr<ring::Disk> disk;
  std::unique_ptr<ScratchExport> block_export;
  std::unique_ptr<NbdServer> server;
};

Outcome<std::unique_ptr<ring::Disk>> open_file(const ScratchOptions& options) {
  const auto there = size_of(options.file);
  if (there && !*there && options.size) {
    if (auto made = ring::allocate_and_zero(options.file, *options.size, nullptr, nullptr); !made) {
      return Problem{"the file " + options.file + " cannot be made: " + made.error().message(),
                     kNothingChanged, "make room or choose another place", false, false};
    }
  } else if (there && *there && options.size && **there != *options.size) {
    return Problem{
        "the file " + options.file + " exists with " + std::to_string((*there)->value()) + " bytes",
        kNothingChanged, "leave --size away to use it as it is", true, false};
  }
  auto disk = ring::Disk::open(options.file, {.role = ring::FileRole::kData});
  for (int attempt = 0; attempt < kOpenAttempts && !disk && disk.error() == ring::errc::kDiskInUse;
       ++attempt) {
    if (attempt == 0) {
      control::log_warning("scratch.waiting",
                           "the file is locked; perhaps a killed predecessor's I/O still runs",
                           {{"file", options.file}});
    }
    poll(nullptr, 0, kOpenIntervalMs);
    disk = ring::Disk::open(options.file, {.role = ring::FileRole::kData});
  }
  if (!disk) {
    return Problem{
        "the file " + options.file + " cannot be opened: " + disk.error().message(), kNothingChanged,
        !there || *there ? "look at its permissions and at who uses it" : "add --size SIZE to make it", false,
        false};
  }
  return std::move(*disk);
}

Result<void> listen(NbdServer& server, const ScratchOptions& options) {
  const auto handed_over = ring::take_listen_fds();
  if (!handed_over.empty()) return server.adopt(handed_over.front());
  const auto address = ring::parse_address(options.nbd);
  if (!address) return address.error();
  return server.listen(*address);
}

}  // namespace

Outcome<void> run_scratch(const ScratchOptions& options) {
  auto disk = open_file(options);
  if (!disk) return disk.error();
  auto shard = Shard::create({});
  if (!shard) {
    return Problem{"the data path cannot start: " + shard.error().message(), kNothingChanged, "see the log",
                   false, false};
  }
  const auto service = std::make_unique<Service>();
  service->disk = std::move(*disk);
  harden_memory();
  (*shard)->start_thread();

  std::promise<Result<void>> listening;
  const bool posted = (*shard)->post([&] {
    ShardContext context = (*shard)->context();
    service->disk->attach(context.loop);
    service->block_export = std::make_unique<ScratchExport>(context, *service->disk, options.export_name);
    service->server = std::make_unique<NbdServer>(context, *service->block_export, NbdServerOptions{});
    listening.set_value(listen(*service->server, options));
  });
  TB_ASSERT(posted);
  const Result<void> ready = listening.get_future().get();
  if (ready) {
    print_line("listening on " + service->server->address());
    const int signal = wait_for_signal();
    control::log_info("process.stop", "stopping", {{"signal", signal}});
  }

  std::promise<void> closed;
  const bool closing = (*shard)->post([&] { service->server->close([&] { closed.set_value(); }); });
  TB_ASSERT(closing);
  auto done = closed.get_future();
  if (done.wait_for(std::chrono::seconds{10}) != std::future_status::ready) {
    const bool aborting = (*shard)->post([&] { service->server->abort(); });
    TB_ASSERT(aborting);
    done.wait();
  }
  std::promise<void> gone;
  const bool ending = (*shard)->post([&] {
    service->server.reset();
    service->block_export.reset();
    service->disk->detach();
    gone.set_value();
  });
  TB_ASSERT(ending);
  gone.get_future().wait();
  (*shard)->request_stop();
  (*shard)->join();
  if (ready) return {};
  return Problem{"cannot listen on " + options.nbd + ": " + ready.error().message(), kNothingChanged,
                 "choose another address with --nbd", false, false};
}

}  // namespace twinblock::engine
