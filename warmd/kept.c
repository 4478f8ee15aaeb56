/* SPDX-License-Identifier: MIT */
/* kept.c - the index of templates on disk */
#include "warmd/kept.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "engine/base/clock.h"
#include "engine/base/fd.h"
#include "engine/base/log.h"
#include "warmd/serve.h"
#include "warmd/template/match.h"

#define AHEAD_USEC 20000

static void entry_free(struct kept_entry *e)
{
	keep_entry_free(e->message);
	request_free(e->request);
	free(e);
}

static void unlink_entry(struct kept *k, const struct kept_entry *e)
{
	for (struct kept_entry **p = &k->entries; *p; p = &(*p)->next) {
		if (*p == e) {
			*p = e->next;
			return;
		}
	}
}

struct kept_entry *kept_find(const struct kept *k, const char *id)
{
	for (struct kept_entry *e = k->entries; e; e = e->next)
		if (strcmp(e->id, id) == 0)
			return e;
	return NULL;
}

static const struct template *template_of(const struct kept *k, const char *id)
{
	for (const struct template *t = k->server->store->list; t; t = t->next)
		if (strcmp(t->kept, id) == 0)
			return t;
	return NULL;
}

bool kept_is_loaded(const struct kept *k, const struct kept_entry *e)
{
	return template_of(k, e->id) != NULL;
}

static bool is_too_old(const struct kept *k, const struct kept_entry *e)
{
	uint64_t now = clock_ns(CLOCK_REALTIME), max = k->server->config->max_age_ns;

	return max && now > e->message->created_ns && now - e->message->created_ns >= max;
}

/* last used first */
static void insert(struct kept *k, struct kept_entry *e)
{
	struct kept_entry **at = &k->entries;

	while (*at && (*at)->used_ns >= e->used_ns)
		at = &(*at)->next;
	e->next = *at;
	*at = e;
}

int kept_add(struct kept *k, const char *id, uint64_t used_ns, uint64_t bytes)
{
	struct kept_entry *e = calloc(1, sizeof(*e));
	int r;

	if (!e)
		return -ENOMEM;
	snprintf(e->id, sizeof(e->id), "%s", id);
	e->used_ns = used_ns;
	e->bytes = bytes;
	e->seen = true;
	r = keep_entry_read(k->folder, id, &e->message);
	if (r == 0)
		r = keep_entry_request(e->message, &e->request);
	if (r < 0) {
		entry_free(e);
		return r;
	}
	request_label(e->request, e->label, sizeof(e->label));
	insert(k, e);
	return 0;
}

/* it may not be there yet: the first writer makes it */
static void open_folder(struct kept *k)
{
	struct error err = { 0 };

	if (k->off || k->folder >= 0)
		return;
	k->folder = keep_folder_open(k->path, false, &err);
	if (k->folder >= 0 || k->folder == -ENOENT)
		return;
	log_warning("no templates are kept on disk: %s", err.text);
	/* what is short now need not be so the next time */
	k->off = k->folder != -EMFILE && k->folder != -ENFILE && k->folder != -ENOMEM;
}

/* one that is not in the index yet */
static void take(struct kept *k, const struct keep_listed *listed)
{
	const struct kept_entry *e;
	int r;

	/* a process of this warmd will tell of it, or it is not wanted any more */
	if (kept_writer_has(k, listed->id))
		return;
	r = kept_add(k, listed->id, listed->used_ns, listed->bytes);
	if (r == -EBADMSG || r == -EACCES) {
		log_warning("a kept template that is damaged, or of another version, goes: %s/%s", k->path,
			    listed->id);
		keep_folder_remove(k->folder, listed->id);
	}
	if (r < 0)
		return;
	e = kept_find(k, listed->id);
	if (config_keeps(k->server->config, e->request->argv[0]))
		/* its name and its options are its command's, as if it had been built here */
		promise_keep(&k->server->store->promises, e->request);
	else
		kept_drop(k, listed->id, "the configuration says that it is not kept");
}

