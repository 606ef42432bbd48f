/* fake.c - inventory and lockd for the edge's tests: real RPC, canned and scripted answers.
 *
 *     fake INVENTORY_URL LOCKD_URL
 *
 * Products and accounts live in memory. What goes wrong is asked for by number:
 *     product 1000 + r   every call about it fails with reason r
 *     product 2000 + n   Buy is answered after n x 10 ms
 *     product 3000       is never answered
 *     product 3001       Buy is refused as INSUFFICIENT, without a detail
 * and by name: creating the product or account "fail-r" fails with reason r, and so does finding
 * the account; "never" is never answered.
 *
 * Commands on standard input, one a line:
 *     rows N             the lists have N rows
 *     row_bytes N        each listed product's description has N bytes
 *     page_max N         a page has at most N rows, however many are asked for
 *     break ID REASON N  the page after ID fails N times
 *     serving 0|1        what Health says of inventory
 *     voting N           how many of five nodes vote
 *     version N          what the nodes' stock has, from now on
 *     mute 0|1           no call is answered, Nodes included
 *     sync               nothing
 * Every Buy, CreateProduct and page is told on standard output, one a line. Ends with its standard
 * input.
 */
#include "fake.h"

#include "base/check.h"
#include "base/metrics.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

void fake_let_go(struct pending *pending)
{
    timer_stop(&pending->due);
    *pending->back = pending->next;
    if (pending->next != NULL) pending->next->back = pending->back;
}

static void on_gone(void *arg)
{
    struct pending *pending = arg;
    struct rpc_request *request = pending->request;
    fake_let_go(pending);
    free(pending);
    rpc_request_fail(request, REASON_OUTCOME_UNKNOWN, "nobody waited", NULL);
}

struct pending *fake_hold(struct fake *fake, struct rpc_request *request)
{
    struct pending *pending = xcalloc(1, sizeof *pending);
    pending->fake = fake;
    pending->request = request;
    pending->next = fake->pending;
    pending->back = &fake->pending;
    if (pending->next != NULL) pending->next->back = &pending->next;
    fake->pending = pending;
    rpc_request_on_gone(request, on_gone, pending);
    return pending;
}

void fake_fail(struct rpc_request *request, unsigned reason, int64_t product_id)
{
    char message[128];
    snprintf(message, sizeof message, "scripted reason %u", reason);
    Quorate__Inventory__V1__Shortage shortage = QUORATE__INVENTORY__V1__SHORTAGE__INIT;
    shortage.product_id = product_id;
    shortage.requested = 7;
    shortage.available = 3;
    rpc_request_fail(request, reason_from_number(reason), message,
                     reason == REASON_INSUFFICIENT ? &shortage.base : NULL);
}

bool fake_scripted(struct fake *fake, struct rpc_request *request, int64_t id)
{
    if (fake->mute || id == NEVER_ID) {
        fake_hold(fake, request);
        return true;
    }
    if (id <= 1000 || id >= 1100) return false;
    fake_fail(request, (unsigned)(id - 1000), id);
    return true;
}

bool fake_scripted_name(struct fake *fake, struct rpc_request *request, const char *name)
{
    unsigned reason;
    if (fake->mute || strcmp(name, "never") == 0) {
        fake_hold(fake, request);
        return true;
    }
    if (sscanf(name, "fail-%u", &reason) != 1) return false;
    fake_fail(request, reason, 0);
    return true;
}

static void obey(struct fake *fake, const char *line)
{
    int64_t number = 0;
    if (sscanf(line, "rows %" SCNd64, &number) == 1) {
        fake->rows = number;
    } else if (sscanf(line, "row_bytes %" SCNd64, &number) == 1) {
        CHECK(number >= 0 && number <= 10000);
        fake->row_bytes = number;
    } else if (sscanf(line, "page_max %" SCNd64, &number) == 1) {
        fake->page_max = number;
    } else if (sscanf(line, "break %" SCNd64 " %u %" SCNd64, &fake->break_after,
                      &fake->break_reason, &fake->break_times) == 3) {
    } else if (sscanf(line, "serving %" SCNd64, &number) == 1) {
        rpc_server_set_serving(fake->inventory_server, "", number != 0);
    } else if (sscanf(line, "voting %" SCNd64, &number) == 1) {
        fake->voting = (unsigned)number;
    } else if (sscanf(line, "version %" SCNd64, &number) == 1) {
        fake->version = number;
    } else if (sscanf(line, "mute %" SCNd64, &number) == 1) {
        fake->mute = number != 0;
    } else {
        CHECK(strcmp(line, "sync") == 0);
    }
    printf("done\n");
}

static void give_room(uv_handle_t *handle, size_t suggested, uv_buf_t *buffer)
{
    (void)suggested;
    struct fake *fake = handle->data;
    *buffer = uv_buf_init(fake->room, sizeof fake->room);
}

static void on_input(uv_stream_t *stream, ssize_t bytes, const uv_buf_t *buffer)
{
    struct fake *fake = stream->data;
    if (bytes < 0) {
        loop_stop(fake->loop);
        return;
    }
    for (ssize_t i = 0; i < bytes; i++) {
        if (buffer->base[i] != '\n') {
            CHECK(fake->line_bytes + 1 < sizeof fake->line);
            fake->line[fake->line_bytes++] = buffer->base[i];
            continue;
        }
        fake->line[fake->line_bytes] = '\0';
        fake->line_bytes = 0;
        obey(fake, fake->line);
    }
}

static struct rpc_server *serve(struct fake *fake, const char *url, const char *program,
                                struct metrics *metrics)
{
    struct rpc_server *server = rpc_server_open(
        fake->loop, &(struct rpc_server_options){
                        .url = url, .program = program, .version = "fake", .metrics = metrics});
    if (server == NULL) exit(1);
    return server;
}

int main(int argc, char **argv)
{
    CHECK(argc == 3);
    setvbuf(stdout, NULL, _IOLBF, 0);
    struct fake *fake = xcalloc(1, sizeof *fake);
    fake->loop = loop_new();
    fake->voting = 5;
    fake->version = SOME_VERSION;
    struct metrics *metrics[2] = {metrics_new(), metrics_new()};
    fake_inventory_init(fake);
    fake_accounts_init(fake);
    fake_lock_init(fake);
    fake->inventory_server = serve(fake, argv[1], "inventory", metrics[0]);
    rpc_server_add(fake->inventory_server, &fake->inventory.base.base);
    rpc_server_add(fake->inventory_server, &fake->accounts.base.base);
    fake->lockd_server = serve(fake, argv[2], "lockd", metrics[1]);
    rpc_server_add(fake->lockd_server, &fake->lock.base.base);

    CHECK(uv_pipe_init(loop_uv(fake->loop), &fake->input, 0) == 0);
    CHECK(uv_pipe_open(&fake->input, 0) == 0);
    fake->input.data = fake;
    CHECK(uv_read_start((uv_stream_t *)&fake->input, give_room, on_input) == 0);
    printf("ready\n");
    loop_run(fake->loop);

    for (struct pending *pending = fake->pending, *next; pending != NULL; pending = next) {
        next = pending->next;
        rpc_request_on_gone(pending->request, NULL, NULL);
        rpc_request_fail(pending->request, REASON_DOWN, "the fake ends", NULL);
        timer_stop(&pending->due);
        free(pending);
    }
    uv_close((uv_handle_t *)&fake->input, NULL);
    rpc_server_close(fake->inventory_server);
    rpc_server_close(fake->lockd_server);
    loop_free(fake->loop);
    for (int i = 0; i < 2; i++)
        metrics_free(metrics[i]);
    free(fake);
    return 0;
}
