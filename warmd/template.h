/* SPDX-License-Identifier: MIT */
/*
 * template.h - the daemon's templates: what they hold, which launch they
 * serve, when they go.
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
#ifndef WARM_WARMD_TEMPLATE_H
#define WARM_WARMD_TEMPLATE_H

#include <stdbool.h>
#include <stdint.h>

#include "warmd/config/config.h"
#include "launcher/wire/control.pb-c.h"
#include "warmd/promise.h"
#include "launcher/wire/request.h"
#include "warmd/stale/watch.h"

/* properties of the launch that count because they were asked for: BuildResult.keys */
enum template_key {
	TEMPLATE_KEY_CWD = 1 << 0,
	TEMPLATE_KEY_UMASK = 1 << 1,
	TEMPLATE_KEY_AFFINITY = 1 << 2,
	TEMPLATE_KEY_WINSIZE = 1 << 3,
	TEMPLATE_KEY_TERMIOS = 1 << 4,
	TEMPLATE_KEY_NICE = 1 << 5,
	TEMPLATE_KEY_SCHED = 1 << 6,
	TEMPLATE_KEY_IOPRIO = 1 << 7,
	TEMPLATE_KEY_SIGMASK = 1 << 8,
	TEMPLATE_KEY_ARGV = 1 << 9, /* its own command line, through /proc */
};

/* bits of personality(2) that do not count: ADDR_NO_RANDOMIZE, ADDR_COMPAT_LAYOUT. A clone's memory lies as the template's */
#define TEMPLATE_LAYOUT_ONLY 0x0240000u

enum template_state { TEMPLATE_READY, TEMPLATE_REFUSED };

struct template
{
	struct template *next;
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
	struct pool *pool; /* clones that warmd launches: pool.h; NULL: none was asked for */
	char kept[17]; /* its id on disk: kept.h; "": it is not there */
	struct hot *hot; /* what clones told of the pages they write: hot.h; NULL: nothing yet */
};

struct backoff;

struct store {
	struct template *list; /* newest first */
	struct promise *promises; /* names and options of templates, also of those that are gone */
	struct watch *watch;
	const struct config *config;
	struct backoff *backoff; /* programs whose builds bring nothing */
	uint64_t next_id, generation;
	uint64_t dropped_stale, dropped_budget, dropped_age;
	struct stale_note { /* the last templates that went stale, to say why a run was cold */
		char label[REQUEST_LABEL_MAX], command[REQUEST_LABEL_MAX], path[256];
		uint64_t when_ns;
	} stale[16];
	unsigned int nstale;
	/* a template that is stale or too old: not in the list any more, but still whole */
	void (*on_gone)(void *data, const struct template *t);
	void *on_gone_data;
};

int store_new(struct store **ret, const struct config *config, struct error *err);
void store_free(struct store *s);

/**
 * store_add() - take a build's result in
 * @req, @result, @fds: taken over on success and on failure
 * Return: 0 with *ret set. -ESTALE: an input changed during the build. -ENOSPC: it
 * exceeds the budget by itself, or watches ran out. err has the words.
 */
int store_add(struct store *s, struct request *req, Warm__BuildResult *result, int *fds, uint32_t nfds,
	      uint64_t build_ns, struct template **ret, struct error *err);
void store_remove(struct store *s, struct template *t);
/**
 * store_unusable() - clones cannot be made of @t, since @what is not as it was: as if a watch had told
 *
 * @t is freed. Once in a while only for the templates of one name: nothing is done if that was so a moment ago.
 */
void store_unusable(struct store *s, struct template *t, const char *what);

/**
 * store_match() - the template that serves a launch
 * @ret_status: enum wire_status: WIRE_WARM with *ret set; _REFUSED; _MISMATCH; _STALE; _NONE
 * @reason: words, @size bytes
 */
void store_match(struct store *s, const struct request *req, struct template **ret, uint32_t *ret_status,
		 char *reason, size_t size);

/**
 * store_waits() - is no build to be made for a run of @req yet: backoff.h?
 * Return: false: one may be; else true, with how long in *ret_ns, and @reason has words for that and why
 */
bool store_waits(const struct store *s, const struct request *req, uint64_t *ret_ns, char *reason,
		 size_t size);

/**
 * store_check() - is @t still good? Files that no watch sees, and facts of the machine, are looked at
 *
 * Return: false: it was not; it is reported as stale, and gone.
 */
bool store_check(struct template *t);

/** store_find() - by label or decimal id; of several that of the newest, a ready one before a refused one */
struct template *store_find(const struct store *s, const char *name);
/** store_is_named() - does @name, a label or decimal id, mean @t? */
bool store_is_named(const struct template *t, const char *name);

/** store_expire() - drop what is older than the configured age; @now_ns: of CLOCK_BOOTTIME */
void store_expire(struct store *s, uint64_t now_ns);
uint64_t store_sealed_bytes(const struct store *s);
size_t store_count(const struct store *s);

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
