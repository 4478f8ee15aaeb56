/* SPDX-License-Identifier: MIT */
/* the readiness protocol's lines (docs/adaptor.md), the exit line, and the code for the interpreter */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/base/fd.h"
#include "warmd/build/adaptor.h"
#include "warmd/build/language_python.h"

extern const char blob_python_adaptor[], blob_python_adaptor_end[];

static struct adaptor_lines a;
static struct error err;

static int teardown(void **state)
{
	(void)state;
	adaptor_done(&a);
	return 0;
}

static int feed(const char *text)
{
	memset(&err, 0, sizeof(err));
	return adaptor_feed(&a, text, strlen(text), &err);
}

static void refused(const char *text)
{
	adaptor_done(&a);
	assert_int_equal(feed(text), -EBADMSG);
	assert_int_equal(err.code, -EBADMSG);
	assert_true(err.text[0]);
}

static void every_line(void **state)
{
	(void)state;
	assert_int_equal(
		feed("CONTEXT=raw\nTRACK=env\nENV=HOME\nENV=A=B\nSET=C=D=\nUNSET=E\nTRACK=argv\nARGV=2\nSTDIO=1\nMODULES=/usr/lib\n"
		     "MODULES=/x y\nLISTED=/a b\nLISTED=/a b\nSIGNALS=8000000000004002\nLEAVE=7f00aa10\nEXIT=f:c,v:1\nREADY=1\n"),
		0);
	assert_true(a.ready && a.raw && a.track_env && a.track_argv && a.stdio);
	assert_true(a.signals && a.signals_looked_at == 0x8000000000004002ull);
	assert_false(a.env_all);
	assert_int_equal(a.nenv, 2);
	assert_string_equal(a.env[0], "HOME");
	assert_string_equal(a.env[1], "A=B");
	assert_int_equal(a.nset, 1);
	assert_string_equal(a.set[0], "C=D=");
	assert_int_equal(a.nunset, 1);
	assert_string_equal(a.unset[0], "E");
	assert_int_equal(a.argv, 2);
	assert_false(a.argv_from_end);
	assert_int_equal(a.nmodules, 2);
	assert_string_equal(a.modules[1], "/x y");
	assert_int_equal(a.nlisted, 2);
	assert_string_equal(a.listed[1], "/a b");
	assert_string_equal(a.exit, "f:c,v:1");
	assert_int_equal(a.leave, 0x7f00aa10);
	assert_null(a.refuse);
	assert_int_equal(a.partial_len, 0);
}

static void bare_ready(void **state)
{
	(void)state;
	assert_int_equal(feed("READY=1\n"), 0);
	assert_true(a.ready);
	assert_false(a.raw || a.track_env || a.track_argv || a.stdio);
}

static void sd_notify_words(void **state)
{
	(void)state;
	assert_int_equal(feed("STATUS=up: 100%s\nMAINPID=1\nX_UNKNOWN=\nREADY=1\n"), 0);
	assert_true(a.ready);
}

static void pieces(void **state)
{
	static const char text[] = "ENV=HOME\nARGV=-1\nREADY=1\n";

	(void)state;
	for (const char *p = text; *p; p++) {
		assert_false(a.ready);
		assert_int_equal(adaptor_feed(&a, p, 1, &err), 0);
	}
	assert_true(a.ready);
	assert_string_equal(a.env[0], "HOME");
	assert_true(a.argv_from_end);
	assert_int_equal(a.argv, 1);
	/* a line without its end is none */
	adaptor_done(&a);
	assert_int_equal(feed("READY=1"), 0);
	assert_false(a.ready);
	assert_int_equal(feed("\n"), 0);
	assert_true(a.ready);
}

static void everything_counts(void **state)
{
	(void)state;
	assert_int_equal(feed("ENV=*\nARGV=*\n"), 0);
	assert_true(a.env_all);
	assert_int_equal(a.argv, LONG_MAX);
}

static void arguments(void **state)
{
	(void)state;
	assert_int_equal(feed("ARGV=0\n"), 0);
	assert_int_equal(a.argv, 0);
	assert_false(a.argv_from_end);
	assert_int_equal(feed("ARGV=-0\n"), 0);
	assert_int_equal(a.argv, 0);
	assert_true(a.argv_from_end);
	assert_int_equal(feed("ARGV=3\n"), 0);
	assert_false(a.argv_from_end);
	refused("SIGNALS=\n");
	refused("SIGNALS=2g\n");
	refused("ARGV=\n");
	refused("ARGV=x\n");
	refused("ARGV=1x\n");
	refused("ARGV=--1\n");
	refused("ARGV=-\n");
	refused("ARGV=1 2\n");
}

static void refusal(void **state)
{
	(void)state;
	assert_int_equal(feed("REFUSE=first\nREFUSE=it is a reason = this\n"), 0);
	assert_string_equal(a.refuse, "it is a reason = this");
}

static void malformed(void **state)
{
	char *line;

	(void)state;
	refused("hello\n");
	refused("\n");
	refused("READY=2\n");
	refused("READY=\n");
	refused("CONTEXT=json\n");
	/* a line that does not end */
	adaptor_done(&a);
	line = malloc(70000);
	assert_non_null(line);
	memset(line, 'x', 70000);
	assert_int_equal(adaptor_feed(&a, line, 70000, &err), -EBADMSG);
	free(line);
}

/* --- the exit line -------------------------------------------------------------------- */

