/* SPDX-License-Identifier: MIT */
/* control.c - list, remove, inspect, explain, stop; what the answers have in common */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "engine/base/facts.h"
#include "engine/base/array.h"
#include "engine/base/clock.h"
#include "engine/base/fd.h"
#include "engine/base/log.h"
#include "warmd/build_queue.h"
#include "warmd/control.h"
#include "warmd/connection/peer.h"
#include "warmd/kept.h"

void *answer_own(struct answer *a, void *p)
{
	if (!p || array_reserve(&a->owned, a->nowned, 1, sizeof(*a->owned)) < 0) {
		free(p);
		return NULL;
	}
	return a->owned[a->nowned++] = p;
}

static void answer_free(struct answer *a)
{
	while (a->nowned > 0)
		free(a->owned[--a->nowned]);
	free(a->owned);
	free(a);
}

void answer_fail(struct answer *a, int code, const char *fmt, const char *what)
{
	snprintf(a->message, sizeof(a->message), fmt, what);
	a->reply.error = code;
	a->reply.message = a->message;
}

char *answer_text(struct answer *a, const char *fmt, const char *arg)
{
	char *s = NULL;

	s = asprintf(&s, fmt, arg) < 0 ? NULL : answer_own(a, s);
	return s ? s : (char *)"";
}

static void fill_keys(struct answer *a, const struct template *t, Warm__Template *m)
{
	const Warm__BuildResult *r = t->result;
	size_t n = 0;
	char **keys = answer_own(
		a, calloc(r->n_environment + r->n_environment_own + r->n_facts + 25, sizeof(*keys)));
	char words[64];

	if (!keys)
		return;
	if (r->argv_count < 0)
		keys[n++] = (char *)"all arguments";
	else {
		snprintf(words, sizeof(words), "%d", r->argv_count);
		keys[n++] = answer_text(a, "the first %s arguments", words);
	}
	if (r->environment_exact)
		keys[n++] = (char *)"all variables: the program's were changed on the way to it";
	else if (r->environment_all)
		keys[n++] = (char *)"all variables but the volatile ones";
	for (size_t i = 0; i < r->n_environment_own && r->environment_all && !r->environment_exact; i++)
		keys[n++] = answer_text(a, "but not variable %s, which it sets itself",
					r->environment_own[i]);
	for (size_t i = 0; i < r->n_environment && !r->environment_all && !r->environment_exact; i++)
		keys[n++] = answer_text(a, "variable %s", r->environment[i]);
	if (r->keys & TEMPLATE_KEY_CWD)
		keys[n++] = answer_text(a, "working directory %s", t->request->cwd);
	if (r->keys & TEMPLATE_KEY_UMASK)
		keys[n++] = (char *)"umask";
	if (r->keys & TEMPLATE_KEY_AFFINITY)
		keys[n++] = (char *)"CPU affinity";
	if (r->keys & TEMPLATE_KEY_NICE)
		keys[n++] = (char *)"nice value";
	if (r->keys & TEMPLATE_KEY_SCHED)
		keys[n++] = (char *)"scheduling policy";
	if (r->keys & TEMPLATE_KEY_IOPRIO)
		keys[n++] = (char *)"I/O priority";
	for (size_t i = 0; i < r->n_facts; i++)
		keys[n++] = answer_text(a, "%s of the machine",
					r->facts[i]->path[0] ? r->facts[i]->path
							     : fact_name((enum fact)r->facts[i]->kind));
	if (r->boot)
		keys[n++] = (char *)"boot of the machine, when it comes from disk";
	if (r->keys & TEMPLATE_KEY_WINSIZE)
		keys[n++] = (char *)"terminal size";
	if (r->keys & TEMPLATE_KEY_TERMIOS)
		keys[n++] = (char *)"terminal settings";
	if (r->signal_keys)
		keys[n++] = (char *)"ignored signals that were looked at";
	if (r->keys & TEMPLATE_KEY_SIGMASK)
		keys[n++] = (char *)"blocked signals";
	if (r->rlimit_keys)
		keys[n++] = (char *)"resource limits that were read";
	if (r->stdio_keys)
		keys[n++] = (char *)"kind of standard descriptors";
	m->keys = keys;
	m->n_keys = n;
}

