/* SPDX-License-Identifier: MIT */
/* which launch a template serves: every key by itself, over templates made by hand */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/stat.h>

#include "engine/base/facts.h"
#include "engine/base/fd.h"
#include "warmd/template/store.h"
#include "warmd/template/match.h"

static struct config cfg;
static struct store *store;
static struct request *had, *now;
static Warm__BuildResult result;
static struct template tmpl;
static char reason[256];

struct context {
	const char *name, *ready, *cwd;
	const char *argv[8], *envp[8];
	struct wire_run run;
};

static struct request *make(const struct context *c)
{
	struct wire_run run = c->run;
	char packet[4096], *p = packet + sizeof(run);
	struct request *req = NULL;
	const char *const heads[] = { c->name ? c->name : "", c->ready ? c->ready : "auto",
				      c->cwd ? c->cwd : "/work" };

	for (int i = 0; i < 3; i++)
		p = stpcpy(p, heads[i]) + 1;
	for (run.argc = 0; c->argv[run.argc]; run.argc++)
		p = stpcpy(p, c->argv[run.argc]) + 1;
	for (run.envc = 0; c->envp[run.envc]; run.envc++)
		p = stpcpy(p, c->envp[run.envc]) + 1;
	run.header = (struct wire_header){ WIRE_MAGIC, WIRE_VERSION_NUMBER,
					   c->run.header.type ? c->run.header.type : WIRE_RUN,
					   (uint32_t)(p - packet), 0 };
	run.strings_size = (uint32_t)(p - packet - (ptrdiff_t)sizeof(run));
	memcpy(packet, &run, sizeof(run));
	assert_int_equal(request_parse(packet, (size_t)(p - packet), &req, NULL), 0);
	return req;
}

static const struct context plain = {
	.argv = { "/usr/bin/prog", "one", "two" },
	.envp = { "HOME=/root", "PATH=/bin", "LANG=C" },
	.run = { .stdio = { WIRE_STDIO_NULL, WIRE_STDIO_PIPE, WIRE_STDIO_PIPE },
		 .stdio_blksize = { 4096, 4096, 4096 },
		 .rows = 24,
		 .columns = 80,
		 .umask = 022 },
};

static void fresh(void)
{
	request_free(had);
	request_free(now);
	had = make(&plain);
	now = make(&plain);
	warm__build_result__init(&result);
	result.argv_count = -1;
	result.ready = (char *)"main";
	result.takes_arguments = result.before_main = true;
	tmpl = (struct template){ .label = (char *)"label", .request = had, .result = &result };
	reason[0] = '\0';
}

static int setup(void **state)
{
	(void)state;
	fresh();
	return 0;
}

static void set_now(const struct context *c)
{
	request_free(now);
	now = make(c);
}

static void set_had(const struct context *c)
{
	request_free(had);
	had = make(c);
	tmpl.request = had;
}

static void fits(void)
{
	if (template_mismatch(&tmpl, now, &cfg, reason, sizeof(reason)))
		fail_msg("%s", reason);
}

static void differs(const char *words)
{
	reason[0] = '\0';
	assert_true(template_mismatch(&tmpl, now, &cfg, reason, sizeof(reason)));
	if (!strstr(reason, words))
		fail_msg("\"%s\" is not in \"%s\"", words, reason);
}

static void same(void **state)
{
	(void)state;
	fits();
}

/* --- what always counts ------------------------------------------------------------------ */

#define ALWAYS(field, value, words)                                                                          \
	do {                                                                                                 \
		fresh();                                                                                     \
		now->run.field = (value);                                                                    \
		differs(words);                                                                              \
		had->run.field = (value);                                                                    \
		fits();                                                                                      \
	} while (0)

/* a launch by name with these arguments. Return: does the template serve it? */
static bool by_name(bool append, const char *const *argv)
{
	struct context c = plain;

	memset(c.argv, 0, sizeof(c.argv));
	for (int i = 0; argv[i]; i++)
		c.argv[i] = argv[i];
	c.name = "label";
	c.run.header.type = WIRE_LAUNCH;
	c.run.flags = append ? WIRE_LAUNCH_APPEND : 0;
	request_free(now);
	now = make(&c);
	return !template_arguments_differ(&tmpl, now, reason, sizeof(reason));
}

