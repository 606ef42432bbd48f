/* by_product.h - uthash for tables whose key is a product id (int64_t).
 *
 * Include it instead of uthash.h. A multiplication in place of uthash's Jenkins hash: a tenth of
 * the code at each use, and ids need no more. */
#ifndef QUORATE_INVENTORY_BY_PRODUCT_H
#define QUORATE_INVENTORY_BY_PRODUCT_H

#include "base/check.h"

#include <stdint.h>

static inline unsigned by_product_hash(const int64_t *product)
{
    return (unsigned)(((uint64_t)*product * UINT64_C(0x9E3779B97F4A7C15)) >> 32);
}

#define HASH_FUNCTION(key, key_bytes, hash) ((hash) = by_product_hash(key))
#define HASH_KEYCMP(a, b, bytes)            (*(const int64_t *)(a) != *(const int64_t *)(b))
#define uthash_fatal(message)               check_fail(message, __FILE__, __LINE__)

#include <uthash.h>

#endif
