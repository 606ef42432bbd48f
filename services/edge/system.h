/* system.h - the calls that are about the edge itself: /health, /health/live, /metrics, /. */
#ifndef QUORATE_EDGE_SYSTEM_H
#define QUORATE_EDGE_SYSTEM_H

#include "edge/exchange.h"

/* 200 while it can serve: an inventory serves and lockd counts a quorum; 503 with what is missing.
 * Answered from what the peers said within the last second. */
exchange_fn system_health;

/* 200 while the loop runs. A container that loses the quorum need not be restarted. */
exchange_fn system_live;

/* Prometheus text: our own, and what each peer counts, told apart by the label `service`. */
exchange_fn system_metrics;

exchange_fn system_root;

#endif
