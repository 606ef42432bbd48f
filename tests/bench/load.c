/* load - as many HTTP requests as a server answers, each accounted for.
 *
 * One thread, one epoll, one request at a time on each of `--connections` keep-alive connections:
 * what users do, who wait for their answer. Every connection has a user of its own (a line of
 * --tokens, round and round) and every purchase a key of its own. Small, because it shares the
 * machine with what it measures.
 *
 *   load --port 8080 --tokens FILE --do buy --products 1-1000 --connections 256 --seconds 10
 *
 * Prints one JSON object: answers by status, those that never came, answers of each second, and the
 * latency of the good ones (2xx) in microseconds. The first --warm-up seconds are not counted.
 */
#include "base/check.h"
#include "options.h"
#include "tally.h"

#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

enum {
    REQUEST_BYTES_MAX = 2048,
    ANSWER_BYTES_MAX = 16384,
    EVENTS_MAX = 256,
    LOOK_US = 100000,
    PATIENCE_US = 15000000, /* without an answer for so long: never came */
};

struct connection {
    int fd;
    const char *token;
    char request[REQUEST_BYTES_MAX];
    size_t request_bytes;
    size_t sent;
    char answer[ANSWER_BYTES_MAX];
    size_t answered;
    uint64_t sent_us; /* 0: no request is open */
};

struct load {
    struct options options;
    struct connection *connections;
    int epoll;
    uint64_t began_us; /* of counting */
    uint64_t ends_us;
    uint64_t requests;
    uint64_t run; /* at random: makes keys of different runs different */
    struct tally tally;
};

static volatile sig_atomic_t interrupted;

static void on_interrupt(int number)
{
    (void)number;
    interrupted = 1;
}

static uint64_t now_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

static void connect_again(struct load *load, struct connection *connection)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)load->options.port)};
    CHECK(inet_pton(AF_INET, load->options.host, &address.sin_addr) == 1);
    connection->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    CHECK(connection->fd >= 0);
    int on = 1;
    setsockopt(connection->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    (void)connect(connection->fd, (struct sockaddr *)&address, sizeof address);
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLET, .data.ptr = connection};
    CHECK(epoll_ctl(load->epoll, EPOLL_CTL_ADD, connection->fd, &event) == 0);
    connection->sent_us = 0;
    connection->answered = 0;
}

static void write_request(struct load *load, struct connection *connection)
{
    const struct options *options = &load->options;
    long span = options->last_product - options->first_product + 1;
    long product = options->first_product + (span == 1 ? 0 : random() % span);
    char *into = connection->request;
    int bytes = 0;
    if (options->job == JOB_BUY) {
        char body[96];
        int body_bytes =
            snprintf(body, sizeof body, "{\"product_id\":%ld,\"quantity\":1}", product);
        bytes = snprintf(into, REQUEST_BYTES_MAX,
                         "POST /api/purchases HTTP/1.1\r\nHost: bench\r\n"
                         "Content-Type: application/json\r\nContent-Length: %d\r\n"
                         "Idempotency-Key: %" PRIx64 "-%" PRIx64 "\r\n"
                         "Authorization: Bearer %s\r\n\r\n%s",
                         body_bytes, load->run, load->requests, connection->token, body);
    } else if (options->job == JOB_LIVE) {
        bytes =
            snprintf(into, REQUEST_BYTES_MAX, "GET /health/live HTTP/1.1\r\nHost: bench\r\n\r\n");
    } else {
        bytes = snprintf(into, REQUEST_BYTES_MAX,
                         "GET /api/products/%ld%s HTTP/1.1\r\nHost: bench\r\n"
                         "Authorization: Bearer %s\r\n\r\n",
                         product, options->job == JOB_STOCK ? "/stock" : "", connection->token);
    }
    CHECK(bytes > 0 && bytes < REQUEST_BYTES_MAX);
    connection->request_bytes = (size_t)bytes;
    connection->sent = 0;
    connection->answered = 0;
    connection->sent_us = now_us();
    load->requests++;
}

static bool counting(const struct load *load, uint64_t at_us)
{
    return at_us >= load->began_us && at_us < load->ends_us;
}

/* A server that refuses is asked again by look_after, not in a loop. */
static void close_and_again(struct load *load, struct connection *connection)
{
    bool open = connection->sent_us != 0;
    if (counting(load, now_us())) {
        if (open) {
            load->tally.broken++;
        } else {
            load->tally.refused++;
        }
    }
    close(connection->fd);
    connection->fd = -1;
    connection->sent_us = 0;
    if (open) connect_again(load, connection);
}

static void count_answer(struct load *load, const struct connection *connection, int status)
{
    uint64_t now = now_us();
    if (!counting(load, now)) return;
    tally_answer(&load->tally, status, now - load->began_us, now - connection->sent_us);
}

