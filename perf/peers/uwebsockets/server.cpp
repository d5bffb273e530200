// Echo and broadcast server on uWebSockets: its own echo example without TLS and without compression.
//
// Usage: uwebsockets --port N. There is no --spin: this event loop always sleeps.
// Paths: "/sub" subscribes, "/pub" publishes each message to all subscribers, any other path echoes.

#include "App.h"

#include <cstdlib>
#include <cstring>
#include <iostream>

namespace {

constexpr std::string_view topic = "all";

struct Nothing {};

using Socket = uWS::WebSocket<false, true, Nothing>;
using Behavior = uWS::App::WebSocketBehavior<Nothing>;

// Limits as in the contract of the peers; no timers, because the harness never leaves a connection mute.
Behavior behavior() {
    Behavior behavior;
    behavior.compression = uWS::DISABLED;
    behavior.maxPayloadLength = 16 * 1024 * 1024;
    behavior.maxBackpressure = 64 * 1024 * 1024;
    behavior.idleTimeout = 0;
    behavior.sendPingsAutomatically = false;
    return behavior;
}

int port_of(int argc, char **argv) {
    if (argc == 3 && std::strcmp(argv[1], "--port") == 0) {
        return std::atoi(argv[2]);
    }
    std::cerr << "usage: " << argv[0] << " --port N (this peer cannot spin)\n";
    std::exit(2);
}

} // namespace

int main(int argc, char **argv) {
    const int port = port_of(argc, argv);
    uWS::App app;

    // The library corks the socket around every read: all answers to one read leave in one write.
    Behavior echo = behavior();
    echo.message = [](Socket *socket, std::string_view message, uWS::OpCode opcode) {
        socket->send(message, opcode);
    };

    Behavior subscriber = behavior();
    subscriber.open = [](Socket *socket) { socket->subscribe(topic); };

    Behavior publisher = behavior();
    publisher.message = [&app](Socket *, std::string_view message, uWS::OpCode opcode) {
        app.publish(topic, message, opcode);
    };

    app.ws<Nothing>("/sub", std::move(subscriber))
        .ws<Nothing>("/pub", std::move(publisher))
        .ws<Nothing>("/*", std::move(echo))
        .listen("127.0.0.1", port, [port](auto *listener) {
            if (!listener) {
                std::cerr << "cannot listen on port " << port << '\n';
                std::exit(1);
            }
            std::cout << "listening on 127.0.0.1:" << port << std::endl;
        })
        .run();
}
