// Judges what a power cut has left of a mirror pair, with the product's own recovery: bitmap::recover() reads
// both metadata areas, two core::Mirror machines meet over a link that works, and go on until they are whole
// again.
//
//   crash_judge DIR DATA_SIZE META_SIZE
//
// DIR holds the durable state of the recording so far, kept up to date by crash_states_test.py: the areas
// alpha-data, alpha-meta, beta-data and beta-meta, and the ledgers `flushed` and `answered` (per 4 KiB block
// of the mirror the version that was acknowledged by then; u64, 0: none). Each question on standard input is
// a `Question` with its chunks: what else of the unflushed writes has reached the disks. They are applied to
// private copies of the areas, so that DIR stays as it is. One line of JSON per question answers it; standard
// input's end is the end.
//
// What must hold, and is reported by name when it does not:
//   recover   both metadata areas are read: never refused, never "fresh"
//   lost      a replica that has to hold them shows every flushed (if it lost its cache) or answered write
//   (if not) alone     a replica that was up to date can be promoted when the operator says that the other
//   one is dead verdict   both meet without a refusal, and without a full resync where bits have to do
//   converge  they end connected, up to date and without a bit
//   differ    their data is byte-identical then: so every difference was marked (P4)
//   lost-end  and shows every acknowledged write
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <exception>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/overloaded.hpp"
#include "bitmap/codec.hpp"
#include "bitmap/layout.hpp"
#include "replicator/core/mirror.hpp"

namespace twinblock {
namespace {

constexpr std::size_t kBlock = 4096;
constexpr std::size_t kSector = 512;
constexpr std::array<const char*, 2> kNames{"alpha", "beta"};

struct Question {
  std::uint32_t chunks = 0;
  std::array<std::uint8_t, 2> lost_cache{};  // the machine lost power; else only its daemon was killed
  std::array<std::uint8_t, 2> holds{};       // it has to show what was acknowledged
  std::array<std::uint8_t, 2> alone{};       // it has to be promotable without the other one
  std::uint8_t may_be_full = 0;              // a full resync is no surprise
  std::uint8_t save = 0;                     // no question: write the state to saved-* (see Judge::save)
};
static_assert(sizeof(Question) == 12);

struct Chunk {
  std::uint32_t area = 0;  // alpha data, alpha metadata, beta data, beta metadata
  std::uint32_t length = 0;
  std::uint64_t offset = 0;
};
static_assert(sizeof(Chunk) == 16);

[[noreturn]] void die(const std::string& what) {
  std::fprintf(stderr, "crash_judge: %s: %s\n", what.c_str(), std::strerror(errno));
  std::exit(2);
}

bool read_all(void* into, std::size_t size) {
  return size == 0 || std::fread(into, size, 1, stdin) == 1;
}

void write_file(const std::string& path, std::span<const std::byte> bytes) {
  std::FILE* const file = std::fopen(path.c_str(), "wb");
  if (file == nullptr) die(path);
  if (std::fwrite(bytes.data(), bytes.size(), 1, file) != 1 || std::fclose(file) != 0) die(path);
}

// A file mapped as it is: what the test writes to the file shows here. What is written here is taken back by
// undo(). (A private mapping per question would cost more in page faults than the questions themselves.)
class Area {
 public:
  Area(const std::string& path, std::size_t size) : fd_{open(path.c_str(), O_RDWR | O_CLOEXEC)}, size_{size} {
    if (fd_ < 0) die(path);
    void* const mapped = mmap(nullptr, size_, PROT_READ | PROT_WRITE, MAP_SHARED, fd_, 0);
    if (mapped == MAP_FAILED) die("mmap");
    bytes_ = static_cast<std::byte*>(mapped);
  }
  Area(const Area&) = delete;
  Area& operator=(const Area&) = delete;
  ~Area() {
    munmap(bytes_, size_);
    close(fd_);
  }

  [[nodiscard]] std::span<const std::byte> bytes() const { return {bytes_, size_}; }

  void write(std::size_t offset, std::span<const std::byte> bytes) {
    if (offset + bytes.size() > size_) die("a write beyond its area");
    std::byte* const place = bytes_ + offset;
    before_.push_back({offset, {place, place + bytes.size()}});
    std::ranges::copy(bytes, place);
  }
  void zero(std::size_t offset, std::size_t length) { write(offset, std::vector<std::byte>(length)); }

  // Takes back all but the first `kept` writes since the last undo of all.
  void undo(std::size_t kept = 0) {
    for (; before_.size() > kept; before_.pop_back()) {
      std::ranges::copy(before_.back().bytes, bytes_ + before_.back().offset);
    }
  }
  [[nodiscard]] std::size_t writes() const { return before_.size(); }

