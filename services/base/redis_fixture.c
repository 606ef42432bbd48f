#include "base/redis_fixture.h"

#include "base/check.h"

#include <arpa/inet.h>
#include <hiredis/hiredis.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { WORDS_MAX = 64 };

struct redis_fixture {
    pid_t pid; /* 0: not running */
    uint16_t port;
    char directory[64];
    char *arguments;
};

static uint16_t free_port(void)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t bytes = sizeof address;
    CHECK(bind(fd, (struct sockaddr *)&address, bytes) == 0);
    CHECK(getsockname(fd, (struct sockaddr *)&address, &bytes) == 0);
    close(fd);
    return ntohs(address.sin_port);
}

/* Splits in place at blanks. */
static int split(char *text, char **words, int max)
{
    int count = 0;
    char *rest = text;
    for (char *word = strsep(&rest, " "); word != NULL; word = strsep(&rest, " ")) {
        if (*word == '\0') continue;
        CHECK(count < max);
        words[count++] = word;
    }
    return count;
}

static _Noreturn void become_redis(const struct redis_fixture *redis)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    char port[8];
    snprintf(port, sizeof port, "%u", redis->port);
    char *command[WORDS_MAX] = {"redis-server",
                                "--port",
                                port,
                                "--bind",
                                "127.0.0.1",
                                "--dir",
                                (char *)redis->directory,
                                "--save",
                                "",
                                "--appendonly",
                                "no",
                                "--logfile",
                                "redis.log",
                                "--databases",
                                "1",
                                "--enable-debug-command",
                                "yes"};
    int count = 0;
    while (command[count] != NULL)
        count++;
    split(redis->arguments, command + count, WORDS_MAX - 1 - count);
    execvp(command[0], command);
    perror("redis-server");
    _exit(127);
}

static void wait_for_answer(struct redis_fixture *redis)
{
    for (int tries = 0; tries < 1000; tries++) {
        CHECK(waitpid(redis->pid, NULL, WNOHANG) == 0); /* it could not start */
        redisContext *client = redisConnect("127.0.0.1", redis->port);
        redisReply *pong = client->err == 0 ? redisCommand(client, "PING") : NULL;
        bool good = pong != NULL && pong->type == REDIS_REPLY_STATUS;
        if (pong != NULL) freeReplyObject(pong);
        redisFree(client);
        if (good) return;
        usleep(10000);
    }
    CHECK(!"redis-server answers");
}

static void run(struct redis_fixture *redis)
{
    fflush(NULL);
    redis->pid = fork();
    CHECK(redis->pid >= 0);
    if (redis->pid == 0) become_redis(redis);
    wait_for_answer(redis);
}

static void empty_directory(const struct redis_fixture *redis)
{
    char command[128];
    snprintf(command, sizeof command, "rm -rf '%s'", redis->directory);
    CHECK(system(command) == 0);
}

struct redis_fixture *redis_fixture_start(const char *arguments)
{
    struct redis_fixture *redis = xcalloc(1, sizeof *redis);
    redis->port = free_port();
    redis->arguments = xstrdup(arguments);
    snprintf(redis->directory, sizeof redis->directory, "/tmp/quorate-redis-XXXXXX");
    CHECK(mkdtemp(redis->directory) != NULL);
    run(redis);
    return redis;
}

uint16_t redis_fixture_port(const struct redis_fixture *redis)
{
    return redis->port;
}

void redis_fixture_pause(struct redis_fixture *redis)
{
    int status;
    CHECK(kill(redis->pid, SIGSTOP) == 0);
    CHECK(waitpid(redis->pid, &status, WUNTRACED) == redis->pid && WIFSTOPPED(status));
}

void redis_fixture_resume(struct redis_fixture *redis)
{
    CHECK(kill(redis->pid, SIGCONT) == 0);
}

void redis_fixture_kill(struct redis_fixture *redis)
{
    if (redis->pid == 0) return;
    kill(redis->pid, SIGKILL);
    while (waitpid(redis->pid, NULL, 0) != redis->pid) {
    }
    redis->pid = 0;
}

void redis_fixture_restart(struct redis_fixture *redis, bool keep_data)
{
    redis_fixture_kill(redis);
    if (!keep_data) {
        empty_directory(redis);
        CHECK(mkdir(redis->directory, 0700) == 0);
    }
    run(redis);
}

void redis_fixture_free(struct redis_fixture *redis)
{
    redis_fixture_kill(redis);
    empty_directory(redis);
    free(redis->arguments);
    free(redis);
}

static void print_reply(const redisReply *reply, FILE *out)
{
    switch (reply->type) {
    case REDIS_REPLY_STRING:
    case REDIS_REPLY_STATUS:
    case REDIS_REPLY_ERROR:
        fwrite(reply->str, 1, reply->len, out);
        return;
    case REDIS_REPLY_INTEGER:
        fprintf(out, "%lld", reply->integer);
        return;
    case REDIS_REPLY_ARRAY:
        for (size_t i = 0; i < reply->elements; i++) {
            if (i > 0) fputc(' ', out);
            print_reply(reply->element[i], out);
        }
        return;
    default:
        fputs("(nil)", out);
    }
}

char *redis_fixture_ask(struct redis_fixture *redis, const char *command)
{
    char *copy = xstrdup(command);
    char *words[WORDS_MAX];
    int count = split(copy, words, WORDS_MAX);
    redisContext *client = redisConnect("127.0.0.1", redis->port);
    CHECK(client->err == 0);
    redisReply *reply = redisCommandArgv(client, count, (const char **)words, NULL);
    CHECK(reply != NULL);
    char *text = NULL;
    size_t bytes = 0;
    FILE *out = open_memstream(&text, &bytes);
    print_reply(reply, out);
    fclose(out);
    freeReplyObject(reply);
    redisFree(client);
    free(copy);
    return text;
}
