/* SPDX-License-Identifier: MIT */
/*
 * variant.h - a name's other templates: for callers in whose context the first one does not fit.
 *
 * A launch by name that a template cannot serve, because of a variable that the program looked at, say, runs cold. When a
 * second launch comes that is like it in everything that counts, a template for it is built beside the first, also when some of
 * other kinds came in between:
 * cron's, beside the shell's. `warm rm` removes all of a name.
 */
#ifndef WARM_WARMD_VARIANT_H
#define WARM_WARMD_VARIANT_H

#include "warmd/pool/launch_request.h"
#include "warmd/server.h"

/**
 * variant_kind() - a number that is the same for two launches by name if one template would serve both
 *
 * What @t is compared with a launch in (context_differs() of launch_match.c) goes into it, and nothing else. Never 0.
 */
uint64_t variant_kind(const struct config *config, const struct template *t, const struct request *req);
/** variant_note() - a launch that @t does not fit in its context: the second one of a kind has a build begin */
void variant_note(struct server *s, struct template *t, const struct launch_request *l);

#endif