static void fill_dependencies(struct answer *a, const struct template *t, Warm__Template *m)
{
	static const char *const kinds[] = { "file", "absent", "listing", "modules", "exists", "open" };
	size_t n = dep_set_count(t->deps);
	Warm__Dependency *list = answer_own(a, calloc(n + 1, sizeof(*list)));
	Warm__Dependency **pointers = answer_own(a, calloc(n + 1, sizeof(*pointers)));

	if (!list || !pointers)
		return;
	for (size_t i = 0; i < n; i++) {
		const struct dep *d = dep_set_get(t->deps, i);

		warm__dependency__init(&list[i]);
		list[i].path = d->path;
		list[i].kind = (char *)kinds[d->kind];
		pointers[i] = &list[i];
	}
	m->dependencies = pointers;
	m->n_dependencies = n;
}

/* a program whose builds failed: why, and until when there is no next one */
static void fill_wait(struct answer *a, const struct template *t, Warm__Template *m)
{
	char words[256];

	if (t->state != TEMPLATE_REFUSED || !t->result->failed ||
	    !store_waits(a->server->store, t->request, &m->build_wait_ns, words, sizeof(words)))
		return;
	m->state = (char *)wire_template_state_name(WIRE_TEMPLATE_WAITS);
	m->reason = answer_text(a, "%s", words);
}

static Warm__Template *fill_template(struct answer *a, const struct template *t, bool whole)
{
	Warm__Template *m = answer_own(a, calloc(1, sizeof(*m)));
	char path[PATH_MAX];

	if (!m)
		return NULL;
	warm__template__init(m);
	m->id = t->id;
	m->name = t->label;
	m->argv = t->request->argv;
	m->n_argv = t->request->run.argc;
	m->cwd = (char *)t->request->cwd;
	m->ready = t->result->ready;
	m->boundary = t->result->boundary;
	m->state = (char *)wire_template_state_name(t->state == TEMPLATE_READY ? WIRE_TEMPLATE_READY
									       : WIRE_TEMPLATE_REFUSED);
	m->reason = t->result->message;
	m->created_ns = t->created_ns;
	m->last_used_ns = t->last_used_ns;
	m->launches = t->launches;
	m->sealed_bytes = t->result->sealed_bytes;
	m->huge_bytes = t->result->huge_bytes;
	m->huge_note = t->result->huge_note;
	m->mappings = t->result->mappings;
	m->threads = t->result->threads;
	m->files = t->nfds;
	m->build_ns = t->build_ns;
	fill_wait(a, t, m);
	if (kept_path(a->server->kept, t, path, sizeof(path)))
		m->kept = answer_text(a, "%s", path);
	m->pool = answer_pool(a, t->pool);
	fill_keys(a, t, m);
	if (whole) {
		fill_dependencies(a, t, m);
		m->descriptors = t->result->descriptors;
		m->n_descriptors = t->result->n_descriptors;
		m->memory = t->result->memory;
		m->n_memory = t->result->n_memory;
	}
	return m;
}

/* one that is on disk and was not loaded yet */
static Warm__Template *fill_kept(struct answer *a, const struct kept_entry *e)
{
	const struct template t = { .label = (char *)e->label,
				    .request = e->request,
				    .result = e->message->result,
				    .created_ns = e->message->created_ns,
				    .last_used_ns = e->used_ns,
				    .build_ns = e->message->build_ns };
	Warm__Template *m = fill_template(a, &t, false);
	char path[PATH_MAX + KEEP_ID_SIZE];

	if (!m)
		return NULL;
	snprintf(path, sizeof(path), "%s/%s", a->server->kept->path, e->id);
	m->state = (char *)"kept";
	m->kept = answer_text(a, "%s", path);
	return m;
}

static void list(struct server *s, struct answer *a)
{
	_cleanup_free_ struct census_count *counts = NULL;
	size_t ncounts = census_count(&s->pools, &counts), n = 0;
	const struct census_count *count;
	Warm__Template **v;

	/* refused ones too, unlike store_count() */
	for (const struct template *t = s->store->list; t; t = t->next)
		n++;
	kept_refresh(s->kept);
	for (const struct kept_entry *e = s->kept->entries; e; e = e->next)
		n++;
	v = answer_own(a, calloc(n + 1, sizeof(*v)));
	if (!v)
		return answer_fail(a, -ENOMEM, "no memory%s", "");
	n = 0;
	for (const struct template *t = s->store->list; t; t = t->next) {
		v[n] = fill_template(a, t, false);
		if (!v[n])
			return answer_fail(a, -ENOMEM, "no memory%s", "");
		count = census_of(counts, ncounts, t->id);
		v[n++]->running = count ? count->states[WIRE_CLONE_RUNNING] : 0;
	}
	for (const struct kept_entry *e = s->kept->entries; e; e = e->next) {
		if (kept_is_loaded(s->kept, e))
			continue;
		v[n] = fill_kept(a, e);
		if (!v[n++])
			return answer_fail(a, -ENOMEM, "no memory%s", "");
	}
	a->reply.templates = v;
	a->reply.n_templates = n;
}

