/* SPDX-License-Identifier: MIT */
/*
 * fuzz_adaptor.c - the readiness protocol's lines, which a program under build writes: the first
 * byte says how they are cut into pieces; the result must not depend on that.
 */
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "warmd/build/adaptor.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void expect(int truth)
{
	if (!truth)
		abort();
}

static void check_exit(const char *line)
{
	struct adaptor_exit e;

	if (adaptor_parse_exit(line, &e) < 0)
		return;
	expect(e.n >= 1 && e.n <= 8 && e.call[0] && e.value[0]);
	for (unsigned int i = 0; i < e.n; i++)
		expect(strnlen(e.symbols[i], sizeof(e.symbols[i])) < sizeof(e.symbols[i]));
}

static void same_text(const char *a, const char *b)
{
	expect(!a == !b && (!a || strcmp(a, b) == 0));
}

static void same(const struct adaptor_lines *a, const struct adaptor_lines *b)
{
	expect(a->ready == b->ready && a->raw == b->raw && a->track_env == b->track_env &&
	       a->env_all == b->env_all && a->track_argv == b->track_argv && a->stdio == b->stdio &&
	       a->argv == b->argv && a->argv_from_end == b->argv_from_end && a->nenv == b->nenv &&
	       a->nmodules == b->nmodules && a->nlisted == b->nlisted);
	for (size_t i = 0; i < a->nenv; i++)
		same_text(a->env[i], b->env[i]);
	for (size_t i = 0; i < a->nmodules; i++)
		same_text(a->modules[i], b->modules[i]);
	for (size_t i = 0; i < a->nlisted; i++)
		same_text(a->listed[i], b->listed[i]);
	same_text(a->exit, b->exit);
	same_text(a->refuse, b->refuse);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct adaptor_lines whole = { 0 }, pieces = { 0 };
	struct error err = { 0 };
	size_t step;
	char *text;
	int r, q = 0;

	if (!size)
		return 0;
	step = data[0] % 17 + 1;
	data++;
	size--;
	r = adaptor_feed(&whole, (const char *)data, size, &err);
	expect(r == 0 || (r == err.code && err.text[0]));
	for (size_t at = 0; q == 0 && at < size; at += step)
		q = adaptor_feed(&pieces, (const char *)data + at, size - at < step ? size - at : step, &err);
	expect(r == q);
	if (r == 0)
		same(&whole, &pieces);
	if (whole.exit)
		check_exit(whole.exit);
	text = strndup((const char *)data, size);
	if (text)
		check_exit(text);
	free(text);
	adaptor_done(&whole);
	adaptor_done(&pieces);
	return 0;
}
