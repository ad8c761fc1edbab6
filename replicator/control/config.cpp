// Reads the configuration file: the only file that sees toml++. The reader never stops at the first problem:
// an administrator at a maintenance window fixes a list once, not one line per attempt.
#include "replicator/control/config.hpp"

#include <unistd.h>
#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <stdexcept>

// toml++ 3.3 asserts what a malformed file can break ("[[[" in a header) and goes on undefined without
// assertions. An operator's typing error must do neither: it becomes an exception, in every build.
namespace twinblock::control {
class TomlAssertion : public std::logic_error {
 public:
  using std::logic_error::logic_error;
};
}  // namespace twinblock::control
#define TOML_ASSERT(expression) \
  ((expression) ? static_cast<void>(0) : throw twinblock::control::TomlAssertion{#expression})
#define TOML_ASSERT_ASSUME(expression) TOML_ASSERT(expression)
#define TOML_HEADER_ONLY 1
#define TOML_ENABLE_FORMATTERS 0
#include <toml++/toml.h>

#include "replicator/control/config_fields.hpp"
#include "replicator/control/protocol_text.hpp"

namespace twinblock::control {

namespace {

constexpr std::size_t kUnixPathMax = 107;  // sockaddr_un::sun_path without its terminator
constexpr std::size_t kPathsPerNodeMax = 8;
constexpr std::string_view kNameRule = "letters, digits, '_', '-', '.'; at most 64";
constexpr std::string_view kAbsolutePath = "an absolute path";
constexpr std::string_view kTcpForm = "\"HOST:PORT\" or \"[IPV6]:PORT\"";
constexpr std::string_view kNbdForm = "\"unix:/PATH\" (at most 107 characters) or \"tcp:HOST:PORT\"";

constexpr std::array<std::string_view, 2> kRootKeys{"node", "mirror"};
constexpr std::array<std::string_view, 4> kLocalKeys{"name", "state_dir", "control", "http"};
constexpr std::array<std::string_view, 6> kNodeKeys{"name", "disk", "metadata", "replication", "mode", "nbd"};

int line_of(const toml::node& node) {
  return static_cast<int>(node.source().begin.line);
}

std::optional<Scalar> scalar_of(const toml::node& node) {
  if (const auto* v = node.as_string()) return Scalar{v->get()};
  if (const auto* v = node.as_integer()) return Scalar{v->get()};
  if (const auto* v = node.as_floating_point()) return Scalar{v->get()};
  if (const auto* v = node.as_boolean()) return Scalar{v->get()};
  return std::nullopt;
}

// Where the header that toml++ asserts on probably stands: its assertion carries no position.
std::ptrdiff_t malformed_header(std::string_view text) {
  const std::size_t at = text.find("[[[");
  return at == std::string_view::npos ? 0 : static_cast<std::ptrdiff_t>(at);
}

std::string machine_name() {
  std::array<char, 256> name{};
  if (::gethostname(name.data(), name.size() - 1) != 0) return {};
  return name.data();
}

std::string normal_path(const std::string& path) {
  return std::filesystem::path{path}.lexically_normal().string();
}

class ConfigReader {
 public:
  ConfigReader(std::string file, const std::string& host_name)
      : file_{std::move(file)}, host_name_{host_name.empty() ? machine_name() : host_name} {}

  ConfigCheck read(std::string_view text) {
    try {
      const toml::table root = toml::parse(text, std::string_view{file_});
      read_root(root);
    } catch (const toml::parse_error& e) {
      report(static_cast<int>(e.source().begin.line), "", "syntax error: " + std::string{e.description()},
             "");
    } catch (const TomlAssertion&) {
      report(1 + static_cast<int>(std::count(text.begin(), text.begin() + malformed_header(text), '\n')), "",
             "syntax error: malformed table header or key", "[table] or [[list of tables]]");
    } catch (const std::exception& e) {
      report(0, "", std::string{"cannot be read: "} + e.what(), "");
    }
    std::stable_sort(problems_.begin(), problems_.end(),
                     [](const Diagnostic& a, const Diagnostic& b) { return a.line < b.line; });
    ConfigCheck check;
    check.problems = std::move(problems_);
    if (check.problems.empty()) check.config = std::move(config_);
    return check;
  }

 private:
  void report(int line, std::string key, std::string problem, std::string_view allowed,
              std::string hint = {}) {
    problems_.push_back(
        {file_, line, std::move(key), std::move(problem), std::string{allowed}, std::move(hint)});
  }

  void refuse_unknown_keys(const toml::table& table, const std::string& prefix,
                           const std::vector<std::string_view>& known) {
    for (const auto& [key, value] : table) {
      if (std::find(known.begin(), known.end(), key.str()) != known.end()) continue;
      std::string allowed;
      for (const auto& k : known) allowed += (allowed.empty() ? "" : ", ") + std::string{k};
      report(static_cast<int>(key.source().begin.line), prefix + std::string{key.str()}, "unknown key",
             allowed, std::string{closest_word(key.str(), known.data(), known.size())});
    }
  }

  // A non-empty string under `key`; none if absent (reported if `required`) or of another type (reported).
  std::optional<std::string> text_of(const toml::table& table, std::string_view key,
                                     const std::string& prefix, std::string_view allowed, bool required) {
    const toml::node* node = table.get(key);
    const std::string name = prefix + std::string{key};
    if (node == nullptr) {
      if (required) report(line_of(table), name, "is missing", allowed);
      return std::nullopt;
    }
    const auto* text = node->as_string();
    if (text == nullptr || text->get().empty()) {
      report(line_of(*node), name, "must be a non-empty string", allowed);
      return std::nullopt;
    }
    return text->get();
  }

  std::optional<std::string> path_of(const toml::table& table, std::string_view key,
                                     const std::string& prefix, bool required) {
    auto text = text_of(table, key, prefix, kAbsolutePath, required);
    if (!text) return text;
    if (text->front() == '/' && text->find('\0') == std::string::npos) return text;
    report(line_of(*table.get(key)), prefix + std::string{key}, '"' + *text + "\" is not an absolute path",
           kAbsolutePath);
    return std::nullopt;
  }

  std::optional<std::string> name_of(const toml::table& table, const std::string& prefix, bool required) {
    auto text = text_of(table, "name", prefix, kNameRule, required);
    if (!text || valid_name(*text)) return text;
    report(line_of(*table.get("name")), prefix + "name", '"' + *text + "\" is not a valid name", kNameRule);
    return std::nullopt;
  }

  void read_root(const toml::table& root) {
    refuse_unknown_keys(root, "", {kRootKeys.begin(), kRootKeys.end()});
    read_local(root);
    const toml::node* mirrors = root.get("mirror");
    if (mirrors == nullptr) return;
    const toml::array* array = mirrors->as_array();
    const bool tables = array != nullptr && array->is_homogeneous<toml::table>();
    if (!tables) {
      return report(line_of(*mirrors), "mirror", "must be a list of tables", "[[mirror]] with two brackets");
    }
    for (const auto& element : *array) read_mirror(*element.as_table());
    check_between_mirrors();
  }

  void read_local(const toml::table& root) {
    config_.node_name = host_name_;
    const toml::node* node = root.get("node");
    if (node == nullptr) return;
    const toml::table* table = node->as_table();
    if (table == nullptr) return report(line_of(*node), "node", "must be a table", "[node]");
    refuse_unknown_keys(*table, "node.", {kLocalKeys.begin(), kLocalKeys.end()});
    if (auto name = name_of(*table, "node.", false)) config_.node_name = *name;
    if (auto dir = path_of(*table, "state_dir", "node.", false)) config_.state_dir = *dir;
    if (auto path = path_of(*table, "control", "node.", false)) {
      config_.control = *path;
      if (path->size() > kUnixPathMax) {
        report(line_of(*table->get("control")), "node.control", "is too long for a unix socket",
               "at most 107 characters");
      }
    }
    if (auto http = text_of(*table, "http", "node.", kTcpForm, false)) {
      config_.http = parse_tcp_address(*http);
      if (!config_.http) {
        report(line_of(*table->get("http")), "node.http", '"' + *http + "\" is not an address", kTcpForm);
      }
    }
  }

  void read_mirror(const toml::table& table) {
    MirrorConfig mirror;
    mirror.line = line_of(table);
    std::vector<std::string_view> known{"name", "nbd", "node"};
    for (const auto& field : mirror_fields()) known.push_back(field.key);
    refuse_unknown_keys(table, "mirror.", known);
    if (auto name = name_of(table, "mirror.", true)) mirror.name = *name;
    for (const auto& field : mirror_fields()) {
      const toml::node* node = table.get(field.key);
      if (node == nullptr) continue;
      const auto value = scalar_of(*node);
      if (value && field.assign(mirror, *value)) continue;
      const std::string shown = value ? scalar_text(*value) : std::string{"this"};
      report(line_of(*node), "mirror." + std::string{field.key}, shown + " is not an allowed value",
             field.allowed);
    }
    for (const auto& conflict : field_conflicts(mirror)) {
      const toml::node* node = table.get(conflict.key);
      report(node == nullptr ? mirror.line : line_of(*node), "mirror." + std::string{conflict.key},
             conflict.problem, conflict.allowed);
    }
    if (const auto nbd = read_nbd(table, "mirror.", mirror.insecure, true)) mirror.nbd = *nbd;
    read_nodes(table, mirror);
    config_.mirrors.push_back(std::move(mirror));
  }

  std::optional<NbdAddress> read_nbd(const toml::table& table, const std::string& prefix, bool insecure,
                                     bool required) {
    const auto text = text_of(table, "nbd", prefix, kNbdForm, required);
    if (!text) return std::nullopt;
    const int line = line_of(*table.get("nbd"));
    auto address = parse_nbd_address(*text);
    if (!address) {
      report(line, prefix + "nbd", '"' + *text + "\" is not an NBD address", kNbdForm);
    } else if (address->unix_path.empty() && !address->tcp.loopback() && !insecure) {
      report_plain_tcp(line, prefix + "nbd", address->tcp);
    }
    return address;
  }

  void report_plain_tcp(int line, const std::string& key, const TcpAddress& address) {
    report(
        line, key, address.text() + " is beyond loopback and the connection is not encrypted yet",
        "127.0.0.0/8, [::1], localhost; or insecure = true in this [[mirror]] on a network that you trust");
  }

  void read_nodes(const toml::table& table, MirrorConfig& mirror) {
    const toml::node* nodes = table.get("node");
    const toml::array* array = nodes == nullptr ? nullptr : nodes->as_array();
    if (nodes != nullptr && (array == nullptr || !array->is_homogeneous<toml::table>())) {
      return report(line_of(*nodes), "mirror.node", "must be a list of tables", "[[mirror.node]]");
    }
    const std::size_t count = array == nullptr ? 0 : array->size();
    for (std::size_t i = 0; i < count; ++i) read_node(*(*array)[i].as_table(), mirror);
    if (count != 2) {
      const int line = count > 2 ? line_of((*array)[2]) : mirror.line;
      return report(line, "mirror.node",
                    "mirror \"" + mirror.name + "\" has " + std::to_string(count) + " nodes",
                    "exactly two [[mirror.node]] tables (more are not supported yet)");
    }
    check_nodes(mirror);
  }

  void read_node(const toml::table& table, MirrorConfig& mirror) {
    const std::string prefix = "mirror.node.";
    NodeConfig node;
    node.line = line_of(table);
    refuse_unknown_keys(table, prefix, {kNodeKeys.begin(), kNodeKeys.end()});
    if (auto name = name_of(table, prefix, true)) node.name = *name;
    if (auto disk = path_of(table, "disk", prefix, true)) node.disk = *disk;
    node.metadata = config_.state_dir + "/" + mirror.name + ".meta";
    if (auto metadata = path_of(table, "metadata", prefix, false)) node.metadata = *metadata;
    if (!node.disk.empty() && normal_path(node.disk) == normal_path(node.metadata)) {
      report(node.line, prefix + "metadata", '"' + node.metadata + "\" is the data disk of the same node",
             "a file or device of its own");
    }
    if (auto mode = text_of(table, "mode", prefix, find_mirror_field("mode")->allowed, false)) {
      node.mode = parse_word<Mode>(*mode);
      if (!node.mode) {
        report(line_of(*table.get("mode")), prefix + "mode", '"' + *mode + "\" is not an allowed value",
               find_mirror_field("mode")->allowed);
      }
    }
    node.nbd = read_nbd(table, prefix, mirror.insecure, false);
    read_replication(table, mirror, node);
    mirror.nodes.push_back(std::move(node));
  }

  void read_replication(const toml::table& table, const MirrorConfig& mirror, NodeConfig& node) {
    const std::string key = "mirror.node.replication";
    const std::string allowed = "[" + std::string{kTcpForm} + ", ...], the dedicated path first";
    const toml::node* list = table.get("replication");
    if (list == nullptr) return report(node.line, key, "is missing", allowed);
    const toml::array* array = list->as_array();
    if (array == nullptr || array->empty() || array->size() > kPathsPerNodeMax) {
      return report(line_of(*list), key, "must be a list of 1 to 8 addresses", allowed);
    }
    for (const auto& element : *array) {
      const auto* text = element.as_string();
      const auto address = text == nullptr ? std::nullopt : parse_tcp_address(text->get());
      if (!address || address->port == 0) {
        const std::string shown = text == nullptr ? std::string{"this"} : '"' + text->get() + '"';
        report(line_of(element), key, shown + " is not an address with a port", allowed);
        continue;
      }
      if (!address->loopback() && !mirror.insecure) report_plain_tcp(line_of(element), key, *address);
      if (std::find(node.replication.begin(), node.replication.end(), *address) != node.replication.end()) {
        report(line_of(element), key, address->text() + " is listed twice", "each path once");
      }
      node.replication.push_back(*address);
    }
  }

  void check_nodes(MirrorConfig& mirror) {
    const NodeConfig& a = mirror.nodes[0];
    const NodeConfig& b = mirror.nodes[1];
    if (!a.name.empty() && a.name == b.name) {
      report(b.line, "mirror.node.name",
             "both nodes of mirror \"" + mirror.name + "\" are called \"" + a.name + '"',
             "two different names");
    }
    for (const auto& address : b.replication) {
      if (std::find(a.replication.begin(), a.replication.end(), address) == a.replication.end()) continue;
      report(b.line, "mirror.node.replication", address.text() + " is also an address of the other node",
             "an address of each node's own");
    }
    mirror.local = a.name == config_.node_name ? 0 : 1;
    const bool named = !a.name.empty() && !b.name.empty();
    if (named && mirror.local_node().name != config_.node_name) {
      report(
          mirror.line, "node.name",
          '"' + config_.node_name + "\" is no node of mirror \"" + mirror.name + '"',
          '"' + a.name + "\", \"" + b.name + "\" (or write name under [node]; its default is the host name)");
    }
  }

  // Two users of one disk destroy it, whatever their roles are.
  void check_between_mirrors() {
    std::map<std::string, int> names;
    std::map<std::string, std::string> users;  // "node\npath" -> who uses it
    std::map<std::string, std::string> exports;
    for (const auto& mirror : config_.mirrors) {
      const auto [first, fresh] = names.emplace(mirror.name, mirror.line);
      if (!fresh && !mirror.name.empty()) {
        report(mirror.line, "mirror.name",
               '"' + mirror.name + "\" is already the mirror of line " + std::to_string(first->second),
               "a name of its own");
        continue;
      }
      for (const auto& node : mirror.nodes) {
        claim(users, node, node.disk, "disk", mirror.name);
        claim(users, node, node.metadata, "metadata", mirror.name);
        const NbdAddress& nbd = node.nbd ? *node.nbd : mirror.nbd;
        if (nbd.unix_path.empty() && nbd.tcp.port == 0) continue;
        const auto [user, unused] = exports.emplace(node.name + "\n" + nbd.text(), mirror.name);
        if (unused) continue;
        report(node.nbd ? node.line : mirror.line, "mirror.nbd",
               '"' + nbd.text() + "\" is already used by mirror \"" + user->second + '"',
               "an address of its own");
      }
    }
  }

  void claim(std::map<std::string, std::string>& users, const NodeConfig& node, const std::string& path,
             const std::string& key, const std::string& mirror) {
    if (path.empty() || node.name.empty()) return;
    const std::string user = key + " of mirror \"" + mirror + '"';
    const auto [first, fresh] = users.emplace(node.name + "\n" + normal_path(path), user);
    // A disk that is its own metadata was reported where it stands.
    if (fresh || first->second.ends_with("mirror \"" + mirror + '"')) return;
    report(node.line, "mirror.node." + key,
           '"' + path + "\" on node \"" + node.name + "\" is already the " + first->second,
           "a disk or file of its own");
  }

  std::string file_;
  std::string host_name_;
  Config config_;
  std::vector<Diagnostic> problems_;
};

std::optional<std::string> file_text(const std::string& path, std::string& problem) {
  std::error_code ec;
  if (std::filesystem::is_directory(path, ec)) {
    problem = "is a directory";
    return std::nullopt;
  }
  errno = 0;
  std::ifstream in{path, std::ios::binary};
  if (!in) {
    problem = std::string{"cannot be opened: "} + std::strerror(errno);
    return std::nullopt;
  }
  std::string text(kConfigFileBytesMax + 1, '\0');
  in.read(text.data(), static_cast<std::streamsize>(text.size()));
  if (in.bad()) {
    problem = "cannot be read";
    return std::nullopt;
  }
  text.resize(static_cast<std::size_t>(in.gcount()));
  if (text.size() <= kConfigFileBytesMax) return text;
  problem = "is larger than 1 MiB";
  return std::nullopt;
}

}  // namespace

ConfigCheck check_config(const std::string& path, const std::string& host_name) {
  std::string problem;
  const auto text = file_text(path, problem);
  if (text) return parse_config(*text, path, host_name);
  ConfigCheck check;
  check.problems.push_back({path, 0, "", problem, "a readable TOML file", ""});
  return check;
}

ConfigCheck parse_config(std::string_view text, const std::string& file, const std::string& host_name) {
  return ConfigReader{file, host_name}.read(text);
}

std::optional<std::string> control_socket_of(const std::string& path) {
  std::error_code ec;
  if (!std::filesystem::exists(path, ec)) return kDefaultControlSocket;
  std::string problem;
  const auto text = file_text(path, problem);
  if (!text) return std::nullopt;
  try {
    const toml::table root = toml::parse(*text, std::string_view{path});
    const auto control = root["node"]["control"].value<std::string>();
    return control.value_or(kDefaultControlSocket);
  } catch (const std::exception&) {
    return std::nullopt;
  }
}

}  // namespace twinblock::control
