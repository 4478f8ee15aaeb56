/* SPDX-License-Identifier: MIT */
#include "engine/base/log_limit.h"

#include <inttypes.h>
#include <stdio.h>

static bool is_over(const struct log_kind *k, uint64_t now_ns)
{
	return now_ns - k->since_ns >= LOG_LIMIT_WINDOW_NS;
}

static struct log_kind *find(struct log_limit *l, const char *format)
{
	for (size_t i = 0; i < LOG_LIMIT_KINDS; i++)
		if (l->kinds[i].format == format)
			return &l->kinds[i];
	return NULL;
}

/* a free place, else the oldest's; what that has to tell is lost last */
static struct log_kind *make_room(struct log_limit *l)
{
	struct log_kind *best = &l->kinds[0];

	for (size_t i = 0; i < LOG_LIMIT_KINDS; i++) {
		struct log_kind *k = &l->kinds[i];

		if (!k->format)
			return k;
		if (!best->left_out == !k->left_out ? k->since_ns < best->since_ns : !k->left_out)
			best = k;
	}
	return best;
}

bool log_limit_take(struct log_limit *l, const char *format, const char *text, uint64_t now_ns)
{
	struct log_kind *k = find(l, format);

	if (!k) {
		k = make_room(l);
		*k = (struct log_kind){ .format = format, .since_ns = now_ns };
	}
	if (is_over(k, now_ns)) {
		k->since_ns = now_ns;
		k->count = 0;
	}
	if (k->count < LOG_LIMIT_BURST) {
		k->count++;
		return true;
	}
	k->left_out++;
	snprintf(k->last, sizeof(k->last), "%s", text);
	return false;
}

bool log_limit_due(struct log_limit *l, const char *format, uint64_t now_ns, char *words, size_t size)
{
	for (size_t i = 0; i < LOG_LIMIT_KINDS; i++) {
		struct log_kind *k = &l->kinds[i];

		if (!k->left_out || !is_over(k, now_ns) || (format && k->format != format))
			continue;
		snprintf(words, size, "%" PRIu64 " more like the next were left out: %s", k->left_out,
			 k->last);
		k->left_out = 0;
		return true;
	}
	return false;
}
