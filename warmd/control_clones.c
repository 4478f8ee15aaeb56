/* SPDX-License-Identifier: MIT */
/* control_clones.c - ps, and what is known of one process */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "engine/base/array.h"
#include "engine/base/clock.h"
#include "engine/base/fd.h"
#include "warmd/control.h"

#define PS_BYTES (WIRE_MAX_SIZE - 4096) /* of one answer */

pid_t answer_pid(const char *text)
{
	char *end;
	unsigned long n = strtoul(text, &end, 10);

	return *end || end == text || n > INT32_MAX ? 0 : (pid_t)n;
}

static Warm__Clone *clone_message(struct answer *a, const struct census_entry *e)
{
	Warm__Clone *m = answer_own(a, calloc(1, sizeof(*m)));
	/* only launches by become, of templates that are gone, have their name in quotes */
	bool quoted = e->quoted;

	if (!m)
		return NULL;
	warm__clone__init(m);
	m->id = e->id;
	m->pid = (uint32_t)e->pid;
	m->template_id = e->template_id;
	m->template_name = answer_text(a, "%s", e->label + quoted);
	/* a template that is gone: the name as the launch was told it, in quotes */
	if (quoted && m->template_name[0])
		m->template_name[strlen(m->template_name) - 1] = '\0';
	m->state = (char *)wire_clone_state_name(e->state);
	m->way = (char *)(e->state == WIRE_CLONE_RUNNING ? wire_way_name(e->way) : "");
	m->since_ns = e->since_ns;
	m->detached = e->detached;
	m->client = e->client;
	return m;
}

void answer_clone(struct answer *a, const struct census_entry *e)
{
	Warm__Clone **v = answer_own(a, calloc(1, sizeof(*v)));

	if (!v || !(v[0] = clone_message(a, e)))
		return answer_fail(a, -ENOMEM, "no memory%s", "");
	a->reply.clones = v;
	a->reply.n_clones = 1;
}

/* --- ps ---------------------------------------------------------------------------- */

struct ps {
	bool all;
	uint64_t after;
	struct census_entry *v;
	size_t n;
	bool failed;
};

static void take(void *data, const struct census_entry *e)
{
	struct ps *ps = data;

	/* those without an id come with the first answer: they are RECENT_LAUNCHES at most, and fit */
	if (e->pid <= 0 || (e->id ? e->id <= ps->after : ps->after > 0) ||
	    (!ps->all && e->state != WIRE_CLONE_RUNNING))
		return;
	if (array_reserve(&ps->v, ps->n, 1, sizeof(*ps->v)) < 0)
		ps->failed = true;
	else
		ps->v[ps->n++] = *e;
}

static int by_id(const void *a, const void *b)
{
	const struct census_entry *x = a, *y = b;

	if (x->id != y->id)
		return x->id < y->id ? -1 : 1;
	return x->since_ns < y->since_ns ? -1 : x->since_ns > y->since_ns;
}

void answer_ps(struct server *s, struct answer *a, const Warm__PsRequest *q)
{
	struct ps ps = { .all = q->all, .after = q->after };
	Warm__Clone **v;
	size_t bytes = 0, n = 0;

	census(&s->pools, take, &ps);
	census_become(&s->pools, take, &ps);
	if (ps.n)
		qsort(ps.v, ps.n, sizeof(*ps.v), by_id);
	v = answer_own(a, calloc(ps.n + 1, sizeof(*v)));
	for (; v && n < ps.n && bytes < PS_BYTES; n++) {
		v[n] = clone_message(a, &ps.v[n]);
		if (!v[n])
			break;
		bytes += warm__clone__get_packed_size(v[n]) + 4; /* its tag and length */
	}
	if (!v || ps.failed || (n < ps.n && bytes < PS_BYTES)) {
		answer_fail(a, -ENOMEM, "no memory%s", "");
	} else {
		a->reply.clones = v;
		a->reply.n_clones = n;
		a->reply.more = n < ps.n;
	}
	free(ps.v);
}

/* --- explain PID ------------------------------------------------------------------------ */

static const char *ago(uint64_t realtime_ns, char text[32])
{
	uint64_t now = clock_ns(CLOCK_REALTIME), s = now > realtime_ns ? (now - realtime_ns) / NS_PER_S : 0;

	if (s < 120)
		snprintf(text, 32, "%" PRIu64 " s ago", s);
	else if (s < 7200)
		snprintf(text, 32, "%" PRIu64 " min ago", s / 60);
	else
		snprintf(text, 32, "%" PRIu64 " h ago", s / 3600);
	return text;
}

static const char *how(uint32_t way)
{
	return way == WIRE_WAY_PARKED
		       ? "way: parked (it had been made ahead, and waited for its order)"
		       : "way: fork (no parked clone was there, and its template's skeleton forked it)";
}