static void exit_line(void **state)
{
	struct adaptor_exit e;

	(void)state;
	assert_int_equal(
		adaptor_parse_exit("Py_FinalizeEx,Py_Exit!:PyObject_CallObject,PyLong_AsLong:7f00aA10", &e),
		0);
	assert_int_equal(e.n, 2);
	assert_string_equal(e.symbols[0], "Py_FinalizeEx");
	assert_string_equal(e.symbols[1], "Py_Exit");
	assert_false(e.marked[0]);
	assert_true(e.marked[1]);
	assert_string_equal(e.call, "PyObject_CallObject");
	assert_string_equal(e.value, "PyLong_AsLong");
	assert_int_equal(e.arg, 0x7f00aa10);
	assert_int_equal(adaptor_parse_exit("a,b,c,d,e,f,g,h!:i,j:ffffffffffffffff", &e), 0);
	assert_int_equal(e.n, 8);
	assert_true(e.marked[7]);
	assert_int_equal(e.arg, UINT64_MAX);
}

static void exit_line_borders(void **state)
{
	struct adaptor_exit e;
	char line[256];

	(void)state;
	snprintf(line, sizeof(line), "%063d:c,v:1", 1);
	assert_int_equal(adaptor_parse_exit(line, &e), 0);
	assert_int_equal(strlen(e.symbols[0]), 63);
	snprintf(line, sizeof(line), "%064d:c,v:1", 1);
	assert_int_equal(adaptor_parse_exit(line, &e), -EBADMSG);
	snprintf(line, sizeof(line), "s:%064d,v:1", 1);
	assert_int_equal(adaptor_parse_exit(line, &e), -EBADMSG);
	snprintf(line, sizeof(line), "s:c,%064d:1", 1);
	assert_int_equal(adaptor_parse_exit(line, &e), -EBADMSG);
}

static void exit_line_malformed(void **state)
{
	static const char *const lines[] = {
		"",
		":",
		",",
		"s",
		"s,",
		"s:",
		"s:c",
		"s:c,",
		"s:c,v",
		"s:c,v:",
		"s:c,v:xyz",
		"s:c,v:1g",
		"s:c,v:1 ",
		"s,:c,v:1",
		",s:c,v:1",
		"s::c,v:1",
		"s:,v:1",
		"s:c,:1",
		"!:c,v:1",
		"a,b,c,d,e,f,g,h,i:c,v:1",
		"s:c,v:-1",
		"s:c,v: 1",
		"s:c,v:10000000000000000",
	};
	struct adaptor_exit e;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(lines); i++)
		if (adaptor_parse_exit(lines[i], &e) != -EBADMSG)
			fail_msg("'%s' was taken", lines[i]);
}

/* --- the code -------------------------------------------------------------------------- */

static void code_is_c_string(void **state)
{
	_cleanup_free_ char *code = language_python_code(123, NULL, 0);

	(void)state;
	assert_non_null(code);
	/* one line of printable ASCII, so that no encoding or embedded newline matters */
	for (const char *p = code; *p; p++)
		assert_true((*p >= 32 && *p < 127) || (*p == '\n' && !p[1]));
	assert_non_null(strstr(code, "'WARM_FD': 123,"));
}

/* Python itself says what the string is */
static void code_is_the_adaptor(void **state)
{
	static const char check[] =
		"import ast, sys\n"
		"tree = ast.parse(sys.stdin.read())\n"
		"text = tree.body[0].value.args[0].args[0].value\n"
		"compile(text, 'adaptor', 'exec')\n"
		"names = dict(zip((k.value for k in tree.body[0].value.args[1].keys), tree.body[0].value.args[1].values))\n"
		"assert ast.literal_eval(names['WARM_FD']) == 7\n"
		"argv = ast.literal_eval(names['WARM_ARGV'])\n"
		"assert argv == (b'python3', b'a\"\\\\\\n\\xff\\'', b''), argv\n"
		"sys.stdout.buffer.write(text.encode('latin-1'))\n";
	char dir[] = "/tmp/test_adaptor.XXXXXX", path[64], command[256];
	char *argv[] = { (char *)"python3", (char *)"a\"\\\n\xff'", (char *)"" };
	_cleanup_free_ char *code = language_python_code(7, argv, 3), *text = NULL;
	size_t len;
	FILE *f;

	(void)state;
	if (system("python3 -c pass") != 0)
		skip();
	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/check.py", dir);
	f = fopen(path, "w");
	assert_non_null(f);
	fputs(check, f);
	fclose(f);
	snprintf(command, sizeof(command), "python3 %s/check.py > %s/out", dir, dir);
	f = popen(command, "w");
	assert_non_null(f);
	fputs(code, f);
	assert_int_equal(pclose(f), 0);
	snprintf(path, sizeof(path), "%s/out", dir);
	assert_int_equal(read_file(path, &text, &len), 0);
	assert_int_equal(len, blob_python_adaptor_end - blob_python_adaptor);
	assert_memory_equal(text, blob_python_adaptor, len);
	snprintf(command, sizeof(command), "rm -r %s", dir);
	assert_int_equal(system(command), 0);
}

#define T(f) cmocka_unit_test_teardown(f, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(every_line),
		T(bare_ready),
		T(sd_notify_words),
		T(pieces),
		T(everything_counts),
		T(arguments),
		T(refusal),
		T(malformed),
		T(exit_line),
		T(exit_line_borders),
		T(exit_line_malformed),
		T(code_is_c_string),
		T(code_is_the_adaptor),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
