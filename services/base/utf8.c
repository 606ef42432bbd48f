#include "base/utf8.h"

static bool continues(const char *at, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (((unsigned char)at[i] & 0xc0) != 0x80) return false;
    return true;
}

size_t utf8_character(const char *at, size_t bytes)
{
    if (bytes == 0) return 0;
    unsigned char first = (unsigned char)at[0];
    if (first < 0x80) return 1;
    size_t length = first < 0xc2 ? 0 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : first < 0xf5 ? 4 : 0;
    if (length == 0 || length > bytes || !continues(at + 1, length - 1)) return 0;
    unsigned char second = (unsigned char)at[1];
    if (first == 0xe0 && second < 0xa0) return 0; /* overlong */
    if (first == 0xed && second > 0x9f) return 0; /* surrogates */
    if (first == 0xf0 && second < 0x90) return 0; /* overlong */
    if (first == 0xf4 && second > 0x8f) return 0; /* above U+10FFFF */
    return length;
}

long utf8_length(struct span text)
{
    long characters = 0;
    for (size_t i = 0; i < text.bytes; characters++) {
        size_t bytes = utf8_character(text.at + i, text.bytes - i);
        if (bytes == 0) return -1;
        i += bytes;
    }
    return characters;
}
