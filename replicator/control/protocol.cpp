// JSON form of the control protocol: one of the few files that sees Boost.JSON.
#include "replicator/control/protocol.hpp"

#include <array>
#include <cmath>
#include <cstdio>
#include <limits>

#include <boost/json.hpp>

namespace twinblock::control {

namespace json = boost::json;

namespace {

// ---- writing

std::string generation_hex(std::uint64_t generation) {
  std::array<char, 17> text{};
  std::snprintf(text.data(), text.size(), "%016llx", static_cast<unsigned long long>(generation));
  return text.data();
}

// JSON is UTF-8, yet a text may quote a client, a device or a file name: a byte that is no part of a valid
// sequence becomes '?', so that the answer can always be parsed.
std::string utf8(std::string_view text) {
  const auto continuation = [&](std::size_t i) {
    return i < text.size() && (static_cast<unsigned char>(text[i]) & 0xc0) == 0x80;
  };
  std::string out;
  for (std::size_t i = 0; i < text.size();) {
    const auto lead = static_cast<unsigned char>(text[i]);
    const unsigned second = i + 1 < text.size() ? static_cast<unsigned char>(text[i + 1]) : 0u;
    std::size_t length = lead < 0x80 ? 1 : lead >= 0xc2 && lead < 0xe0 ? 2 : 0;
    // Overlong forms, surrogates and what lies above U+10FFFF are not UTF-8.
    if (lead >= 0xe0 && lead < 0xf0 && (lead != 0xe0 || second >= 0xa0) && (lead != 0xed || second < 0xa0))
      length = 3;
    if (lead >= 0xf0 && lead < 0xf5 && (lead != 0xf0 || second >= 0x90) && (lead != 0xf4 || second < 0x90))
      length = 4;
    bool valid = length > 0;
    for (std::size_t k = 1; k < length; ++k) valid = valid && continuation(i + k);
    if (valid) {
      out += text.substr(i, length);
    } else {
      out += '?';
    }
    i += valid ? length : 1;
  }
  return out;
}

json::object pairs_object(const std::vector<std::pair<std::string, std::string>>& pairs) {
  json::object object;
  for (const auto& [name, value] : pairs) object[utf8(name)] = utf8(value);
  return object;
}

json::value value_of(std::optional<Resolution> resolution) {
  json::value word;
  if (resolution) word = json::string(to_string(*resolution));
  return word;
}

json::value value_of(const PeerStatus& peer) {
  json::value resync;
  if (peer.resync) {
    const auto& r = *peer.resync;
    json::value eta;
    if (r.eta_s) eta = *r.eta_s;
    resync = json::object{{"done_bytes", r.done_bytes}, {"total_bytes", r.total_bytes},
                          {"rate", r.rate_bytes_per_s}, {"eta_s", eta},
                          {"sent_bytes", r.sent_bytes}, {"zero_bytes", r.zero_bytes}};
  }
  return json::object{{"name", utf8(peer.name)},
                      {"link", to_string(peer.link)},
                      {"replica", to_string(peer.replica)},
                      {"dirty_bytes", peer.dirty_bytes},
                      {"resync", resync},
                      {"queue_bytes", peer.queue_bytes},
                      {"rpo_s", peer.rpo_s},
                      {"path", utf8(peer.path)},
                      {"resolution", value_of(peer.resolution)}};
}

json::value value_of(const MirrorStatus& mirror) {
  json::array peers;
  for (const auto& peer : mirror.peers) peers.push_back(value_of(peer));
  const Counters& c = mirror.counters;
  json::object counters{{"reads", c.reads},
                        {"writes", c.writes},
                        {"read_bytes", c.read_bytes},
                        {"written_bytes", c.written_bytes},
                        {"flushes", c.flushes},
                        {"resync_sent_bytes", c.resync_sent_bytes},
                        {"resync_zero_bytes", c.resync_zero_bytes}};
  return json::object{{"name", utf8(mirror.name)},
                      {"role", to_string(mirror.role)},
                      {"state", to_string(mirror.state)},
                      {"mode", to_string(mirror.mode)},
                      {"generation", generation_hex(mirror.generation)},
                      {"term", mirror.term},
                      {"size", mirror.size},
                      {"nbd", utf8(mirror.nbd)},
                      {"nbd_clients", mirror.nbd_clients},
                      {"replica", to_string(mirror.replica)},
                      {"redundancy", mirror.redundancy},
                      {"peers", std::move(peers)},
                      {"promotable", mirror.promotable},
                      {"promotion_score", mirror.promotion_score},
                      {"reason", utf8(mirror.reason)},
                      {"frozen", mirror.frozen},
                      {"frozen_reason", utf8(mirror.frozen_reason)},
                      {"hot_extents", mirror.hot_extents},
                      {"write_alone", utf8(mirror.write_alone)},
                      {"resolution", value_of(mirror.resolution)},
                      {"counters", std::move(counters)}};
}

json::value value_of(const CommandOptions& o) {
  json::object object;
  if (!o.confirm_dead.empty()) object["confirm_dead"] = utf8(o.confirm_dead);
  if (o.force) object["force"] = true;
  if (o.full) object["full"] = true;
  if (o.source) object["source"] = true;
  if (o.size_bytes) object["size_bytes"] = *o.size_bytes;
  if (o.resolution) object["resolution"] = to_string(*o.resolution);
  if (!o.node.empty()) object["node"] = utf8(o.node);
  if (!o.settings.empty()) object["settings"] = pairs_object(o.settings);
  if (o.timeout_s) object["timeout_s"] = *o.timeout_s;
  return object;
}

json::value value_of(const Event& event) {
  return json::object{{"sequence", event.sequence},
                      {"wall_time_ms", event.wall_time_ms},
                      {"mirror", utf8(event.mirror)},
                      {"kind", utf8(event.kind)},
                      {"severity", to_string(event.severity)},
                      {"text", utf8(event.text)},
                      {"fields", pairs_object(event.fields)}};
}

json::value parse_or_null(std::string_view text, json::error_code& ec) {
  json::parse_options limits;
  limits.max_depth = 16;
  try {
    return json::parse(text, ec, {}, limits);
  } catch (const std::bad_alloc&) {
    ec = json::error::size_mismatch;
  } catch (const std::length_error&) {
    ec = json::error::size_mismatch;
  }
  return nullptr;
}

// ---- reading

// Takes fields out of one object; the first problem sticks and everything after it is a no-op, so that
// readers are straight lines.
class Reader {
 public:
  Reader(const json::value& value, std::string where) : where_{std::move(where)}, object_{value.if_object()} {
    if (object_ == nullptr) fail(errc::kBadJson, "", "is not an object");
  }

