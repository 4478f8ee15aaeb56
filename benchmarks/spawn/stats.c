/* SPDX-License-Identifier: MIT */
#include "stats.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int samples_add(struct samples *s, uint64_t ns)
{
	if (s->n == s->room) {
		size_t room = s->room ? s->room * 2 : 256;
		uint64_t *p = reallocarray(s->ns, room, sizeof(*p));

		if (!p)
			return -ENOMEM;
		s->ns = p;
		s->room = room;
	}
	s->ns[s->n++] = ns;
	return 0;
}

void samples_free(struct samples *s)
{
	free(s->ns);
	*s = (struct samples){ 0 };
}

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

static uint64_t nearest_rank(const uint64_t *sorted, size_t n, unsigned percent)
{
	size_t rank = (n * percent + 99) / 100;

	return sorted[rank ? rank - 1 : 0];
}

int samples_summary(const struct samples *s, struct summary *ret)
{
	*ret = (struct summary){ 0 };
	if (!s->n)
		return 0;

	uint64_t *sorted = malloc(s->n * sizeof(*sorted));

	if (!sorted)
		return -ENOMEM;
	memcpy(sorted, s->ns, s->n * sizeof(*sorted));
	qsort(sorted, s->n, sizeof(*sorted), compare);
	*ret = (struct summary){
		.n = s->n,
		.min = sorted[0],
		.p50 = nearest_rank(sorted, s->n, 50),
		.p90 = nearest_rank(sorted, s->n, 90),
		.p99 = nearest_rank(sorted, s->n, 99),
		.max = sorted[s->n - 1],
	};
	free(sorted);
	return 0;
}
