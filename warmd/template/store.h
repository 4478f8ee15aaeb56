/* SPDX-License-Identifier: MIT */
/*
 * store.h - all templates of a warmd: how they come in, which one serves a launch, and when they go.
 */
#ifndef WARM_WARMD_TEMPLATE_STORE_H
#define WARM_WARMD_TEMPLATE_STORE_H

#include "warmd/template/promise.h"
#include "warmd/template/template.h"

struct backoff;

#define STORE_LISTENERS 2

/*
 * Who wants to know what becomes of templates; a function that is NULL is not called. Listeners are called in the order in
 * which they were added. They may not drop templates, nor add any.
 */
struct store_listener {
	/** a template is stale or too old: it is not in the list any more, but still whole, its pool too */
	void (*gone)(void *data, const struct template *t);
	/** it is about to be freed, for whatever reason: what is kept beside it goes now */
	void (*leaving)(void *data, struct template *t);
	/** from here on events do not tell of all that it depends on: whoever launches it has to look (store_check()) */
	void (*unseen)(void *data, struct template *t);
	void *data;
};

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
	struct store_listener listeners[STORE_LISTENERS];
	size_t nlisteners;
};

int store_new(struct store **ret, const struct config *config, struct error *err);
void store_free(struct store *s);
/** store_listen() - have @l called from now on; of STORE_LISTENERS there is one for each part of warmd that needs it */
void store_listen(struct store *s, const struct store_listener *l);

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

#endif