 private:
  struct Before {
    std::size_t offset = 0;
    std::vector<std::byte> bytes;
  };

  int fd_;
  std::size_t size_;
  std::byte* bytes_ = nullptr;
  std::vector<Before> before_;
};

// The versions that must be there, by block: guest/load.py writes every sector of a block as 32 times
// {version u64, block u32, sector u32}.
struct Stamp {
  std::uint64_t version = 0;
  std::uint32_t block = 0;
  std::uint32_t sector = 0;
};

std::string sector_problem(std::span<const std::byte> sector, std::uint64_t least, std::size_t block,
                           std::size_t index) {
  Stamp stamp;
  std::memcpy(&stamp, sector.data(), sizeof stamp);
  bool whole = true;
  for (std::size_t at = sizeof stamp; at < kSector; at += sizeof stamp) {
    whole = whole && std::memcmp(sector.data(), sector.data() + at, sizeof stamp) == 0;
  }
  if (whole && stamp.version >= least && stamp.block == block && stamp.sector == index) return {};
  return "block " + std::to_string(block) + " sector " + std::to_string(index) + " shows version " +
         std::to_string(stamp.version) + " of " + std::to_string(stamp.block) + "/" +
         std::to_string(stamp.sector) + (whole ? "" : " (mixed)") + ", acknowledged was " +
         std::to_string(least);
}

std::string missing(std::span<const std::byte> data, std::span<const std::byte> ledger) {
  for (std::size_t block = 0; block * sizeof(std::uint64_t) < ledger.size(); ++block) {
    std::uint64_t least = 0;
    std::memcpy(&least, ledger.data() + block * sizeof least, sizeof least);
    if (least == 0) continue;
    for (std::size_t s = 0; s < kBlock / kSector; ++s) {
      auto problem = sector_problem(data.subspan(block * kBlock + s * kSector, kSector), least, block, s);
      if (!problem.empty()) return problem;
    }
  }
  return {};
}

// --- two machines in one process, on disks that work -------------------------------------------------------

struct Node {
  Area* data = nullptr;
  Area* metadata = nullptr;
  std::unique_ptr<core::Mirror> mirror;
  core::Outputs outputs;
  std::deque<core::Input> inputs;
  bool link_wanted = false;
  core::Refusal refused = core::Refusal::none;  // of a handshake
  std::optional<core::Refusal> answer;          // of the last command
};

class World {
 public:
  World(std::array<Node, 2> nodes, bool linked) : nodes_{std::move(nodes)}, linked_{linked} {}

  // Errors are those of bitmap::recover().
  Result<void> boot(std::size_t n, bool lost_cache) {
    auto recovered = bitmap::recover(nodes_[n].metadata->bytes());
    if (!recovered) return recovered.error();
    core::Config config;
    config.node = NodeIndex{static_cast<std::uint8_t>(n)};
    config.peer = NodeIndex{static_cast<std::uint8_t>(1 - n)};
    config.mirror_name = "data";
    config.client_ops_max = 16;
    config.window_messages = 128;
    config.random_seed = n + 1;
    config.boot_id = lost_cache ? kNextBoot : recovered->superblock.boot_id;
    nodes_[n].mirror = std::make_unique<core::Mirror>(config, std::move(*recovered));
    nodes_[n].mirror->start(now_, nodes_[n].outputs);
    return {};
  }

  core::Refusal command(std::size_t n, core::Command command) {
    nodes_[n].answer.reset();
    nodes_[n].inputs.emplace_back(command);
    run_until([&] { return nodes_[n].answer.has_value(); });
    return nodes_[n].answer.value_or(core::Refusal::timeout);
  }

  // Runs until the condition holds; false: not within a minute of the machines' time.
  template <class Condition>
  bool run_until(Condition holds) {
    const Instant end = now_ + Duration::seconds(60);
    while (true) {
      run();
      if (holds()) return true;
      if (now_ >= end) return false;
      Instant next = end;
      for (const Node& x : nodes_) {
        if (x.mirror)
          next = std::min(next, std::max(x.mirror->next_deadline(), now_ + Duration::milliseconds(1)));
      }
      now_ = next;
      for (Node& x : nodes_) {
        if (x.mirror) x.inputs.emplace_back(core::Tick{});
      }
    }
  }