  void read(const char* key, std::string& out, bool required = true) {
    if (const json::value* v = find(key, required)) {
      if (v->is_string())
        out = std::string{v->get_string()};
      else
        fail(errc::kBadField, key, "must be a string");
    }
  }
  void read(const char* key, bool& out, bool required = true) {
    if (const json::value* v = find(key, required)) {
      if (v->is_bool())
        out = v->get_bool();
      else
        fail(errc::kBadField, key, "must be true or false");
    }
  }
  void read(const char* key, double& out, bool required = true) {
    if (const json::value* v = find(key, required)) {
      json::error_code ec;
      const double number = v->to_number<double>(ec);
      if (ec || !std::isfinite(number))
        fail(errc::kBadField, key, "must be a number");
      else
        out = number;
    }
  }
  template <std::integral Integer>
  void read(const char* key, Integer& out, bool required = true) {
    if (const json::value* v = find(key, required)) {
      json::error_code ec;
      const auto number = v->to_number<Integer>(ec);
      if (ec)
        fail(errc::kBadField, key, "must be a whole number in range");
      else
        out = number;
    }
  }
  template <class T>
  void read(const char* key, std::optional<T>& out) {
    T value{};
    if (find(key, false) == nullptr) return;
    read(key, value);
    if (ok()) out = value;
  }
  template <class Enum>
    requires std::is_enum_v<Enum>
  void read(const char* key, Enum& out, bool required = true) {
    std::string word;
    if (find(key, required) == nullptr) return;
    read(key, word);
    if (!ok()) return;
    if (const auto value = parse_word<Enum>(word))
      out = *value;
    else
      fail(errc::kBadField, key, "has the unknown value \"" + word + "\"");
  }
  void read(const char* key, std::vector<std::pair<std::string, std::string>>& out) {
    const json::value* v = find(key, false);
    if (v == nullptr) return;
    const json::object* pairs = v->if_object();
    if (pairs == nullptr) return fail(errc::kBadField, key, "must be an object of strings");
    for (const auto& pair : *pairs) {
      if (!pair.value().is_string()) return fail(errc::kBadField, key, "must be an object of strings");
      out.emplace_back(std::string{pair.key()}, std::string{pair.value().get_string()});
    }
  }
  // An array of objects, each read by `read_one(Reader&) -> T`.
  template <class T, class ReadOne>
  void read_array(const char* key, std::vector<T>& out, ReadOne read_one) {
    const json::value* v = find(key, true);
    if (v == nullptr) return;
    const json::array* array = v->if_array();
    if (array == nullptr) return fail(errc::kBadField, key, "must be an array");
    for (std::size_t i = 0; i < array->size(); ++i) {
      Reader element{(*array)[i], where_ + key + "[" + std::to_string(i) + "]."};
      T value = read_one(element);
      if (!element.ok()) return adopt(element);
      out.push_back(std::move(value));
    }
  }
  void check_version() {
    int version{};
    read("version", version);
    if (ok() && version != kProtocolVersion) fail(errc::kWrongVersion, "version", "is not 1");
  }
  template <std::size_t N>
  void only(const std::array<std::string_view, N>& known) {
    if (!ok()) return;
    for (const auto& pair : *object_) {
      const std::string_view key{pair.key().data(), pair.key().size()};
      bool found = false;
      for (const auto& word : known) found = found || word == key;
      if (!found) return fail(errc::kUnknownField, std::string{key}, "is not known here");
    }
  }
  // The field, or null if it is absent or JSON null; absence of a required one is a failure.
  const json::value* find(const char* key, bool required) {
    if (!ok()) return nullptr;
    const json::value* v = object_->if_contains(key);
    if (v != nullptr && !v->is_null()) return v;
    if (required) fail(errc::kMissingField, key, "is missing");
    return nullptr;
  }
  void fail(errc code, const std::string& key, const std::string& problem) {
    if (!ok()) return;
    error_ = make_error_code(code);
    const std::string name = where_ + key;
    problem_ = (name.empty() ? "the text" : name) + " " + problem;
  }
  void adopt(const Reader& inner) {
    error_ = inner.error_;
    problem_ = inner.problem_;
  }
  [[nodiscard]] bool ok() const { return !error_.failed(); }
  [[nodiscard]] ErrorCode error() const { return error_; }
  [[nodiscard]] const std::string& problem() const { return problem_; }
  [[nodiscard]] const std::string& where() const { return where_; }