static void arguments_of_a_launch_by_name(void **state)
{
	static const char *const same[] = { "/usr/bin/prog", "one", "two", NULL },
				 *const last[] = { "/usr/bin/prog", "one", "another", NULL },
				 *const other[] = { "/usr/bin/prog", "another", "two", NULL },
				 *const longer[] = { "/usr/bin/prog", "one", "two", "more", NULL },
				 *const short_of[] = { "/usr/bin/prog", NULL },
				 *const more[] = { "more", NULL }, *const nothing[] = { NULL };

	(void)state;
	/* what it read is not known, and it takes what comes */
	fresh();
	assert_true(by_name(false, same) && by_name(false, short_of) && by_name(true, more));
	/* two of them count */
	fresh();
	result.argv_count = 2;
	assert_true(by_name(false, same) && by_name(false, last) && by_name(false, longer) &&
		    by_name(true, more));
	assert_false(by_name(false, other));
	assert_non_null(strstr(reason, "read at the start: one was 'one'"));
	assert_false(by_name(false, short_of));
	/* all of them, and that there are no others */
	for (int i = 0; i < 2; i++) {
		fresh();
		result.takes_arguments = i == 1;
		result.argv_count = i == 1 ? 4 : -1;
		assert_true(by_name(false, same) && by_name(true, nothing));
		assert_false(by_name(false, last) || by_name(false, longer) || by_name(false, short_of) ||
			     by_name(true, more));
	}
	/* it is told at its readiness point */
	fresh();
	result.asks_for_context = result.for_any_caller = true;
	assert_true(by_name(false, short_of) && by_name(true, more));
}

static void identity(void **state)
{
	(void)state;
	ALWAYS(personality, 0x0020000, "personality");
}

/* --- what counts when it was asked for ----------------------------------------------------- */

#define KEYED(set_key, field, value, words)                                                                  \
	do {                                                                                                 \
		fresh();                                                                                     \
		now->run.field = (value);                                                                    \
		fits();                                                                                      \
		set_key;                                                                                     \
		differs(words);                                                                              \
		had->run.field = (value);                                                                    \
		fits();                                                                                      \
	} while (0)

static void keyed(void **state)
{
	(void)state;
	KEYED(result.keys = TEMPLATE_KEY_UMASK, umask, 077, "umask");
	KEYED(result.keys = TEMPLATE_KEY_SIGMASK, blocked_signals, 1ull << 63, "blocked");
	KEYED(result.signal_keys = 1ull << 14, ignored_signals, 1ull << 14, "signal 15");
	/* another one was looked at; how the memory is laid out is the template's */
	fresh();
	result.signal_keys = ~(1ull << 14);
	now->run.ignored_signals = 1ull << 14;
	now->run.personality = 0x0240000;
	fits();
	KEYED(result.keys = TEMPLATE_KEY_AFFINITY, scheduling.affinity, 9, "affinity");
	KEYED(result.keys = TEMPLATE_KEY_WINSIZE, rows, 50, "size");
	KEYED(result.keys = TEMPLATE_KEY_WINSIZE, columns, 132, "size");
	KEYED(result.keys = TEMPLATE_KEY_NICE, nice, -3, "nice");
	KEYED(result.keys = TEMPLATE_KEY_SCHED, scheduling.policy, 3, "policy");
	KEYED(result.keys = TEMPLATE_KEY_IOPRIO, scheduling.ioprio, 5, "I/O");
	for (unsigned int i = 0; i < WIRE_RLIMITS; i++) {
		KEYED(result.rlimit_keys = 1ull << i, rlimits[i][0], 5, "limit");
		KEYED(result.rlimit_keys = 1ull << i, rlimits[i][1], 5, "limit");
		fresh();
		result.rlimit_keys = ~(1ull << i);
		now->run.rlimits[i][0] = 5;
		fits();
	}
}

static void directory(void **state)
{
	struct context c = plain;

	(void)state;
	c.cwd = "/elsewhere";
	set_now(&c);
	fits();
	result.keys = TEMPLATE_KEY_CWD;
	differs("/work");
}

