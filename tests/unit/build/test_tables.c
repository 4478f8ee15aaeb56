/* SPDX-License-Identifier: MIT */
/*
 * What a new readiness point and a new language need: an entry. This program is linked with tables of its own in place of
 * ready_table.c and languages.c, with a point and a language that nothing in warm knows.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/fd.h"
#include "tests/unit/build/observed.h"
#include "tests/unit/scratch.h"
#include "warmd/build/builder_internal.h"

/* --- a point: `pages=N`, by whatever would count them -------------------------------------------- */

static unsigned int armed, entered;

static int pages_parse(const char *argument, uint64_t *ret_ns, struct error *err)
{
	if (!argument || strcmp(argument, "many") != 0)
		return error_set(err, EINVAL, "'%s' are not many pages", argument ? argument : "");
	*ret_ns = 5;
	return 0;
}

static void pages_arm(struct builder *b)
{
	armed += b->point.ns == 5;
}

static int pages_entry(struct builder *b, struct error *err)
{
	(void)err;
	entered += language_detect(b, false, err) == 1;
	return 0;
}

static const struct ready_point pages = {
	.word = "pages",
	.argument = "N",
	.parse = pages_parse,
	.arm = pages_arm,
	.at_entry = pages_entry,
	.live = true,
};
static const struct ready_point signalled = { .word = "signalled", .asks = true };
static const struct ready_point early = { .word = "early", .before_main = true };

const struct ready_point *const ready_points[] = { &early, &pages, &signalled, NULL };

/* --- a language: bytecode in NAME.bcode, found by a launcher --------------------------------------- */

static bool is_bcode(const char *path)
{
	return strstr(path, ".bcode") != NULL;
}

static bool makes_bcode(const char *path, bool directory)
{
	return !directory && is_bcode(path);
}

static bool by_chooser(const char *argument)
{
	return strcmp(argument, "/opt/chooser") == 0;
}

static int detect(struct builder *b, bool asked, struct error *err)
{
	(void)err;
	if (asked)
		return 0;
	b->language_data = strdup("of the language");
	return 1;
}

static const struct language quick = {
	.title = "Quick",
	.needs = "Quick 2",
	.lacks = "quick_main",
	.module_names = ".qk !tmp",
	.streams_at_start = true,
	.is_cache = is_bcode,
	.makes_cache = makes_bcode,
	.is_launcher = by_chooser,
	.detect = detect,
};
static const struct language bare = { .title = "Bare", .needs = "Bare 1", .lacks = "bare", .detect = detect };

const struct language *const languages[] = { &quick, &bare, NULL };

/* ---------------------------------------------------------------------------------------------------- */

static void point_is_parsed(void **state)
{
	struct ready p;
	struct error err;
	char buf[128];

	(void)state;
	assert_int_equal(ready_parse("pages=many", &p, &err), 0);
	assert_ptr_equal(p.kind, &pages);
	assert_int_equal(p.ns, 5);
	assert_int_equal(ready_parse("pages=few", &p, &err), -EINVAL);
	assert_string_equal(err.text, "'few' are not many pages");
	assert_int_equal(ready_parse("pages", &p, &err), -EINVAL);
	assert_int_equal(ready_parse("", &p, &err), 0);
	assert_ptr_equal(p.kind, &early);
	assert_int_equal(ready_parse("main", &p, &err), -EINVAL);
	assert_non_null(strstr(err.text, "it is early, pages=N or signalled"));
	ready_words(buf, sizeof(buf));
	assert_string_equal(buf, "early, pages=N or signalled");
}

static void point_is_used(void **state)
{
	struct request req = { .ready = "pages=many" };
	struct builder b = { .req = &req };
	struct error err;

	(void)state;
	assert_int_equal(ready_parse(req.ready, &b.point, &err), 0);
	b.point.kind->arm(&b);
	assert_int_equal(b.point.kind->at_entry(&b, &err), 0);
	assert_true(armed == 1 && entered == 1);
	assert_ptr_equal(b.language, &quick);
	assert_string_equal(b.language_data, "of the language");
	assert_string_equal(ready_word(&b), "pages=many");
	assert_true(builder_is_live(&b));
	free(b.language_data);
}

