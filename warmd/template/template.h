/* SPDX-License-Identifier: MIT */
/*
 * template/ - what warmd keeps of each program that was built, and which launches it serves.
 *
 * In: what a build reported (BuildResult, descriptors), file system events by watch.h, requests. Out: the template that
 * serves a request, or the reason why none does. Nothing here knows connections, clones or builds: who keeps something
 * beside a template is told by its listener (store.h) when the template goes.
 *
 *	template.h		what a template holds
 *	match.h			what a launch is compared with it in
 *	store.h, store*.c	all templates: adding, replacing, finding, dropping
 *	promise.h		names and options that were asked for, also of templates that are gone
 *	backoff.h		programs whose builds bring nothing
 *
 * A template is in one of these states:
 *
 *	READY	has memfds; serves launches; its dependencies are watched
 *	REFUSED	its program cannot be a template; kept with its reason, so that it is not built for
 *		each run; its dependencies are watched too: when one changes it is forgotten
 *
 * One that is stale is taken out of the store at once; memory is given back when
 * the last clone's mappings are gone, because those hold the memfds too.
 */
#ifndef WARM_WARMD_TEMPLATE_TEMPLATE_H
#define WARM_WARMD_TEMPLATE_TEMPLATE_H

#include <stdbool.h>
#include <stdint.h>

#include "warmd/config/config.h"
#include "launcher/wire/control.pb-c.h"
#include "launcher/wire/request.h"
#include "warmd/stale/keys.h"
#include "warmd/stale/watch.h"

enum template_state { TEMPLATE_READY, TEMPLATE_REFUSED };

struct pool;
struct hot;
struct store;

struct template
{
	struct template *next;
	struct store *store; /* that it is in, or was */
	uint64_t id;
	uint64_t learn_key; /* a random number: who knows it has been given the template */
	enum template_state state;
	char *label; /* its name, or one derived from the command */
	struct request *request; /* what it was built for */
	Warm__BuildResult *result;
	struct dep_set *deps;
	struct watch_user *watch;
	int *fds; /* control, pages, files */
	uint32_t nfds;
	uint64_t created_ns, last_used_ns, build_ns; /* CLOCK_REALTIME, to be shown; build_ns a duration */
	uint64_t born_ns; /* CLOCK_BOOTTIME, which nobody sets: what max_age counts from */
	uint64_t checked_ns; /* REFUSED: CLOCK_MONOTONIC of the refusal */
	unsigned int attempts; /* REFUSED with retry: builds so far */
	uint64_t launches;
	char kept[17]; /* its id on disk, while it is there or being written: warmd/kept.h; "": neither */
	struct misfit { /* the last contexts in which it did not fit, newest first: variant.c */
		uint64_t kind; /* 0: none */
		bool built; /* another was, for this one */
	} misfits[4];
	/* what warmd/pool/ keeps beside it, and frees when its listener hears that the template goes */
	struct pool *pool; /* clones that warmd launches: pool.h; NULL: none was asked for */
	struct hot *hot; /* what clones told of the pages they write: hot.h; NULL: nothing yet */
};

#endif
