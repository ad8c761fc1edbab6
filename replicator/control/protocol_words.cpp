// The words of the API and the rules for names: everything of protocol.hpp that is not JSON.
#include <array>
#include <cctype>

#include "base/assert.hpp"
#include "replicator/control/protocol.hpp"

namespace twinblock::control {

namespace {

template <class Enum>
struct Word {
  Enum value;
  std::string_view text;
};
template <class Enum>
Word(Enum, const char*) -> Word<Enum>;  // clang-16 does not deduce aggregates by itself

// One table per enum, in the order of the enumerators.
constexpr std::array kRoles{Word{Role::kNone, "none"}, Word{Role::kSource, "source"},
                            Word{Role::kTarget, "target"}};
constexpr std::array kMirrorStates{
    Word{MirrorState::kStopped, "Stopped"},
    Word{MirrorState::kFailed, "Failed"},
    Word{MirrorState::kSplitBrain, "Split-brain"},
    Word{MirrorState::kPaused, "Paused"},
    Word{MirrorState::kWaitToResync, "Wait to Resync"},
    Word{MirrorState::kResyncPending, "Resync Pending"},
    Word{MirrorState::kResyncing, "Resyncing"},
    Word{MirrorState::kOutOfSync, "Out of Sync"},
    Word{MirrorState::kSource, "Source"},
    Word{MirrorState::kTarget, "Target"},
};
constexpr std::array kReplicaStates{
    Word{ReplicaState::kUptodate, "uptodate"}, Word{ReplicaState::kConsistent, "consistent"},
    Word{ReplicaState::kOutdated, "outdated"}, Word{ReplicaState::kInconsistent, "inconsistent"},
    Word{ReplicaState::kFailed, "failed"},     Word{ReplicaState::kDiskless, "diskless"},
    Word{ReplicaState::kUnknown, "unknown"},
};
constexpr std::array kLinkStates{
    Word{LinkState::kDown, "down"},
    Word{LinkState::kConnecting, "connecting"},
    Word{LinkState::kConnected, "connected"},
    Word{LinkState::kResyncPending, "resync-pending"},
    Word{LinkState::kResyncing, "resyncing"},
    Word{LinkState::kPaused, "paused"},
    Word{LinkState::kSplitBrain, "split-brain"},
    Word{LinkState::kRefused, "refused"},
};
constexpr std::array kModes{Word{Mode::kSync, "sync"}, Word{Mode::kMemsync, "memsync"},
                            Word{Mode::kAsync, "async"}};
constexpr std::array kSeverities{Word{Severity::kInfo, "info"}, Word{Severity::kWarning, "warning"},
                                 Word{Severity::kError, "error"}, Word{Severity::kCritical, "critical"}};
constexpr std::array kVerbs{
    Word{Verb::kCreate, "create"},
    Word{Verb::kCheck, "check"},
    Word{Verb::kUp, "up"},
    Word{Verb::kDown, "down"},
    Word{Verb::kSet, "set"},
    Word{Verb::kResolve, "resolve"},
    Word{Verb::kSwitchover, "switchover"},
    Word{Verb::kPromote, "promote"},
    Word{Verb::kDemote, "demote"},
    Word{Verb::kPause, "pause"},
    Word{Verb::kResume, "resume"},
    Word{Verb::kConnect, "connect"},
    Word{Verb::kDisconnect, "disconnect"},
    Word{Verb::kResync, "resync"},
    Word{Verb::kExplain, "explain"},
    Word{Verb::kMetadataDump, "metadata-dump"},
};
constexpr std::array kOutcomes{Word{Outcome::kDone, "done"}, Word{Outcome::kFailed, "failed"},
                               Word{Outcome::kUsage, "usage"}, Word{Outcome::kRefused, "refused"},
                               Word{Outcome::kNoSuchMirror, "no_such_mirror"}};
constexpr std::array kResolutions{Word{Resolution::kKeep, "keep"}, Word{Resolution::kDiscard, "discard"}};

template <class Enum, std::size_t N>
std::string_view word_of(const std::array<Word<Enum>, N>& words, Enum value) {
  const auto index = static_cast<std::size_t>(value);
  TB_ASSERT(index < N && words[index].value == value);
  return words[index].text;
}

template <class Enum, std::size_t N>
std::optional<Enum> value_of(const std::array<Word<Enum>, N>& words, std::string_view text) {
  for (const auto& word : words) {
    if (word.text == text) return word.value;
  }
  return std::nullopt;
}

// error_category's destructor is protected in effect: categories are never deleted.
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wnon-virtual-dtor"
class ControlCategory final : public boost::system::error_category {
 public:
  [[nodiscard]] const char* name() const noexcept override { return "twinblock.control"; }
  [[nodiscard]] std::string message(int value) const override {
    switch (static_cast<errc>(value)) {
      case errc::kBadJson:
        return "the text is not a JSON object";
      case errc::kBadField:
        return "a field has the wrong type or value";
      case errc::kMissingField:
        return "a required field is missing";
      case errc::kUnknownField:
        return "a field is not known";
      case errc::kWrongVersion:
        return "the protocol version is not supported";
      case errc::kNoSuchMirror:
        return "there is no mirror of this name";
      case errc::kAddressInUse:
        return "another daemon answers on this control socket";
      case errc::kBadAddress:
        return "the address cannot be used";
      case errc::kStopping:
        return "the daemon is stopping";
    }
    return "unknown control error";
  }
};
#pragma GCC diagnostic pop

}  // namespace

std::string_view to_string(Role value) {
  return word_of(kRoles, value);
}
std::string_view to_string(MirrorState value) {
  return word_of(kMirrorStates, value);
}
std::string_view to_string(ReplicaState value) {
  return word_of(kReplicaStates, value);
}
std::string_view to_string(LinkState value) {
  return word_of(kLinkStates, value);
}
std::string_view to_string(Mode value) {
  return word_of(kModes, value);
}
std::string_view to_string(Severity value) {
  return word_of(kSeverities, value);
}
std::string_view to_string(Verb value) {
  return word_of(kVerbs, value);
}
std::string_view to_string(Outcome value) {
  return word_of(kOutcomes, value);
}
std::string_view to_string(Resolution value) {
  return word_of(kResolutions, value);
}

template <>
std::optional<Role> parse_word(std::string_view word) {
  return value_of(kRoles, word);
}
template <>
std::optional<MirrorState> parse_word(std::string_view word) {
  return value_of(kMirrorStates, word);
}
template <>
std::optional<ReplicaState> parse_word(std::string_view word) {
  return value_of(kReplicaStates, word);
}
template <>
std::optional<LinkState> parse_word(std::string_view word) {
  return value_of(kLinkStates, word);
}
template <>
std::optional<Mode> parse_word(std::string_view word) {
  return value_of(kModes, word);
}
template <>
std::optional<Severity> parse_word(std::string_view word) {
  return value_of(kSeverities, word);
}
template <>
std::optional<Verb> parse_word(std::string_view word) {
  return value_of(kVerbs, word);
}
template <>
std::optional<Outcome> parse_word(std::string_view word) {
  return value_of(kOutcomes, word);
}
template <>
std::optional<Resolution> parse_word(std::string_view word) {
  return value_of(kResolutions, word);
}

bool valid_name(std::string_view name) {
  if (name.empty() || name.size() > kMirrorNameMax || name.front() == '.' || name.front() == '-')
    return false;
  for (const char c : name) {
    const bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
    const bool digit = c >= '0' && c <= '9';
    if (!letter && !digit && c != '_' && c != '-' && c != '.') return false;
  }
  return true;
}

const boost::system::error_category& control_category() noexcept {
  static const ControlCategory category;
  return category;
}

ErrorCode make_error_code(errc value) noexcept {
  return {static_cast<int>(value), control_category()};
}

}  // namespace twinblock::control
