// A second load generator for WebSocket echo servers. It shares no code with the harness in ../src.
//
// Usage: generator [-h HOST] -p PORT [-c CONNECTIONS] [-w MESSAGES] [-s BYTES]
//                  [-n MESSAGES | -t SECONDS] [-u MESSAGES] [-P PID]
//   -c  connections [64]
//   -w  messages in flight on each connection, written at once [1]
//   -s  payload in bytes [20]
//   -n  messages to measure, rounded up to whole batches on every connection
//   -t  seconds to measure, without -n [1]
//   -u  messages of the warm-up, rounded up likewise [0]
//   -P  process of the server, for its CPU time
//
// Closed loop: -w 1. Pipeline: -w 64. Latency: -c 1 -w 1.
//
// A connection sends a batch of binary messages with one write, and the next batch when all echoes
// of the last one have arrived. Each message is masked with a new random key when it is sent. The
// header of each echo is compared completely; the payload is compared at both ends, and completely
// for every 16th message. The measurement begins and ends with no message in flight, so the CPU
// time is that of exactly the messages counted. Prints one line:
// messages=N seconds=S [cpu_ns_per_message=C].

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

struct connection {
    int fd;
    unsigned char *out; // The batch that is being sent.
    size_t sent;
    unsigned char *in; // The part of an echo that has arrived.
    size_t filled;
    unsigned answered; // Echoes of this batch.
    int is_writing, is_busy;
    uint64_t number; // Messages echoed; the payload depends on it.
};

static size_t size = 20, header_out, header_in, frame_out, frame_in, capacity;
static unsigned connection_count = 64, depth = 1;
static struct connection *connections;
static unsigned char *pattern;
static int poller, pid;
static uint64_t random_state;

static void fail(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    fputs("generator: ", stderr);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
    exit(1);
}

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec + time.tv_nsec / 1e9;
}

// Returns the CPU time of all threads of the server in nanoseconds. It is exact while they sleep.
static uint64_t cpu_time(void) {
    char path[300];
    snprintf(path, sizeof path, "/proc/%d/task", pid);
    DIR *folder = opendir(path);
    if (!folder) fail("process %d is gone", pid);
    uint64_t sum = 0;
    for (struct dirent *entry; (entry = readdir(folder));) {
        if (entry->d_name[0] == '.') continue;
        snprintf(path, sizeof path, "/proc/%d/task/%s/schedstat", pid, entry->d_name);
        FILE *file = fopen(path, "r");
        unsigned long long time;
        if (!file) continue; // The thread has ended.
        if (fscanf(file, "%llu", &time) == 1) sum += time;
        fclose(file);
    }
    closedir(folder);
    return sum;
}

// Returns a masking key by xorshift64*, which is cheap and random enough for a load test.
static uint32_t random_key(void) {
    random_state ^= random_state >> 12;
    random_state ^= random_state << 25;
    random_state ^= random_state >> 27;
    return (random_state * 0x2545F4914F6CDD1DULL) >> 32;
}

static size_t header_length(size_t length) { return length < 126 ? 2 : length < 65536 ? 4 : 10; }

static void write_header(unsigned char *at, int mask) {
    at[0] = 0x82; // FIN, binary
    if (size < 126) {
        at[1] = mask | size;
        return;
    }
    int bytes = size < 65536 ? 2 : 8;
    at[1] = mask | (bytes == 2 ? 126 : 127);
    for (int index = 0; index < bytes; index++)
        at[2 + index] = (uint64_t)size >> 8 * (bytes - 1 - index);
}

// Returns the payload of message `number`, a window of the pattern.
static const unsigned char *payload_of(uint64_t number) { return pattern + (number & 255); }

static void encode(unsigned char *at, uint64_t number) {
    write_header(at, 0x80);
    uint32_t key = random_key();
    memcpy(at + header_out - 4, &key, 4);
    const unsigned char *payload = payload_of(number);
    uint64_t wide = (uint64_t)key << 32 | key;
    size_t index = 0;
    for (at += header_out; index + 8 <= size; index += 8) {
        uint64_t word;
        memcpy(&word, payload + index, 8);
        word ^= wide;
        memcpy(at + index, &word, 8);
    }
    for (; index < size; index++)
        at[index] = payload[index] ^ (unsigned char)(key >> 8 * (index & 3));
}

