#include "transport/link/plain_transport.hpp"

namespace twinblock::link {

void PlainTransport::on_data(ring::StreamSocket&) {
  handler_.on_data(*this);
}
void PlainTransport::on_received(ring::StreamSocket&) {
  handler_.on_received(*this);
}
void PlainTransport::on_writable(ring::StreamSocket&) {
  handler_.on_writable(*this);
}
void PlainTransport::on_closed(ring::StreamSocket&, ErrorCode reason) {
  handler_.on_closed(*this, reason);
}

}  // namespace twinblock::link