 private:
  std::string where_;
  const json::object* object_{};
  ErrorCode error_;
  std::string problem_;
};

PeerStatus read_peer(Reader& in) {
  PeerStatus peer;
  in.read("name", peer.name);
  in.read("link", peer.link);
  in.read("replica", peer.replica);
  in.read("dirty_bytes", peer.dirty_bytes);
  in.read("queue_bytes", peer.queue_bytes);
  in.read("rpo_s", peer.rpo_s);
  in.read("path", peer.path);
  in.read("resolution", peer.resolution);
  if (const json::value* v = in.find("resync", false)) {
    Reader inner{*v, in.where() + "resync."};
    ResyncProgress resync;
    inner.read("done_bytes", resync.done_bytes);
    inner.read("total_bytes", resync.total_bytes);
    inner.read("rate", resync.rate_bytes_per_s);
    inner.read("eta_s", resync.eta_s);
    inner.read("sent_bytes", resync.sent_bytes, false);
    inner.read("zero_bytes", resync.zero_bytes, false);
    if (!inner.ok()) in.adopt(inner);
    peer.resync = resync;
  }
  return peer;
}

void read_generation(Reader& in, std::uint64_t& out) {
  std::string hex;
  in.read("generation", hex);
  if (!in.ok()) return;
  std::uint64_t value{};
  for (const char c : hex) {
    const bool digit = c >= '0' && c <= '9';
    if (!digit && !(c >= 'a' && c <= 'f'))
      return in.fail(errc::kBadField, "generation", "must be hexadecimal");
    value = value << 4 | static_cast<std::uint64_t>(digit ? c - '0' : c - 'a' + 10);
  }
  if (hex.size() != 16) return in.fail(errc::kBadField, "generation", "must have 16 hexadecimal digits");
  out = value;
}

MirrorStatus read_mirror(Reader& in) {
  MirrorStatus mirror;
  in.read("name", mirror.name);
  in.read("role", mirror.role);
  in.read("state", mirror.state);
  in.read("mode", mirror.mode);
  read_generation(in, mirror.generation);
  in.read("term", mirror.term);
  in.read("size", mirror.size);
  in.read("nbd", mirror.nbd);
  in.read("nbd_clients", mirror.nbd_clients, false);
  in.read("replica", mirror.replica);
  in.read("redundancy", mirror.redundancy);
  in.read_array("peers", mirror.peers, read_peer);
  in.read("promotable", mirror.promotable);
  in.read("promotion_score", mirror.promotion_score);
  in.read("reason", mirror.reason);
  in.read("frozen", mirror.frozen);
  in.read("frozen_reason", mirror.frozen_reason);
  in.read("hot_extents", mirror.hot_extents);
  in.read("write_alone", mirror.write_alone);
  in.read("resolution", mirror.resolution);
  if (const json::value* v = in.find("counters", true)) {
    Reader inner{*v, in.where() + "counters."};
    inner.read("reads", mirror.counters.reads);
    inner.read("writes", mirror.counters.writes);
    inner.read("read_bytes", mirror.counters.read_bytes);
    inner.read("written_bytes", mirror.counters.written_bytes);
    inner.read("flushes", mirror.counters.flushes);
    inner.read("resync_sent_bytes", mirror.counters.resync_sent_bytes, false);
    inner.read("resync_zero_bytes", mirror.counters.resync_zero_bytes, false);
    if (!inner.ok()) in.adopt(inner);
  }
  return mirror;
}

CommandOptions read_options(Reader& in) {
  constexpr std::array<std::string_view, 9> kKnown{
      "confirm_dead", "force", "full", "source", "size_bytes", "resolution", "settings", "node", "timeout_s"};
  CommandOptions o;
  in.only(kKnown);
  in.read("confirm_dead", o.confirm_dead, false);
  in.read("force", o.force, false);
  in.read("full", o.full, false);
  in.read("source", o.source, false);
  in.read("size_bytes", o.size_bytes);
  in.read("resolution", o.resolution);
  in.read("node", o.node, false);
  in.read("settings", o.settings);
  in.read("timeout_s", o.timeout_s);
  return o;
}

Event read_event(Reader& in) {
  Event event;
  in.read("sequence", event.sequence);
  in.read("wall_time_ms", event.wall_time_ms);
  in.read("mirror", event.mirror);
  in.read("kind", event.kind);
  in.read("severity", event.severity);
  in.read("text", event.text);
  in.read("fields", event.fields);
  return event;
}

StatusReply read_status(Reader& in) {
  StatusReply status;
  in.check_version();
  in.read("node", status.node);
  in.read("daemon_version", status.daemon_version);
  in.read("uptime_s", status.uptime_s);
  in.read_array("mirrors", status.mirrors, read_mirror);
  return status;
}

Command read_command(Reader& in) {
  constexpr std::array<std::string_view, 4> kKnown{"version", "verb", "mirror", "options"};
  Command command;
  in.only(kKnown);
  in.check_version();
  in.read("verb", command.verb);
  in.read("mirror", command.mirror);
  if (const json::value* v = in.find("options", false)) {
    Reader inner{*v, "options."};
    command.options = read_options(inner);
    if (!inner.ok()) in.adopt(inner);
  }
  return command;
}

CommandResult read_result(Reader& in) {
  CommandResult result;
  in.check_version();
  in.read("result", result.outcome);
  in.read("message", result.message, false);
  in.read("what_is_safe", result.what_is_safe, false);
  in.read("next_step", result.next_step, false);
  if (const json::value* v = in.find("data", false)) result.data = json::serialize(*v);
  return result;
}

EventBatch read_batch(Reader& in) {
  EventBatch batch;
  in.check_version();
  in.read_array("events", batch.events, read_event);
  in.read("next", batch.next);
  in.read("lost", batch.lost);
  return batch;
}

template <class T>
Result<T> read_text(std::string_view text, std::string* problem, T (*read)(Reader&)) {
  json::error_code ec;
  const json::value value = parse_or_null(text, ec);
  if (ec) {
    if (problem != nullptr) *problem = "the text is not JSON: " + ec.message();
    return make_error_code(errc::kBadJson);
  }
  Reader in{value, ""};
  T result = read(in);
  if (in.ok()) return result;
  if (problem != nullptr) *problem = in.problem();
  return in.error();
}

}  // namespace

std::string to_json(const MirrorStatus& value) {
  return json::serialize(value_of(value));
}
std::string to_json(const CommandOptions& value) {
  return json::serialize(value_of(value));
}
std::string to_json(const Event& value) {
  return json::serialize(value_of(value));
}

std::string to_json(const StatusReply& value) {
  json::array mirrors;
  for (const auto& mirror : value.mirrors) mirrors.push_back(value_of(mirror));
  const json::object object{{"version", kProtocolVersion},
                            {"node", utf8(value.node)},
                            {"daemon_version", utf8(value.daemon_version)},
                            {"uptime_s", value.uptime_s},
                            {"mirrors", std::move(mirrors)}};
  return json::serialize(object);
}

std::string to_json(const Command& value) {
  const json::object object{{"version", kProtocolVersion},
                            {"verb", to_string(value.verb)},
                            {"mirror", utf8(value.mirror)},
                            {"options", value_of(value.options)}};
  return json::serialize(object);
}

std::string to_json(const CommandResult& value) {
  json::value data;
  if (!value.data.empty()) {
    json::error_code ec;
    data = parse_or_null(value.data, ec);
    // A text that is not JSON still reaches the reader, as a string.
    if (ec) data = utf8(value.data);
  }
  const json::object object{{"version", kProtocolVersion},        {"result", to_string(value.outcome)},
                            {"message", utf8(value.message)},     {"what_is_safe", utf8(value.what_is_safe)},
                            {"next_step", utf8(value.next_step)}, {"data", std::move(data)}};
  return json::serialize(object);
}

std::string to_json(const EventBatch& value) {
  json::array events;
  for (const auto& event : value.events) events.push_back(value_of(event));
  const json::object object{{"version", kProtocolVersion},
                            {"events", std::move(events)},
                            {"next", value.next},
                            {"lost", value.lost}};
  return json::serialize(object);
}

template <>
Result<StatusReply> from_json(std::string_view text, std::string* problem) {
  return read_text(text, problem, read_status);
}
template <>
Result<MirrorStatus> from_json(std::string_view text, std::string* problem) {
  return read_text(text, problem, read_mirror);
}
template <>
Result<Command> from_json(std::string_view text, std::string* problem) {
  return read_text(text, problem, read_command);
}
template <>
Result<CommandOptions> from_json(std::string_view text, std::string* problem) {
  if (text.find_first_not_of(" \t\r\n") == std::string_view::npos) return CommandOptions{};
  return read_text(text, problem, read_options);
}
template <>
Result<CommandResult> from_json(std::string_view text, std::string* problem) {
  return read_text(text, problem, read_result);
}
template <>
Result<Event> from_json(std::string_view text, std::string* problem) {
  return read_text(text, problem, read_event);
}
template <>
Result<EventBatch> from_json(std::string_view text, std::string* problem) {
  return read_text(text, problem, read_batch);
}

}  // namespace twinblock::control