/* The status when the answer is whole, 0 when it is not yet, -1 when it is none. */
static int parse_answer(struct connection *connection, bool *closing)
{
    connection->answer[connection->answered] = '\0';
    const char *text = connection->answer;
    const char *body = strstr(text, "\r\n\r\n");
    if (body == NULL) return connection->answered == ANSWER_BYTES_MAX - 1 ? -1 : 0;
    body += 4;
    if (strncmp(text, "HTTP/1.1 ", 9) != 0) return -1;
    int status = atoi(text + 9);
    if (status < 200 || status >= TALLY_STATUS_MAX) return -1;
    size_t length = 0;
    bool has_length = false;
    *closing = false;
    for (const char *line = strstr(text, "\r\n") + 2; line < body - 2;
         line = strstr(line, "\r\n") + 2) {
        if (strncasecmp(line, "content-length:", 15) == 0) {
            length = strtoul(line + 15, NULL, 10);
            has_length = true;
        }
        if (strncasecmp(line, "connection: close", 17) == 0) *closing = true;
    }
    if (!has_length) return -1;
    size_t whole = (size_t)(body - text) + length;
    if (whole >= ANSWER_BYTES_MAX) return -1;
    return connection->answered < whole ? 0 : status;
}

/* False: the connection is over. */
static bool send_rest(struct connection *connection)
{
    while (connection->sent < connection->request_bytes) {
        ssize_t bytes = send(connection->fd, connection->request + connection->sent,
                             connection->request_bytes - connection->sent, MSG_NOSIGNAL);
        if (bytes < 0) return errno == EAGAIN || errno == ENOTCONN || errno == EINPROGRESS;
        connection->sent += (size_t)bytes;
    }
    return true;
}

static bool receive(struct load *load, struct connection *connection)
{
    for (;;) {
        ssize_t bytes = recv(connection->fd, connection->answer + connection->answered,
                             ANSWER_BYTES_MAX - 1 - connection->answered, 0);
        if (bytes < 0) return errno == EAGAIN || errno == ENOTCONN;
        if (bytes == 0) return false;
        connection->answered += (size_t)bytes;
        bool closing = false;
        int status = parse_answer(connection, &closing);
        if (status == 0) continue;
        if (status < 0) {
            load->tally.odd++;
            return false;
        }
        count_answer(load, connection, status);
        connection->sent_us = 0;
        if (closing) {
            close(connection->fd);
            connect_again(load, connection);
            return true;
        }
        if (now_us() >= load->ends_us) return true;
        write_request(load, connection);
        if (!send_rest(connection)) return false;
    }
}

static void on_event(struct load *load, struct connection *connection, uint32_t events)
{
    if (connection->sent_us == 0 && (events & (EPOLLERR | EPOLLHUP)) == 0 &&
        (events & EPOLLOUT) != 0) {
        if (now_us() >= load->ends_us) return;
        write_request(load, connection);
    }
    if ((events & (EPOLLERR | EPOLLHUP)) != 0 || !send_rest(connection) ||
        !receive(load, connection)) {
        if (now_us() < load->ends_us) close_and_again(load, connection);
    }
}

/* Gives up on the silent, knocks again where the server refused. */
static void look_after(struct load *load)
{
    uint64_t now = now_us();
    for (int i = 0; i < load->options.connections; i++) {
        struct connection *connection = &load->connections[i];
        if (connection->sent_us != 0 && now - connection->sent_us > PATIENCE_US)
            close_and_again(load, connection);
        if (connection->fd < 0 && now < load->ends_us) connect_again(load, connection);
    }
}

/* What is open at the end is waited for: every request's outcome is known when this returns. */
static bool some_open(const struct load *load)
{
    for (int i = 0; i < load->options.connections; i++) {
        if (load->connections[i].sent_us != 0) return true;
    }
    return false;
}

static void run(struct load *load)
{
    const struct options *options = &load->options;
    struct epoll_event events[EVENTS_MAX];
    load->epoll = epoll_create1(EPOLL_CLOEXEC);
    load->connections = xcalloc((size_t)options->connections, sizeof *load->connections);
    uint64_t begin_us = now_us() + (uint64_t)options->warm_up_s * 1000000;
    load->began_us = begin_us;
    load->ends_us = begin_us + (uint64_t)options->seconds * 1000000;
    for (int i = 0; i < options->connections; i++) {
        load->connections[i].token = options->tokens[(size_t)i % options->token_count];
        connect_again(load, &load->connections[i]);
    }
    uint64_t looked_us = now_us();
    while (now_us() < load->ends_us ||
           (some_open(load) && now_us() < load->ends_us + PATIENCE_US)) {
        if (interrupted && now_us() < load->ends_us) load->ends_us = now_us();
        int count = epoll_wait(load->epoll, events, EVENTS_MAX, 100);
        for (int i = 0; i < count; i++)
            on_event(load, events[i].data.ptr, events[i].events);
        if (now_us() - looked_us < LOOK_US) continue;
        looked_us = now_us();
        look_after(load);
    }
}

int main(int argc, char **argv)
{
    struct load load = {0};
    options_read(&load.options, argc, argv);
    tally_init(&load.tally, load.options.seconds);
    signal(SIGINT, on_interrupt);
    signal(SIGTERM, on_interrupt);
    CHECK(getrandom(&load.run, sizeof load.run, 0) == sizeof load.run);
    srandom((unsigned)load.run);
    run(&load);
    tally_print(&load.tally, (double)(load.ends_us - load.began_us) / 1e6,
                load.options.connections);
    for (int i = 0; i < load.options.connections; i++) {
        if (load.connections[i].fd >= 0) close(load.connections[i].fd);
    }
    close(load.epoll);
    free(load.connections);
    tally_fini(&load.tally);
    options_fini(&load.options);
    return 0;
}