static void standard_descriptors(void **state)
{
	(void)state;
	for (int i = 0; i < 3; i++) {
		KEYED(result.stdio_keys = 1u << i, stdio[i], WIRE_STDIO_TTY, "another kind");
		KEYED(result.stdio_keys = 1u << i, stdio_blksize[i], 512, "another kind");
		fresh();
		result.stdio_keys = 7u & ~(1u << i);
		now->run.stdio[i] = WIRE_STDIO_TTY;
		fits();
		/* closed or not always counts */
		ALWAYS(stdio[i], WIRE_STDIO_CLOSED, "closed");
	}
}

static void descriptor_conflicts(void **state)
{
	static const int fds[] = { 3, 63, 64, 255 };
	Warm__Descriptor d = WARM__DESCRIPTOR__INIT, other = WARM__DESCRIPTOR__INIT,
			 *list[2] = { &other, &d };

	(void)state;
	other.fd = 200;
	result.descriptors = list;
	result.n_descriptors = 2;
	for (size_t i = 0; i < ARRAY_SIZE(fds); i++) {
		memset(now->run.inherited_fds, 0, sizeof(now->run.inherited_fds));
		d.fd = fds[i];
		fits();
		now->run.inherited_fds[fds[i] / 64] = 1ull << (fds[i] % 64);
		snprintf(reason, sizeof(reason), "descriptor %d ", fds[i]);
		differs("comes from the caller");
		d.fd = fds[i] - 1;
		fits();
	}
	/* numbers that the bits do not reach */
	d.fd = 256;
	fits();
	d.fd = -1;
	fits();
}

/* --- arguments ----------------------------------------------------------------------------- */

static void all_arguments(void **state)
{
	struct context c = plain;

	(void)state;
	c.argv[2] = "three";
	set_now(&c);
	differs("three");
	c.argv[2] = NULL;
	set_now(&c);
	differs("number");
	c = plain;
	c.argv[3] = "more";
	set_now(&c);
	differs("number");
}

static void leading_arguments(void **state)
{
	struct context c = plain;

	(void)state;
	result.argv_count = 2;
	c.argv[2] = "three";
	set_now(&c);
	fits();
	c.argv[3] = "more";
	set_now(&c);
	fits();
	c.argv[2] = NULL;
	set_now(&c);
	fits();
	c.argv[1] = NULL;
	set_now(&c);
	differs("number");
	c.argv[1] = "other";
	set_now(&c);
	differs("other");
	result.argv_count = 0;
	c.argv[0] = "/usr/bin/another";
	set_now(&c);
	fits();
}

/* ARGV=N is the program's own word: more than it was given */
static void count_beyond_the_arguments(void **state)
{
	struct context c = plain;

	(void)state;
	result.argv_count = 5;
	fits();
	c.argv[3] = "x";
	c.argv[4] = "y";
	c.argv[5] = "z";
	set_now(&c);
	differs("number");
	result.argv_count = INT32_MAX;
	differs("number");
}

/* --- names and readiness points -------------------------------------------------------------- */

static void names(void **state)
{
	struct context c = plain;

	(void)state;
	c.name = "mine";
	set_now(&c);
	differs("another name");
	set_had(&c);
	fits();
	/* a launch without a name may take any */
	set_now(&plain);
	fits();
}

static void readiness(void **state)
{
	struct context c = plain;

	(void)state;
	result.ready = (char *)"import";
	c.ready = "main";
	set_now(&c);
	differs("'import'");
	/* auto came to be that */
	c.ready = "import";
	set_now(&c);
	fits();
	c.ready = "";
	set_now(&c);
	fits();
	set_had(&c);
	c.ready = "auto";
	set_now(&c);
	fits();
}

/* --- environment ------------------------------------------------------------------------------ */

static void env(const char *a, const char *b, const char *c, const char *d)
{
	struct context x = plain;
	const char *const list[] = { a, b, c, d, NULL };

	memcpy(x.envp, list, sizeof(list));
	set_now(&x);
}

static void read_variables(void **state)
{
	char *list[] = { (char *)"LANG", (char *)"ABSENT" };

	(void)state;
	env("HOME=/else", "PATH=/other", "LANG=C", "NEW=1");
	fits();
	result.environment = list;
	result.n_environment = 2;
	fits();
	env("HOME=/root", "PATH=/bin", "LANG=de", NULL);
	differs("LANG");
	env("HOME=/root", "PATH=/bin", NULL, NULL);
	differs("LANG");
	env("HOME=/root", "LANG=C", "ABSENT=", NULL);
	differs("ABSENT");
	env("LANG=C", "ABSENT2=1", "XLANG=de", NULL);
	fits();
}

