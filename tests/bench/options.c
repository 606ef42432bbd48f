#include "options.h"

#include "base/check.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SECONDS_MAX 86400

static void read_tokens(struct options *options, const char *path)
{
    FILE *file = fopen(path, "r");
    char line[1024];
    options->tokens = xcalloc(1, sizeof *options->tokens);
    if (file == NULL) {
        perror(path);
        exit(2);
    }
    while (fgets(line, sizeof line, file) != NULL) {
        line[strcspn(line, "\n")] = '\0';
        options->tokens =
            xrealloc(options->tokens, (options->token_count + 1) * sizeof *options->tokens);
        options->tokens[options->token_count++] = xstrdup(line);
    }
    fclose(file);
}

static _Noreturn void usage(void)
{
    fputs("usage: load --port N --tokens FILE --do buy|stock|product|live --products FIRST[-LAST]\n"
          "            [--host 127.0.0.1] [--connections 256] [--seconds 10] [--warm-up 1]\n",
          stderr);
    exit(2);
}

static void read_job(struct options *options, const char *name)
{
    static const char *const names[] = {"buy", "stock", "product", "live"};
    for (int i = 0; i < 4; i++) {
        if (strcmp(name, names[i]) == 0) {
            options->job = (enum job)i;
            return;
        }
    }
    usage();
}

void options_read(struct options *options, int argc, char **argv)
{
    static const struct option known[] = {
        {"host", required_argument, NULL, 'h'},
        {"port", required_argument, NULL, 'p'},
        {"tokens", required_argument, NULL, 't'},
        {"do", required_argument, NULL, 'd'},
        {"products", required_argument, NULL, 'i'},
        {"connections", required_argument, NULL, 'c'},
        {"seconds", required_argument, NULL, 's'},
        {"warm-up", required_argument, NULL, 'w'},
        {NULL, 0, NULL, 0},
    };
    *options = (struct options){
        .host = "127.0.0.1", .connections = 256, .seconds = 10, .warm_up_s = 1, .first_product = 0};
    for (int letter; (letter = getopt_long(argc, argv, "", known, NULL)) != -1;) {
        if (optarg == NULL) usage();
        char *rest = optarg;
        long number = strtol(optarg, &rest, 10);
        switch (letter) {
        case 'h':
            options->host = optarg;
            break;
        case 'p':
            options->port = (int)number;
            break;
        case 't':
            read_tokens(options, optarg);
            break;
        case 'd':
            read_job(options, optarg);
            break;
        case 'i':
            options->first_product = options->last_product = number;
            if (*rest == '-') options->last_product = strtol(rest + 1, NULL, 10);
            break;
        case 'c':
            options->connections = (int)number;
            break;
        case 's':
            options->seconds = (int)number;
            break;
        case 'w':
            options->warm_up_s = (int)number;
            break;
        default:
            usage();
        }
    }
    if (options->port < 1 || options->port > 65535 || options->token_count == 0 ||
        options->first_product < 1 || options->last_product < options->first_product ||
        options->connections < 1 || options->connections > 20000 || options->seconds < 1 ||
        options->seconds > SECONDS_MAX || options->warm_up_s < 0) {
        usage();
    }
}

void options_fini(struct options *options)
{
    for (size_t i = 0; i < options->token_count; i++)
        free(options->tokens[i]);
    free(options->tokens);
}
