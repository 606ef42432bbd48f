#include "base/conf.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

struct settings {
    const char *listen;
    const char *secret;
    int64_t ttl_s;
    bool open;
    int64_t level;
    struct conf_list nodes;
};

static const struct conf_entry table[] = {
    CONF_CHECKED(struct settings, listen, "T_LISTEN", "tcp://127.0.0.1:7001", "where to listen",
                 conf_check_url),
    CONF_SECRET(struct settings, secret, "T_SECRET", "", 8, "a secret"),
    CONF_INTEGER(struct settings, ttl_s, "T_TTL", "10", 1, 3600, "seconds"),
    CONF_BOOLEAN(struct settings, open, "T_OPEN", "false", "open to all"),
    CONF_CHOICE(struct settings, level, "T_LEVEL", "info", "error|warn|info", "how much is said"),
    CONF_LIST(struct settings, nodes, "T_NODES", NULL, 1, 3, "the nodes", conf_check_host_port),
};
static const struct conf_mode modes[] = {{"--ask", "asks"}, {"--tell", "tells"}};
static const struct conf_program program = {
    .name = "test",
    .version = "1",
    .summary = "a test",
    .table = table,
    .entries = sizeof table / sizeof table[0],
    .modes = modes,
    .mode_count = sizeof modes / sizeof modes[0],
};

static char faults[4096];

static bool read_into(struct settings *settings)
{
    conf_free(&program, settings);
    FILE *out = fmemopen(faults, sizeof faults, "w");
    bool good = conf_read(&program, settings, out);
    fclose(out);
    return good;
}

static int setup(void **state)
{
    (void)state;
    for (size_t i = 0; i < program.entries; i++)
        unsetenv(table[i].name);
    unsetenv("T_SECRET_FILE");
    setenv("T_NODES", "a:1, b:2", 1);
    return 0;
}

static void defaults_and_values(void **state)
{
    (void)state;
    struct settings settings = {0};
    setenv("T_TTL", "", 1); /* empty is not set */
    setenv("T_OPEN", "Yes", 1);
    assert_true(read_into(&settings));
    assert_string_equal(settings.listen, "tcp://127.0.0.1:7001");
    assert_int_equal(settings.ttl_s, 10);
    assert_true(settings.open);
    assert_int_equal(settings.level, 2);
    assert_int_equal(settings.nodes.count, 2);
    assert_string_equal(settings.nodes.items[1], "b:2");
    conf_free(&program, &settings);
}

static void all_faults_are_said_together(void **state)
{
    (void)state;
    struct settings settings = {0};
    setenv("T_LISTEN", "http://x", 1);
    setenv("T_SECRET", "short", 1);
    setenv("T_TTL", "0", 1);
    setenv("T_OPEN", "maybe", 1);
    setenv("T_LEVEL", "loud", 1);
    setenv("T_NODES", "a:1,a:1,b,c:70000", 1);
    assert_false(read_into(&settings));
    for (size_t i = 0; i < program.entries; i++)
        assert_non_null(strstr(faults, table[i].name));
    assert_non_null(strstr(faults, "'a:1' is there twice"));
    assert_non_null(strstr(faults, "'c:70000'"));
    assert_non_null(strstr(faults, "lists 4"));
    assert_null(strstr(faults, "short")); /* a secret is never shown */
    conf_free(&program, &settings);
}

static void what_must_be_set_is_asked_for(void **state)
{
    (void)state;
    struct settings settings = {0};
    unsetenv("T_NODES");
    assert_false(read_into(&settings));
    assert_non_null(strstr(faults, "T_NODES: must be set"));
    conf_free(&program, &settings);
}

static void a_secret_comes_from_a_file(void **state)
{
    (void)state;
    char path[] = "/tmp/conf_test_XXXXXX";
    int fd = mkstemp(path);
    assert_true(write(fd, "long enough\n", 12) == 12);
    close(fd);
    setenv("T_SECRET_FILE", path, 1);
    struct settings settings = {0};
    assert_true(read_into(&settings));
    assert_string_equal(settings.secret, "long enough");
    unlink(path);
    assert_false(read_into(&settings));
    assert_non_null(strstr(faults, "T_SECRET_FILE: can't read"));
    conf_free(&program, &settings);
}

static void help_lists_every_setting(void **state)
{
    (void)state;
    char help[4096] = "";
    FILE *out = fmemopen(help, sizeof help, "w");
    conf_help(&program, out);
    fclose(out);
    for (size_t i = 0; i < program.entries; i++)
        assert_non_null(strstr(help, table[i].name));
}

static void host_port(void **state)
{
    (void)state;
    char host[256];
    uint16_t port;
    assert_true(conf_host_port("[::1]:80", host, &port));
    assert_string_equal(host, "::1");
    assert_int_equal(port, 80);
    static const char *const wrong[] = {"",        ":",    "a",    "a:",     ":1",  "a:0",
                                        "a:65536", "a:1x", "a:-1", "::1:80", "[]:1"};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        assert_false(conf_host_port(wrong[i], host, &port));
    }
}

static void a_mode_is_told_and_served_by_default(void **state)
{
    (void)state;
    struct settings settings = {0};
    char *serve[] = {"test", NULL};
    char *tell[] = {"test", "--tell", NULL};
    assert_null(conf_start(&program, 1, serve, &settings));
    conf_free(&program, &settings);
    assert_string_equal(conf_start(&program, 2, tell, &settings), "--tell");
    assert_int_equal(settings.ttl_s, 10);
    conf_free(&program, &settings);
}

static void help_lists_modes(void **state)
{
    (void)state;
    char text[4096];
    FILE *out = fmemopen(text, sizeof text, "w");
    conf_help(&program, out);
    fclose(out);
    assert_non_null(strstr(text, "Usage: test [--help | --version | --ask | --tell]\n"));
    assert_non_null(strstr(text, "  --tell\n      tells\n"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(defaults_and_values, setup),
        cmocka_unit_test_setup(all_faults_are_said_together, setup),
        cmocka_unit_test_setup(what_must_be_set_is_asked_for, setup),
        cmocka_unit_test_setup(a_secret_comes_from_a_file, setup),
        cmocka_unit_test_setup(help_lists_every_setting, setup),
        cmocka_unit_test_setup(a_mode_is_told_and_served_by_default, setup),
        cmocka_unit_test_setup(help_lists_modes, setup),
        cmocka_unit_test_setup(host_port, setup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
