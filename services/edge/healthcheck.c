#include "edge/healthcheck.h"

#include "base/check.h"

#include <jansson.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#define ANSWER_BYTES_MAX 4096

static int connect_to(const char *host, uint16_t port)
{
    char service[8];
    snprintf(service, sizeof service, "%u", (unsigned)port);
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    struct addrinfo *found = NULL;
    if (getaddrinfo(host, service, &hints, &found) != 0) return -1;
    struct timeval patience = {.tv_sec = HEALTHCHECK_WAIT_US / 1000000};
    int fd = -1;
    for (const struct addrinfo *at = found; at != NULL && fd < 0; at = at->ai_next) {
        fd = socket(at->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (fd < 0) continue;
        setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
        setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience); /* connect's, too */
        if (connect(fd, at->ai_addr, at->ai_addrlen) == 0) break;
        close(fd);
        fd = -1;
    }
    freeaddrinfo(found);
    return fd;
}

/* The whole answer to a GET, as text. False: none. */
static bool fetch(const char *host, uint16_t port, const char *path, char answer[ANSWER_BYTES_MAX])
{
    int fd = connect_to(host, port);
    if (fd < 0) return false;
    char request[128];
    int bytes = snprintf(request, sizeof request, "GET %s HTTP/1.0\r\n\r\n", path);
    CHECK(bytes > 0 && (size_t)bytes < sizeof request);
    size_t used = 0;
    ssize_t got = send(fd, request, (size_t)bytes, MSG_NOSIGNAL) == bytes ? 1 : -1;
    while (got > 0 && used < ANSWER_BYTES_MAX - 1) {
        got = recv(fd, answer + used, ANSWER_BYTES_MAX - 1 - used, 0);
        if (got > 0) used += (size_t)got;
    }
    close(fd);
    answer[used] = '\0';
    return got >= 0;
}

static bool is_200(const char *answer)
{
    return strncmp(answer, "HTTP/1.", 7) == 0 && strncmp(answer + 8, " 200 ", 5) == 0;
}

static void read_live(const char *answer, struct healthcheck *found)
{
    const char *body = strstr(answer, "\r\n\r\n");
    json_t *live = body == NULL ? NULL : json_loads(body, 0, NULL);
    json_int_t seconds = json_integer_value(json_object_get(live, "uptime_s"));
    found->age_us = seconds < 0 ? 0 : (uint64_t)seconds * 1000000;
    found->has_served = json_is_true(json_object_get(live, "was_healthy"));
    json_decref(live);
}

struct healthcheck healthcheck_http(const char *listen)
{
    struct healthcheck found = {.alive = false};
    char host[256];
    uint16_t port;
    char answer[ANSWER_BYTES_MAX];
    CHECK(conf_host_port(listen, host, &port)); /* the table has checked */
    if (!fetch(host, port, "/health/live", answer) || !is_200(answer)) return found;
    found.alive = true;
    read_live(answer, &found);
    found.serves = fetch(host, port, "/health", answer) && is_200(answer);
    return found;
}
