/* SPDX-License-Identifier: MIT */
/* builder_point.c - the words of --ready */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/clock.h"
#include "engine/base/fd.h"
#include "warmd/build/builder_internal.h"

#define IDLE_DEFAULT_MS 100
#define IDLE_MAX_MS	60000
#define DELAY_MAX_S	3600

/* digits with at most @fraction of them behind a point, as a number of units of 10^-@fraction. Return: 0 or -EINVAL */
static int parse_number(const char *word, int fraction, uint64_t *ret)
{
	uint64_t value = 0;
	int behind = -1, digits = 0;

	for (; *word; word++) {
		if (*word == '.' && behind < 0 && fraction) {
			behind = 0;
			continue;
		}
		if (*word < '0' || *word > '9' || behind == fraction || digits > 15)
			return -EINVAL;
		value = value * 10 + (uint64_t)(*word - '0');
		digits++;
		if (behind >= 0)
			behind++;
	}
	for (behind = behind < 0 ? 0 : behind; behind < fraction; behind++)
		value *= 10;
	*ret = value;
	return digits ? 0 : -EINVAL;
}

static int parse_delay(const char *word, struct builder_point *ret, struct error *err)
{
	uint64_t us;

	if (parse_number(word, 6, &us) < 0 || us < 1000 || us > DELAY_MAX_S * 1000000ull)
		return error_set(
			err, EINVAL,
			"readiness point 'delay=SECS': '%.60s' is no number of seconds from 0.001 to %d",
			word, DELAY_MAX_S);
	*ret = (struct builder_point){ .kind = READY_DELAY, .ns = us * NS_PER_US };
	return 0;
}

static int parse_idle(const char *word, struct builder_point *ret, struct error *err)
{
	uint64_t ms;

	if (parse_number(word, 0, &ms) < 0 || ms < 1 || ms > IDLE_MAX_MS)
		return error_set(
			err, EINVAL,
			"readiness point 'idle=MS': '%.60s' is no whole number of milliseconds from 1 to %d",
			word, IDLE_MAX_MS);
	*ret = (struct builder_point){ .kind = READY_IDLE, .ns = ms * NS_PER_MS };
	return 0;
}

int builder_parse_point(const char *word, struct builder_point *ret, struct error *err)
{
	static const struct {
		const char *word;
		enum ready_point kind;
	} table[] = { { "", READY_AUTO },
		      { "auto", READY_AUTO },
		      { "main", READY_MAIN },
		      { "import", READY_IMPORT },
		      { "call", READY_CALL } };

	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		if (strcmp(table[i].word, word) == 0) {
			*ret = (struct builder_point){ .kind = table[i].kind };
			return 0;
		}
	}
	if (strncmp(word, "delay=", 6) == 0)
		return parse_delay(word + 6, ret, err);
	if (strcmp(word, "delay") == 0)
		return error_set(err, EINVAL, "readiness point 'delay' needs a number of seconds: delay=1.5");
	if (strncmp(word, "idle=", 5) == 0)
		return parse_idle(word + 5, ret, err);
	if (strcmp(word, "idle") == 0) {
		*ret = (struct builder_point){ .kind = READY_IDLE, .ns = IDLE_DEFAULT_MS * NS_PER_MS };
		return 0;
	}
	return error_set(
		err, EINVAL,
		"there is no readiness point '%.60s': it is auto, main, import, call, delay=SECS or idle[=MS]",
		word);
}
