/* SPDX-License-Identifier: MIT */
/* the words of --ready, and that all who list them list the same */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/clock.h"
#include "engine/base/fd.h"
#include "warmd/build/builder_internal.h"

static void points(void **state)
{
	static const struct {
		const char *word;
		struct ready point;
	} cases[] = {
		{ "", { &ready_auto, 0 } },
		{ "auto", { &ready_auto, 0 } },
		{ "main", { &ready_main, 0 } },
		{ "import", { &ready_import, 0 } },
		{ "call", { &ready_call, 0 } },
		{ "delay=2", { &ready_delay, 2 * NS_PER_S } },
		{ "delay=0.001", { &ready_delay, NS_PER_MS } },
		{ "delay=.5", { &ready_delay, 500 * NS_PER_MS } },
		{ "delay=1.", { &ready_delay, NS_PER_S } },
		{ "delay=1.250000", { &ready_delay, 1250 * NS_PER_MS } },
		{ "delay=3600", { &ready_delay, 3600 * NS_PER_S } },
		{ "idle", { &ready_idle, 100 * NS_PER_MS } },
		{ "idle=1", { &ready_idle, NS_PER_MS } },
		{ "idle=60000", { &ready_idle, 60 * NS_PER_S } },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct ready p;
		struct error err;

		assert_int_equal(ready_parse(cases[i].word, &p, &err), 0);
		assert_ptr_equal(p.kind, cases[i].point.kind);
		assert_int_equal(p.ns, cases[i].point.ns);
	}
}

static void wrong(void **state)
{
	static const char *const words[] = {
		"Main",
		"mains",
		"delay",
		"delay=",
		"delay=.",
		"delay=0",
		"delay=0.0001",
		"delay=1e3",
		"delay= 1",
		"delay=1s",
		"delay=1..2",
		"delay=-1",
		"delay=+1",
		"delay=3600.1",
		"delay=nan",
		"delay=0x10",
		"delay=1,5",
		"delay=1.0000001",
		"idle=",
		"idle=0",
		"idle=1.5",
		"idle=60001",
		"idle=-1",
		"idle=100ms",
		"idling",
		"main=1",
		"call=",
		"=1",
		"delay=99999999999999999999",
		"idle=18446744073709551617",
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(words); i++) {
		struct ready p = { .ns = 7 };
		struct error err = { 0 };

		assert_int_equal(ready_parse(words[i], &p, &err), -EINVAL);
		assert_int_equal(p.ns, 7);
		/* the words name what is wrong */
		assert_non_null(
			strstr(err.text, strchr(words[i], '=') ? strchr(words[i], '=') + 1 : words[i]));
	}
}

/* --- documents, help and completions list the table's ------------------------------------------ */

/* a man page without what groff(7) has between the letters */
static void without_fonts(char *text)
{
	char *to = text;

	for (const char *p = text; *p; p++) {
		if (p[0] == '\\' && p[1] == 'f' && p[2])
			p += 2;
		else
			*to++ = *p;
	}
	*to = '\0';
}

/* a word of its own: `idle` is not in `idle_exit` */
static bool names(const char *text, const char *word)
{
	static const char within[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_-";
	size_t len = strlen(word);

	for (const char *p = strstr(text, word); p; p = strstr(p + 1, word))
		if ((p == text || !strchr(within, p[-1])) && (!p[len] || !strchr(within, p[len])))
			return true;
	return false;
}

/* between two marks of the file */
static void lists(const char *path, const char *from, const char *to, bool with_argument)
{
	_cleanup_free_ char *text = NULL;
	char *start, *end;
	size_t len;

	if (read_file(path, &text, &len) < 0)
		fail_msg("%s: the test runs in the top folder", path);
	without_fonts(text);
	start = strstr(text, from);
	end = start ? strstr(start + strlen(from), to) : NULL;

	if (!end)
		fail_msg("%s: nothing between '%s' and '%s'", path, from, to);
	*end = '\0';
	for (const struct ready_point *const *p = ready_points; *p; p++) {
		if (!names(start, (*p)->word))
			fail_msg("%s does not name the readiness point '%s'", path, (*p)->word);
		if (with_argument && (*p)->argument && !names(start, (*p)->argument))
			fail_msg("%s does not name %s, the argument of '%s'", path, (*p)->argument,
				 (*p)->word);
	}
}

static void documents(void **state)
{
	(void)state;
	lists("docs/readiness.md", "| `--ready` |", "\n\n", true);
	lists("docs/warm.1", ".SH READINESS POINTS", ".SH ", true);
	lists("launcher/tool.c", "--ready P    readiness point:", "--pool", true);
	lists("launcher/tool_build.c", "--ready P    readiness point:", "--pool", true);
	lists("launcher/completion/_warm", "--ready[readiness point]", "\n", false);
	lists("launcher/completion/warm.fish", "-l ready", "\n", false);
	lists("launcher/completion/warm.bash", "-W \"auto", "\n", false);
}

static void words(void **state)
{
	char buf[512], cut[9];

	(void)state;
	ready_words(buf, sizeof(buf));
	assert_string_equal(buf, "auto, main, import, call, delay=SECS or idle[=MS]");
	ready_words(cut, sizeof(cut));
	assert_string_equal(cut, "auto, ma");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(points),
		cmocka_unit_test(wrong),
		cmocka_unit_test(words),
		cmocka_unit_test(documents),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
