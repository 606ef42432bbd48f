#include "inventory/utf8.h"

#include <stdint.h>

/* Length of the sequence that begins with this byte, 0 if none does; the bounds of its second byte.
 */
static size_t sequence(unsigned char first, unsigned char *low, unsigned char *high)
{
    *low = 0x80;
    *high = 0xbf;
    if (first < 0x80) return first == 0 ? 0 : 1;
    if (first >= 0xc2 && first <= 0xdf) return 2;
    if (first == 0xe0) *low = 0xa0;
    if (first == 0xed) *high = 0x9f;
    if (first >= 0xe0 && first <= 0xef) return 3;
    if (first == 0xf0) *low = 0x90;
    if (first == 0xf4) *high = 0x8f;
    return first >= 0xf0 && first <= 0xf4 ? 4 : 0;
}

size_t utf8_characters(struct span text)
{
    const unsigned char *at = (const unsigned char *)text.at;
    const unsigned char *end = at + text.bytes;
    size_t count = 0;
    while (at < end) {
        unsigned char low;
        unsigned char high;
        size_t bytes = sequence(*at, &low, &high);
        if (bytes == 0 || bytes > (size_t)(end - at)) return SIZE_MAX;
        if (bytes > 1 && (at[1] < low || at[1] > high)) return SIZE_MAX;
        for (size_t i = 2; i < bytes; i++) {
            if (at[i] < 0x80 || at[i] > 0xbf) return SIZE_MAX;
        }
        at += bytes;
        count++;
    }
    return count;
}
