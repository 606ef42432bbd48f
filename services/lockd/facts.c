#include "lockd/facts.h"

#include <hiredis/hiredis.h>
#include <string.h>
#include <strings.h>

bool facts_number(struct span text, uint64_t *number)
{
    if (text.bytes == 0 || text.bytes > 20) return false;
    uint64_t value = 0;
    for (size_t i = 0; i < text.bytes; i++) {
        unsigned digit = (unsigned char)text.at[i] - '0';
        if (digit > 9) return false;
        if (__builtin_mul_overflow(value, 10, &value)) return false;
        if (__builtin_add_overflow(value, digit, &value)) return false;
    }
    *number = value;
    return true;
}

static struct span text_of(const redisReply *reply)
{
    bool text = reply->type == REDIS_REPLY_STRING || reply->type == REDIS_REPLY_STATUS;
    return text ? (struct span){reply->str, reply->len} : (struct span){NULL, 0};
}

static bool is(struct span text, const char *word)
{
    return span_equal(text, span_of(word));
}

/* The value of "name:value\r\n" at the beginning of a line; empty if there is none. */
static struct span info_value(struct span info, const char *name)
{
    size_t name_bytes = strlen(name);
    const char *end = info.at + info.bytes;
    for (const char *line = info.at; line < end;) {
        const char *stop = memchr(line, '\n', (size_t)(end - line));
        if (stop == NULL) stop = end;
        size_t bytes = (size_t)(stop - line);
        if (bytes > name_bytes && line[name_bytes] == ':' && memcmp(line, name, name_bytes) == 0) {
            const char *value = line + name_bytes + 1;
            size_t value_bytes = (size_t)(stop - value);
            if (value_bytes > 0 && value[value_bytes - 1] == '\r') value_bytes--;
            return (struct span){value, value_bytes};
        }
        line = stop + 1;
    }
    return (struct span){NULL, 0};
}

bool facts_read_info(struct facts *facts, const redisReply *reply)
{
    struct span info = text_of(reply);
    if (info.bytes == 0) return false;
    struct span run_id = info_value(info, "run_id");
    struct span role = info_value(info, "role");
    if (run_id.bytes != RUN_ID_BYTES || role.bytes == 0) return false;
    memcpy(facts->run_id, run_id.at, RUN_ID_BYTES);
    facts->run_id[RUN_ID_BYTES] = '\0';
    facts->master = is(role, "master");
    struct span second = info_value(info, "second_repl_offset");
    facts->promoted = second.bytes > 0 && !is(second, "-1");
    facts->rewriting = is(info_value(info, "aof_rewrite_in_progress"), "1") ||
                       is(info_value(info, "aof_rewrite_scheduled"), "1");
    return true;
}

bool facts_read_config(struct facts_config *config, const redisReply *reply)
{
    if (reply->type != REDIS_REPLY_ARRAY) return false;
    for (size_t i = 0; i + 1 < reply->elements; i += 2) {
        struct span name = text_of(reply->element[i]);
        struct span value = text_of(reply->element[i + 1]);
        if (is(name, "appendonly")) {
            config->appendonly = is(value, "yes");
        } else if (is(name, "appendfsync")) {
            config->always = is(value, "always");
        } else if (is(name, "no-appendfsync-on-rewrite")) {
            config->always_while_rewriting = is(value, "no");
        } else if (is(name, "maxmemory-policy")) {
            config->noeviction = is(value, "noeviction");
        } else {
            continue;
        }
        config->understood++;
    }
    return true;
}

static enum script_status status_of(struct span text)
{
    static const struct {
        const char *word;
        enum script_status status;
    } words[] = {
        {"OK", SCRIPT_OK},       {"HELD", SCRIPT_HELD},
        {"STALE", SCRIPT_STALE}, {"HEALED", SCRIPT_HEALED},
        {"LOST", SCRIPT_LOST},   {"LATE", SCRIPT_LATE},
        {"DOUBT", SCRIPT_DOUBT}, {"NOEPOCH", SCRIPT_NOEPOCH},
        {"USED", SCRIPT_USED},   {"WRONG_CLUSTER", SCRIPT_WRONG_CLUSTER},
    };
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        if (is(text, words[i].word)) return words[i].status;
    }
    return SCRIPT_ODD;
}

struct script_answer script_answer_read(const redisReply *reply)
{
    struct script_answer answer = {.status = SCRIPT_ODD, .error = "an odd reply"};
    if (reply->type == REDIS_REPLY_ERROR) answer.error = reply->str;
    if (reply->type != REDIS_REPLY_ARRAY || reply->elements < 6) return answer;
    uint64_t token;
    uint64_t seconds;
    uint64_t us;
    if (!facts_number(text_of(reply->element[1]), &token) ||
        !facts_number(text_of(reply->element[2]), &seconds) ||
        !facts_number(text_of(reply->element[3]), &us) || seconds > UINT64_MAX / 2000000 ||
        us >= 1000000) {
        return answer;
    }
    answer.status = status_of(text_of(reply->element[0]));
    if (answer.status == SCRIPT_ODD) return answer;
    answer.error = NULL;
    answer.token = token;
    answer.time_us = seconds * 1000000 + us;
    answer.more = text_of(reply->element[4]);
    answer.last = text_of(reply->element[5]);
    return answer;
}

bool facts_read_look(struct facts *facts, const redisReply *reply)
{
    struct script_answer answer = script_answer_read(reply);
    if (answer.status != SCRIPT_OK && answer.status != SCRIPT_NOEPOCH &&
        answer.status != SCRIPT_WRONG_CLUSTER) {
        return false;
    }
    if (reply->elements != 8) return false;
    facts->epoch = answer.status;
    facts->known = answer.token;
    facts->epoch_run_id[0] = '\0';
    if (answer.last.bytes == RUN_ID_BYTES) {
        memcpy(facts->epoch_run_id, answer.last.at, RUN_ID_BYTES);
        facts->epoch_run_id[RUN_ID_BYTES] = '\0';
    }
    facts->epoch_aof = is(text_of(reply->element[6]), "1");
    facts->epoch_new = is(text_of(reply->element[7]), "1");
    return true;
}
