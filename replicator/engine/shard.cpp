#include "replicator/engine/shard.hpp"

#include <pthread.h>

#include <algorithm>

#include "replicator/control/log.hpp"
#include "replicator/engine/process.hpp"
#include "transport/ring/faults.hpp"

namespace twinblock::engine {
namespace {

// Small buffers by number, large ones by bytes: database pages and sequential streams both find theirs. What
// a peer may have in flight towards us is kept for it, so that two nodes never wait for each other's buffers.
ring::ArenaOptions arena_options(ByteCount size) {
  constexpr auto kPeer = static_cast<std::size_t>(ring::BufferUser::kPeer);
  constexpr auto kResync = static_cast<std::size_t>(ring::BufferUser::kResync);
  const std::uint64_t mib = std::max<std::uint64_t>(size.value() >> 20, 64);
  ring::ArenaOptions options;
  options.classes[0].count = static_cast<std::uint32_t>(mib * 256 / 8);  // an eighth in 4 KiB
  options.classes[1].count = static_cast<std::uint32_t>(mib * 16 / 8);   // an eighth in 64 KiB
  options.classes[2].count = static_cast<std::uint32_t>(mib * 4 / 8);    // an eighth in 256 KiB
  options.classes[3].count = static_cast<std::uint32_t>(mib * 5 / 8);    // the rest in 1 MiB
  for (std::size_t i = 0; i < ring::kSizeClassCount; ++i) {
    options.classes[i].reserved[kPeer] = options.classes[i].count / 4;
    options.classes[i].reserved[kResync] = std::min(options.classes[i].count / 8, kResyncPieces);
  }
  return options;
}

}  // namespace

Result<std::unique_ptr<Shard>> Shard::create(const ShardOptions& options) {
  std::unique_ptr<Shard> shard{new Shard};
  shard->realtime_ = options.realtime;
  auto loop = ring::Loop::create({});
  if (!loop) return loop.error();
  shard->loop_ = std::move(*loop);
  auto arena = ring::Arena::create(arena_options(options.arena_size));
  if (!arena) return arena.error();
  shard->arena_ = std::move(*arena);
  if (auto registered = shard->arena_->register_with(*shard->loop_); !registered) {
    control::log_info("ring.buffers", "buffers are not registered with the ring",
                      {{"reason", registered.error().message()}});
  }
  shard->arena_->set_on_free([](void* list) { static_cast<WaitList*>(list)->note_freed(); },
                             &shard->waiters_);
  shard->loop_->set_turn_end(&Shard::on_turn_end, shard.get());
  shard->mail_watch_ = std::make_unique<ring::EventWatch>(*shard->loop_, &Shard::on_mail, shard.get());
  control::log_info("ring.engine", shard->loop_->notes(), {{"io_uring", shard->loop_->uses_io_uring()}});
  if (const ring::FaultLayer* const faults = shard->loop_->faults()) {
    control::log_error("faults.on", kFaultsWarning, {{"rules", faults->describe()}});
  }
  if (!shard->loop_->uses_io_uring()) {
    control::log_warning("ring.fallback", "io_uring is not available: slower engine in use",
                         {{"reason", shard->loop_->fallback_reason().message()}});
  }
  return shard;
}

Shard::~Shard() {
  TB_ASSERT(!thread_.joinable());
}

void Shard::start_thread() {
  thread_ = std::thread{[this] {
    pthread_setname_np(pthread_self(), "tb-shard");
    if (realtime_) schedule_realtime();
    mail_watch_->start(mailbox_.event_fd());
    loop_->run();
    mail_watch_->stop();
    loop_->drain();
  }};
}

void Shard::join() {
  if (thread_.joinable()) thread_.join();
}

bool Shard::post(Task task) {
  return mailbox_.post(std::move(task));
}

void Shard::on_mail(void* self) {
  auto& shard = *static_cast<Shard*>(self);
  while (auto task = shard.mailbox_.take()) (*task)();
}

void Shard::on_turn_end(void* self) {
  static_cast<Shard*>(self)->end_turn();
}

void Shard::end_turn() {
  do {
    turn_.run();
    waiters_.wake();
  } while (!turn_.empty());
  if (!last_op_.in_flight()) loop_->defer_to_turn_end(last_op_);
}

// A socket may have shown new bytes after the turn's end; what came of it must not wait for another event.
void Shard::on_last(int) {
  if (turn_.empty()) return;
  turn_.run();
  waiters_.wake();
}

}  // namespace twinblock::engine
