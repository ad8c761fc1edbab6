// The only file that sees Boost.Beast. A connection is a loop of callbacks: read a request, route it, answer;
// while it waits for the backend or for an event no operation runs on it except a look for its end.
#include "replicator/control/http_server.hpp"

#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>
#include <algorithm>
#include <atomic>
#include <csignal>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include <boost/asio/generic/stream_protocol.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/beast/core/basic_stream.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http.hpp>

#include "replicator/control/config.hpp"
#include "replicator/control/http_routes.hpp"

namespace twinblock::control {

namespace {

namespace net = boost::asio;
namespace beast = boost::beast;
namespace http = boost::beast::http;
using Protocol = net::generic::stream_protocol;
using Stream = beast::basic_stream<Protocol>;
using beast::error_code;

// What is thrown away after a final error answer, so that the client reads it before it sees the end.
constexpr std::size_t kLingerBytesMax = 1u << 20;
constexpr auto kLingerTime = std::chrono::seconds{2};
constexpr auto kAcceptRetry = std::chrono::milliseconds{100};

std::chrono::nanoseconds chrono_of(Duration value) {
  return std::chrono::nanoseconds{value.nanoseconds()};
}

// Work from other threads to the control thread; refuses once the io_context is gone, so that a backend's
// late callback finds a closed door rather than a dead object.
class Mailbox {
 public:
  explicit Mailbox(net::io_context& io) : io_{&io} {}
  template <class Work>
  void post(Work&& work) {
    const std::lock_guard lock{mutex_};
    if (io_ != nullptr) net::post(*io_, std::forward<Work>(work));
  }
  void close() {
    const std::lock_guard lock{mutex_};
    io_ = nullptr;
  }
  // Set while a look at the event ring is already on its way: a burst of events costs one message.
  std::atomic<bool> event_wakeup_posted{};

 private:
  std::mutex mutex_;
  net::io_context* io_;
};

class Connection;

// What all connections share. Lives in HttpServer::Impl, touched on the control thread only.
struct Shared {
  net::io_context io{1};
  HttpServerOptions options;
  ServerIdentity identity;
  ControlBackend* backend{};
  EventRing* events{};
  std::shared_ptr<Mailbox> mailbox;
  std::vector<std::shared_ptr<Connection>> connections;
  bool stopping{};
};

class Connection : public std::enable_shared_from_this<Connection> {
 public:
  Connection(Shared& shared, Protocol::socket socket, bool read_only)
      : shared_{shared}, stream_{std::move(socket)}, read_only_{read_only} {}

  void start() { read_request(); }
  [[nodiscard]] bool read_only() const { return read_only_; }

  // Ends the connection; called for any reason any number of times.
  void close() {
    if (closed_) return;
    closed_ = true;
    ++ticket_;
    poll_timer_.cancel();
    stream_.close();
    std::erase(shared_.connections, shared_from_this());
  }

  // New events exist: answers a long-poll that waits for them.
  void on_events() {
    if (waiting_for_events_) answer_waiting_poll(false);
  }

  // The backend's answer to the question with this ticket; late and repeated ones no longer match.
  void on_status(std::uint64_t ticket, const Result<StatusReply>& status) {
    if (ticket != ticket_ || closed_) return;
    const bool metrics = route_.kind == RouteKind::kMetrics;
    answer(answer_status(status, route_.command.mirror, metrics));
  }
  void on_result(std::uint64_t ticket, const CommandResult& result) {
    if (ticket == ticket_ && !closed_) answer(answer_command(result));
  }

 private:
  void read_request() {
    parser_.emplace();
    parser_->header_limit(kHttpHeaderBytesMax);
    parser_->body_limit(kHttpBodyBytesMax);
    stream_.expires_after(chrono_of(shared_.options.request_timeout));
    http::async_read(stream_, buffer_, *parser_,
                     [self = shared_from_this()](error_code ec, std::size_t) { self->on_request(ec); });
  }

  void on_request(error_code ec) {
    if (closed_) return;
    if (ec == http::error::body_limit) return answer_last(413, "The request body is larger than 64 KiB.");
    if (ec == http::error::header_limit || ec == http::error::buffer_overflow) {
      return answer_last(431, "The request header is larger than 8 KiB.");
    }
    if (ec && ec.category() == make_error_code(http::error::bad_method).category() &&
        ec != http::error::end_of_stream && ec != http::error::partial_message) {
      return answer_last(400, "This is not an HTTP request: " + ec.message() + ".");
    }
    if (ec) return close();
    keep_alive_ = parser_->get().keep_alive();
    const auto& message = parser_->get();
    const HttpRequest request{.method = {message.method_string().data(), message.method_string().size()},
                              .target = {message.target().data(), message.target().size()},
                              .body = message.body(),
                              .read_only = read_only_};
    route_ = route_request(request, shared_.identity);
    stream_.expires_never();
    ++ticket_;
    carry_out();
  }