  [[nodiscard]] bool whole() const {
    return std::ranges::all_of(nodes_, [](const Node& x) {
      const core::MirrorSnapshot s = x.mirror->snapshot();
      return s.link == core::LinkState::connected && s.replica == core::ReplicaState::uptodate &&
             s.dirty_bytes == 0 && s.idle;
    });
  }
  [[nodiscard]] bool refused() const {
    return std::ranges::any_of(nodes_, [](const Node& x) { return x.refused != core::Refusal::none; });
  }
  [[nodiscard]] const Node& node(std::size_t n) const { return nodes_[n]; }
  [[nodiscard]] std::uint64_t copied() const { return copied_; }
  [[nodiscard]] std::uint64_t resync_bytes() const { return resync_bytes_; }

 private:
  static constexpr std::uint64_t kNextBoot = 4711;

  void run() {
    for (bool busy = true; busy;) {
      busy = false;
      try_link();
      for (std::size_t n = 0; n < 2; ++n) {
        Node& x = nodes_[n];
        if (!x.mirror) continue;
        const std::size_t count = x.inputs.size();
        for (std::size_t i = 0; i < count; ++i) {
          const core::Input in = x.inputs.front();
          x.inputs.pop_front();
          x.mirror->step(now_, in, x.outputs);
        }
        x.mirror->turn_end(now_, x.outputs);
        busy = busy || count > 0 || !x.outputs.empty();
        carry_out(n);
      }
    }
  }

  void try_link() {
    if (!linked_ || link_ != 0 || !nodes_[0].link_wanted || !nodes_[1].link_wanted) return;
    link_ = 1;
    linked_ = false;  // once: a link that is closed stays closed, and its reason is the answer
    for (Node& x : nodes_) x.inputs.emplace_back(core::LinkUp{link_});
  }

  void carry_out(std::size_t n) {
    core::Outputs todo;
    std::swap(todo, nodes_[n].outputs);
    for (const core::Output& o : todo) {
      std::visit(overloaded{
                     [&](const core::DiskIo& io) { disk(n, io); },
                     [&](const core::MetaWrite& w) { metadata(n, w); },
                     [&](const core::Send& s) { deliver(n, s); },
                     [&](const core::CloseLink& c) { close_link(n, c); },
                     [&](const core::SetLinkWanted& w) { nodes_[n].link_wanted = w.wanted; },
                     [&](const core::ReleaseBuffer& r) { buffers_.erase(r.buffer); },
                     [&](const core::CommandDone& c) { nodes_[n].answer = c.refusal; },
                     [&](const core::Event& e) { note(n, e); },
                     [&](const core::Reply&) {},
                     [&](const core::ExportState&) {},
                 },
                 o);
    }
  }

  void note(std::size_t n, const core::Event& e) {
    if (e.kind == core::EventKind::resync_started) resync_bytes_ = std::max(resync_bytes_, e.a);
    if (e.kind == core::EventKind::handshake_refused || e.kind == core::EventKind::split_brain) {
      nodes_[n].refused = e.reason == core::Refusal::none ? core::Refusal::split_brain : e.reason;
    }
  }

  void disk(std::size_t n, const core::DiskIo& io) {
    Area& area = *nodes_[n].data;
    const std::size_t offset = io.range.offset.value();
    const std::size_t length = io.range.length.value();
    core::BufferId buffer = io.buffer;
    switch (io.verb) {
      case core::DiskVerb::read: {
        if (buffer == 0) buffer = next_buffer_++;
        const auto place = area.bytes().subspan(offset, length);
        buffers_[buffer].assign(place.begin(), place.end());
        break;
      }
      case core::DiskVerb::write:
        area.write(offset, std::span{buffers_.at(buffer)}.first(length));
        copied_ += length;
        break;
      case core::DiskVerb::zero:
        area.zero(offset, length);
        break;
      case core::DiskVerb::flush:
        break;
    }
    const core::BufferId brought = io.verb == core::DiskVerb::read ? buffer : 0;
    nodes_[n].inputs.emplace_back(core::DiskDone{io.op, 0, brought});
  }

  void metadata(std::size_t n, const core::MetaWrite& w) {
    nodes_[n].metadata->write(w.block * bitmap::kBlockSize, w.bytes);
    nodes_[n].inputs.emplace_back(core::MetaDone{w.op, 0});
  }

  void deliver(std::size_t n, const core::Send& s) {
    Node& other = nodes_[1 - n];
    if (s.link != link_ || !other.mirror) return;
    bodies_.emplace_back(s.body.begin(), s.body.end());
    core::BufferId copy = 0;
    if (s.payload != 0) {
      copy = next_buffer_++;
      buffers_[copy] = buffers_.at(s.payload);
    }
    other.inputs.emplace_back(core::MessageIn{s.link, s.header, bodies_.back(), copy});
  }

