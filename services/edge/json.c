#include "edge/json.h"

#include "base/check.h"
#include "base/utf8.h"

#include <stdlib.h>
#include <time.h>

void json_init(struct json *json, void *storage, size_t bytes)
{
    *json = (struct json){.at = storage, .room = bytes};
}

void json_fini(struct json *json)
{
    if (json->on_heap) free(json->at);
    *json = (struct json){.at = NULL};
}

void json_clear(struct json *json)
{
    json->used = 0;
    json->comma = false;
}

static void grow(struct json *json, size_t bytes)
{
    size_t room = json->room < 256 ? 512 : 2 * json->room;
    while (room - json->used < bytes)
        room *= 2;
    if (json->on_heap) {
        json->at = xrealloc(json->at, room);
    } else {
        char *moved = xrealloc(NULL, room);
        if (json->used > 0) memcpy(moved, json->at, json->used);
        json->at = moved;
        json->on_heap = true;
    }
    json->room = room;
}

/* Where the next `bytes` may be written. */
static inline char *reserve(struct json *json, size_t bytes)
{
    if (json->room - json->used < bytes) grow(json, bytes);
    return json->at + json->used;
}

static inline void put(struct json *json, char byte)
{
    *reserve(json, 1) = byte;
    json->used++;
}

static inline void separate(struct json *json)
{
    if (json->comma) put(json, ',');
    json->comma = true;
}

void json_put_raw(struct json *json, struct span bytes)
{
    if (bytes.bytes == 0) return;
    memcpy(reserve(json, bytes.bytes), bytes.at, bytes.bytes);
    json->used += bytes.bytes;
}

void json_open_object(struct json *json)
{
    separate(json);
    put(json, '{');
    json->comma = false;
}

void json_close_object(struct json *json)
{
    put(json, '}');
    json->comma = true;
}

void json_open_array(struct json *json)
{
    separate(json);
    put(json, '[');
    json->comma = false;
}

void json_close_array(struct json *json)
{
    put(json, ']');
    json->comma = true;
}

void json_key(struct json *json, struct span key)
{
    char *into = reserve(json, key.bytes + 4);
    size_t used = 0;
    if (json->comma) into[used++] = ',';
    into[used++] = '"';
    memcpy(into + used, key.at, key.bytes);
    used += key.bytes;
    into[used++] = '"';
    into[used++] = ':';
    json->used += used;
    json->comma = false;
}

/* Bytes that may stand in a string as they are; the others are escaped or, from 0x80 on, checked.
 */
static inline bool plain(unsigned char byte)
{
    return byte >= 0x20 && byte < 0x7f && byte != '"' && byte != '\\';
}

static void put_escaped(struct json *json, unsigned char byte)
{
    static const char hex[] = "0123456789abcdef";
    char *into = reserve(json, 6);
    into[0] = '\\';
    char letter = byte == '"'    ? '"'
                  : byte == '\\' ? '\\'
                  : byte == '\n' ? 'n'
                  : byte == '\r' ? 'r'
                  : byte == '\t' ? 't'
                                 : '\0';
    if (letter != '\0') {
        into[1] = letter;
        json->used += 2;
        return;
    }
    into[1] = 'u';
    into[2] = '0';
    into[3] = '0';
    into[4] = hex[byte >> 4];
    into[5] = hex[byte & 15];
    json->used += 6;
}

void json_put_text(struct json *json, struct span text)
{
    separate(json);
    put(json, '"');
    for (size_t i = 0; i < text.bytes;) {
        size_t run = i;
        while (run < text.bytes && plain((unsigned char)text.at[run]))
            run++;
        json_put_raw(json, (struct span){text.at + i, run - i});
        i = run;
        if (i == text.bytes) break;
        unsigned char byte = (unsigned char)text.at[i];
        if (byte < 0x80) {
            put_escaped(json, byte);
            i++;
            continue;
        }
        size_t bytes = utf8_character(text.at + i, text.bytes - i);
        struct span replacement = {"\xef\xbf\xbd", 3};
        json_put_raw(json, bytes == 0 ? replacement : (struct span){text.at + i, bytes});
        i += bytes == 0 ? 1 : bytes;
    }
    put(json, '"');
}

/* Writes the digits so that they end at `end`; returns where they begin. */
static char *digits(char *end, uint64_t number)
{
    static const char pairs[] = "00010203040506070809101112131415161718192021222324"
                                "25262728293031323334353637383940414243444546474849"
                                "50515253545556575859606162636465666768697071727374"
                                "75767778798081828384858687888990919293949596979899";
    while (number >= 100) {
        end -= 2;
        memcpy(end, pairs + 2 * (number % 100), 2);
        number /= 100;
    }
    if (number >= 10) {
        end -= 2;
        memcpy(end, pairs + 2 * number, 2);
    } else {
        *--end = (char)('0' + number);
    }
    return end;
}

void json_put_integer(struct json *json, int64_t number)
{
    char text[24];
    char *end = text + sizeof text;
    uint64_t size = number < 0 ? 0 - (uint64_t)number : (uint64_t)number;
    char *begin = digits(end, size);
    if (number < 0) *--begin = '-';
    separate(json);
    json_put_raw(json, (struct span){begin, (size_t)(end - begin)});
}

void json_put_unsigned_text(struct json *json, uint64_t number)
{
    char text[24];
    char *end = text + sizeof text;
    *--end = '"';
    char *begin = digits(end, number);
    *--begin = '"';
    separate(json);
    json_put_raw(json, (struct span){begin, (size_t)(text + sizeof text - begin)});
}

void json_put_boolean(struct json *json, bool truth)
{
    separate(json);
    json_put_raw(json, truth ? (struct span){"true", 4} : (struct span){"false", 5});
}

void json_put_null(struct json *json)
{
    separate(json);
    json_put_raw(json, (struct span){"null", 4});
}

static void two_digits(char *into, int number)
{
    into[0] = (char)('0' + number / 10);
    into[1] = (char)('0' + number % 10);
}

void json_put_time(struct json *json, int64_t us_since_1970)
{
    int64_t second = us_since_1970 / 1000000;
    int64_t us = us_since_1970 % 1000000;
    if (us < 0) {
        us += 1000000;
        second--;
    }
    time_t time = (time_t)second;
    struct tm utc;
    if (gmtime_r(&time, &utc) == NULL || utc.tm_year < -1900 || utc.tm_year > 9999 - 1900) {
        json_put_null(json); /* no year that ISO 8601 could write */
        return;
    }
    char text[] = "\"0000-00-00T00:00:00.000000Z\"";
    int year = utc.tm_year + 1900;
    two_digits(text + 1, year / 100);
    two_digits(text + 3, year % 100);
    two_digits(text + 6, utc.tm_mon + 1);
    two_digits(text + 9, utc.tm_mday);
    two_digits(text + 12, utc.tm_hour);
    two_digits(text + 15, utc.tm_min);
    two_digits(text + 18, utc.tm_sec);
    two_digits(text + 21, (int)(us / 10000));
    two_digits(text + 23, (int)(us / 100 % 100));
    two_digits(text + 25, (int)(us % 100));
    separate(json);
    json_put_raw(json, (struct span){text, sizeof text - 1});
}
