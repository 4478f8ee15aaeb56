/* SPDX-License-Identifier: MIT */
/*
 * template/ - what warmd keeps of each program that was built, and which launches it serves.
 *
 * In: what a build reported (BuildResult, descriptors), file system events by watch.h, requests. Out: the template that
 * serves a request, or the reason why none does. Nothing here knows connections, clones or builds: who keeps something
 * beside a template is told by its listener (store.h) when the template goes.
 *
 *	template.h, match.c	what a template holds, and what a launch is compared with it in
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
	struct misfit { /* the last contexts in which it did not fit, newest first: variant.c */
		uint64_t kind; /* 0: none */
		bool built; /* another was, for this one */
	} misfits[4];
	/* what warmd/pool/ keeps beside it, and frees when its listener hears that the template goes */
	struct pool *pool; /* clones that warmd launches: pool.h; NULL: none was asked for */
	struct hot *hot; /* what clones told of the pages they write: hot.h; NULL: nothing yet */
};

/** template_mismatch() - why @t does not serve @req. Return: false when it does; words in @reason */
bool template_mismatch(const struct template *t, const struct request *req, const struct config *config,
		       char *reason, size_t size);
/** template_looked_at_differs() - umask, affinity, limits, size of the terminal, as far as they count. Return: as above */
bool template_looked_at_differs(const struct template *t, const struct request *req, char *reason,
				size_t size);
/**
 * template_environment_differs() - of a variable that counts
 * @listed_only: only those that were seen to be read, where it is not known whether all were
 * Return: false: of none; words in @reason
 */
bool template_environment_differs(const struct template *t, const struct request *req,
				  const struct config *config, bool listed_only, char *reason, size_t size);
/** template_variable_counts() - NAME=...: is it compared by template_environment_differs()? */
bool template_variable_counts(const struct template *t, const char *setting, const struct config *config,
			      bool listed_only);
/** template_signals_counting() - a bit each: is it looked at by template_looked_at_differs() whether they are ignored? */
uint64_t template_signals_counting(const struct template *t, const struct request *req);
/** template_descriptors_counting() - @ret: a bit each of 0..255: does template_descriptors_clash() ask whether the caller has it open? */
void template_descriptors_counting(const struct template *t, uint64_t ret[4]);
/** template_stream_counts() - of a launch by name: does it count whether standard descriptor @fd is closed? */
bool template_stream_counts(const struct template *t, int fd);
/** template_asks_for_context() - is a clone told all of its launch, at the readiness point `call`? */
bool template_asks_for_context(const struct template *t);
/** template_fact_differs() - a fact of the machine that the program asked for is another now. Return: what, or NULL */
const char *template_fact_differs(const struct template *t);
/** template_variable_counts_always() - NAME=... of the C library's and the dynamic linker's own, whom nobody sees read it */
bool template_variable_counts_always(const char *setting);
/** template_takes_context() - can a clone have other arguments than the build? At the points `delay` and `idle` none can */
bool template_takes_context(const struct template *t);
/** template_read_arguments() - did it read what its arguments are, so that a clone can have no others? Else argv_count says how many count */
bool template_read_arguments(const struct template *t);
/** template_arguments_differ() - of a launch by name: from those that the program was seen to read. Others it takes at its readiness point. Return: as above */
bool template_arguments_differ(const struct template *t, const struct request *req, char *reason,
			       size_t size);
/** template_descriptors_clash() - does the caller have one of a number that the program uses? Return: as above */
bool template_descriptors_clash(const struct template *t, const struct request *req, char *reason,
				size_t size);
/** template_stdio_changes() - bit n: descriptor n is of another kind than in the build, or not at its start */
uint32_t template_stdio_changes(const struct template *t, const struct request *req);
/** template_same_program() - is it of the same program, so that what keeps one from being a template keeps the other? */
bool template_same_program(const struct template *t, const struct request *req);

#endif