static void whole_environment(void **state)
{
	char *star[] = { (char *)"*" };

	(void)state;
	for (int way = 0; way < 2; way++) {
		fresh();
		result.environment_all = way == 0;
		result.environment = star;
		result.n_environment = (size_t)way;
		fits();
		/* order does not count */
		env("LANG=C", "PATH=/bin", "HOME=/root", NULL);
		fits();
		env("LANG=C", "PATH=/bin", "HOME=/else", NULL);
		differs("HOME");
		env("LANG=C", "PATH=/bin", NULL, NULL);
		differs("HOME");
		env("LANG=C", "PATH=/bin", "HOME=/root", "NEW=");
		differs("NEW");
		/* volatile ones */
		env("LANG=C", "PATH=/bin", "HOME=/root", "PWD=/x");
		fits();
		env("LANG=C", "PATH=/bin", "HOME=/root", "SSH_TTY=/x");
		fits();
	}
}

/* a program on the way, such as env(1), changed it */
static void exact_environment(void **state)
{
	char *own[] = { (char *)"NEW" };

	(void)state;
	result.environment_exact = true;
	env("LANG=C", "PATH=/bin", "HOME=/root", NULL);
	fits();
	env("LANG=C", "PATH=/bin", "HOME=/root", "SSH_TTY=/x");
	differs("SSH_TTY");
	cfg.ignore_variables = (struct config_list){ own, 1 };
	env("LANG=C", "PATH=/bin", "HOME=/root", "NEW=1");
	differs("NEW");
	cfg.ignore_variables = (struct config_list){ NULL, 0 };
}

/* what the program sets for its children; but all that was seen to be read counts */
static void own_environment(void **state)
{
	char *own[] = { (char *)"HOME", (char *)"LANG" }, *list[] = { (char *)"HOME" };

	(void)state;
	result.environment_all = true;
	result.environment_own = own;
	result.n_environment_own = 2;
	env("LANG=C", "PATH=/bin", "HOME=/else", NULL);
	fits();
	env("LANG=C", "PATH=/else", "HOME=/root", NULL);
	differs("PATH");
	env("LANG=de", "PATH=/bin", "HOME=/root", NULL); /* setlocale(3) looks past everybody */
	differs("LANG");
	result.environment = list;
	result.n_environment = 1;
	env("LANG=C", "PATH=/bin", "HOME=/else", NULL);
	differs("HOME");
}

/* one that is volatile, but was read */
static void volatile_and_read(void **state)
{
	char *list[] = { (char *)"PWD" }, *own[] = { (char *)"PWD" };

	(void)state;
	result.environment = list;
	result.n_environment = 1;
	result.environment_all = true;
	env("LANG=C", "PATH=/bin", "HOME=/root", "PWD=/x");
	differs("PWD");
	/* unless the user says so */
	cfg.ignore_variables = (struct config_list){ own, 1 };
	fits();
	cfg.ignore_variables = (struct config_list){ NULL, 0 };
}

static void loader_variables(void **state)
{
	static const char *const list[] = { "LD_PRELOAD=x", "LD_LIBRARY_PATH=", "LD_X=1",
					    "GLIBC_TUNABLES=a=b", "LC_ALL=C" };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(list); i++) {
		struct context c = plain;

		fresh();
		env("HOME=/root", "PATH=/bin", "LANG=C", list[i]);
		differs("variable");
		/* and the other way round */
		fresh();
		c.envp[3] = list[i];
		set_had(&c);
		differs("variable");
		set_now(&c);
		fits();
	}
	fresh();
	env("LANG=C", "LDX=1", "GLIBC_TUNABLES2=1", "xLD_=1");
	fits();
}

static void bare_names_and_path(void **state)
{
	struct context c = plain;

	(void)state;
	c.argv[0] = "prog";
	set_had(&c);
	set_now(&c);
	fits();
	c.envp[1] = "PATH=/sbin:/bin";
	set_now(&c);
	differs("PATH");
	c.envp[1] = "NOPATH=1";
	set_now(&c);
	differs("PATH");
}

