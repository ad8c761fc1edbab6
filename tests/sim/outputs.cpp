// Carries the core's outputs out, in the order given. Nothing here calls the core: completions are events.
#include <algorithm>

#include "base/overloaded.hpp"
#include "tests/sim/world.hpp"

namespace twinblock::sim {

using wire::Type;

void World::carry_out(Node& n) {
  for (const core::Output& out : outputs_) {
    if (trace_ != nullptr) trace_->add(now_, n.index, describe(out));
    mix(out.index() + 0x100);
    const auto* done = std::get_if<core::CommandDone>(&out);
    if (done != nullptr && done->id == n.force_command) n.forced = false;  // refused, or it has opened
    std::visit(overloaded{[&](const core::DiskIo& o) { on_disk_io(n, o); },
                          [&](const core::MetaWrite& o) { on_meta_write(n, o); },
                          [&](const core::Send& o) { on_send(n, o); },
                          [&](const core::CloseLink& o) { on_close(n, o.link); },
                          [&](const core::SetLinkWanted& o) {
                            n.link_wanted = o.wanted;
                            if (o.wanted) dial();
                          },
                          [&](const core::Reply& o) { on_reply(n, o); },
                          [&](const core::ReleaseBuffer& o) {
                            buffers_.take_from_core(o.buffer, n.index, "ReleaseBuffer");
                          },
                          [&](const core::ExportState& o) { on_export(n, o.open); },
                          [&](const core::CommandDone& o) {
                            // end_excused() stops counting: what was asked before may still be answered.
                            if (n.commands == 0 && !excused_)
                              fail("contract", "CommandDone without a command");
                            n.commands -= std::min(n.commands, 1u);
                            if (tap_ != nullptr) tap_->command_done(n.index, o);
                          },
                          [&](const core::Event& o) { on_event(n, o); }},
               out);
  }
}

void World::on_disk_io(Node& n, const core::DiskIo& io) {
  mix(io.op ^ io.range.offset.value());
  if (io.buffer != 0) buffers_.require_owned(io.buffer, n.index, "DiskIo");
  if (io.verb != core::DiskVerb::flush && (io.range.end().value() > scenario_.geometry.size.value() ||
                                           io.range.empty() || io.range.offset.value() % kSectorBytes != 0)) {
    fail("contract", "disk I/O outside the disk or not aligned");
  }
  if (io.verb == core::DiskVerb::write && io.buffer == 0) fail("contract", "disk write without a buffer");
  const std::uint32_t slot = n.disk.submit(io);
  const bool writes = io.verb == core::DiskVerb::write || io.verb == core::DiskVerb::zero;
  if (writes) check_disk_write(n, io, n.disk.op(slot).run);
  const bool flush = io.verb == core::DiskVerb::flush;
  const std::int64_t time = jitter(flush ? scenario_.flush_ns : scenario_.write_ns) * n.slow;
  push(time, EventType::disk_done, n.index, slot);
}

void World::on_meta_write(Node& n, const core::MetaWrite& io) {
  mix(io.op ^ io.block << 32);
  const std::uint32_t slot = n.meta.submit(io);
  push(jitter(scenario_.write_ns) * n.slow, EventType::meta_done, n.index, slot);
}

void World::on_event(Node& n, const core::Event& e) {
  mix(static_cast<std::uint64_t>(e.kind));
  if (tap_ != nullptr) tap_->event(n.index, e);
  if (e.kind == core::EventKind::split_brain) n.saw_split_brain = true;
  if (e.kind == core::EventKind::disk_failed) n.disk_lost = true;
  if (e.kind == core::EventKind::metadata_failed) n.metadata_lost = true;
  if (e.kind == core::EventKind::stopped) n.stopped = true;
  if (e.kind == core::EventKind::session_started && n.session_id != e.a && other(n).session_id == e.a) {
    n.session_led = other(n).session_joined;
    n.session_led_at = n.meta.superblock_sequence();
  }
}

void World::on_export(Node& n, bool open) {
  if (open == n.export_open) return;
  n.export_open = open;
  n.outranked = n.outranked && !open;  // what was under way is not answered ok either
  if (!open) {
    last_source_ = n.index;
    handed_over_ = true;
    return;
  }
  ++totals_.opens;
  check_open(n);
  last_source_ = n.index;
  handed_over_ = false;
  n.at_risk.clear();
  other(n).at_risk.clear();
}

// ---------------------------------------------------------------------------------------------- network

void World::log_stream(Node& n, const core::Send& send) {
  const wire::Header& h = send.header;
  StreamLog& log = other(n).stream;
  const SectorRun run{static_cast<std::uint32_t>(h.offset / kSectorBytes), h.length / kSectorBytes};
  switch (h.type) {
    case Type::write:
      log.add_write(h.sequence, run, buffers_.get(send.payload).tags.data());
      break;
    case Type::zero:
      log.add_write(h.sequence, run, nullptr);
      break;
    case Type::flush:
      log.add_flush(h.sequence);
      break;
    case Type::ack:
      if (n.stream.active()) n.stream.note_stable(h.aux);
      break;
    case Type::session_start:  // it leads: from now on its content does not come from a stream
      n.stream.end();
      settle_at_risk(n);
      break;
    case Type::session_ready:
      n.rolled_back = other(n).rolled_back = false;
      n.session_joined = ++sessions_;
      n.session_id = h.session;
      n.stream.begin(n.disk);
      end_fork(other(n));
      break;
    default:
      break;
  }
  if ((h.type == Type::write || h.type == Type::zero) && (h.flags & wire::kResync) == 0) {
    check_intent(n, run, "sent");
  }
  if (h.type == Type::write && (h.flags & wire::kResync) != 0) check_ceiling(n, h.length);
}

void World::on_send(Node& n, const core::Send& send) {
  mix(static_cast<std::uint64_t>(send.header.type) ^ send.header.sequence << 8);
  if (send.payload != 0) buffers_.require_owned(send.payload, n.index, "Send");
  Network::Side& side = network_.sides[index(n)];
  if (send.link != network_.id || !side.up || side.closing) return;  // the engine drops it
  if (send.header.type == Type::resync_done) check_resync_done(n);
  if (send.header.type == Type::verdict) check_verdict(send);
  log_stream(n, send);
  if (tap_ != nullptr && !tap_->sent(n.index, send)) return;
  const std::uint32_t at = network_.allocate();
  Message& m = network_.message(at);
  wire::Header h = send.header;
  m.body.assign(send.body.begin(), send.body.end());
  if (!m.body.empty()) h.aux = wire::payload_hash(m.body);
  if (send.payload != 0) {
    m.payload = send.payload;
    buffers_.reference(send.payload);
    h.aux = buffers_.get(send.payload).tags[0];
    for (const ClientOp& op : ops_) {
      if (op.used && op.buffer == send.payload && op.node == n.index) m.client_version = op.version;
    }
  }
  for (ClientOp& op : ops_) {  // a zero is known by its range; equal ones start in order
    if (!op.used || op.sent || op.kind != ClientOp::Kind::zero || op.node != n.index || h.type != Type::zero)
      continue;
    if (h.offset != std::uint64_t{op.run.first} * kSectorBytes || h.length != op.run.count * kSectorBytes)
      continue;
    if (m.client_version == 0 || op.version < m.client_version) m.client_version = op.version;
  }
  for (ClientOp& op : ops_)
    op.sent = op.sent || (op.used && m.client_version != 0 && op.version == m.client_version);
  wire::encode_header(h, m.header);
  Network::Direction& d = network_.directions[index(n)];
  m.due = std::max(d.last_due, now_ + jitter(scenario_.latency_ns));
  d.last_due = m.due;
  if (d.empty()) {
    d.queue.clear();
    d.head = 0;
  }
  d.queue.push_back(at);
  schedule_delivery(n.index);
  const std::uint32_t count = ++network_.messages_on_link;
  const bool hit = scenario_.cut_type == Type::ping ? count == scenario_.cut_at_message
                                                    : send.header.type == scenario_.cut_type && !cut_used_;
  if (scenario_.cut_at_message != 0 && hit && phase_ != Phase::heal && (!cut_used_ || random_.one_in(3)) &&
      (cut_armed_ || scenario_.kind != ScenarioClass::cuts)) {
    cut_at(n);
  }
}

void World::schedule_delivery(int from) {
  Network::Direction& d = network_.directions[static_cast<std::size_t>(from)];
  if (d.scheduled || d.empty() || d.stalled) return;
  d.scheduled = true;
  push(network_.message(d.queue[d.head]).due - now_, EventType::deliver, from);
}

void World::deliver(int from) {
  Network::Direction& d = network_.directions[static_cast<std::size_t>(from)];
  d.scheduled = false;
  if (d.empty() || d.stalled) return;
  const std::uint32_t at = d.queue[d.head];
  Message& m = network_.message(at);
  if (m.due > now_) return schedule_delivery(from);
  if (d.large_stall && m.payload != 0) {
    d.stalled = true;
    return;
  }
  Node& to = nodes_[static_cast<std::size_t>(1 - from)];
  const Network::Side& side = network_.sides[static_cast<std::size_t>(1 - from)];
  if (side.coming) {  // the other end is up before us: wait for our own LinkUp
    m.due = now_ + 10'000;
    return schedule_delivery(from);
  }
  ++d.head;
  schedule_delivery(from);
  if (to.mirror == nullptr || !side.up || side.closing) return network_.release(at);
  const Result<wire::Header> header = wire::decode_header(m.header);
  if (!header) fail("codec", "a header that was sent does not decode: " + header.error().message());
  core::MessageIn in{network_.id, *header, {}, 0};
  scratch_.assign(m.body.begin(), m.body.end());
  in.body = scratch_;
  if (!scratch_.empty() && !wire::check_payload(*header, scratch_)) fail("codec", "body hash differs");
  if (m.payload != 0) {
    in.payload = buffers_.allocate(static_cast<std::uint32_t>(buffers_.get(m.payload).tags.size()));
    buffers_.get(in.payload).tags = buffers_.get(m.payload).tags;
    buffers_.get(in.payload).resync = (header->flags & wire::kResync) != 0;
    buffers_.give_to_core(in.payload, to.index);
  }
  for (ClientOp& op : ops_) {
    if (m.client_version != 0 && op.used && op.version == m.client_version) op.delivered = true;
  }
  if (header->type == Type::session_start) {
    const Result<wire::SessionStartBody> body = wire::decode_session_start(scratch_);
    to.stays_promotable = body && body->stays_promotable != 0;
    to.resync_zeroes.clear();
  }
  const bool counts = to.export_open && header->session == 0;  // else it may be of another conversation
  if (counts && header->term > to.mirror->snapshot().term_own.value()) to.outranked = true;
  if (header->type == Type::zero && (header->flags & wire::kResync) != 0) {
    to.resync_zeroes.push_back({static_cast<std::uint32_t>(header->offset / kSectorBytes),
                                static_cast<std::uint32_t>(header->length / kSectorBytes)});
  }
  network_.release(at);
  step(to, in);
}

void World::on_close(Node& n, core::LinkId link) {
  Network::Side& side = network_.sides[index(n)];
  if (link != network_.id || !side.up || side.closing) return;
  link_down(n, jitter(100'000));
  side.closing = true;
  Node& peer = other(n);
  const Network::Direction& d = network_.directions[index(n)];
  // The end travels behind what was sent; if that stalls, so does it.
  if (!d.stalled)
    link_down(peer, std::max<std::int64_t>(d.last_due - now_, 0) + jitter(scenario_.latency_ns));
}

void World::link_down(Node& n, std::int64_t delay) {
  if (!network_.sides[index(n)].up) return;
  push(delay, EventType::link_down, n.index, network_.id);
  if (!dialling_) {
    dialling_ = true;
    push(delay + jitter(20 * kMillisecond), EventType::dial, kNone);
  }
}

void World::cut_link() {
  last_fault_ = now_;
  for (Node& n : nodes_) {
    network_.sides[index(n)].coming = false;
    link_down(n, random_.one_in(2) ? 0 : jitter(5 * kMillisecond));
  }
  dial();  // a link cut before it came up on either side is dialled again, too
}

void World::dial() {
  if (dialling_) return;
  const bool wanted = nodes_[0].mirror && nodes_[1].mirror && nodes_[0].link_wanted && nodes_[1].link_wanted;
  if (!wanted || network_blocked_ || !network_.idle()) {
    if (phase_ == Phase::done) return;
    dialling_ = true;
    push(jitter(50 * kMillisecond), EventType::dial, kNone);
    return;
  }
  ++network_.id;
  ++totals_.links;
  network_.messages_on_link = 0;
  for (Node& n : nodes_) {
    network_.clear(n.index);
    link_life_[index(n)] = n.life;
    network_.sides[index(n)] = Network::Side{.coming = true};
    push(jitter(scenario_.latency_ns), EventType::link_up, n.index, network_.id);
  }
}

}  // namespace twinblock::sim