  void close_link(std::size_t n, const core::CloseLink& c) {
    if (c.link != link_) return;
    link_ = 0;
    if (nodes_[n].refused == core::Refusal::none) nodes_[n].refused = c.reason;
    for (Node& x : nodes_) {
      if (x.mirror) x.inputs.emplace_back(core::LinkDown{c.link});
    }
  }

  std::array<Node, 2> nodes_;
  bool linked_;
  Instant now_{1'000'000'000};
  core::LinkId link_ = 0;
  std::map<core::BufferId, std::vector<std::byte>> buffers_;
  core::BufferId next_buffer_ = 1;
  std::deque<std::vector<std::byte>> bodies_;
  std::uint64_t copied_ = 0;
  std::uint64_t resync_bytes_ = 0;
};

// --- one question ------------------------------------------------------------------------------------------

struct Finding {
  std::string what;  // empty: all is well
  std::string detail;
  std::uint64_t copied = 0;
  std::uint64_t resync_bytes = 0;
  int rule = 0;
  int leader = -1;   // node index
  int promoted = 0;  // replicas that were promoted alone
};

class Judge {
 public:
  Judge(std::string dir, std::size_t data_size, std::size_t meta_size)
      : dir_{std::move(dir)},
        flushed_{dir_ + "/flushed", data_size / kBlock * sizeof(std::uint64_t)},
        answered_{dir_ + "/answered", data_size / kBlock * sizeof(std::uint64_t)} {
    for (const char* name : kNames) {
      areas_.emplace_back(std::make_unique<Area>(dir_ + "/" + name + "-data", data_size));
      areas_.emplace_back(std::make_unique<Area>(dir_ + "/" + name + "-meta", meta_size));
    }
  }

  // False: standard input has ended.
  bool next(Question& q) {
    if (!read_all(&q, sizeof q)) return false;
    std::vector<std::byte> bytes;
    for (std::uint32_t i = 0; i < q.chunks; ++i) {
      Chunk c;
      if (!read_all(&c, sizeof c)) return false;
      bytes.resize(c.length);
      if (!read_all(bytes.data(), bytes.size())) return false;
      areas_.at(c.area)->write(c.offset, bytes);
    }
    return true;
  }

  // Before the answer: the one who asks goes on writing to the files.
  void undo() {
    for (auto& area : areas_) area->undo();
  }

  // Writes the four areas to saved-NAME-data and saved-NAME-meta, for daemons to start on.
  Finding save() {
    for (std::size_t n = 0; n < 2; ++n) {
      forget_disk_identity(metadata_area(n));
      write_file(dir_ + "/saved-" + kNames[n] + "-data", data(n));
      write_file(dir_ + "/saved-" + kNames[n] + "-meta", metadata_area(n).bytes());
    }
    return {};
  }

  Finding judge(const Question& q) {
    for (std::size_t n = 0; n < 2; ++n) {
      if (q.holds[n] == 0) continue;
      const auto& ledger = q.lost_cache[n] != 0 ? flushed_ : answered_;
      if (auto problem = missing(data(n), ledger.bytes()); !problem.empty()) {
        return {"lost", std::string{kNames[n]} + ": " + problem};
      }
    }
    for (std::size_t n = 0; n < 2; ++n) {
      if (auto finding = judge_alone(q, n); !finding.what.empty()) return finding;
    }
    Finding f = judge_pair(q);
    f.promoted = q.alone[0] + q.alone[1];
    return f;
  }

 private:
  // Takes back what a promotion alone wrote.
  class Rollback {
   public:
    explicit Rollback(Area& area) : area_{area}, kept_{area.writes()} {}
    Rollback(const Rollback&) = delete;
    Rollback& operator=(const Rollback&) = delete;
    ~Rollback() { area_.undo(kept_); }

   private:
    Area& area_;
    std::size_t kept_;
  };

  [[nodiscard]] Area& data_area(std::size_t n) const { return *areas_[2 * n]; }
  [[nodiscard]] Area& metadata_area(std::size_t n) const { return *areas_[2 * n + 1]; }
  [[nodiscard]] std::span<const std::byte> data(std::size_t n) const { return data_area(n).bytes(); }

  Finding judge_alone(const Question& q, std::size_t n) {
    const Rollback rollback{metadata_area(n)};
    std::array<Node, 2> nodes;
    nodes[n].data = &data_area(n);
    nodes[n].metadata = &metadata_area(n);
    World world{std::move(nodes), false};
    const auto booted = world.boot(n, q.lost_cache[n] != 0);
    if (!booted) return {"recover", std::string{kNames[n]} + ": " + booted.error().message()};
    if (q.alone[n] == 0) return {};
    core::Command promote;
    promote.id = 1;
    promote.verb = core::Verb::promote;
    promote.confirm_dead = true;
    const core::Refusal refusal = world.command(n, promote);
    if (refusal == core::Refusal::none) return {};
    return {"alone", std::string{kNames[n]} + ": refusal " + std::to_string(static_cast<int>(refusal))};
  }