static void same_program(void **state)
{
	struct context c = plain;

	(void)state;
	assert_true(template_same_program(&tmpl, now) && request_same_command(had, now));
	c.argv[2] = "other";
	set_now(&c);
	assert_true(template_same_program(&tmpl, now) && !request_same_command(had, now));
	c.cwd = "/else";
	set_now(&c);
	assert_false(template_same_program(&tmpl, now));
	c = plain;
	c.cwd = "/else";
	set_now(&c);
	assert_false(request_same_command(had, now));
	c = plain;
	c.argv[1] = "other";
	set_now(&c);
	assert_false(template_same_program(&tmpl, now));
	c.argv[1] = NULL;
	set_now(&c);
	assert_false(template_same_program(&tmpl, now));
	c = plain;
	c.argv[0] = "x";
	set_now(&c);
	assert_false(template_same_program(&tmpl, now));
	/* what stands behind options tells what it is, and nothing more does */
	c = plain;
	c.argv[1] = "-m";
	c.argv[2] = "/tool";
	c.argv[3] = "x";
	set_had(&c);
	c.cwd = "/else";
	c.argv[3] = "y";
	set_now(&c);
	assert_true(template_same_program(&tmpl, now));
	c.argv[2] = "/other";
	set_now(&c);
	assert_false(template_same_program(&tmpl, now));
}

/* --- the store ---------------------------------------------------------------------------------- */

static char dep_file[64];

static int store_setup(void **state)
{
	fresh();
	(void)state;
	return store_new(&store, &cfg, NULL);
}

static int store_teardown(void **state)
{
	(void)state;
	store_free(store);
	store = NULL;
	return 0;
}

/* a template of @c that depends on dep_file. Return: as store_add() */
static int add(const struct context *c, int32_t error, uint64_t bytes, struct template **ret)
{
	Warm__BuildResult *r = calloc(1, sizeof(*r));
	struct dep_set *set;
	void *packed;
	int *fds = error ? NULL : malloc(2 * sizeof(int));

	assert_int_equal(dep_set_new(&set), 0);
	assert_int_equal(dep_set_add(set, dep_file, DEP_ABSENT), 0);
	warm__build_result__init(r);
	assert_int_equal(dep_set_pack(set, &packed, &r->dependencies.len), 0);
	dep_set_free(set);
	r->dependencies.data = packed;
	r->error = error;
	r->message = strdup("words");
	r->ready = strdup("main");
	r->takes_arguments = r->before_main = true;
	r->argv_count = -1;
	r->sealed_bytes = bytes;
	for (int i = 0; fds && i < 2; i++)
		fds[i] = open("/dev/null", O_RDONLY | O_CLOEXEC);
	return store_add(store, make(c), r, fds, fds ? 2 : 0, 5, ret, NULL);
}

static uint32_t match(const struct context *c, struct template **ret)
{
	uint32_t status;

	set_now(c);
	*ret = NULL;
	reason[0] = '\0';
	watch_drain(store->watch);
	store_match(store, now, ret, &status, reason, sizeof(reason));
	assert_true(reason[0]);
	assert_true((status == WIRE_WARM) == !!*ret);
	return status;
}

/* what listeners heard, a letter each: 'g' it is gone, 'l' it is leaving */
struct heard {
	char letters[8];
	struct template *last;
};

static void hear_gone(void *data, const struct template *t)
{
	struct heard *h = data;

	(void)t;
	strcat(h->letters, "g");
}

static void hear_leaving(void *data, struct template *t)
{
	struct heard *h = data;

	strcat(h->letters, "l");
	h->last = t;
}

