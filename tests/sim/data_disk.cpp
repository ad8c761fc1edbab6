#include "tests/sim/data_disk.hpp"

#include <algorithm>

namespace twinblock::sim {

using core::DiskVerb;

std::uint32_t DataDisk::submit(const core::DiskIo& io) {
  std::uint32_t slot = 0;
  while (slot < ops_.size() && ops_[slot].used) ++slot;
  if (slot == ops_.size()) ops_.emplace_back();
  ops_[slot] = Op{.io = io,
                  .run = {static_cast<std::uint32_t>(io.range.offset.value() / kSectorBytes),
                          static_cast<std::uint32_t>(io.range.length.value() / kSectorBytes)},
                  .flush_mark = next_order_,
                  .used = true};
  if (io.buffer != 0) buffers_.reference(io.buffer);
  ++in_flight_;
  return slot;
}

const Tag* DataDisk::tags_of(const Volatile& v) {
  return v.buffer == 0 ? nullptr : buffers_.get(v.buffer).tags.data();
}

void DataDisk::land(const Op& op, bool durable) {
  const Volatile v{next_order_++, op.run, op.io.verb == DiskVerb::zero ? 0 : op.io.buffer};
  const Tag* tags = tags_of(v);
  for_each_part(op.run.first, op.run.count, [&](std::uint32_t s, std::uint32_t n) {
    const Tag* fresh = tags == nullptr ? nullptr : tags + (s - op.run.first);
    Cell* c = cells_.find(s);
    if (c == nullptr) {  // it has never shown anything but zeroes
      if (fresh == nullptr || std::all_of(fresh, fresh + n, [](Tag t) { return t == 0; })) return;
      c = &cells_.at(s);
    }
    for (std::uint32_t i = 0; i < n; ++i) {
      c[i].cached = fresh == nullptr ? 0 : fresh[i];
      if (!durable) continue;
      c[i].durable = c[i].cached;
      c[i].durable_order = v.order;
    }
  });
  if (durable) return;
  volatile_.push_back(v);
  if (v.buffer != 0) buffers_.reference(v.buffer);
}

void DataDisk::land_mixture(const Op& op, Random& random) {
  const core::BufferId mixture = buffers_.allocate(op.run.count);
  buffers_.reference(mixture);
  const std::uint64_t bias = random.below(3) * 500;
  for (std::uint32_t i = 0; i < op.run.count; ++i) {
    const Tag fresh = op.io.verb == DiskVerb::zero ? 0 : buffers_.get(op.io.buffer).tags[i];
    buffers_.get(mixture).tags[i] = random.chance(bias) ? fresh : cells_.get(op.run.first + i).cached;
  }
  Op copy = op;
  copy.io.verb = DiskVerb::write;
  copy.io.buffer = mixture;
  land(copy, false);
  buffers_.unreference(mixture);
}

void DataDisk::complete(std::uint32_t slot, bool ok, core::BufferId into, Random& random) {
  const Op op = ops_[slot];
  switch (op.io.verb) {
    case DiskVerb::read:
      if (ok) {
        std::vector<Tag>& tags = buffers_.get(into).tags;
        for_each_part(op.run.first, op.run.count, [&](std::uint32_t s, std::uint32_t n) {
          const Cell* c = cells_.find(s);
          Tag* out = tags.data() + (s - op.run.first);
          if (c == nullptr) {
            std::fill_n(out, n, Tag{0});
          } else {
            for (std::uint32_t i = 0; i < n; ++i) out[i] = c[i].cached;
          }
        });
        for (const Op& w : ops_) {  // a write in flight shows through in part
          if (!w.used || w.io.verb == DiskVerb::read || w.io.verb == DiskVerb::flush) continue;
          const std::uint32_t begin = std::max(w.run.first, op.run.first);
          const std::uint32_t end = std::min(w.run.first + w.run.count, op.run.first + op.run.count);
          for (std::uint32_t s = begin; s < end; ++s) {
            if (!random.one_in(2)) continue;
            tags[s - op.run.first] =
                w.io.verb == DiskVerb::zero ? 0 : buffers_.get(w.io.buffer).tags[s - w.run.first];
          }
        }
      }
      break;
    case DiskVerb::write:
    case DiskVerb::zero:
      ok ? land(op, op.io.fua) : land_mixture(op, random);
      break;
    case DiskVerb::flush:
      ok ? flush(op.flush_mark) : forget(op.flush_mark, random);
      break;
  }
  ops_[slot].used = false;
  --in_flight_;
  if (op.io.buffer != 0) buffers_.unreference(op.io.buffer);
}

void DataDisk::flush(std::uint32_t mark) {
  std::size_t n = 0;
  for (; n < volatile_.size() && volatile_[n].order < mark; ++n) {
    const Volatile& v = volatile_[n];
    const Tag* tags = tags_of(v);
    for_each_part(v.run.first, v.run.count, [&](std::uint32_t s, std::uint32_t count) {
      Cell* c = cells_.find(s);
      if (c == nullptr) return;
      const Tag* fresh = tags == nullptr ? nullptr : tags + (s - v.run.first);
      for (std::uint32_t i = 0; i < count; ++i) {
        if (c[i].durable_order > v.order) continue;
        c[i].durable = fresh == nullptr ? 0 : fresh[i];
        c[i].durable_order = v.order;
      }
    });
    if (v.buffer != 0) buffers_.unreference(v.buffer);
  }
  volatile_.erase(volatile_.begin(), volatile_.begin() + static_cast<std::ptrdiff_t>(n));
}

void DataDisk::forget(std::uint32_t mark, Random& random) {
  std::size_t kept = 0;
  bool first = true;
  for (const Volatile& v : volatile_) {
    const bool lost = v.order < mark && (first || random.one_in(2));
    first = false;
    if (!lost) {
      volatile_[kept++] = v;
    } else if (v.buffer != 0) {
      buffers_.unreference(v.buffer);
    }
  }
  volatile_.resize(kept);
}

void DataDisk::drop_in_flight() {
  for (Op& op : ops_) {
    if (!op.used) continue;
    op.used = false;
    if (op.io.buffer != 0) buffers_.unreference(op.io.buffer);
  }
  in_flight_ = 0;
}

void DataDisk::kill(Random& random) {
  // In any order: rotate the slots by chance.
  const std::size_t turn = ops_.empty() ? 0 : random.below(ops_.size());
  for (std::size_t i = 0; i < ops_.size(); ++i) {
    const Op& op = ops_[(i + turn) % ops_.size()];
    if (!op.used || op.io.verb == DiskVerb::read || op.io.verb == DiskVerb::flush) continue;
    if (random.one_in(3)) continue;
    random.one_in(2) ? land(op, false) : land_mixture(op, random);
  }
  drop_in_flight();
}

void DataDisk::keep_some(Random& random) {
  kill(random);
  const std::uint64_t bias = random.below(5) * 250;  // of sectors that survive, per mille
  for (const Volatile& v : volatile_) {
    const std::uint64_t whole = random.below(4);
    const Tag* tags = tags_of(v);
    for (std::uint32_t s = v.run.first; s < v.run.first + v.run.count; ++s) {
      Cell* c = cells_.find(s);
      if (c == nullptr) continue;
      const bool kept = whole == 0 || (whole > 1 && random.chance(bias));
      if (!kept || c->durable_order > v.order) continue;
      c->durable = tags == nullptr ? 0 : tags[s - v.run.first];
      c->durable_order = v.order;
    }
    if (v.buffer != 0) buffers_.unreference(v.buffer);
  }
  volatile_.clear();
}

}  // namespace twinblock::sim
