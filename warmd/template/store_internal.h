/* SPDX-License-Identifier: MIT */
/* store_internal.h - between the store*.c; nobody else includes it */
#ifndef WARM_WARMD_TEMPLATE_STORE_INTERNAL_H
#define WARM_WARMD_TEMPLATE_STORE_INTERNAL_H

#include "warmd/template/store.h"

/* --- store.c --- */

/** store_unlink() - @t is in no list any more, and still whole */
void store_unlink(struct store *s, struct template *t);
/** store_free_template() - listeners hear that @t, which is in no list, is leaving; it is freed */
void store_free_template(struct template *t);
/** store_tell_gone() - listeners hear that @t is stale or too old */
void store_tell_gone(const struct template *t);

/* --- store_stale.c --- */

/** store_stale() - @data, a template, depends on @path, which changed: it is dropped and freed. A watch_changed_fn */
void store_stale(void *data, const char *path);
/** store_recently_stale() - the last template for the command of @req that went stale a moment ago. Return: NULL: none */
const struct stale_note *store_recently_stale(const struct store *s, const struct request *req);

#endif