static void inspect(struct server *s, struct answer *a, const Warm__InspectRequest *q)
{
	_cleanup_free_ struct census_count *counts = NULL;
	struct template *t = store_find(s->store, q->name);
	const struct kept_entry *kept = t ? NULL : kept_named(s->kept, q->name);
	Warm__Template **v = answer_own(a, calloc(1, sizeof(*v)));
	const struct census_count *count;
	struct census_entry e;

	if (kept && v && (v[0] = fill_kept(a, kept))) {
		a->reply.templates = v;
		a->reply.n_templates = 1;
		return;
	}
	/* numbers of templates are small: one that is both is a template's */
	if (!t && census_find(&s->pools, answer_pid(q->name), &e)) {
		answer_clone(a, &e);
		return;
	}
	if (!t)
		return answer_fail(
			a, -ENOENT,
			"there is no template '%.100s' and no clone of that PID; 'warm ls' and 'warm ps' list them",
			q->name);
	if (!v || !(v[0] = fill_template(a, t, true)))
		return answer_fail(a, -ENOMEM, "no memory%s", "");
	count = census_of(counts, census_count(&s->pools, &counts), t->id);
	v[0]->running = count ? count->states[WIRE_CLONE_RUNNING] : 0;
	a->reply.templates = v;
	a->reply.n_templates = 1;
}

static void remove_templates(struct server *s, struct answer *a, const Warm__RemoveRequest *q)
{
	/* all or none: an unknown name leaves everything as it was */
	for (size_t i = 0; i < q->n_names; i++)
		if (!store_find(s->store, q->names[i]) && !promise_of_name(s->store->promises, q->names[i]) &&
		    !kept_has(s->kept, q->names[i]))
			return answer_fail(a, -ENOENT, "there is no template '%.100s'; 'warm ls' lists them",
					   q->names[i]);
	for (size_t i = 0; i < q->n_names; i++) {
		struct template *t = store_find(s->store, q->names[i]);
		_cleanup_free_ char *name = strdup(t ? t->label : q->names[i]);

		if (!name)
			return answer_fail(a, -ENOMEM, "no memory%s", "");
		/* what is removed is not built again for its name's sake; one that is on its way would be there again in a moment */
		promise_drop(&s->store->promises, name, t ? t->request : NULL);
		build_give_up(s, name);
		while ((t = store_find(s->store, name))) {
			kept_drop_of(s->kept, t, "it was removed");
			store_remove(s->store, t);
		}
		kept_drop_named(s->kept, name);
	}
	while (q->all && s->store->list) {
		kept_drop_of(s->kept, s->store->list, "it was removed");
		store_remove(s->store, s->store->list);
	}
	if (q->all) {
		kept_drop_all(s->kept);
		promise_drop_all(&s->store->promises);
	}
}

static void explain(struct server *s, struct answer *a, const Warm__ExplainRequest *q)
{
	const struct template *t = store_find(s->store, q->what);
	char **lines = answer_own(a, calloc(ANSWER_LINES, sizeof(*lines)));
	char words[400], *where = NULL;
	size_t n = 0;

	if (!lines)
		return answer_fail(a, -ENOMEM, "no memory%s", "");
	n = explain_process(s, a, answer_pid(q->what), lines);
	if (t && n == 0) {
		snprintf(words, sizeof(words), "template '%s' %s", t->label,
			 t->state == TEMPLATE_READY ? "serves launches that agree in:" : "was refused:");
		lines[n++] = answer_text(a, "%s", words);
		if (t->state == TEMPLATE_READY && kept_path(s->kept, t, words, sizeof(words)))
			where = answer_text(a, "it is kept on disk: %s", words);
		if (t->state == TEMPLATE_REFUSED) {
			Warm__Template *m = fill_template(a, t, false);

			lines[n++] = t->result->message;
			if (m && m->build_wait_ns)
				lines[n++] = m->reason;
		} else {
			Warm__Template *m = fill_template(a, t, false);

			for (size_t i = 0; m && i < m->n_keys && n < ANSWER_LINES - 2; i++)
				lines[n++] = m->keys[i];
			if (where)
				lines[n++] = where;
		}
	}
	if (!n)
		return answer_fail(a, -ENOENT, "'%.100s' is neither a template nor one of the last launches",
				   q->what);
	a->reply.lines = lines;
	a->reply.n_lines = n;
}