  Finding judge_pair(const Question& q) {
    std::array<Node, 2> nodes;
    for (std::size_t n = 0; n < 2; ++n) {
      nodes[n].data = &data_area(n);
      nodes[n].metadata = &metadata_area(n);
    }
    World world{std::move(nodes), true};
    for (std::size_t n = 0; n < 2; ++n) {
      if (auto booted = world.boot(n, q.lost_cache[n] != 0); !booted) {
        return {"recover", std::string{kNames[n]} + ": " + booted.error().message()};
      }
    }
    const bool ended = world.run_until([&] { return world.whole() || world.refused(); });
    Finding f;
    f.copied = world.copied();
    f.resync_bytes = world.resync_bytes();
    const core::MirrorSnapshot alpha = world.node(0).mirror->snapshot();
    f.rule = alpha.verdict_rule;
    f.leader = alpha.leader ? 0 : 1;
    if (world.refused()) {
      f.what = "verdict";
      f.detail = "refusals " + std::to_string(static_cast<int>(world.node(0).refused)) + " and " +
                 std::to_string(static_cast<int>(world.node(1).refused));
    } else if (!ended) {
      f.what = "converge";
      f.detail = "not whole after a minute";
    } else if (q.may_be_full == 0 && f.resync_bytes >= data(0).size()) {
      f.what = "verdict";
      f.detail = "a full resync";
    } else {
      judge_end(q, f);
    }
    return f;
  }

  void judge_end(const Question& q, Finding& f) {
    if (std::memcmp(data(0).data(), data(1).data(), data(0).size()) != 0) {
      const auto [a, b] = std::ranges::mismatch(data(0), data(1));
      f.what = "differ";
      f.detail = "the replicas differ at byte " + std::to_string(a - data(0).begin());
      return;
    }
    const bool kept = std::ranges::any_of(std::array{0, 1}, [&](int n) {
      return q.lost_cache[static_cast<std::size_t>(n)] == 0 && q.holds[static_cast<std::size_t>(n)] != 0;
    });
    f.detail = missing(data(0), (kept ? answered_ : flushed_).bytes());
    if (!f.detail.empty()) f.what = "lost-end";
  }

  // The disks move into another machine as files: the name that the metadata gives its disk does not fit
  // there.
  static void forget_disk_identity(Area& area) {
    for (std::uint64_t copy = 0; copy < 2; ++copy) {
      std::array<std::byte, bitmap::kBlockSize> block{};
      std::ranges::copy(area.bytes().subspan(copy * bitmap::kBlockSize, bitmap::kBlockSize), block.begin());
      if (!bitmap::check_block(block, bitmap::BlockIndex{copy}, 0)) continue;
      const auto field = bitmap::layout::kDiskIdentity;
      std::ranges::fill(std::span{block}.subspan(field.offset, field.size), std::byte{0});
      bitmap::seal_block(block);
      area.write(copy * bitmap::kBlockSize, block);
    }
  }

  std::string dir_;
  Area flushed_;
  Area answered_;
  std::vector<std::unique_ptr<Area>> areas_;
};

int run(int argc, char** argv) {
  if (argc != 4) {
    std::fprintf(stderr, "usage: crash_judge DIR DATA_SIZE META_SIZE\n");
    return 2;
  }
  Judge judge{argv[1], std::strtoull(argv[2], nullptr, 10), std::strtoull(argv[3], nullptr, 10)};
  for (Question q; judge.next(q);) {
    const Finding f = q.save != 0 ? judge.save() : judge.judge(q);
    judge.undo();
    std::printf(R"({"what": "%s", "detail": "%s", "rule": %d, "leader": %d, "promoted": %d, )"
                R"("resync_bytes": %llu, "copied": %llu})"
                "\n",
                f.what.c_str(), f.detail.c_str(), f.rule, f.leader, f.promoted,
                static_cast<unsigned long long>(f.resync_bytes), static_cast<unsigned long long>(f.copied));
    std::fflush(stdout);
  }
  return 0;
}

}  // namespace
}  // namespace twinblock

int main(int argc, char** argv) {
  try {
    return twinblock::run(argc, argv);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "crash_judge: %s\n", error.what());
    return 2;
  }
}
