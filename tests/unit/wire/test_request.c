/* SPDX-License-Identifier: MIT */
/* request_parse(): a message of any contents is taken in full or refused with words */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/fd.h"
#include "launcher/wire/request.h"

static const char good[] = "name\0call\0/work\0prog\0-x\0HOME=/root\0EMPTY=\0HOMER=no";
static struct wire_run run;
static char bytes[4096];
static size_t nbytes;
static struct request *req;
static struct error err;

static void set(const char *strings, size_t len, uint32_t argc, uint32_t envc)
{
	run = (struct wire_run){
		.header = { .magic = WIRE_MAGIC,
			    .version = WIRE_VERSION_NUMBER,
			    .type = WIRE_RUN,
			    .size = (uint32_t)(sizeof(run) + len) },
		.argc = argc,
		.envc = envc,
		.strings_size = (uint32_t)len,
	};
	memcpy(bytes, strings, len);
	nbytes = len;
}

static void set_good(void)
{
	set(good, sizeof(good), 2, 3);
}

/* in a buffer of exactly its size: the sanitizer build sees what is read behind it */
static int parse(void)
{
	_cleanup_free_ char *packet = malloc(sizeof(run) + nbytes);

	assert_non_null(packet);
	memcpy(packet, &run, sizeof(run));
	memcpy(packet + sizeof(run), bytes, nbytes);
	memset(&err, 0, sizeof(err));
	req = NULL;
	return request_parse(packet, sizeof(run) + nbytes, &req, &err);
}

static void accepted(void)
{
	if (parse() != 0)
		fail_msg("%s", err.text);
	request_free(req);
}

static void refused(void)
{
	assert_int_equal(parse(), -EBADMSG);
	assert_null(req);
	assert_int_equal(err.code, -EBADMSG);
	assert_true(err.text[0]);
}

static void all_parts(void **state)
{
	struct request *copy;

	(void)state;
	set_good();
	run.umask = 077;
	assert_int_equal(parse(), 0);
	assert_string_equal(req->name, "name");
	assert_string_equal(req->ready, "call");
	assert_string_equal(req->cwd, "/work");
	assert_string_equal(req->argv[0], "prog");
	assert_string_equal(req->argv[1], "-x");
	assert_null(req->argv[2]);
	assert_string_equal(req->envp[2], "HOMER=no");
	assert_null(req->envp[3]);

	copy = request_copy(req);
	request_free(req);
	assert_non_null(copy);
	assert_int_equal(copy->run.umask, 077);
	assert_string_equal(copy->argv[1], "-x");
	assert_string_equal(copy->envp[0], "HOME=/root");
	request_free(copy);
	request_free(NULL);
}

static void variables(void **state)
{
	(void)state;
	set_good();
	assert_int_equal(parse(), 0);
	assert_string_equal(request_getenv(req, "HOME", 4), "/root");
	assert_string_equal(request_getenv(req, "HOMER=no", 5), "no");
	assert_string_equal(request_getenv(req, "EMPTY", 5), "");
	assert_null(request_getenv(req, "HOM", 3));
	assert_null(request_getenv(req, "ABSENT", 6));
	request_free(req);
}

static void least(void **state)
{
	(void)state;
	set("\0\0/\0\0", 5, 1, 0);
	accepted();
}

static void size_lies(void **state)
{
	(void)state;
	set_good();
	run.header.size++;
	refused();
	run.header.size -= 2;
	refused();
	run.header.size = UINT32_MAX;
	refused();
	set_good();
	run.strings_size--;
	refused();
	run.strings_size = 0;
	refused();
	run.strings_size = UINT32_MAX;
	refused();
	/* both lie alike, but the packet is what it is */
	set_good();
	run.strings_size += 8;
	run.header.size += 8;
	refused();
}

static void shorter_than_the_struct(void **state)
{
	struct wire_run whole = { .header.size = 0 };

	(void)state;
	for (size_t len = 0; len < sizeof(whole); len++) {
		_cleanup_free_ char *packet = malloc(len + 1);

		whole.header.size = (uint32_t)len;
		memcpy(packet, &whole, len);
		assert_int_equal(request_parse(packet, len, &req, &err), -EBADMSG);
	}
	set("", 0, 1, 0);
	refused();
}