static void hello(struct server *s, struct answer *a)
{
	Warm__Hello *h = answer_own(a, calloc(1, sizeof(*h)));

	if (!h)
		return answer_fail(a, -ENOMEM, "no memory%s", "");
	warm__hello__init(h);
	h->pid = (uint32_t)getpid();
	h->version = (char *)WARM_VERSION;
	h->started_ns = s->started_ns;
	a->reply.hello = h;
}

/* a reply that does not fit a packet is one that names that */
static int send_reply(struct connection *c, struct answer *a)
{
	struct wire_header h = { .magic = WIRE_MAGIC,
				 .version = WIRE_VERSION_NUMBER,
				 .type = WIRE_CONTROL_REPLY };
	size_t len = warm__control_reply__get_packed_size(&a->reply);
	_cleanup_free_ uint8_t *bytes = NULL;
	struct iovec iov[2];
	struct msghdr msg = { .msg_iov = iov, .msg_iovlen = 2 };

	if (len > WIRE_MAX_SIZE - sizeof(h) && a->reply.n_templates) {
		/* the longest parts first: dependencies, then mappings */
		for (size_t i = 0; i < a->reply.n_templates; i++)
			a->reply.templates[i]->n_dependencies = 0;
		len = warm__control_reply__get_packed_size(&a->reply);
		for (size_t i = 0; i < a->reply.n_templates && len > WIRE_MAX_SIZE - sizeof(h); i++) {
			a->reply.templates[i]->n_memory = 0;
			a->reply.templates[i]->n_keys = 0;
		}
		len = warm__control_reply__get_packed_size(&a->reply);
	}
	if (len > WIRE_MAX_SIZE - sizeof(h) && a->reply.stats) {
		a->reply.stats->n_by_template = 0;
		len = warm__control_reply__get_packed_size(&a->reply);
	}
	if (len > WIRE_MAX_SIZE - sizeof(h)) {
		warm__control_reply__init(&a->reply);
		answer_fail(a, -EMSGSIZE, "the answer does not fit a message%s", "");
		len = warm__control_reply__get_packed_size(&a->reply);
	}
	bytes = malloc(len ? len : 1);
	if (!bytes)
		return -ENOMEM;
	warm__control_reply__pack(&a->reply, bytes);
	h.size = (uint32_t)(sizeof(h) + len);
	iov[0] = (struct iovec){ &h, sizeof(h) };
	iov[1] = (struct iovec){ bytes, len };
	return sendmsg(c->fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT) < 0 ? -errno : 0;
}

/* Return: true: warmd is to end, once it has answered */
static bool answer_command(struct server *s, struct answer *a, const Warm__ControlRequest *q)
{
	switch (q->command_case) {
	case WARM__CONTROL_REQUEST__COMMAND_LIST:
		list(s, a);
		break;
	case WARM__CONTROL_REQUEST__COMMAND_REMOVE:
		remove_templates(s, a, q->remove);
		break;
	case WARM__CONTROL_REQUEST__COMMAND_INSPECT:
		inspect(s, a, q->inspect);
		break;
	case WARM__CONTROL_REQUEST__COMMAND_STATS:
		answer_stats(s, a);
		break;
	case WARM__CONTROL_REQUEST__COMMAND_EXPLAIN:
		explain(s, a, q->explain);
		break;
	case WARM__CONTROL_REQUEST__COMMAND_PS:
		answer_ps(s, a, q->ps);
		break;
	case WARM__CONTROL_REQUEST__COMMAND_HELLO:
		hello(s, a);
		break;
	case WARM__CONTROL_REQUEST__COMMAND_STOP:
		return true;
	default:
		answer_fail(a, -EOPNOTSUPP, "unknown command%s", "");
	}
	return false;
}

int control_handle(struct connection *c, const uint8_t *payload, size_t len)
{
	Warm__ControlRequest *q = warm__control_request__unpack(NULL, len, payload);
	struct server *s = c->server;
	struct error err = { 0 };
	struct answer *a;
	bool stop = false;
	int r;

	if (!q)
		return -EBADMSG;
	a = calloc(1, sizeof(*a));
	if (!a) {
		warm__control_request__free_unpacked(q, NULL);
		return -ENOMEM;
	}
	a->server = s;
	warm__control_reply__init(&a->reply);
	watch_drain(s->store->watch);
	/* answers are made of command lines, paths and variables; who warmd is can be seen by its socket */
	if (q->command_case != WARM__CONTROL_REQUEST__COMMAND_HELLO && peer_check(c, &err) < 0)
		answer_fail(a, -EPERM, "%s", err.text);
	else
		stop = answer_command(s, a, q);
	r = send_reply(c, a);
	answer_free(a);
	warm__control_request__free_unpacked(q, NULL);
	if (stop)
		sd_event_exit(s->event, 0);
	return r;
}
