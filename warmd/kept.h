/* SPDX-License-Identifier: MIT */
/*
 * kept.h - templates on disk, as warmd has them: which there are, when they are loaded and written, when they go.
 *
 * warmd/keep/ is what is on disk; here is the daemon's half.
 *
 *	kept.c		the index: what there is; what goes when a template does
 *	kept_load.c	loads: each a process that reports as a build does. Launches that wait for one are held
 *	kept_write.c	writers: processes of builds that have reported, and write their image now
 *
 * An entry is in one of these states:
 *
 *	on disk		serves nothing yet; a launch that it fits has it loaded, and waits for that; when nothing else is to be
 *			done it is loaded ahead, those first that were used last
 *	loading		a process has it
 *	loaded		a template in the store has its id (struct template, kept). The template may go to make room in memory: then
 *			it is on disk again
 *
 * It goes for good when its template is stale, removed, replaced or too old; when it cannot be loaded; and to make room.
 */
#ifndef WARM_WARMD_KEPT_H
#define WARM_WARMD_KEPT_H

#include "engine/base/packet.h"
#include "warmd/keep/keep.h"
#include "warmd/server.h"

struct kept_load;
struct kept_writer;
struct kept_held;

struct kept_entry {
	struct kept_entry *next;
	char id[KEEP_ID_SIZE];
	Warm__Kept *message; /* slim: keep_entry_slim() */
	struct request *request;
	char label[REQUEST_LABEL_MAX];
	uint64_t used_ns, bytes; /* CLOCK_REALTIME; on disk */
	uint64_t again_ns; /* CLOCK_MONOTONIC: not loaded before; 0: at any time */
	bool loading, seen;
};

struct kept {
	struct server *server;
	char path[PATH_MAX]; /* "": nowhere */
	int folder; /* -EBADF: nothing is kept, or nothing was yet */
	bool off; /* switched off, or the folder is not to be trusted */
	struct timespec changed; /* of the folder when it was read */
	struct kept_entry *entries; /* last used first */
	struct kept_load *loads;
	struct kept_writer *writers;
	struct kept_held *held;
	bool ahead; /* more may be loaded when nothing else is to be done */
	uint64_t loaded, failed, written; /* for statistics */
};

/** kept_new() - what is on disk; why nothing is kept goes to the log. Return: 0 or -ENOMEM */
int kept_new(struct kept **ret, struct server *s);
void kept_free(struct kept *k);
/** kept_refresh() - the folder's contents, if they have changed: another warmd may share it */
void kept_refresh(struct kept *k);
/** kept_tick() - once a second: times of use, age, loading ahead */
void kept_tick(struct kept *k);

/** kept_matching(), kept_named() - an entry that can be loaded and fits a launch; one by its template's name or label. NULL: none */
struct kept_entry *kept_matching(struct kept *k, const struct request *req);
struct kept_entry *kept_named(struct kept *k, const char *name);
/** kept_has() - is one of that name or label on disk, loaded or not? */
bool kept_has(struct kept *k, const char *name);
/** kept_find() - by id */
struct kept_entry *kept_find(const struct kept *k, const char *id);
/** kept_is_loaded() - does a template of the store come from it? */
bool kept_is_loaded(const struct kept *k, const struct kept_entry *e);
/** kept_is_usable() - can it be loaded now, or is it? Not if it is in the store, too old, or failed a moment ago */
bool kept_is_usable(const struct kept *k, const struct kept_entry *e);
/** kept_add() - read the entry @id, which has been written. Return: 0 or a negative errno */
int kept_add(struct kept *k, const char *id, uint64_t used_ns, uint64_t bytes);
/** kept_drop() - from the index and from the disk; @why goes to the log */
void kept_drop(struct kept *k, const char *id, const char *why);
/** kept_drop_of() - what @t was kept as, if it was; also what is being written of it */
void kept_drop_of(struct kept *k, const struct template *t, const char *why);
/** kept_drop_named() - for `warm rm`. Return: whether there was one */
bool kept_drop_named(struct kept *k, const char *name);
/** kept_drop_all() - for `warm rm --all`: what is loaded has been removed */
void kept_drop_all(struct kept *k);
/** kept_superseded() - @t was just built: entries that serve the same launches, or have its name for something else, go */
void kept_superseded(struct kept *k, const struct template *t);
/** kept_path() - where @t is kept. Return: false: nowhere */
bool kept_path(const struct kept *k, const struct template *t, char *ret, size_t size);
uint64_t kept_bytes(const struct kept *k);
/** kept_is_process() - is @pid the process of a load, or one that writes an image? */
bool kept_is_process(const struct server *s, pid_t pid);
/** kept_stats() - the part of `warm stats` */
void kept_stats(struct kept *k, Warm__Stats *m);

/* --- kept_load.c --- */

/**
 * kept_hold() - a run that a template on disk may serve waits until that is loaded, for as long as its client does
 * @req, @caller: taken over when true is returned; the run is answered again then (run_answer())
 */
bool kept_hold(struct connection *c, struct request *req, struct packet *caller, uint64_t start_ns);
/** kept_awaited() - a launch by name. Return: true: its template is being loaded; launch_retry() follows */
bool kept_awaited(struct server *s, const char *name);
/** kept_load_folder() - `warm load`: of the image in the folder that @req names; @c gets the answer. @req is taken over */
void kept_load_folder(struct connection *c, struct request *req);
/** kept_load_ahead() - if nothing else is to be done: the next */
void kept_load_ahead(struct kept *k);
/** kept_forget() - the connection is going away */
void kept_forget(struct server *s, const struct connection *c);
void kept_stop_loads(struct kept *k);
bool kept_load_is_process(const struct kept *k, pid_t pid);

/* --- kept_write.c --- */

/**
 * kept_writer_new() - the process of a build that has reported, which can write images of what it made
 * @pid, @sock: taken over
 * Return: NULL: no memory; it has been ended
 */
struct kept_writer *kept_writer_new(struct server *s, pid_t pid, int sock);
/**
 * kept_writer_go() - have it write what is to be kept of @t, and the image that @req asks for
 * @cpu_ns: processor time of the build; @t has how long it took
 * Return: false: nothing is to be written, and @w is gone
 */
bool kept_writer_go(struct kept_writer *w, struct template *t, const struct request *req, uint64_t cpu_ns);
/** kept_writer_wait() - @c is answered when the image that was asked for is written. Return: false: none was, or there is no memory */
bool kept_writer_wait(struct kept_writer *w, struct connection *c);
/** kept_writer_free() - it ends, unless it writes */
void kept_writer_free(struct kept_writer *w);
void kept_writers_forget(struct kept *k, const struct connection *c);
void kept_stop_writers(struct kept *k);
bool kept_writer_is_process(const struct kept *k, pid_t pid);
/** kept_writer_has() - is @id being written? */
bool kept_writer_has(const struct kept *k, const char *id);
/** kept_writer_drop() - what is written of @t is not wanted any more */
void kept_writer_drop(struct kept *k, const struct template *t);
/** kept_writers_drop_named() - nor what is written of templates with this label that have left the store; NULL: with any */
void kept_writers_drop_named(struct kept *k, const char *label);

#endif