static size_t explain_end(const struct recent_launch *r, struct answer *a, char **lines)
{
	char words[128], when[32];

	if (!r->ended_ns)
		return 0;
	if (WIFEXITED(r->wstatus))
		snprintf(words, sizeof(words), "it ended %s with exit status %d", ago(r->ended_ns, when),
			 WEXITSTATUS(r->wstatus));
	else
		snprintf(words, sizeof(words), "it was ended %s by signal %d", ago(r->ended_ns, when),
			 WTERMSIG(r->wstatus));
	lines[0] = answer_text(a, "%s", words);
	return 1;
}

/* a clone that warmd launched */
static size_t explain_recent_clone(const struct recent_launch *r, struct answer *a, char **lines)
{
	char words[400], when[32];
	size_t n = 0;

	snprintf(words, sizeof(words),
		 "process %u is a clone of template '%s' (id %" PRIu64 "), launched %s by warmd: '%s'",
		 r->clone, r->reason, r->template_id, ago(r->when_ns, when), r->what);
	lines[n++] = answer_text(a, "%s", words);
	lines[n++] = answer_text(a, "%s", how(r->way));
	if (r->order_ns)
		snprintf(words, sizeof(words),
			 "it got its order %" PRIu64 " us after the request of process %u",
			 r->order_ns / 1000, r->pid);
	else
		snprintf(words, sizeof(words), "it did not get the order of process %u", r->pid);
	lines[n++] = answer_text(a, "%s", words);
	return n + explain_end(r, a, lines + n);
}

/* one that asked warmd, and went on as the program, cold or warm, or has a clone of warmd's */
static size_t explain_recent_client(const struct recent_launch *r, struct answer *a, char **lines)
{
	char words[400], when[32];
	size_t n = 0;

	if (r->clone)
		snprintf(words, sizeof(words), "process %u had '%s' launched by warmd: it is process %u",
			 r->pid, r->what, r->clone);
	else
		snprintf(words, sizeof(words), "process %u ran '%s' %s: %s", r->pid, r->what,
			 r->status == WIRE_WARM ? "warm, from template" : "cold", r->reason);
	lines[n++] = answer_text(a, "%s", words);
	lines[n++] = answer_text(a,
				 r->clone || r->status != WIRE_WARM
					 ? "it asked %s"
					 : "way: become (the process itself took the template's memory), %s",
				 ago(r->when_ns, when));
	return n;
}

static size_t explain_present(const struct census_entry *e, struct answer *a, char **lines)
{
	static const char *const what[] = {
		[WIRE_CLONE_RUNNING] = "is a clone of",
		[WIRE_CLONE_PARKED] = "is parked: it waits for the next launch of",
		[WIRE_CLONE_MAKING] = "is being made for the pool of",
		[WIRE_CLONE_SKELETON] = "is the skeleton, which clones are forked from, of",
	};
	char words[400], when[32];
	size_t n = 0;

	snprintf(words, sizeof(words), "process %d %s template '%s' (id %" PRIu64 ")", (int)e->pid,
		 what[e->state], e->label, e->template_id);
	lines[n++] = answer_text(a, "%s", words);
	lines[n++] = answer_text(a, e->state == WIRE_CLONE_RUNNING ? "launched %s" : "made %s",
				 ago(e->since_ns, when));
	if (e->state == WIRE_CLONE_RUNNING)
		lines[n++] = answer_text(a, "%s", how(e->way));
	return n;
}

struct search {
	pid_t pid;
	bool found;
	struct census_entry e;
};

static void look(void *data, const struct census_entry *e)
{
	struct search *q = data;

	if (e->pid != q->pid)
		return;
	q->e = *e;
	q->found = true;
}

size_t explain_process(const struct server *s, struct answer *a, pid_t pid, char **lines)
{
	struct search q = { .pid = pid };
	size_t n = 0;

	if (pid <= 0)
		return 0;
	census(&s->pools, look, &q);
	for (size_t i = 0; n == 0 && i < RECENT_LAUNCHES; i++) {
		const struct recent_launch *r =
			&s->metrics.recent[(s->metrics.nrecent + RECENT_LAUNCHES - 1 - i) % RECENT_LAUNCHES];

		/* a number that has a new owner: what was launched under it has ended */
		if (r->clone == (uint32_t)pid &&
		    (!q.found || (q.e.state == WIRE_CLONE_RUNNING && !r->ended_ns)))
			n = explain_recent_clone(r, a, lines);
		else if (!q.found && r->pid == (uint32_t)pid)
			n = explain_recent_client(r, a, lines);
	}
	if (n == 0 && q.found)
		n = explain_present(&q.e, a, lines);
	if (n && q.found && q.e.detached)
		lines[n++] = answer_text(a, "%s", "detached: it outlives the client that launched it");
	return n;
}