static void count_lies(void **state)
{
	static const uint32_t argcs[] = {
		0, 1, 3, 5, 6, sizeof(good), 0x10000, 0x80000000, UINT32_MAX - 1, UINT32_MAX
	};
	static const uint32_t envcs[] = { 0, 2, 4, sizeof(good), 0x80000000, UINT32_MAX };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(argcs); i++) {
		set(good, sizeof(good), argcs[i], 3);
		refused();
	}
	for (size_t i = 0; i < ARRAY_SIZE(envcs); i++) {
		set(good, sizeof(good), 2, envcs[i]);
		refused();
	}
	/* the sum is right, so the border is elsewhere: that is another message, not a malformed one */
	set(good, sizeof(good), 5, 0);
	accepted();
	/* sums that wrap to the right one */
	set(good, sizeof(good), 0x80000002, 0x80000003);
	refused();
}

static void string_borders(void **state)
{
	(void)state;
	/* every prefix: a string is cut or missing */
	for (size_t len = 0; len < sizeof(good); len++) {
		set(good, len, 2, 3);
		refused();
	}
	set(good, sizeof(good), 2, 3);
	bytes[nbytes - 1] = 'x';
	refused();
	/* something behind the last one */
	set_good();
	bytes[nbytes++] = '\0';
	run.strings_size++;
	run.header.size++;
	refused();
}

static void meanings(void **state)
{
	const uint32_t all = WIRE_RUN_NO_BUILD | WIRE_RUN_BUILD | WIRE_RUN_EXPLAIN | WIRE_RUN_REBUILD |
			     WIRE_RUN_POOL | WIRE_LAUNCH_TERMINAL | WIRE_LAUNCH_BACKGROUND;

	(void)state;
	set("\0\0work\0p", 8, 1, 0);
	refused();
	set("\0\0\0p", 5, 1, 0);
	refused();
	for (int i = 0; i < 3; i++) {
		set_good();
		run.stdio[i] = WIRE_STDIO_OTHER;
		accepted();
		run.stdio[i] = WIRE_STDIO_OTHER + 1;
		refused();
		run.stdio[i] = UINT32_MAX;
		refused();
	}
	set_good();
	run.flags = all;
	accepted();
	for (uint32_t bit = 1; bit; bit <<= 1) {
		run.flags = bit;
		bit &all ? accepted() : refused();
	}
	set_good();
	run.termios_size = WIRE_TERMIOS_SIZE;
	accepted();
	run.termios_size = WIRE_TERMIOS_SIZE - 1;
	refused();
	run.termios_size = UINT32_MAX;
	refused();
}

/* what only a launch by name may leave out or ask for */
static void launches(void **state)
{
	const uint32_t all = WIRE_LAUNCH_DETACH | WIRE_LAUNCH_APPEND | WIRE_LAUNCH_ENV | WIRE_LAUNCH_CGROUP |
			     WIRE_LAUNCH_TERMINAL | WIRE_LAUNCH_BACKGROUND | WIRE_LAUNCH_COLD;

	(void)state;
	for (int by_name = 0; by_name < 2; by_name++) {
		set("t\0\0\0p", 6, 1, 0);
		run.header.type = by_name ? WIRE_LAUNCH : WIRE_RUN;
		by_name ? accepted() : refused();
		set("t\0\0/\0", 5, 0, 0);
		run.header.type = by_name ? WIRE_LAUNCH : WIRE_RUN;
		refused();
		run.flags = WIRE_LAUNCH_APPEND;
		by_name ? accepted() : refused();
	}
	set_good();
	run.header.type = WIRE_LAUNCH;
	run.flags = all;
	accepted();
	for (uint32_t bit = 1; bit; bit <<= 1) {
		run.flags = bit;
		bit &all ? accepted() : refused();
	}
}

