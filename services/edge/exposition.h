/* exposition.h - puts the Prometheus texts of several processes together.
 *
 * Each process names its counters as if it were alone. Here every sample gets the labels of its
 * process, and samples of one name come together under one HELP and TYPE, as Prometheus wants it.
 * Pure.
 */
#ifndef QUORATE_EDGE_EXPOSITION_H
#define QUORATE_EDGE_EXPOSITION_H

#include "edge/json.h"

struct exposition;

struct exposition *exposition_new(void);
void exposition_free(struct exposition *exposition);

/* `labels` as in Prometheus without braces. Lines that are neither comment nor sample are dropped.
 */
void exposition_add(struct exposition *exposition, struct span text, const char *labels);

/* Appends all of it. */
void exposition_write(const struct exposition *exposition, struct json *out);

#endif
