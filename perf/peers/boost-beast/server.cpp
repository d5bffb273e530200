// Echo server on Boost.Beast: the asynchronous session of its own examples on one thread.
//
// Usage: boost-beast --port N [--spin]. With --spin the io_context is polled and never sleeps.
//
// The executor is the concrete one of the io_context and the context carries the hint "unsafe" (no locks), which
// is what Asio's documentation recommends for a program with one thread. No time-outs, no compression.

#include <boost/asio/basic_socket_acceptor.hpp>
#include <boost/asio/basic_stream_socket.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/websocket.hpp>

#include <cstdlib>
#include <iostream>
#include <memory>
#include <optional>
#include <string_view>

namespace {

namespace net = boost::asio;
namespace beast = boost::beast;
namespace websocket = beast::websocket;
using boost::system::error_code;
using net::ip::tcp;

using Executor = net::io_context::executor_type;
using Socket = net::basic_stream_socket<tcp, Executor>;
using Acceptor = net::basic_socket_acceptor<tcp, Executor>;

constexpr std::size_t max_message = 16 * 1024 * 1024;

class Session : public std::enable_shared_from_this<Session> {
public:
    explicit Session(Socket &&socket) : stream_(std::move(socket)) {
        stream_.next_layer().set_option(tcp::no_delay(true));
        stream_.read_message_max(max_message);
        stream_.auto_fragment(false);
    }

    void start() {
        stream_.async_accept([self = shared_from_this()](error_code error) {
            if (!error) {
                self->read();
            }
        });
    }

private:
    void read() {
        stream_.async_read(buffer_, [self = shared_from_this()](error_code error, std::size_t) {
            if (!error) {
                self->write();
            }
        });
    }

    void write() {
        stream_.text(stream_.got_text());
        stream_.async_write(buffer_.cdata(), [self = shared_from_this()](error_code error, std::size_t) {
            if (!error) {
                self->buffer_.consume(self->buffer_.size());
                self->read();
            }
        });
    }

    websocket::stream<Socket> stream_;
    beast::flat_buffer buffer_;
};

void accept(Acceptor &acceptor) {
    acceptor.async_accept([&acceptor](error_code error, Socket socket) {
        if (!error) {
            std::make_shared<Session>(std::move(socket))->start();
        }
        accept(acceptor);
    });
}

struct Arguments {
    std::optional<unsigned short> port;
    bool spin = false;
};

Arguments arguments(int argc, char **argv) {
    Arguments result;
    for (int index = 1; index < argc; ++index) {
        const std::string_view word = argv[index];
        if (word == "--spin") {
            result.spin = true;
        } else if (word == "--port" && index + 1 < argc) {
            result.port = static_cast<unsigned short>(std::atoi(argv[++index]));
        } else {
            result.port.reset();
            break;
        }
    }
    if (!result.port) {
        std::cerr << "usage: " << argv[0] << " --port N [--spin]\n";
        std::exit(2);
    }
    return result;
}

} // namespace

int main(int argc, char **argv) {
    const Arguments given = arguments(argc, argv);
    net::io_context context{BOOST_ASIO_CONCURRENCY_HINT_UNSAFE};
    Acceptor acceptor{context.get_executor(), {net::ip::address_v4::loopback(), *given.port}};
    std::cout << "listening on " << acceptor.local_endpoint() << std::endl;
    accept(acceptor);
    if (given.spin) {
        while (!context.stopped()) {
            context.poll();
        }
    }
    context.run();
}
