/* SPDX-License-Identifier: MIT */
/* of what kind a launch is that a template does not fit: what a template is compared in makes another kind, and nothing else does */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>
#include <sys/resource.h>

#include "warmd/template/template.h"
#include "warmd/variant.h"

static struct config cfg;
static Warm__BuildResult result;
static struct template tmpl;

static struct request *make(const struct wire_run *run, const char *const *envp)
{
	struct wire_run head = *run;
	char packet[4096], *p = packet + sizeof(head);
	const char *const words[] = { "label", "auto", "/work", "prog" };
	struct request *req = NULL;

	for (int i = 0; i < 4; i++)
		p = stpcpy(p, words[i]) + 1;
	head.argc = 1;
	for (head.envc = 0; envp[head.envc]; head.envc++)
		p = stpcpy(p, envp[head.envc]) + 1;
	head.header = (struct wire_header){ WIRE_MAGIC, WIRE_VERSION_NUMBER, WIRE_LAUNCH,
					    (uint32_t)(p - packet), 0 };
	head.strings_size = (uint32_t)(p - packet - (ptrdiff_t)sizeof(head));
	memcpy(packet, &head, sizeof(head));
	assert_int_equal(request_parse(packet, (size_t)(p - packet), &req, NULL), 0);
	return req;
}

static const char *const plain_env[] = { "FOO=1", "BAR=2", NULL };
static struct wire_run run;

static void fresh(void)
{
	run = (struct wire_run){ .flags = WIRE_LAUNCH_ENV,
				 .stdio = { WIRE_STDIO_PIPE, WIRE_STDIO_PIPE, WIRE_STDIO_PIPE },
				 .umask = 022 };
	for (int i = 0; i < WIRE_RLIMITS; i++)
		run.rlimits[i][0] = run.rlimits[i][1] = 1000;
	warm__build_result__init(&result);
	result.argv_count = -1;
	result.ready = (char *)"main";
	result.takes_arguments = result.before_main = true;
	request_free(tmpl.request);
	tmpl = (struct template){ .label = (char *)"label",
				  .request = make(&run, plain_env),
				  .result = &result };
}

static uint64_t kind(const char *const *envp)
{
	struct request *req = make(&run, envp);
	uint64_t k = variant_kind(&cfg, &tmpl, req);

	request_free(req);
	assert_true(k != 0);
	return k;
}

static void environment(void **state)
{
	static const char *const other[] = { "FOO=2", "BAR=2", NULL },
				 *const unread[] = { "BAR=3", "FOO=1", NULL },
				 *const none[] = { "BAR=2", NULL }, *const empty[] = { "FOO=", NULL },
				 *const twice[] = { "FOO=1", "FOO=2", NULL },
				 *const loader[] = { "FOO=1", "LD_PRELOAD=x", NULL };
	char *names[] = { (char *)"FOO" };
	uint64_t k;

	(void)state;
	fresh();
	assert_true(kind(plain_env) == kind(other) && kind(plain_env) != kind(loader));
	result.environment = names;
	result.n_environment = 1;
	k = kind(plain_env);
	assert_true(k == kind(unread) && k == kind(twice));
	assert_true(k != kind(other) && k != kind(none) && k != kind(empty) && kind(none) != kind(empty));
	/* it gets the template's */
	run.flags = 0;
	assert_true(k == kind(other));
	fresh();
	result.environment_all = true;
	assert_true(kind(plain_env) != kind(unread) && kind(plain_env) == kind(plain_env));
}

/* with the key two launches that differ are of two kinds; without it of one */
#define COUNTS(set_key, field, value)                                                                        \
	do {                                                                                                 \
		uint64_t before;                                                                             \
                                                                                                             \
		fresh();                                                                                     \
		before = kind(plain_env);                                                                    \
		run.field = (value);                                                                         \
		assert_true(kind(plain_env) == before);                                                      \
		fresh();                                                                                     \
		set_key;                                                                                     \
		before = kind(plain_env);                                                                    \
		assert_true(kind(plain_env) == before);                                                      \
		run.field = (value);                                                                         \
		assert_true(kind(plain_env) != before);                                                      \
	} while (0)

static void keys(void **state)
{
	uint64_t pipe;

	(void)state;
	COUNTS(result.keys = TEMPLATE_KEY_UMASK, umask, 077);
	COUNTS(result.keys = TEMPLATE_KEY_SIGMASK, blocked_signals, 1);
	COUNTS(result.keys = TEMPLATE_KEY_AFFINITY, scheduling.affinity, 5);
	COUNTS(result.keys = TEMPLATE_KEY_NICE, nice, 3);
	COUNTS(result.keys = TEMPLATE_KEY_SCHED, scheduling.policy, 3);
	COUNTS(result.keys = TEMPLATE_KEY_SCHED, scheduling.priority, 3);
	COUNTS(result.keys = TEMPLATE_KEY_IOPRIO, scheduling.ioprio, 3);
	COUNTS(result.keys = TEMPLATE_KEY_WINSIZE, columns, 3);
	COUNTS(result.keys = TEMPLATE_KEY_TERMIOS, termios[2], 3);
	COUNTS(result.rlimit_keys = 1u << RLIMIT_CORE, rlimits[RLIMIT_CORE][1], 5);
	COUNTS(result.signal_keys = 2, ignored_signals, 2);
	COUNTS(result.stdio_keys = 2, stdio[1], WIRE_STDIO_TTY);
	COUNTS(result.stdio_keys = 2, stdio[1], WIRE_STDIO_CLOSED);
	COUNTS(result.streams_count = true, stdio[1], WIRE_STDIO_CLOSED);
	COUNTS(result.descriptors_needed = 500, rlimits[RLIMIT_NOFILE][0], 400);
	/* a file or a pipe */
	fresh();
	result.stdio_keys = 7;
	pipe = kind(plain_env);
	run.stdio[1] = WIRE_STDIO_FILE;
	assert_true(kind(plain_env) == pipe);
}

static void descriptors(void **state)
{
	Warm__Descriptor own, *list[] = { &own };
	uint64_t none;

	(void)state;
	warm__descriptor__init(&own);
	own.fd = 6;
	COUNTS((result.descriptors = list, result.n_descriptors = 1), inherited_fds[0], 1ull << 6);
	/* above the program's own; below them, and not open in the build */
	fresh();
	result.descriptors = list;
	result.n_descriptors = 1;
	none = kind(plain_env);
	run.inherited_fds[0] = 1ull << 9 | 1ull << 4;
	assert_true(kind(plain_env) == none);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(environment),
		cmocka_unit_test(keys),
		cmocka_unit_test(descriptors),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
