/* accounts.h - the calls of /api/auth. */
#ifndef QUORATE_EDGE_ACCOUNTS_H
#define QUORATE_EDGE_ACCOUNTS_H

#include "edge/exchange.h"

exchange_fn accounts_register;
exchange_fn accounts_login;
exchange_fn accounts_me;

void accounts_write(struct json *json, const struct account *account);

#endif
