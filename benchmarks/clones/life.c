/* SPDX-License-Identifier: MIT */
#include "life.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "clock.h"
#include "warm.h"

static void wrong(struct life_result *res, const char *what, const char *words)
{
	if (!res->errors++)
		snprintf(res->first_error, sizeof(res->first_error), "%s: %s", what, words);
}

static void reap(struct warm *w, pid_t pid, struct life_result *res)
{
	char words[64];
	int wstatus = -1, r = warm_wait(w, pid, &wstatus);

	if (r == 0 && WIFEXITED(wstatus) && WEXITSTATUS(wstatus) == 0) {
		res->lives++;
		return;
	}
	snprintf(words, sizeof(words), "wait status %#x", (unsigned)wstatus);
	wrong(res, "warm_wait", r < 0 ? warm_error(w) : words);
}

/* the oldest of those that run is waited for when there is no room for one more */
static int run(struct warm *w, const struct life_options *o, struct life_result *res)
{
	struct warm_launch_options l = {
		.size = sizeof(l), .template_name = o->template_name, .argv = o->argv, .fds = { -1, -1, -1 }
	};
	pid_t *running = calloc(o->at_once, sizeof(*running));
	uint64_t begin = clock_now(), end = begin + o->seconds * 1000000000ull;
	unsigned started = 0, reaped = 0;

	if (!running)
		return -ENOMEM;
	for (;;) {
		bool more = o->seconds ? clock_now() < end : started < o->count;

		if (started - reaped == o->at_once || (!more && started != reaped)) {
			reap(w, running[reaped % o->at_once], res);
			reaped++;
			continue;
		}
		if (!more)
			break;
		if (warm_launch(w, &l, &running[started % o->at_once], NULL) == 0) {
			started++;
			continue;
		}
		wrong(res, "warm_launch", warm_error(w));
		if (res->errors >= 10 || !o->seconds)
			break;
	}
	for (; reaped != started; reaped++)
		reap(w, running[reaped % o->at_once], res);
	res->ns = clock_now() - begin;
	free(running);
	return 0;
}

int life_run(const struct life_options *o, struct life_result *ret)
{
	struct life_result res = { 0 };
	struct warm *w;
	int r = warm_open(&w, o->socket);

	if (r < 0) {
		fprintf(stderr, "clone_bench: %s\n", warm_error(NULL));
		return r;
	}
	r = run(w, o, &res);
	warm_close(w);
	if (r == 0)
		*ret = res;
	return r;
}
