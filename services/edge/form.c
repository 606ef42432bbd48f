#include "edge/form.h"

#include "base/utf8.h"

static int hex_value(char digit)
{
    if (digit >= '0' && digit <= '9') return digit - '0';
    if (digit >= 'a' && digit <= 'f') return digit - 'a' + 10;
    if (digit >= 'A' && digit <= 'F') return digit - 'A' + 10;
    return -1;
}

static enum form_outcome decode(struct span raw, struct form_room room, struct span *value)
{
    size_t used = 0;
    for (size_t i = 0; i < raw.bytes; i++) {
        char byte = raw.at[i];
        if (byte == '+') {
            byte = ' ';
        } else if (byte == '%') {
            if (raw.bytes - i < 3) return FORM_MALFORMED;
            int high = hex_value(raw.at[i + 1]);
            int low = hex_value(raw.at[i + 2]);
            if (high < 0 || low < 0) return FORM_MALFORMED;
            byte = (char)(high * 16 + low);
            i += 2;
        }
        if (byte == '\0') return FORM_MALFORMED;
        if (used == room.bytes) return FORM_TOO_LONG;
        room.into[used++] = byte;
    }
    *value = (struct span){room.into, used};
    return utf8_length(*value) < 0 ? FORM_MALFORMED : FORM_FOUND;
}

static bool find(struct span form, const char *name, struct span *raw)
{
    bool found = false;
    size_t name_bytes = strlen(name);
    for (size_t from = 0; from <= form.bytes;) {
        const char *end =
            from == form.bytes ? NULL : memchr(form.at + from, '&', form.bytes - from);
        size_t to = end == NULL ? form.bytes : (size_t)(end - form.at);
        struct span pair = {form.at + from, to - from};
        if (pair.bytes > name_bytes && pair.at[name_bytes] == '=' &&
            memcmp(pair.at, name, name_bytes) == 0) {
            *raw = (struct span){pair.at + name_bytes + 1, pair.bytes - name_bytes - 1};
            found = true;
        }
        from = to + 1;
    }
    return found;
}

enum form_outcome form_text(struct span form, const char *name, struct form_room room,
                            struct span *value)
{
    struct span raw;
    return find(form, name, &raw) ? decode(raw, room, value) : FORM_ABSENT;
}

enum form_outcome form_integer(struct span form, const char *name, int64_t *value)
{
    char text[24];
    struct span digits;
    enum form_outcome outcome =
        form_text(form, name, (struct form_room){text, sizeof text}, &digits);
    if (outcome == FORM_TOO_LONG) return FORM_MALFORMED;
    if (outcome != FORM_FOUND) return outcome;
    bool negative = digits.bytes > 0 && digits.at[0] == '-';
    if (digits.bytes == (negative ? 1U : 0U)) return FORM_MALFORMED;
    int64_t number = 0;
    for (size_t i = negative ? 1 : 0; i < digits.bytes; i++) {
        char digit = digits.at[i];
        if (digit < '0' || digit > '9') return FORM_MALFORMED;
        if (__builtin_mul_overflow(number, 10, &number) ||
            __builtin_sub_overflow(number, digit - '0', &number))
            return FORM_MALFORMED;
    }
    if (!negative && number == INT64_MIN) return FORM_MALFORMED;
    *value = negative ? number : -number;
    return FORM_FOUND;
}
