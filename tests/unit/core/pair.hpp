// Two mirrors joined by a link that works, on disks that work: for tests of conversations. Everything is
// carried out at once and in order; faults and interleavings are the simulator's business (tests/sim).
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <vector>

#include "replicator/core/mirror.hpp"

namespace twinblock::core::testing {

struct Node {
  std::vector<std::byte> area;      // metadata, as on disk
  std::vector<std::uint64_t> data;  // a tag per sector
  std::unique_ptr<Mirror> mirror;
  Outputs outputs;
  std::deque<Input> inputs;
  bool link_wanted = false;
  bool export_open = false;
  int fail_writes = 0;  // errno for the next data writes; 0: none
  int fail_reads = 0;
  std::set<std::uint64_t> bad_sectors;  // cannot be read until they are written
  int fail_flushes = 0;
  int fail_metadata = 0;       // nothing is written then
  bool hold_metadata = false;  // metadata writes wait in `held_metadata`; a crash forgets them
  std::vector<MetaWrite> held_metadata;
  bool hold_disk = false;  // data completions wait in `held`
  std::vector<Input> held;
  std::vector<Event> events;
  std::map<RequestId, Reply> replies;
  std::map<CommandId, Refusal> commands;
  std::vector<wire::Header> sent;  // on the link
  int flushes = 0;
  int record_writes = 0;
  std::optional<std::uint64_t> lost_block;  // metadata writes there are reported as done and do not land
  std::uint64_t boot_id = 1;
};

inline Command verb(Verb v) {
  return {0, v};
}

class Pair {
 public:
  explicit Pair(Policy policy = {}, std::uint64_t size = 16u << 20, std::uint32_t region_size = 64 << 10);

  Node& node(int n) { return nodes_[static_cast<std::size_t>(n)]; }
  MirrorSnapshot status(int n) { return node(n).mirror->snapshot(); }

  void boot(int n);    // from the durable metadata
  void reboot(int n);  // the same after a power loss
  void crash(int n);
  void connect();  // the link may come up (and does, when both want it)
  void cut();
  void run();                // until nothing is left to do at this instant
  void advance(Duration d);  // lets deadlines pass in steps
  Refusal command(int n, Command c);
  void release(int n);  // ends hold_disk: what was held completes
  void release_metadata(int n);

  // Write `sectors` sectors of `tag` at sector `at`; the request id. run() carries it out.
  RequestId write(int n, std::uint64_t at, std::uint64_t sectors, std::uint64_t tag, bool fua = false);
  RequestId flush(int n);
  RequestId read(int n, std::uint64_t at, std::uint64_t sectors);
  std::optional<Status> answer(int n, RequestId r);
  std::vector<std::uint64_t> read_data(int n, RequestId r);
  bool saw(int n, EventKind kind) const;
  void make_source(int n);  // boots both, connects, promotes n, waits for the resync to end

  Policy policy_;
  std::uint32_t window_bytes_ = 32u << 20;  // of who boots next
  Instant now_{1'000'000'000};

 public:  // review3: tests step the world round by round
  bool round();
  void carry_out(int n);
  void disk(int n, const DiskIo& io);
  void metadata(int n, const MetaWrite& w);
  void complete(int n, Input in);
  void try_link();

  std::array<Node, 2> nodes_;
  std::map<BufferId, std::vector<std::uint64_t>> buffers_;
  BufferId next_buffer_ = 1;
  LinkId next_link_ = 1;
  LinkId link_ = 0;
  bool allowed_ = false;
  std::uint32_t next_request_ = 1;
  std::uint32_t next_command_ = 1;
  std::uint64_t seed_ = 1;
  std::deque<std::vector<std::byte>> bodies_;
};

}  // namespace twinblock::core::testing
