// Echo and broadcast server on uWebSockets: its own echo example; TLS if it is built with OpenSSL, compression if with zlib.
//
// Usage: uwebsockets --port N; uwebsockets-tls --port N --tls-cert FILE --tls-key FILE;
// uwebsockets-deflate --port N --compressor shared|dedicated.
// There is no --spin: this event loop always sleeps.
// Paths: "/sub" subscribes, "/pub" publishes each message to all subscribers, any other path echoes.

#include "App.h"

#include <cstdlib>
#include <iostream>
#include <map>
#include <string>

#ifdef LIBUS_USE_OPENSSL
#include <openssl/ssl.h>
#endif

namespace {

#ifdef LIBUS_USE_OPENSSL
constexpr bool secured = true;
#else
constexpr bool secured = false;
#endif

#ifdef UWS_NO_ZLIB
constexpr bool compressed = false;
#else
constexpr bool compressed = true;
#endif

constexpr std::string_view topic = "all";

struct Nothing {};

using App = uWS::TemplatedApp<secured>;
using Socket = uWS::WebSocket<secured, true, Nothing>;
using Behavior = App::WebSocketBehavior<Nothing>;
using Arguments = std::map<std::string, std::string>;

// Limits as in the contract of the peers; no timers, because the harness never leaves a connection mute.
Behavior behavior(uWS::CompressOptions compression) {
    Behavior behavior;
    behavior.compression = compression;
    behavior.maxPayloadLength = 16 * 1024 * 1024;
    behavior.maxBackpressure = 64 * 1024 * 1024;
    behavior.idleTimeout = 0;
    behavior.sendPingsAutomatically = false;
    return behavior;
}

[[noreturn]] void fail(const std::string &why) {
    std::cerr << why << '\n';
    std::exit(2);
}

// Pairs of a name and a value: --port, with TLS --tls-cert and --tls-key, with compression --compressor.
Arguments arguments_of(int argc, char **argv) {
    Arguments arguments;
    for (int index = 1; index + 1 < argc; index += 2) {
        arguments[argv[index]] = argv[index + 1];
    }
    const bool has_files = arguments.count("--tls-cert") == 1 && arguments.count("--tls-key") == 1;
    const bool has_compressor = arguments.count("--compressor") == 1;
    const std::size_t expected = 1 + (secured ? 2 : 0) + (compressed ? 1 : 0);
    if (argc % 2 == 0 || arguments.size() != expected || arguments.count("--port") != 1 || has_files != secured ||
        has_compressor != compressed) {
        fail(std::string("usage: ") + argv[0] + " --port N" + (secured ? " --tls-cert FILE --tls-key FILE" : "") +
             (compressed ? " --compressor shared|dedicated" : "") + " (this peer cannot spin)");
    }
    return arguments;
}

// A window of 32 KiB per connection, or one compressor for all; the decompressor is shared in both cases.
uWS::CompressOptions compression_of(const Arguments &arguments) {
    if (!compressed) {
        return uWS::DISABLED;
    }
    const std::string &compressor = arguments.at("--compressor");
    if (compressor == "shared") {
        return uWS::CompressOptions(uWS::SHARED_COMPRESSOR | uWS::SHARED_DECOMPRESSOR);
    }
    if (compressor == "dedicated") {
        return uWS::CompressOptions(uWS::DEDICATED_COMPRESSOR | uWS::SHARED_DECOMPRESSOR);
    }
    fail("the compressor is shared or dedicated");
}

// TLS 1.3, TLS_AES_128_GCM_SHA256 and P-256 only, without session tickets.
App app_of([[maybe_unused]] const Arguments &arguments) {
#ifdef LIBUS_USE_OPENSSL
    const std::string &certificate = arguments.at("--tls-cert"), &key = arguments.at("--tls-key");
    uWS::SocketContextOptions options;
    options.cert_file_name = certificate.c_str();
    options.key_file_name = key.c_str();
    App app(options);
    if (app.constructorFailed()) {
        fail("certificate or key cannot be used");
    }
    auto *context = static_cast<SSL_CTX *>(app.getNativeHandle());
    if (SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION) != 1 ||
        SSL_CTX_set_ciphersuites(context, "TLS_AES_128_GCM_SHA256") != 1 ||
        SSL_CTX_set1_groups_list(context, "P-256") != 1 || SSL_CTX_set_num_tickets(context, 0) != 1) {
        fail("OpenSSL does not take the settings");
    }
    return app;
#else
    return App();
#endif
}

} // namespace

int main(int argc, char **argv) {
    const Arguments arguments = arguments_of(argc, argv);
    const int port = std::atoi(arguments.at("--port").c_str());
    App app = app_of(arguments);

    // The library corks the socket around every read: all answers to one read leave in one write.
    const uWS::CompressOptions compression = compression_of(arguments);
    Behavior echo = behavior(compression);
    echo.message = [](Socket *socket, std::string_view message, uWS::OpCode opcode) {
        socket->send(message, opcode, compressed);
    };

    Behavior subscriber = behavior(compression);
    subscriber.open = [](Socket *socket) { socket->subscribe(topic); };

    Behavior publisher = behavior(compression);
    publisher.message = [&app](Socket *, std::string_view message, uWS::OpCode opcode) {
        app.publish(topic, message, opcode, compressed);
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