/* no other part of warm asks for more than these */
static void facts(void **state)
{
	static const struct {
		const struct ready_point *point;
		bool adaptor, early, read;
		int argv_count;
		bool takes_arguments, asks_for_context, for_any_caller, before_main, streams_count;
	} cases[] = {
		{ &pages, .argv_count = 2 },
		{ &pages, .argv_count = -1, .early = true },
		{ &signalled, .argv_count = -1, .takes_arguments = true, .asks_for_context = true,
		  .for_any_caller = true },
		{ &signalled, .argv_count = -1, .read = true, .takes_arguments = true,
		  .asks_for_context = true, .for_any_caller = true },
		{ &signalled, .argv_count = -1, .early = true, .for_any_caller = true },
		{ &early, .argv_count = -1, .takes_arguments = true, .before_main = true },
		{ &early, .argv_count = -1, .read = true, .before_main = true },
		{ &early, .argv_count = -1, .early = true, .before_main = true },
		{ &early, .argv_count = -1, .adaptor = true, .before_main = true, .streams_count = true },
		{ &early, .argv_count = 1, .adaptor = true, .takes_arguments = true, .before_main = true,
		  .streams_count = true },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		const struct builder b = { .point = { .kind = cases[i].point },
					   .language = &quick,
					   .adaptor_used = cases[i].adaptor,
					   .early = cases[i].early,
					   .argv_count = cases[i].argv_count };
		Warm__BuildResult m = WARM__BUILD_RESULT__INIT;

		builder_fill_facts(&b, cases[i].read, &m);
		if (m.takes_arguments != cases[i].takes_arguments ||
		    m.asks_for_context != cases[i].asks_for_context ||
		    m.for_any_caller != cases[i].for_any_caller || m.before_main != cases[i].before_main ||
		    m.streams_count != cases[i].streams_count)
			fail_msg("case %zu", i);
	}
}

static void language_is_asked(void **state)
{
	char words[128], cut[8];

	(void)state;
	assert_true(language_is_cache("/a/x.bcode"));
	assert_false(language_is_cache("/a/__pycache__/x"));
	assert_true(language_makes_cache("/a/x.bcode", false));
	assert_false(language_makes_cache("/a/x.bcode", true));
	assert_true(language_is_launcher("/opt/chooser"));
	assert_false(language_is_launcher("/home/x/.pyenv/shims/python"));
	language_needs("prog", words, sizeof(words));
	assert_string_equal(words, "Quick 2 (no quick_main in prog) or Bare 1 (no bare in prog)");
	language_needs("prog", cut, sizeof(cut));
	assert_string_equal(cut, "Quick 2");
}

/* the observer and the dependency set, which know no language */
static void language_is_observed(void **state)
{
	(void)state;
	stat_at(at("none.bcode"));
	assert_null(dep(at("none.bcode"), DEP_ABSENT));
	stat_at(at("none.pyc"));
	assert_non_null(dep(at("none.pyc"), DEP_ABSENT));
	assert_int_equal(open_at(at("made.bcode"), O_WRONLY | O_CREAT), -EROFS);
	assert_int_equal(observe_module_names(o, quick.module_names), 0);
	assert_true(dep_set_is_module(observe_deps(o), "a.qk", false));
	assert_false(dep_set_is_module(observe_deps(o), "a.py", false));
	not_refused();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(point_is_parsed),
		cmocka_unit_test(point_is_used),
		cmocka_unit_test(facts),
		cmocka_unit_test(language_is_asked),
		cmocka_unit_test_setup_teardown(language_is_observed, observed_setup, observed_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
