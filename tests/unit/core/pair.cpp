#include "tests/unit/core/pair.hpp"

#include <cerrno>

#include <algorithm>
#include <cstring>

#include "base/overloaded.hpp"

namespace twinblock::core::testing {
Pair::Pair(Policy policy, std::uint64_t size, std::uint32_t region_size) : policy_{policy} {
  for (int n = 0; n < 2; ++n) {
    bitmap::Superblock s;
    s.area_id = 100 + static_cast<std::uint64_t>(n);
    s.identity = 200 + static_cast<std::uint64_t>(n);
    s.incarnation = 300 + static_cast<std::uint64_t>(n);
    s.node = NodeIndex{static_cast<std::uint8_t>(n)};
    s.geometry.size = ByteCount{size};
    s.geometry.region_size = region_size;
    s.geometry.hot_extents = 8;
    if (n == 0) {
      s.mirror_id = s.group_id = 77;
      s.disk_state = DiskState::consistent;
      s.push_generation(GenerationId{4711}, SequenceNumber{1}, GenerationCause::created);
    }
    node(n).area = bitmap::format_area(s, 0);
    node(n).data.assign(size / 512, n == 0 ? 1 : 0);
  }
}

void Pair::boot(int n) {
  Node& x = node(n);
  auto recovered = bitmap::recover(x.area);
  if (!recovered.has_value()) std::abort();
  Config c;
  c.node = NodeIndex{static_cast<std::uint8_t>(n)};
  c.peer = NodeIndex{static_cast<std::uint8_t>(1 - n)};
  c.mirror_name = "m";
  c.policy = policy_;
  c.client_ops_max = 128;
  c.window_messages = 128;
  c.window_bytes = window_bytes_;
  c.boot_id = x.boot_id;
  c.random_seed = ++seed_ * 7919;
  x.mirror = std::make_unique<Mirror>(c, std::move(*recovered));
  x.mirror->start(now_, x.outputs);
  run();
}

void Pair::reboot(int n) {
  ++node(n).boot_id;
  boot(n);
}

void Pair::crash(int n) {
  Node& x = node(n);
  x.mirror.reset();
  x.outputs.clear();
  x.inputs.clear();
  x.held.clear();
  x.held_metadata.clear();
  x.link_wanted = x.export_open = false;
  if (link_ != 0) {
    const LinkId old = link_;
    link_ = 0;
    if (node(1 - n).mirror) node(1 - n).inputs.push_back(LinkDown{old});
  }
  run();
}

void Pair::connect() {
  allowed_ = true;
  run();
}

void Pair::cut() {
  allowed_ = false;
  if (link_ == 0) return;
  const LinkId old = link_;
  link_ = 0;
  for (Node& x : nodes_) {
    std::erase_if(x.inputs, [](const Input& in) { return std::holds_alternative<MessageIn>(in); });
    if (x.mirror) x.inputs.push_back(LinkDown{old});
  }
  run();
}

void Pair::try_link() {
  if (link_ != 0 || !allowed_ || !nodes_[0].link_wanted || !nodes_[1].link_wanted) return;
  link_ = next_link_++;
  for (Node& x : nodes_) x.inputs.push_back(LinkUp{link_});
}

void Pair::complete(int n, Input in) {
  Node& x = node(n);
  if (x.hold_disk)
    x.held.push_back(in);
  else
    x.inputs.push_back(in);
}

void Pair::disk(int n, const DiskIo& io) {
  Node& x = node(n);
  const std::uint64_t at = io.range.offset.value() / 512;
  const std::uint64_t count = io.range.length.value() / 512;
  BufferId buffer = io.buffer;
  int error = 0;
  switch (io.verb) {
    case DiskVerb::read: {
      if (buffer == 0) buffer = next_buffer_++;
      buffers_[buffer].assign(x.data.begin() + static_cast<std::ptrdiff_t>(at),
                              x.data.begin() + static_cast<std::ptrdiff_t>(at + count));
      error = x.fail_reads;
      if (const auto bad = x.bad_sectors.lower_bound(at); bad != x.bad_sectors.end() && *bad < at + count)
        error = EIO;
      break;
    }
    case DiskVerb::write:
      error = x.fail_writes;
      if (error == 0)
        std::copy_n(buffers_.at(buffer).begin(), count, x.data.begin() + static_cast<std::ptrdiff_t>(at));
      if (error == 0)
        x.bad_sectors.erase(x.bad_sectors.lower_bound(at), x.bad_sectors.lower_bound(at + count));
      break;
    case DiskVerb::zero:
      error = x.fail_writes;
      if (error == 0) std::fill_n(x.data.begin() + static_cast<std::ptrdiff_t>(at), count, 0);
      break;
    case DiskVerb::flush:
      ++x.flushes;
      error = x.fail_flushes;
      break;
  }
  Digest digest;
  if (io.look != Look::none && error == 0) {
    const std::vector<std::uint64_t>& tags = buffers_.at(buffer);
    digest.zero = std::all_of(tags.begin(), tags.end(), [](std::uint64_t tag) { return tag == 0; });
  }
  complete(n, DiskDone{io.op, error, io.verb == DiskVerb::read ? buffer : 0, digest});
}

void Pair::metadata(int n, const MetaWrite& w) {
  Node& x = node(n);
  if (x.fail_metadata != 0) {
    x.inputs.push_back(MetaDone{w.op, x.fail_metadata});
    return;
  }
  if (x.lost_block != w.block)
    std::memcpy(x.area.data() + w.block * bitmap::kBlockSize, w.bytes.data(), w.bytes.size());
  if (w.bytes.size() > bitmap::kBlockSize) ++x.record_writes;
  x.inputs.push_back(MetaDone{w.op, 0});
}

void Pair::carry_out(int n) {
  Node& x = node(n);
  Outputs todo;
  std::swap(todo, x.outputs);
  for (const Output& o : todo) {
    std::visit(overloaded{
                   [&](const DiskIo& io) { disk(n, io); },
                   [&](const MetaWrite& w) {
                     if (x.hold_metadata)
                       x.held_metadata.push_back(w);
                     else
                       metadata(n, w);
                   },
                   [&](const Send& s) {
                     if (s.link != link_ || !node(1 - n).mirror) return;
                     x.sent.push_back(s.header);
                     bodies_.emplace_back(s.body.begin(), s.body.end());
                     BufferId copy = 0;
                     if (s.payload != 0) buffers_[copy = next_buffer_++] = buffers_.at(s.payload);
                     node(1 - n).inputs.push_back(MessageIn{s.link, s.header, bodies_.back(), copy});
                   },
                   [&](const CloseLink& c) {
                     if (c.link != link_) return;
                     link_ = 0;
                     allowed_ = false;
                     for (Node& y : nodes_) {
                       if (y.mirror) y.inputs.push_back(LinkDown{c.link});
                     }
                   },
                   [&](const SetLinkWanted& w) { x.link_wanted = w.wanted; },
                   [&](const Reply& r) { x.replies[r.request] = r; },
                   [&](const ReleaseBuffer&) {},
                   [&](const ExportState& e) { x.export_open = e.open; },
                   [&](const CommandDone& c) { x.commands[c.id] = c.refusal; },
                   [&](const Event& e) { x.events.push_back(e); },
               },
               o);
  }
}

void Pair::run() {
  while (round()) {
  }
}

bool Pair::round() {
  bool busy = false;
  {
    try_link();
    for (int n = 0; n < 2; ++n) {
      Node& x = node(n);
      if (!x.mirror) {
        x.inputs.clear();
        continue;
      }
      const std::size_t count = x.inputs.size();
      for (std::size_t i = 0; i < count; ++i) {
        const Input in = x.inputs.front();
        x.inputs.pop_front();
        x.mirror->step(now_, in, x.outputs);
      }
      x.mirror->turn_end(now_, x.outputs);
      x.mirror->check_invariants();
      busy = busy || count > 0 || !x.outputs.empty();
      carry_out(n);
    }
  }
  return busy;
}

void Pair::advance(Duration d) {
  const Instant end = now_ + d;
  while (now_ < end) {
    Instant next = end;
    for (Node& x : nodes_) {
      if (x.mirror)
        next = std::min(next, std::max(x.mirror->next_deadline(), now_ + Duration::milliseconds(1)));
    }
    now_ = next;
    for (Node& x : nodes_) {
      if (x.mirror) x.inputs.push_back(Tick{});
    }
    run();
  }
}

void Pair::release(int n) {
  Node& x = node(n);
  x.hold_disk = false;
  for (; !x.held.empty(); x.held.erase(x.held.begin())) x.inputs.push_back(x.held.front());
  run();
}

void Pair::release_metadata(int n) {
  Node& x = node(n);
  x.hold_metadata = false;
  for (const MetaWrite& w : x.held_metadata) metadata(n, w);
  x.held_metadata.clear();
  run();
}

Refusal Pair::command(int n, Command c) {
  c.id = next_command_++;
  node(n).inputs.push_back(c);
  run();
  const auto it = node(n).commands.find(c.id);
  return it == node(n).commands.end() ? Refusal::busy : it->second;
}

RequestId Pair::write(int n, std::uint64_t at, std::uint64_t sectors, std::uint64_t tag, bool fua) {
  const RequestId r = next_request_++;
  const BufferId b = next_buffer_++;
  buffers_[b].assign(sectors, tag);
  node(n).inputs.push_back(ClientWrite{r, {ByteOffset{at * 512}, ByteCount{sectors * 512}}, b, fua});
  return r;
}

RequestId Pair::flush(int n) {
  const RequestId r = next_request_++;
  node(n).inputs.push_back(ClientFlush{r});
  return r;
}

RequestId Pair::read(int n, std::uint64_t at, std::uint64_t sectors) {
  const RequestId r = next_request_++;
  const BufferId b = next_buffer_++;
  buffers_[b].assign(sectors, 0);
  node(n).inputs.push_back(ClientRead{r, {ByteOffset{at * 512}, ByteCount{sectors * 512}}, b});
  return r;
}

std::optional<Status> Pair::answer(int n, RequestId r) {
  const auto it = node(n).replies.find(r);
  if (it == node(n).replies.end()) return std::nullopt;
  return it->second.status;
}

std::vector<std::uint64_t> Pair::read_data(int n, RequestId r) {
  return buffers_.at(node(n).replies.at(r).buffer);
}

bool Pair::saw(int n, EventKind kind) const {
  for (const Event& e : nodes_[static_cast<std::size_t>(n)].events) {
    if (e.kind == kind) return true;
  }
  return false;
}

void Pair::make_source(int n) {
  boot(0);
  boot(1);
  connect();
  advance(Duration::milliseconds(100));
  if (command(n, {0, Verb::promote}) != Refusal::none) std::abort();
  advance(Duration::milliseconds(100));
}

}  // namespace twinblock::core::testing
