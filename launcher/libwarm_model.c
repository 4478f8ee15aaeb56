/* SPDX-License-Identifier: MIT */
#include "launcher/libwarm_model.h"

#include <string.h>

#include "engine/base/facts.h"
#include "engine/base/fd.h"

const char *libwarm_model_skip(const char *at, const char *end, uint32_t n)
{
	while (at && n--) {
		const char *nul = memchr(at, '\0', (size_t)(end - at));

		at = nul ? nul + 1 : NULL;
	}
	return at;
}

bool libwarm_model_take_apart(struct launch_model *m, size_t len)
{
	const struct wire_model *head = m->head = (const struct wire_model *)m->bytes;
	const struct wire_run *run = m->run = (const struct wire_run *)(head + 1);
	const struct stub_order *order = m->order = (const struct stub_order *)(run + 1);
	const char *at = (const char *)(order + 1), *end;

	if (len < sizeof(*head) + sizeof(*run) + sizeof(*order) || head->order_size != sizeof(*order))
		return false;
	len -= sizeof(*head) + sizeof(*run) + sizeof(*order);
	if ((uint64_t)run->strings_size + head->fixed_size + head->env_size + head->names_size != len)
		return false;
	end = at + run->strings_size;
	m->name = at;
	m->argv = libwarm_model_skip(at, end, 3);
	m->envp = libwarm_model_skip(m->argv, end, run->argc);
	if (!m->envp || libwarm_model_skip(m->envp, end, run->envc) != end)
		return false;
	m->argv_size = (uint32_t)(m->envp - m->argv);
	m->envp_size = (uint32_t)(end - m->envp);
	m->fixed = end;
	m->env = m->fixed + head->fixed_size;
	m->names = m->env + head->env_size;
	return libwarm_model_skip(m->fixed, m->env, head->fixed_argc) == m->env &&
	       (!head->env_size || !m->env[head->env_size - 1]) &&
	       (!head->names_size || !m->names[head->names_size - 1]);
}

/* ld.so and setlocale(3) read these behind the program's back: warmd/template/match.c */
static bool counts_always(const char *setting)
{
	static const char *const starts[] = { "LD_", "GLIBC_TUNABLES=", "LC_", "LANG=", "LANGUAGE=" };

	for (size_t i = 0; i < ARRAY_SIZE(starts); i++)
		if (strncmp(setting, starts[i], strlen(starts[i])) == 0)
			return true;
	return false;
}

static bool counts(const struct launch_model *m, const char *setting)
{
	size_t len = strcspn(setting, "="), n;

	if (m->head->environment_all || counts_always(setting))
		return true;
	for (const char *p = m->names, *end = p + m->head->names_size; p < end; p += n + 1) {
		n = strlen(p);
		if (n == len && memcmp(p, setting, len) == 0)
			return true;
	}
	return false;
}

/* those that count are the same, and in the same order */
static bool same_environment(const struct launch_model *m, const char *b, size_t size)
{
	const char *a = m->envp, *a_end = a + m->envp_size, *b_end = b + size;

	if (size == m->envp_size && memcmp(a, b, size) == 0)
		return true;
	while (a < a_end || b < b_end) {
		if (a < a_end && b < b_end && strcmp(a, b) == 0) {
			a += strlen(a) + 1;
			b += strlen(b) + 1;
		} else if (a < a_end && !counts(m, a)) {
			a += strlen(a) + 1;
		} else if (b < b_end && !counts(m, b)) {
			b += strlen(b) + 1;
		} else {
			return false;
		}
	}
	return true;
}

static bool same_arguments(const struct launch_model *m, const struct wire_run *run, const char *argv,
			   size_t size)
{
	uint32_t n = m->head->argv_same;
	const char *a_end;

	if (n == UINT32_MAX || n == run->argc)
		return run->argc == m->run->argc && size == m->argv_size && memcmp(argv, m->argv, size) == 0;
	if (run->argc < n || m->run->argc < n)
		return false;
	a_end = libwarm_model_skip(m->argv, m->argv + m->argv_size, n);
	return (size_t)(a_end - m->argv) <= size && memcmp(m->argv, argv, (size_t)(a_end - m->argv)) == 0;
}

/* what the launch says of itself, but its strings */
static bool same_context(const struct launch_model *m, const struct wire_run *run)
{
	struct wire_run a = *m->run;

	a.header.size = run->header.size;
	a.argc = run->argc;
	a.envc = run->envc;
	a.strings_size = run->strings_size;
	a.tag = run->tag;
	a.leases = run->leases;
	return memcmp(&a, run, sizeof(a)) == 0;
}

/* what the program asked of the machine at its start */
static bool same_machine(const struct launch_model *m)
{
	for (int i = 0; i < FACTS; i++)
		if (m->head->facts[i] && m->head->facts[i] != fact_value((enum fact)i))
			return false;
	return true;
}

void libwarm_find_strings(const struct wire_run *run, struct launch_strings *s)
{
	const char *start = (const char *)(run + 1), *end = start + run->strings_size;

	s->argv = libwarm_model_skip(start, end, 3);
	s->envp = libwarm_model_skip(s->argv, end, run->argc);
	s->argv_size = (uint32_t)(s->envp - s->argv);
	s->envp_size = (uint32_t)(end - s->envp);
}

bool libwarm_model_is_like(const struct launch_model *m, const struct wire_run *run,
			   const struct launch_strings *s)
{
	return same_context(m, run) && same_machine(m) && same_arguments(m, run, s->argv, s->argv_size) &&
	       (!(run->flags & WIRE_LAUNCH_ENV) || same_environment(m, s->envp, s->envp_size));
}