  void carry_out() {
    switch (route_.kind) {
      case RouteKind::kRespond:
        return answer(route_.response);
      case RouteKind::kStatus:
      case RouteKind::kMetrics:
        return ask_status();
      case RouteKind::kExecute:
        return ask_execute();
      case RouteKind::kEvents:
        return start_poll();
    }
  }

  void ask_status() {
    watch_for_end();
    shared_.backend->status(route_.command.mirror, [mailbox = shared_.mailbox, weak = weak_from_this(),
                                                    ticket = ticket_](Result<StatusReply> status) {
      mailbox->post([weak, ticket, status = std::move(status)] {
        if (const auto self = weak.lock()) self->on_status(ticket, status);
      });
    });
  }

  void ask_execute() {
    watch_for_end();
    shared_.backend->execute(route_.command, [mailbox = shared_.mailbox, weak = weak_from_this(),
                                              ticket = ticket_](CommandResult result) {
      mailbox->post([weak, ticket, result = std::move(result)] {
        if (const auto self = weak.lock()) self->on_result(ticket, result);
      });
    });
  }

  void start_poll() {
    waiting_for_events_ = true;
    watch_for_end();
    poll_timer_.expires_after(std::chrono::seconds{route_.wait_s});
    poll_timer_.async_wait([self = shared_from_this(), ticket = ticket_](error_code ec) {
      if (!ec && ticket == self->ticket_ && self->waiting_for_events_) self->answer_waiting_poll(true);
    });
    answer_waiting_poll(route_.wait_s == 0);
  }

  void answer_waiting_poll(bool even_if_empty) {
    const EventBatch batch = shared_.events->since(route_.since);
    if (batch.events.empty() && !even_if_empty) return;
    waiting_for_events_ = false;
    poll_timer_.cancel();
    answer(answer_events(batch));
  }

  // A client that hangs up while it waits gives its place back at once. Readable without a hang-up is a
  // pipelined request, whose turn comes later, or a client that has only closed its sending side.
  void watch_for_end() {
    stream_.socket().async_wait(net::socket_base::wait_read,
                                [self = shared_from_this(), ticket = ticket_](error_code ec) {
                                  if (ec || self->closed_ || ticket != self->ticket_) return;
                                  pollfd state{self->stream_.socket().native_handle(), 0, 0};
                                  if (::poll(&state, 1, 0) > 0) self->close();  // POLLHUP or POLLERR
                                });
  }

  void answer_last(unsigned status, std::string message) {
    keep_alive_ = false;
    linger_ = true;
    answer(answer_error(status, std::move(message)));
  }

  void answer(HttpResponse response) {
    ++ticket_;
    waiting_for_events_ = false;
    error_code ignored;
    stream_.socket().cancel(ignored);  // the look for the end: a connection has one read at a time
    response_ = {};
    response_.version(11);
    response_.result(response.status);
    response_.set(http::field::content_type,
                  beast::string_view{response.content_type.data(), response.content_type.size()});
    response_.set(http::field::server, "twinblock");
    response_.set(http::field::cache_control, "no-store");
    response_.keep_alive(keep_alive_);
    response_.body() = std::move(response.body);
    response_.prepare_payload();
    stream_.expires_after(chrono_of(shared_.options.write_timeout));
    http::async_write(stream_, response_,
                      [self = shared_from_this()](error_code ec, std::size_t) { self->on_written(ec); });
  }

  void on_written(error_code ec) {
    if (closed_) return;
    if (ec) return close();
    if (keep_alive_) return read_request();
    if (!linger_) return close();
    error_code ignored;
    stream_.socket().shutdown(net::socket_base::shutdown_send, ignored);
    stream_.expires_after(kLingerTime);
    buffer_.clear();
    discard();
  }

  void discard() {
    stream_.async_read_some(buffer_.prepare(16u << 10),
                            [self = shared_from_this()](error_code ec, std::size_t bytes) {
                              self->discarded_ += bytes;
                              if (self->closed_) return;
                              if (ec || self->discarded_ > kLingerBytesMax) return self->close();
                              self->discard();
                            });
  }