/* another warmd may share the folder: what it wrote serves here too, and what it removed is gone */
void kept_refresh(struct kept *k)
{
	_cleanup_free_ struct keep_listed *list = NULL;
	struct kept_entry *next;
	struct stat st;
	int n;

	open_folder(k);
	if (k->folder < 0 || fstat(k->folder, &st) < 0 ||
	    (st.st_mtim.tv_sec == k->changed.tv_sec && st.st_mtim.tv_nsec == k->changed.tv_nsec))
		return;
	n = keep_folder_list(k->folder, &list);
	if (n < 0)
		return;
	k->changed = st.st_mtim;
	for (struct kept_entry *e = k->entries; e; e = e->next)
		e->seen = false;
	for (int i = 0; i < n; i++) {
		struct kept_entry *e = kept_find(k, list[i].id);

		if (e)
			e->seen = true;
		else
			take(k, &list[i]);
	}
	for (struct kept_entry *e = k->entries; e; e = next) {
		next = e->next;
		if (!e->seen && !e->loading) {
			unlink_entry(k, e);
			entry_free(e);
		}
	}
	k->ahead = true;
}

bool kept_is_usable(const struct kept *k, const struct kept_entry *e)
{
	return !kept_is_loaded(k, e) && !is_too_old(k, e) &&
	       (e->loading || clock_ns(CLOCK_MONOTONIC) >= e->again_ns);
}

struct kept_entry *kept_matching(struct kept *k, const struct request *req)
{
	char reason[256];

	kept_refresh(k);
	for (struct kept_entry *e = k->entries; e; e = e->next) {
		const struct template as = { .request = e->request,
					     .result = e->message->result,
					     .label = e->label };

		if (kept_is_usable(k, e) &&
		    !template_mismatch(&as, req, k->server->config, reason, sizeof(reason)))
			return e;
	}
	return NULL;
}

struct kept_entry *kept_named(struct kept *k, const char *name)
{
	kept_refresh(k);
	for (struct kept_entry *e = k->entries; e; e = e->next)
		if (strcmp(e->label, name) == 0 && kept_is_usable(k, e))
			return e;
	return NULL;
}

bool kept_has(struct kept *k, const char *name)
{
	kept_refresh(k);
	for (const struct kept_entry *e = k->entries; e; e = e->next)
		if (strcmp(e->label, name) == 0)
			return true;
	return false;
}

void kept_drop(struct kept *k, const char *id, const char *why)
{
	struct kept_entry *e = kept_find(k, id);

	log_info("the kept template %s%s%s goes: %s", e ? "'" : "", e ? e->label : id, e ? "'" : "", why);
	if (k->folder >= 0)
		keep_folder_remove(k->folder, id);
	if (!e)
		return;
	unlink_entry(k, e);
	entry_free(e);
}

void kept_drop_of(struct kept *k, const struct template *t, const char *why)
{
	if (t->kept[0])
		kept_drop(k, t->kept, why);
	kept_writer_drop(k, t);
}

bool kept_drop_named(struct kept *k, const char *name)
{
	struct kept_entry *next;
	bool found = false;

	kept_refresh(k);
	for (struct kept_entry *e = k->entries; e; e = next) {
		next = e->next;
		if (strcmp(e->label, name) == 0) {
			found = true;
			kept_drop(k, e->id, "it was removed");
		}
	}
	kept_writers_drop_named(k, name);
	return found;
}

/* what an earlier warmd kept, before it was switched off */
static void drop_unlisted(const struct kept *k)
{
	_cleanup_free_ struct keep_listed *list = NULL;
	struct error err;
	_cleanup_close_ int folder = keep_folder_open(k->path, false, &err);
	int n = folder < 0 ? 0 : keep_folder_list(folder, &list);

	for (int i = 0; i < n; i++)
		keep_folder_remove(folder, list[i].id);
}

void kept_drop_all(struct kept *k)
{
	kept_refresh(k);
	while (k->entries)
		kept_drop(k, k->entries->id, "all were removed");
	kept_writers_drop_named(k, NULL);
	if (k->off && k->path[0])
		drop_unlisted(k);
}

