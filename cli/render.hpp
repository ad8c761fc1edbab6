// What people see: tables, bars and the three lines of an error. Pure functions of the status, so that tests
// read them and `--watch` only repeats them.
#pragma once

#include <cstdint>
#include <string>

#include "replicator/control/protocol.hpp"

namespace twinblock::cli {

struct Style {
  bool colour{};  // ANSI colours; only for a terminal
  std::size_t width{80};
};

// The table of `twinblock status`; several lines, each ending in a newline.
[[nodiscard]] std::string render_status(const control::StatusReply& status, const Style& style);

// "[#####.....]  52 %  1.2 of 2.3 GiB  301 MiB/s  ETA 4s" in at most style.width columns, without newline.
[[nodiscard]] std::string render_progress(const control::ResyncProgress& progress, const Style& style);

// "2026-11-20 13:22:21.123Z  #17  warning  data  link.down  text  key=value".
[[nodiscard]] std::string render_event(const control::Event& event, const Style& style);

// "twinblock: what happened\n  safe: ...\n  next: ...\n". Empty parts get an honest sentence.
[[nodiscard]] std::string render_error(const control::CommandResult& result, const Style& style);

// Text from elsewhere without control characters, which could drive the terminal.
[[nodiscard]] std::string printable(std::string_view text);

}  // namespace twinblock::cli
