#include "edge/exposition.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

static void samples_of_one_name_come_together(void **state)
{
    (void)state;
    struct exposition *exposition = exposition_new();
    exposition_add(exposition,
                   span_of("# HELP calls Calls.\n# TYPE calls counter\ncalls 1\n"
                           "calls{peer=\"a\"} 2\n# HELP t Times.\n# TYPE t histogram\n"
                           "t_bucket{le=\"+Inf\"} 3\nt_sum 0.5\nt_count 3\n"),
                   "service=\"edge\"");
    exposition_add(exposition,
                   span_of("# HELP calls Other words.\n# TYPE calls counter\ncalls{} 4\n\n"
                           "# a remark\nbare 5\nbroken\ntotal 6"),
                   "service=\"lockd\"");
    struct json out;
    json_init(&out, NULL, 0);
    exposition_write(exposition, &out);
    json_put_raw(&out, (struct span){"", 1});
    assert_string_equal(out.at, "# HELP calls Calls.\n# TYPE calls counter\n"
                                "calls{service=\"edge\"} 1\n"
                                "calls{service=\"edge\",peer=\"a\"} 2\n"
                                "calls{service=\"lockd\"} 4\n"
                                "# HELP t Times.\n# TYPE t histogram\n"
                                "t_bucket{service=\"edge\",le=\"+Inf\"} 3\n"
                                "t_sum{service=\"edge\"} 0.5\n"
                                "t_count{service=\"edge\"} 3\n"
                                "bare{service=\"lockd\"} 5\n"
                                "total{service=\"lockd\"} 6\n");
    json_fini(&out);
    exposition_free(exposition);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(samples_of_one_name_come_together)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