void kept_superseded(struct kept *k, const struct template *t)
{
	struct kept_entry *next;
	char reason[256];

	kept_refresh(k);
	/* of a template that this one has taken the place of, and whose image would come later */
	kept_writers_drop_named(k, t->label);
	for (struct kept_entry *e = k->entries; e; e = next) {
		const struct template as = { .request = e->request,
					     .result = e->message->result,
					     .label = e->label };
		bool same_name = t->request->name[0] && strcmp(e->label, t->request->name) == 0;
		/* one with a name serves launches by it, which one without does not */
		bool other_name = e->request->name[0] && !t->request->name[0];

		next = e->next;
		if (strcmp(e->id, t->kept) == 0)
			continue;
		if ((same_name && !request_same_command(e->request, t->request)) ||
		    (!other_name &&
		     !template_mismatch(&as, t->request, k->server->config, reason, sizeof(reason))))
			kept_drop(k, e->id, "another was built in its place");
	}
}

bool kept_path(const struct kept *k, const struct template *t, char *ret, size_t size)
{
	if (!t->kept[0] || !kept_find(k, t->kept))
		return false;
	snprintf(ret, size, "%s/%s", k->path, t->kept);
	return true;
}

uint64_t kept_bytes(const struct kept *k)
{
	uint64_t n = 0;

	for (const struct kept_entry *e = k->entries; e; e = e->next)
		n += e->bytes;
	return n;
}

static void note_uses(struct kept *k)
{
	for (const struct template *t = k->server->store->list; t; t = t->next) {
		struct kept_entry *e = t->kept[0] ? kept_find(k, t->kept) : NULL;

		if (!e || t->last_used_ns <= e->used_ns)
			continue;
		e->used_ns = t->last_used_ns;
		keep_folder_used(k->folder, e->id, e->used_ns);
		unlink_entry(k, e);
		insert(k, e);
	}
}

static void expire(struct kept *k)
{
	struct kept_entry *next;

	for (struct kept_entry *e = k->entries; e; e = next) {
		next = e->next;
		if (!e->loading && is_too_old(k, e) && !kept_is_loaded(k, e))
			kept_drop(k, e->id, "it has reached max_age");
	}
}

void kept_tick(struct kept *k)
{
	note_uses(k);
	expire(k);
	kept_load_ahead(k);
}

static int on_ahead(sd_event_source *source, uint64_t usec, void *data)
{
	(void)source;
	(void)usec;
	kept_load_ahead(data);
	return 0;
}

int kept_new(struct kept **ret, struct server *s)
{
	struct kept *k = calloc(1, sizeof(*k));
	struct error err = { 0 };

	if (!k)
		return -ENOMEM;
	k->server = s;
	k->folder = -EBADF;
	k->off = !s->config->keep;
	s->kept = k;
	if (keep_folder_path(k->path, &err) < 0) {
		if (!k->off)
			log_info("no templates are kept on disk: %s", err.text);
		k->off = true;
	}
	kept_refresh(k);
	/* behind the launch that started this warmd, if there is one */
	sd_event_add_time_relative(s->event, NULL, CLOCK_MONOTONIC, AHEAD_USEC, 0, on_ahead, k);
	*ret = k;
	return 0;
}

void kept_free(struct kept *k)
{
	if (!k)
		return;
	note_uses(k);
	kept_stop_loads(k);
	kept_stop_writers(k);
	while (k->entries) {
		struct kept_entry *e = k->entries;

		k->entries = e->next;
		entry_free(e);
	}
	fd_close(k->folder);
	free(k);
}

bool kept_is_process(const struct server *s, pid_t pid)
{
	return s->kept && (kept_load_is_process(s->kept, pid) || kept_writer_is_process(s->kept, pid));
}

void kept_stats(struct kept *k, Warm__Stats *m)
{
	kept_refresh(k);
	for (const struct kept_entry *e = k->entries; e; e = e->next)
		m->kept++;
	m->kept_bytes = kept_bytes(k);
	m->kept_budget = k->server->config->keep_budget;
	m->kept_path = (char *)(k->off ? "" : k->path);
	m->kept_loaded = k->loaded;
	m->kept_failed = k->failed;
	m->kept_written = k->written;
}