/* a template's command, in the context of a launch by its name */
static void variants(void **state)
{
	struct request *had, *launch, *made, *copy;

	(void)state;
	set("t\0auto\0/work\0p\0x\0A=1\0B=2\0", 25, 2, 2);
	run.pool = 3;
	run.umask = 022;
	run.flags = WIRE_RUN_BUILD;
	assert_int_equal(parse(), 0);
	had = req;
	set("t\0\0\0more\0C=3\0", 13, 1, 1);
	run.header.type = WIRE_LAUNCH;
	run.umask = 077;
	run.ignored_signals = 6;
	run.tag = 9;
	for (int env = 0; env < 2; env++) {
		run.flags = WIRE_LAUNCH_APPEND | (env ? WIRE_LAUNCH_ENV : 0);
		assert_int_equal(parse(), 0);
		launch = req;
		made = request_variant(had, launch);
		assert_non_null(made);
		assert_string_equal(made->name, "t");
		assert_string_equal(made->ready, "auto");
		assert_string_equal(made->cwd, "/work");
		assert_int_equal(made->run.argc, 2);
		assert_string_equal(made->argv[1], "x");
		assert_string_equal(made->envp[0], env ? "C=3" : "A=1");
		assert_int_equal(made->run.envc, env ? 1 : 2);
		assert_int_equal(made->run.header.type, WIRE_RUN);
		assert_int_equal(made->run.flags, WIRE_RUN_BUILD);
		assert_int_equal(made->run.umask, 077);
		assert_int_equal(made->run.ignored_signals, 6);
		assert_int_equal(made->run.pool, 3);
		assert_int_equal(made->run.tag, 0);
		assert_true(made->variant && !had->variant);
		copy = request_copy(made);
		assert_true(copy && copy->variant);
		assert_true(request_same_environment(made, had) == !env);
		request_free(copy);
		request_free(made);
		request_free(launch);
	}
	request_free(had);
}

static void inherits(void **state)
{
	(void)state;
	set_good();
	run.inherited_fds[0] = 7 | 1 << 10;
	run.inherited_fds[3] = 1ull << 63;
	assert_int_equal(parse(), 0);
	for (int fd = -1; fd < 300; fd++)
		assert_int_equal(request_inherits(req, fd), fd == 10 || fd == 255);
	request_free(req);
}

/* `warm build --out`, `warm load` */
static void images(void **state)
{
	static const char out[] = "n\0auto\0/\0a\0X=1\0/images/a";
	static const char relative[] = "n\0auto\0/\0a\0X=1\0images/a";
	static const char load[] = "n\0auto\0/\0/images/a\0X=1";
	static const char load_relative[] = "n\0auto\0/\0images/a\0X=1";
	struct request *other;

	(void)state;
	set(out, sizeof(out), 1, 1);
	run.flags = WIRE_RUN_BUILD | WIRE_RUN_OUT;
	assert_int_equal(parse(), 0);
	assert_string_equal(req->out, "/images/a");
	other = request_with_name(req, "other");
	assert_string_equal(other->name, "other");
	assert_string_equal(other->out, "/images/a");
	assert_string_equal(other->envp[0], "X=1");
	request_free(other);
	/* the next build of it writes none */
	request_strip_out(req);
	assert_null(req->out);
	other = request_copy(req);
	assert_non_null(other);
	assert_null(other->out);
	assert_string_equal(other->envp[0], "X=1");
	request_free(other);
	request_free(req);
	/* a string too many, one too few, no build, no absolute path */
	run.flags = WIRE_RUN_BUILD;
	refused();
	run.flags = WIRE_RUN_OUT;
	refused();
	set("n\0auto\0/\0a\0X=1", sizeof("n\0auto\0/\0a\0X=1"), 1, 1);
	run.flags = WIRE_RUN_BUILD | WIRE_RUN_OUT;
	refused();
	set(relative, sizeof(relative), 1, 1);
	run.flags = WIRE_RUN_BUILD | WIRE_RUN_OUT;
	refused();
	set(load, sizeof(load), 1, 1);
	run.flags = WIRE_RUN_BUILD | WIRE_RUN_LOAD;
	accepted();
	run.flags = WIRE_RUN_LOAD;
	refused();
	set(load_relative, sizeof(load_relative), 1, 1);
	run.flags = WIRE_RUN_BUILD | WIRE_RUN_LOAD;
	refused();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(all_parts),
		cmocka_unit_test(variables),
		cmocka_unit_test(least),
		cmocka_unit_test(size_lies),
		cmocka_unit_test(shorter_than_the_struct),
		cmocka_unit_test(count_lies),
		cmocka_unit_test(string_borders),
		cmocka_unit_test(meanings),
		cmocka_unit_test(launches),
		cmocka_unit_test(variants),
		cmocka_unit_test(inherits),
		cmocka_unit_test(images),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