/* what changed is dropped from the store that it is in, and that store's listeners hear of it */
static void two_stores(void **state)
{
	struct store *first = store, *second;
	struct heard of_first = { .letters = "" }, of_second = { .letters = "" };
	const struct store_listener one = { .gone = hear_gone, .leaving = hear_leaving, .data = &of_first };
	const struct store_listener two = { .gone = hear_gone, .leaving = hear_leaving, .data = &of_second };
	struct template *t, *other;
	int fd;

	(void)state;
	assert_int_equal(add(&plain, 0, 100, &t), 0);
	store_listen(first, &one);
	assert_int_equal(store_new(&second, &cfg, NULL), 0);
	store_listen(second, &two);

	fd = open(dep_file, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	close(fd);
	watch_drain(first->watch);
	unlink(dep_file);
	assert_int_equal(store_count(first), 0);
	assert_int_equal(first->dropped_stale, 1);
	assert_int_equal(second->dropped_stale, 0);
	assert_string_equal(of_first.letters, "gl");
	assert_ptr_equal(of_first.last, t);
	assert_string_equal(of_second.letters, "");

	/* one that is removed was wanted away: nobody is told that it is gone */
	store = second;
	assert_int_equal(add(&plain, 0, 100, &other), 0);
	store_remove(second, other);
	assert_string_equal(of_second.letters, "l");
	store = first;
	store_free(second);
}

static void store_answers(void **state)
{
	struct template *t, *got;
	struct context other = plain, third = plain;

	(void)state;
	assert_int_equal(match(&plain, &got), WIRE_COLD_NONE);
	assert_int_equal(add(&plain, 0, 100, &t), 0);
	assert_int_equal(match(&plain, &got), WIRE_WARM);
	assert_ptr_equal(got, t);
	assert_string_equal(t->label, "/usr/bin/prog one two");
	assert_int_equal(store_count(store), 1);
	assert_int_equal(store_sealed_bytes(store), 100);

	third.argv[2] = "3";
	assert_int_equal(match(&third, &got), WIRE_COLD_MISMATCH);
	other.argv[0] = "/usr/bin/other";
	assert_int_equal(match(&other, &got), WIRE_COLD_NONE);

	/* two contexts of one command side by side */
	assert_int_equal(add(&third, 0, 50, &t), 0);
	assert_int_equal(match(&third, &got), WIRE_WARM);
	assert_ptr_equal(got, t);
	assert_int_equal(match(&plain, &got), WIRE_WARM);
	assert_int_equal(store_count(store), 2);
	/* a second of the same takes the first's place */
	assert_int_equal(add(&plain, 0, 7, &t), 0);
	assert_int_equal(store_count(store), 2);
	assert_int_equal(store_sealed_bytes(store), 57);

	assert_ptr_equal(store_find(store, t->label), t);
	assert_null(store_find(store, "nothing"));
	assert_null(store_find(store, ""));
	assert_null(store_find(store, "1x"));
	assert_ptr_equal(store_find(store, "3"), t);
	store_remove(store, t);
	assert_int_equal(match(&plain, &got), WIRE_COLD_MISMATCH);
}

static void store_goes_stale(void **state)
{
	struct template *t, *got;
	int fd;

	(void)state;
	assert_int_equal(add(&plain, 0, 100, &t), 0);
	assert_int_equal(match(&plain, &got), WIRE_WARM);
	fd = open(dep_file, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	close(fd);
	assert_int_equal(match(&plain, &got), WIRE_COLD_STALE);
	assert_non_null(strstr(reason, dep_file));
	assert_int_equal(store->dropped_stale, 1);
	assert_null(store->list);
	unlink(dep_file);
}

/* somebody changes the machine: as if a file had changed */
static void store_knows_facts(void **state)
{
	struct template *t, *got;
	char file[] = "/tmp/warm-fact.XXXXXX";
	int fd = mkstemp(file);

	(void)state;
	assert_true(fd >= 0);
	for (unsigned int kind = 0; kind <= FACTS; kind++) {
		Warm__Fact *f;

		assert_int_equal(add(&plain, 0, 100, &t), 0);
		t->result->facts = calloc(1, sizeof(*t->result->facts));
		t->result->facts[0] = f = calloc(1, sizeof(*f));
		t->result->n_facts = 1;
		warm__fact__init(f);
		f->kind = kind;
		f->path = strdup(kind == FACTS ? file : "");
		f->value = kind == FACTS ? fact_of_file(file) : fact_value((enum fact)kind);
		assert_int_equal(match(&plain, &got), WIRE_WARM);
		if (kind == FACTS)
			assert_int_equal(write(fd, "x", 1), 1);
		else
			f->value++;
		assert_int_equal(match(&plain, &got), WIRE_COLD_STALE);
		assert_non_null(strstr(reason, kind == FACTS ? file : fact_name((enum fact)kind)));
		assert_null(store->list);
	}
	close(fd);
	unlink(file);
}

static void store_refuses(void **state)
{
	struct context third = plain;
	struct template *t, *got;

	(void)state;
	assert_int_equal(add(&plain, -EOPNOTSUPP, 0, &t), 0);
	assert_int_equal(match(&plain, &got), WIRE_COLD_REFUSED);
	assert_non_null(strstr(reason, "words"));
	third.argv[2] = "3";
	assert_int_equal(match(&third, &got), WIRE_COLD_REFUSED);
	assert_int_equal(store_count(store), 0);
	/* a template of the same command takes its place */
	assert_int_equal(add(&plain, 0, 1, &t), 0);
	assert_int_equal(match(&plain, &got), WIRE_WARM);
	assert_null(store->list->next);
}

static void store_budget(void **state)
{
	struct context c[3] = { plain, plain, plain };
	struct template *t[3], *got;
	uint64_t budget = cfg.memory_budget;
	unsigned int max = cfg.templates_max;

	(void)state;
	cfg.memory_budget = 100;
	for (int i = 0; i < 3; i++)
		c[i].argv[1] = (const char *[]){ "a", "b", "c" }[i];
	assert_int_equal(add(&c[0], 0, 101, &t[0]), -ENOSPC);
	assert_int_equal(add(&c[0], 0, 60, &t[0]), 0);
	assert_int_equal(add(&c[1], 0, 40, &t[1]), 0);
	/* least recently used goes */
	t[0]->last_used_ns = 2;
	t[1]->last_used_ns = 1;
	assert_int_equal(add(&c[2], 0, 10, &t[2]), 0);
	assert_int_equal(match(&c[0], &got), WIRE_WARM);
	assert_int_equal(match(&c[1], &got), WIRE_COLD_NONE);
	assert_int_equal(store->dropped_budget, 1);
	cfg.memory_budget = budget;
	cfg.templates_max = 2;
	t[0]->last_used_ns = UINT64_MAX;
	assert_int_equal(add(&c[1], 0, 1, &t[1]), 0);
	assert_int_equal(store_count(store), 2);
	assert_int_equal(match(&c[2], &got), WIRE_COLD_NONE);
	cfg.templates_max = max;
}

/* by a clock that nobody sets: the wall clock may go back, or on by a year */
static void store_age(void **state)
{
	uint64_t age = 7ull * 24 * 3600 * 1000000000u;
	struct template *t, *got;

	(void)state;
	assert_int_equal(add(&plain, 0, 100, &t), 0);
	t->created_ns += 2ull * 1000000000u; /* the wall clock was two seconds ahead */
	store_expire(store, t->born_ns);
	assert_int_equal(match(&plain, &got), WIRE_WARM);
	t->created_ns = 0;
	store_expire(store, t->born_ns + age - 1);
	assert_int_equal(match(&plain, &got), WIRE_WARM);
	store_expire(store, t->born_ns + age);
	assert_int_equal(match(&plain, &got), WIRE_COLD_NONE);
	assert_int_equal(store->dropped_age, 1);
}

static int all_setup(void **state)
{
	(void)state;
	config_defaults(&cfg);
	snprintf(dep_file, sizeof(dep_file), "/tmp/test_match.%d", (int)getpid());
	log_open(STDERR_FILENO, LOG_LEVEL_ERROR);
	return 0;
}

#define T(f) cmocka_unit_test_setup(f, setup)
#define S(f) cmocka_unit_test_setup_teardown(f, store_setup, store_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(same),
		T(arguments_of_a_launch_by_name),
		T(identity),
		T(keyed),
		T(directory),
		T(standard_descriptors),
		T(descriptor_conflicts),
		T(all_arguments),
		T(leading_arguments),
		T(count_beyond_the_arguments),
		T(names),
		T(readiness),
		T(read_variables),
		T(whole_environment),
		T(exact_environment),
		T(volatile_and_read),
		T(own_environment),
		T(loader_variables),
		T(bare_names_and_path),
		T(same_program),
		S(two_stores),
		S(store_answers),
		S(store_goes_stale),
		S(store_knows_facts),
		S(store_refuses),
		S(store_budget),
		S(store_age),
	};
	int r = cmocka_run_group_tests(tests, all_setup, NULL);

	request_free(had);
	request_free(now);
	return r;
}