  Shared& shared_;
  Stream stream_;
  bool read_only_;
  bool closed_{};
  bool keep_alive_{};
  bool linger_{};
  bool waiting_for_events_{};
  std::size_t discarded_{};
  // Counts the turns of the conversation; what was asked in an earlier turn is ignored.
  std::uint64_t ticket_{};
  Route route_;
  beast::flat_buffer buffer_{kHttpHeaderBytesMax + kHttpBodyBytesMax};
  std::optional<http::request_parser<http::string_body>> parser_;
  http::response<http::string_body> response_;
  net::steady_timer poll_timer_{shared_.io};
};

// Accepts on one address for as long as it lives; a shortage of descriptors is waited out.
template <class AcceptProtocol>
class Listener {
 public:
  Listener(Shared& shared, bool read_only) : shared_{shared}, acceptor_{shared.io}, read_only_{read_only} {}

  typename AcceptProtocol::acceptor& acceptor() { return acceptor_; }

  void accept() {
    acceptor_.async_accept([this](error_code ec, typename AcceptProtocol::socket socket) {
      if (ec == net::error::operation_aborted || shared_.stopping) return;
      if (ec) {
        retry_.expires_after(kAcceptRetry);
        retry_.async_wait([this](error_code wait_error) {
          if (!wait_error) accept();
        });
        return;
      }
      admit(std::move(socket));
      accept();
    });
  }

  void close() {
    error_code ignored;
    acceptor_.close(ignored);
    retry_.cancel();
  }

 private:
  void admit(typename AcceptProtocol::socket socket) {
    const auto mine = [this](const auto& connection) { return connection->read_only() == read_only_; };
    const auto count = std::count_if(shared_.connections.begin(), shared_.connections.end(), mine);
    if (static_cast<std::size_t>(count) >= shared_.options.connections_max) {
      static constexpr std::string_view kBusy =
          "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
      (void)::send(socket.native_handle(), kBusy.data(), kBusy.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
      return;
    }
    auto connection = std::make_shared<Connection>(shared_, Protocol::socket{std::move(socket)}, read_only_);
    shared_.connections.push_back(connection);
    connection->start();
  }

  Shared& shared_;
  typename AcceptProtocol::acceptor acceptor_;
  bool read_only_;
  net::steady_timer retry_{shared_.io};
};

using UnixListener = Listener<net::local::stream_protocol>;
using TcpListener = Listener<net::ip::tcp>;

// Removes a socket file that no one answers on; a living daemon's is an error.
ErrorCode clear_stale_socket(net::io_context& io, const std::string& path) {
  struct stat info {};
  if (::lstat(path.c_str(), &info) != 0) return errno == ENOENT ? ErrorCode{} : system_error(errno);
  if (!S_ISSOCK(info.st_mode)) return make_error_code(errc::kBadAddress);
  net::local::stream_protocol::socket probe{io};
  error_code ec;
  probe.connect(net::local::stream_protocol::endpoint{path}, ec);
  if (!ec || ec == net::error::would_block || ec == net::error::try_again)
    return make_error_code(errc::kAddressInUse);
  if (ec != net::error::connection_refused) return ec;
  return ::unlink(path.c_str()) == 0 || errno == ENOENT ? ErrorCode{} : system_error(errno);
}

ErrorCode listen_unix(UnixListener& listener, net::io_context& io, const std::string& path) {
  if (path.empty() || path.size() > 107) return make_error_code(errc::kBadAddress);
  if (const ErrorCode ec = clear_stale_socket(io, path); ec.failed()) return ec;
  error_code ec;
  auto& acceptor = listener.acceptor();
  acceptor.open({}, ec);
  if (!ec) acceptor.bind(net::local::stream_protocol::endpoint{path}, ec);
  // Between bind and listen nobody can connect, so the mode is never wider than this.
  if (!ec && ::chmod(path.c_str(), 0660) != 0) ec = system_error(errno);
  if (!ec) acceptor.listen(net::socket_base::max_listen_connections, ec);
  return ec;
}

ErrorCode listen_tcp(TcpListener& listener, net::io_context& io, const std::string& text) {
  const auto address = parse_tcp_address(text);
  if (!address) return make_error_code(errc::kBadAddress);
  error_code ec;
  net::ip::tcp::resolver resolver{io};
  const auto found = resolver.resolve(address->host, std::to_string(address->port), ec);
  if (ec) return ec;
  const net::ip::tcp::endpoint endpoint = *found.begin();
  auto& acceptor = listener.acceptor();
  acceptor.open(endpoint.protocol(), ec);
  if (!ec) acceptor.set_option(net::socket_base::reuse_address{true}, ec);
  if (!ec) acceptor.bind(endpoint, ec);
  if (!ec) acceptor.listen(net::socket_base::max_listen_connections, ec);
  return ec;
}

}  // namespace

struct HttpServer::Impl {
  Shared shared;
  net::executor_work_guard<net::io_context::executor_type> work{shared.io.get_executor()};
  UnixListener unix_listener{shared, false};
  TcpListener tcp_listener{shared, true};
  std::uint16_t tcp_port{};
  ino_t socket_inode{};
  std::thread thread;

