/* SPDX-License-Identifier: MIT */
/* launch_match.h - which template of a name serves a launch, and what is in the way of the others */
#ifndef WARM_WARMD_LAUNCH_MATCH_H
#define WARM_WARMD_LAUNCH_MATCH_H

#include "warmd/pool/launch_request.h"
#include "warmd/server.h"

/**
 * launch_find_template() - among all of the name that @l gives
 * @ret_fits: whether the one that is returned serves @l; if not, @reason has words
 * @ret_own: whether what the name was given to is there itself, and not only what was built beside it for other contexts
 * Return: the template of that name that fits; else one that does not, or NULL
 */
struct template *launch_find_template(struct server *s, const struct launch_request *l, bool *ret_fits,
				      bool *ret_own, char *reason, size_t size);
/** launch_directory_differs() - from the one that @t depends on. Return: false: it does not; words in @reason */
bool launch_directory_differs(const struct template *t, const struct launch_request *l, char *reason,
			      size_t size);

#endif
