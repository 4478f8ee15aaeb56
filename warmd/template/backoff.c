/* SPDX-License-Identifier: MIT */
#include "warmd/template/backoff.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/fd.h"

struct program {
	uint64_t id; /* 0: this place is free */
	uint64_t used_ns; /* the last that was heard of it */
	unsigned int failures; /* in a row */
	unsigned int churn; /* templates in a row that were not worth their builds */
	uint64_t cost_ns; /* of the last build */
	uint64_t failed_ns, stale_ns; /* when that was */
	char why[160]; /* it failed */
	bool built; /* since the last was stale */
	bool paths; /* not the same path each time */
	char path[160]; /* changed last: the end of it, if it is longer */
};

struct backoff {
	struct program programs[BACKOFF_PROGRAMS];
	uint64_t deferred, build_cpu_ns;
};

struct backoff *backoff_new(void)
{
	return calloc(1, sizeof(struct backoff));
}

void backoff_free(struct backoff *b)
{
	free(b);
}

/* FNV-1a, the string's end included. Nobody gains by a collision: all commands are one user's */
static uint64_t hash(uint64_t h, const char *word)
{
	do
		h = (h ^ (unsigned char)*word) * 0x100000001b3ull;
	while (*word++);
	return h;
}

uint64_t backoff_program(const struct request *req)
{
	uint64_t h = 0xcbf29ce484222325ull;
	bool absolute;
	uint32_t n;

	h = hash(h, req->name);
	h = hash(h, req->ready);
	n = request_program(req, &absolute);
	for (uint32_t i = 0; i < n; i++)
		h = hash(h, req->argv[i]);
	if (!absolute)
		h = hash(h, req->cwd);
	return h ? h : 1;
}

static const struct program *find(const struct backoff *b, uint64_t id)
{
	for (size_t i = 0; i < ARRAY_SIZE(b->programs); i++)
		if (b->programs[i].id == id)
			return &b->programs[i];
	return NULL;
}

/* its place, made when there is none: whoever was heard of last stays */
static struct program *get(struct backoff *b, uint64_t id, uint64_t now_ns)
{
	struct program *p = (struct program *)find(b, id);

	if (!p) {
		p = &b->programs[0];
		for (size_t i = 0; i < ARRAY_SIZE(b->programs) && p->id; i++)
			if (!b->programs[i].id || b->programs[i].used_ns < p->used_ns)
				p = &b->programs[i];
		*p = (struct program){ .id = id };
	}
	p->used_ns = now_ns;
	return p;
}

/* @ns doubled @times, or the most that there is */
static uint64_t doubled(uint64_t ns, unsigned int times)
{
	while (times-- && ns < BACKOFF_MAX_NS)
		ns *= 2;
	return ns < BACKOFF_MAX_NS ? ns : BACKOFF_MAX_NS;
}

static uint64_t failed_wait(const struct program *p)
{
	return p->failures ? doubled(BACKOFF_FAILED_NS, p->failures - 1) : 0;
}

static uint64_t churn_base(const struct program *p)
{
	uint64_t base = p->cost_ns < BACKOFF_MAX_NS / BACKOFF_COST_TIMES ? p->cost_ns * BACKOFF_COST_TIMES
									 : BACKOFF_MAX_NS;

	return base > BACKOFF_CHURN_NS ? base : BACKOFF_CHURN_NS;
}

static uint64_t churn_wait(const struct program *p)
{
	return p->churn < BACKOFF_CHURN_FREE ? 0 : doubled(churn_base(p), p->churn - BACKOFF_CHURN_FREE);
}

void backoff_built(struct backoff *b, uint64_t program, enum backoff_outcome outcome, uint64_t cpu_ns,
		   const char *why, uint64_t now_ns)
{
	struct program *p = get(b, program, now_ns);

	b->build_cpu_ns += cpu_ns;
	p->cost_ns = cpu_ns;
	p->built = true;
	if (outcome != BACKOFF_FAILED) {
		p->failures = 0;
		return;
	}
	p->failures++;
	p->failed_ns = now_ns;
	snprintf(p->why, sizeof(p->why), "%s", why);
}

void backoff_stale(struct backoff *b, uint64_t program, const char *path, uint64_t launches, uint64_t now_ns)
{
	struct program *p = get(b, program, now_ns);
	size_t len = strlen(path), cut = len >= sizeof(p->path) ? len - sizeof(p->path) + 1 : 0;
	uint64_t apart = now_ns - p->stale_ns;

	/* an edit is a reason to try again; a program that makes it itself is the one for the wait below */
	p->failures = 0;
	/* several of one program, for other arguments or callers, go by one edit */
	if (launches >= BACKOFF_WORTH)
		p->churn = 0;
	else if (p->built && apart < churn_wait(p) + BACKOFF_APART_TIMES * churn_base(p))
		p->churn++;
	else if (p->built)
		p->churn = (p->churn + 1) / 2 + !p->churn;
	p->paths = p->churn > 1 && (p->paths || strcmp(p->path, path + cut) != 0);
	p->built = false;
	p->stale_ns = now_ns;
	snprintf(p->path, sizeof(p->path), "%s", path + cut);
}

void backoff_forget(struct backoff *b, uint64_t program)
{
	struct program *p = (struct program *)find(b, program);

	if (p)
		*p = (struct program){ 0 };
}

static uint64_t left(uint64_t since_ns, uint64_t wait_ns, uint64_t now_ns)
{
	return wait_ns && now_ns - since_ns < wait_ns ? wait_ns - (now_ns - since_ns) : 0;
}

bool backoff_waits(const struct backoff *b, uint64_t program, uint64_t now_ns, uint64_t *ret_left_ns,
		   char *words, size_t size)
{
	const struct program *p = find(b, program);
	uint64_t failed = p ? left(p->failed_ns, failed_wait(p), now_ns) : 0;
	uint64_t churn = p ? left(p->stale_ns, churn_wait(p), now_ns) : 0;

	*ret_left_ns = failed > churn ? failed : churn;
	if (!*ret_left_ns)
		return false;
	if (failed > churn && p->failures == 1)
		snprintf(words, size, "its build failed: %s", p->why);
	else if (failed > churn)
		snprintf(words, size, "its last %u builds failed: %s", p->failures, p->why);
	else
		snprintf(words, size,
			 "its last %u templates served too few launches to be worth it: %s %s changed",
			 p->churn, p->paths ? "at last" : "each time", p->path);
	return true;
}

void backoff_deferred(struct backoff *b)
{
	b->deferred++;
}

void backoff_totals(const struct backoff *b, uint64_t now_ns, struct backoff_totals *ret)
{
	char words[4];
	uint64_t ns;

	*ret = (struct backoff_totals){ .deferred = b->deferred, .build_cpu_ns = b->build_cpu_ns };
	for (size_t i = 0; i < ARRAY_SIZE(b->programs); i++)
		if (b->programs[i].id)
			ret->programs += backoff_waits(b, b->programs[i].id, now_ns, &ns, words,
						       sizeof(words));
}