  void run() {
    ::pthread_setname_np(::pthread_self(), "tb-control");
    shared.io.run();
  }

  void start_thread() {
    // Signals are the main thread's business.
    sigset_t all;
    sigset_t before;
    ::sigfillset(&all);
    ::pthread_sigmask(SIG_SETMASK, &all, &before);
    thread = std::thread{[this] { run(); }};
    ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  }

  void close_everything() {
    shared.stopping = true;
    unix_listener.close();
    tcp_listener.close();
    const auto connections = shared.connections;
    for (const auto& connection : connections) connection->close();
    work.reset();
  }

  void wake_pollers() {
    shared.mailbox->event_wakeup_posted.store(false);
    const auto connections = shared.connections;
    for (const auto& connection : connections) connection->on_events();
  }
};

HttpServer::HttpServer(std::unique_ptr<Impl> impl) : impl_{std::move(impl)} {}

HttpServer::~HttpServer() {
  stop();
}

Result<std::unique_ptr<HttpServer>> HttpServer::start(const HttpServerOptions& options,
                                                      ControlBackend& backend, EventRing& events,
                                                      std::string* problem) {
  auto impl = std::make_unique<Impl>();
  Shared& shared = impl->shared;
  shared.options = options;
  shared.identity = {options.node, options.daemon_version};
  shared.backend = &backend;
  shared.events = &events;
  shared.mailbox = std::make_shared<Mailbox>(shared.io);
  const auto failed = [&](const std::string& address, const ErrorCode& ec) {
    if (problem != nullptr) *problem = address + ": " + ec.message();
    return ec;
  };
  // TCP first: a failure there must not leave a socket file behind.
  if (!options.tcp_address.empty()) {
    if (const ErrorCode ec = listen_tcp(impl->tcp_listener, shared.io, options.tcp_address); ec.failed()) {
      return failed("tcp:" + options.tcp_address, ec);
    }
    impl->tcp_port = impl->tcp_listener.acceptor().local_endpoint().port();
    impl->tcp_listener.accept();
  }
  if (const ErrorCode ec = listen_unix(impl->unix_listener, shared.io, options.unix_socket); ec.failed()) {
    return failed("unix:" + options.unix_socket, ec);
  }
  struct stat info {};
  if (::stat(options.unix_socket.c_str(), &info) == 0) impl->socket_inode = info.st_ino;
  impl->unix_listener.accept();
  Impl* const raw = impl.get();
  events.set_listener([raw, mailbox = shared.mailbox] {
    if (!mailbox->event_wakeup_posted.exchange(true)) mailbox->post([raw] { raw->wake_pollers(); });
  });
  raw->start_thread();
  return std::unique_ptr<HttpServer>{new HttpServer{std::move(impl)}};
}

void HttpServer::stop() {
  if (!impl_->thread.joinable()) return;
  impl_->shared.events->set_listener(nullptr);
  impl_->shared.mailbox->post([impl = impl_.get()] { impl->close_everything(); });
  impl_->thread.join();
  impl_->shared.mailbox->close();
  const std::string& path = impl_->shared.options.unix_socket;
  struct stat info {};
  const bool ours = ::stat(path.c_str(), &info) == 0 && info.st_ino == impl_->socket_inode;
  if (ours) ::unlink(path.c_str());
}

void HttpServer::post(std::function<void()> work) {
  impl_->shared.mailbox->post(std::move(work));
}

std::uint16_t HttpServer::tcp_port() const {
  return impl_->tcp_port;
}

}  // namespace twinblock::control