static void check(const unsigned char *at, uint64_t number) {
    unsigned char header[10];
    write_header(header, 0);
    if (memcmp(at, header, header_in))
        fail("message %llu: the header of the echo is wrong", (unsigned long long)number);
    const unsigned char *payload = payload_of(number);
    size_t edge = size < 64 || number % 16 == 0 ? size : 32;
    at += header_in;
    if (memcmp(at, payload, edge) || memcmp(at + size - edge, payload + size - edge, edge))
        fail("message %llu: the payload of the echo is wrong", (unsigned long long)number);
}

static void watch(struct connection *connection, int operation) {
    struct epoll_event event = { .data.ptr = connection };
    event.events = EPOLLIN | (connection->is_writing ? EPOLLOUT : 0);
    if (epoll_ctl(poller, operation, connection->fd, &event))
        fail("epoll_ctl: %s", strerror(errno));
}

static void flush(struct connection *connection) {
    size_t all = frame_out * depth;
    while (connection->sent < all) {
        unsigned char *rest = connection->out + connection->sent;
        ssize_t count = send(connection->fd, rest, all - connection->sent, MSG_NOSIGNAL);
        if (count < 0 && errno != EAGAIN) fail("send: %s", strerror(errno));
        if (count < 0) break;
        connection->sent += count;
    }
    int is_writing = connection->sent < all;
    if (is_writing != connection->is_writing) {
        connection->is_writing = is_writing;
        watch(connection, EPOLL_CTL_MOD);
    }
}

static void start_batch(struct connection *connection) {
    for (unsigned index = 0; index < depth; index++)
        encode(connection->out + index * frame_out, connection->number + index);
    connection->sent = connection->answered = 0;
    connection->is_busy = 1;
    flush(connection);
}

// Reads once. Returns 1 if the batch is complete.
static int receive(struct connection *connection) {
    unsigned char *room = connection->in + connection->filled;
    ssize_t count = recv(connection->fd, room, capacity - connection->filled, 0);
    if (count < 0 && errno == EAGAIN) return 0;
    if (count <= 0) fail("recv: %s", count ? strerror(errno) : "the server closed the connection");
    size_t end = connection->filled + count, at = 0;
    for (; end - at >= frame_in && connection->answered < depth; at += frame_in) {
        check(connection->in + at, connection->number++);
        connection->answered++;
    }
    connection->filled = end - at;
    memmove(connection->in, connection->in + at, end - at);
    if (connection->answered < depth) return 0;
    if (connection->filled) fail("more bytes than were sent came back");
    connection->is_busy = 0;
    return 1;
}

// Exchanges `messages`, or messages for `seconds` if that is 0. Returns the number of echoes.
static uint64_t run(uint64_t messages, double seconds) {
    uint64_t quota = (messages + connection_count * depth - 1) / (connection_count * depth);
    if (!messages && seconds <= 0) return 0;
    uint64_t done = 0;
    uint64_t *batches = calloc(connection_count, sizeof *batches);
    unsigned busy = connection_count;
    double begin = now(), end = begin + seconds, last = begin;
    for (unsigned index = 0; index < connection_count; index++) start_batch(&connections[index]);
    while (busy) {
        struct epoll_event events[256];
        int count = epoll_wait(poller, events, 256, 1000);
        last = count > 0 ? now() : last;
        if (now() - last > 30) fail("the server was silent for 30 seconds");
        int is_over = !messages && last >= end;
        for (int index = 0; index < count; index++) {
            struct connection *connection = events[index].data.ptr;
            if (connection->is_writing) flush(connection);
            if (!connection->is_busy) fail("bytes came, or an end, on an idle connection");
            if (!receive(connection)) continue;
            done += depth;
            uint64_t *batch = &batches[connection - connections];
            if (is_over || (messages && ++*batch == quota)) busy--;
            else start_batch(connection);
        }
    }
    free(batches);
    return done;
}

