/* SPDX-License-Identifier: MIT */
/*
 * promise.h - what was asked for outlives its template.
 *
 * A name, a readiness point and a number of parked clones are given to a
 * command, once (`warm build`). Its template goes when a file changes, when
 * memory is short or when it is old; the next one, whoever has it built, has
 * the same name and options, until `warm rm`.
 */
#ifndef WARM_WARMD_PROMISE_H
#define WARM_WARMD_PROMISE_H

#include "launcher/wire/request.h"

struct promise {
	struct promise *next; /* newest first */
	struct request *request; /* as it was asked for */
};

/**
 * promise_keep() - @req is being built
 *
 * Kept is what has a name, and what `warm build` gave options; not what was built beside it for another context (variant.h). A name is of one command, the last that it was given
 * to; a command without a name has one set of options. Without memory nothing is kept.
 */
void promise_keep(struct promise **list, const struct request *req);
/** promise_of_name() - what @name was given to, or NULL; borrowed */
const struct request *promise_of_name(const struct promise *list, const char *name);
/** promise_of_label() - the same, also for the label that a template of no name gets: request_label() */
const struct request *promise_of_label(const struct promise *list, const char *label);
/** promise_of_command() - what was asked for the command of @req, as far as @req itself asks for nothing else; NULL: nothing */
const struct request *promise_of_command(const struct promise *list, const struct request *req);
/** promise_drop() - what @name was given, and, if @req has no name, its command. Return: false: nothing was */
bool promise_drop(struct promise **list, const char *name, const struct request *req);
void promise_drop_all(struct promise **list);

#endif