static void open_connection(struct connection *connection, const char *host, int port) {
    struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons(port) };
    if (inet_pton(AF_INET, host, &address.sin_addr) != 1) fail("%s is not an IPv4 address", host);
    connection->fd = socket(AF_INET, SOCK_STREAM, 0);
    if (connection->fd < 0) fail("socket: %s", strerror(errno));
    if (connect(connection->fd, (struct sockaddr *)&address, sizeof address))
        fail("connect: %s", strerror(errno));
    int one = 1;
    setsockopt(connection->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    char text[1024];
    int length = snprintf(text, sizeof text,
                          "GET / HTTP/1.1\r\n"
                          "Host: %s:%d\r\n"
                          "Upgrade: websocket\r\n"
                          "Connection: Upgrade\r\n"
                          "Sec-WebSocket-Version: 13\r\n"
                          "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
                          host, port);
    if (send(connection->fd, text, length, MSG_NOSIGNAL) != length)
        fail("the request was not sent");
    // No frame follows the response, because an echo server does not send first.
    for (length = 0; length < 4 || memcmp(text + length - 4, "\r\n\r\n", 4); ) {
        ssize_t count = recv(connection->fd, text + length, sizeof text - 1 - length, 0);
        if (count <= 0) fail("no response to the upgrade");
        text[length += count] = 0;
    }
    // The accept value of the example key in RFC 6455, section 1.3.
    if (!strstr(text, " 101 ") || !strstr(text, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="))
        fail("refused: %s", text);
    fcntl(connection->fd, F_SETFL, O_NONBLOCK);
    connection->out = malloc(frame_out * depth);
    connection->in = malloc(capacity);
    if (!connection->out || !connection->in) fail("out of memory");
    watch(connection, EPOLL_CTL_ADD);
}

int main(int argc, char **argv) {
    const char *host = "127.0.0.1";
    int port = 0;
    uint64_t messages = 0, warm_up = 0;
    double seconds = 1;
    for (int option; (option = getopt(argc, argv, "h:p:c:w:s:n:t:u:P:")) != -1;) {
        switch (option) {
        case 'h': host = optarg; break;
        case 'p': port = atoi(optarg); break;
        case 'c': connection_count = atoi(optarg); break;
        case 'w': depth = atoi(optarg); break;
        case 's': size = atoll(optarg); break;
        case 'n': messages = atoll(optarg); break;
        case 't': seconds = atof(optarg); break;
        case 'u': warm_up = atoll(optarg); break;
        case 'P': pid = atoi(optarg); break;
        default: fail("the top of generator.c describes the options");
        }
    }
    if (!port || !connection_count || !depth) fail("-p PORT is missing, or a number is 0");
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    random_state = (uint64_t)(now() * 1e9) | 1;
    header_in = header_length(size);
    header_out = header_in + 4;
    frame_in = header_in + size;
    frame_out = header_out + size;
    capacity = frame_in > 65536 ? frame_in : frame_in * depth < 65536 ? frame_in * depth : 65536;
    pattern = malloc(size + 256);
    connections = calloc(connection_count, sizeof *connections);
    if (!pattern || !connections) fail("out of memory");
    for (size_t index = 0; index < size + 256; index++) pattern[index] = (index * 131 >> 3) + index;
    poller = epoll_create1(0);
    for (unsigned index = 0; index < connection_count; index++)
        open_connection(&connections[index], host, port);
    run(warm_up, 0);
    // The kernel updates the CPU time of the server when the server goes to sleep.
    usleep(20000);
    uint64_t before = pid ? cpu_time() : 0;
    double begin = now();
    uint64_t done = run(messages, seconds);
    printf("messages=%llu seconds=%.3f", (unsigned long long)done, now() - begin);
    usleep(20000);
    if (pid) printf(" cpu_ns_per_message=%.1f", (double)(cpu_time() - before) / done);
    puts("");
    return 0;
}
