/* SPDX-License-Identifier: MIT */
/* the settings: what is taken, what is refused, and that the words name the right line */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "warmd/config/config.h"
#include "warmd/config/config_text.h"

#define SECOND 1000000000ULL

static char dir[] = "/tmp/test_config.XXXXXX";
static char file[64];
static struct config cfg;
static struct error err;

static int load_bytes(const char *text, size_t len)
{
	FILE *f = fopen(file, "w");

	assert_non_null(f);
	assert_int_equal(fwrite(text, 1, len, f), len);
	fclose(f);
	memset(&err, 0, sizeof(err));
	return config_load(&cfg, file, &err);
}

static int load(const char *text)
{
	return load_bytes(text, strlen(text));
}

static void refused(const char *text, const char *words)
{
	assert_int_equal(load(text), -EINVAL);
	if (!strstr(err.text, words))
		fail_msg("\"%s\" is not in \"%s\"", words, err.text);
}

static void defaults(void **state)
{
	(void)state;
	unlink(file);
	assert_int_equal(config_load(&cfg, file, &err), 0);
	assert_int_equal(cfg.max_age_ns, 7 * 24 * 3600 * SECOND);
	assert_int_equal(cfg.build_timeout_ns, 60 * SECOND);
	assert_int_equal(cfg.idle_exit_ns, 0);
	assert_int_equal(cfg.templates_max, 64);
	assert_int_equal(cfg.memory_reserve, 8);
	assert_true(cfg.join_text);
	assert_false(cfg.hugetlb);
	assert_int_equal(cfg.log_level, LOG_LEVEL_INFO);
	assert_true(cfg.memory_budget > 0);
	assert_true(cfg.keep);
	assert_int_equal(cfg.keep_above_ns, SECOND / 10);
	assert_int_equal(cfg.keep_budget, 4ULL << 30);
	assert_true(config_keeps(&cfg, "/usr/bin/python3"));
	config_done(&cfg);
	assert_int_equal(load("{}"), 0);
	config_done(&cfg);
}

static void default_place(void **state)
{
	char path[128];

	(void)state;
	assert_int_equal(setenv("XDG_CONFIG_HOME", dir, 1), 0);
	snprintf(path, sizeof(path), "%s/warm", dir);
	mkdir(path, 0755);
	snprintf(path, sizeof(path), "%s/warm/config.json", dir);
	assert_int_equal(load("{\"templates_max\": 3, \"memory_reserve\": 100}"), 0);
	assert_int_equal(cfg.memory_reserve, 100);
	config_done(&cfg);
	assert_int_equal(rename(file, path), 0);
	assert_int_equal(config_load(&cfg, NULL, &err), 0);
	assert_int_equal(cfg.templates_max, 3);
	config_done(&cfg);
	unsetenv("XDG_CONFIG_HOME");
	assert_int_equal(setenv("HOME", "/proc/nonexistent", 1), 0);
	assert_int_equal(config_load(&cfg, NULL, &err), 0);
	assert_int_equal(cfg.templates_max, 64);
	config_done(&cfg);
}

static void all_keys(void **state)
{
	(void)state;
	assert_int_equal(load("{\n"
			      "  \"memory_budget\": \"512M\",\n"
			      "  \"max_age\": \"12h\",\n"
			      "  \"ignore_paths\": [\"/var/log/\", \"/home/*/.cache\"],\n"
			      "  \"ignore_variables\": [\"BUILD_*\", \"X\"],\n"
			      "  \"log_level\": \"debug\",\n"
			      "  \"build_timeout\": 1.5,\n"
			      "  \"idle_exit\": \"5m\",\n"
			      "  \"templates_max\": 8,\n"
			      "  \"join_text\": false,\n"
			      "  \"hugetlb\": true,\n"
			      "  \"keep_never\": [\"gpg*\", \"/srv/*\"],\n"
			      "  \"keep_above\": \"2s\",\n"
			      "  \"keep_budget\": \"300M\",\n"
			      "  \"disable\": [\"vim*\", \"/opt/*\"]\n"
			      "}\n"),
			 0);
	assert_int_equal(cfg.memory_budget, 512 << 20);
	assert_int_equal(cfg.max_age_ns, 12 * 3600 * SECOND);
	assert_int_equal(cfg.build_timeout_ns, 3 * SECOND / 2);
	assert_int_equal(cfg.idle_exit_ns, 300 * SECOND);
	assert_int_equal(cfg.templates_max, 8);
	assert_false(cfg.join_text);
	assert_true(cfg.hugetlb);
	assert_int_equal(cfg.log_level, LOG_LEVEL_DEBUG);

	assert_true(config_ignores_path(&cfg, "/var/log"));
	assert_true(config_ignores_path(&cfg, "/var/log/a/b"));
	assert_false(config_ignores_path(&cfg, "/var/logs"));
	assert_true(config_ignores_path(&cfg, "/home/u/.cache/x/y"));
	assert_false(config_ignores_path(&cfg, "/home/u/v/.cache"));

	assert_true(config_ignores_variable(&cfg, "BUILD_ID", 8));
	assert_true(config_ignores_variable(&cfg, "X=1", 1));
	assert_true(config_ignores_variable(&cfg, "SSH_TTY", 7));
	assert_true(config_ignores_variable(&cfg, "PWD", 3));
	assert_false(config_ignores_variable(&cfg, "PWDX", 4));
	assert_false(config_ignores_variable(&cfg, "TERM", 4));
	assert_false(config_ignores_variable(&cfg, "LANG", 4));
	assert_false(config_ignores_variable(&cfg, "XY", 2));
	assert_true(config_ignores_listed_variable(&cfg, "X", 1));
	assert_false(config_ignores_listed_variable(&cfg, "PWD", 3));

	assert_true(config_disables(&cfg, "vim.tiny"));
	assert_true(config_disables(&cfg, "/usr/bin/vim"));
	assert_true(config_disables(&cfg, "/opt/x/y"));
	assert_false(config_disables(&cfg, "/usr/bin/python3"));

	assert_int_equal(cfg.keep_above_ns, 2 * SECOND);
	assert_int_equal(cfg.keep_budget, 300 << 20);
	assert_false(config_keeps(&cfg, "/usr/bin/gpg-agent"));
	assert_false(config_keeps(&cfg, "/srv/x"));
	assert_true(config_keeps(&cfg, "/usr/bin/vim"));
	config_done(&cfg);
	assert_int_equal(load("{\"keep\": false}"), 0);
	assert_false(config_keeps(&cfg, "/usr/bin/vim"));
	config_done(&cfg);
}

static void budgets(void **state)
{
	uint64_t quarter;

	(void)state;
	assert_int_equal(load("{\"memory_budget\": 1048576}"), 0);
	assert_int_equal(cfg.memory_budget, 1 << 20);
	config_done(&cfg);
	assert_int_equal(load("{\"memory_budget\": \"25%\"}"), 0);
	quarter = cfg.memory_budget;
	config_done(&cfg);
	config_defaults(&cfg);
	assert_true(quarter <= cfg.memory_budget && quarter > cfg.memory_budget - 4096);
	refused("{\"keep_budget\": \"25%\"}", ":1: \"keep_budget\" takes a number of bytes");
	refused("{\"keep\": 1}", ":1: \"keep\" takes true or false");
	refused("{\"memory_budget\": \"101%\"}", ":1: \"memory_budget\" takes");
	refused("{\"memory_budget\": \"1.5G\"}", ":1: \"memory_budget\" takes");
	refused("{\"memory_budget\": -1}", ":1: \"memory_budget\" takes");
	refused("{\"memory_budget\": \"99999999999T\"}", ":1: \"memory_budget\" takes");
	refused("{\"memory_budget\": \"\"}", ":1: \"memory_budget\" takes");
	refused("{\"memory_budget\": true}", ":1: \"memory_budget\" takes");
}

static void lines_of_keys(void **state)
{
	(void)state;
	refused("{\n\n \"max_age\": 0,\n \"disable\": [\"a\\\"]{\",\n  \"b\"],\n\n \"memroy_budget\": 1\n}",
		"config.json:7: unknown key \"memroy_budget\" (did you mean \"memory_budget\"?)");
	refused("{\n\"colour\": 1}", "config.json:2: unknown key \"colour\"");
	assert_null(strstr(err.text, "did you mean"));
	refused("{\"nested\": {\"max_age\": [1,\n2]}}", ":1: unknown key \"nested\"");
	refused("{\n \"max_age\": 1,\n \"max_age\": 2}", ":3: \"max_age\" stands here a second time");
}

static void lines_of_values(void **state)
{
	(void)state;
	refused("{\"disable\": [],\n \"ignore_paths\": [\n  \"/a\",\n  \"b\"\n ]}",
		":4: \"ignore_paths\" has \"b\", which is not an absolute path");
	refused("{\"ignore_paths\": [\"/a\",\n [\"x\",\n \"]\"],\n 1]}",
		":2: \"ignore_paths\" takes a list of strings");
	refused("{\"ignore_paths\": [\"/a\", \"/b\",\n {\"x\": {\"]\": 1}}]}", ":2: \"ignore_paths\" takes");
	refused("{\"ignore_paths\":\n \"/a\"}", ":2: \"ignore_paths\" takes a list");
	refused("{\"ignore_variables\": [\"A*B\"]}", ":1: \"ignore_variables\" has \"A*B\"");
	refused("{\"ignore_variables\": [\"A=B\"]}", "is neither NAME");
	refused("{\"ignore_variables\": [\"*\"]}", "is neither NAME");
	refused("{\"ignore_variables\": [\"\"]}", "is neither NAME");
	refused("{\n\"log_level\":\n\n\"loud\"}", ":4: \"log_level\" takes");
	refused("{\"build_timeout\": 0}", ":1: \"build_timeout\" must be more than 0");
	refused("{\"max_age\": \"7 days\"}", ":1: \"max_age\" takes");
	refused("{\"max_age\": \"9999999w\"}", ":1: \"max_age\" takes");
	refused("{\"templates_max\": 1.5}", ":1: \"templates_max\" takes");
	refused("{\"memory_reserve\": 101}", ":1: \"memory_reserve\" takes");
	refused("{\"memory_reserve\": -1}", ":1: \"memory_reserve\" takes");
	refused("{\"memory_reserve\": \"8%\"}", ":1: \"memory_reserve\" takes");
	refused("{\"templates_max\": 0}", ":1: \"templates_max\" takes");
	refused("{\"templates_max\": 1e300}", ":1: \"templates_max\" takes");
	refused("{\"disable\": [\"\"]}", "which is empty");
	refused("{\n\"join_text\": \"no\"}", ":2: \"join_text\" takes true or false");
	refused("{\"join_text\": 1}", ":1: \"join_text\" takes true or false");
	refused("{\"hugetlb\": \"2M\"}", ":1: \"hugetlb\" takes true or false");
}

static void syntax(void **state)
{
	(void)state;
	refused("{\n \"max_age\": 1\n \"disable\": []\n}", ":3: not valid JSON at column 2");
	refused("{\"max_age\": 1,}", ":1: not valid JSON");
	refused("{} x", ":1: not valid JSON at column 4");
	refused("", ":1: not valid JSON");
	refused("[]", ":1: the settings must be an object");
	refused("{\"max_age\": 1", ":1: not valid JSON");
	assert_int_equal(load_bytes("{}\n\0{}", 6), -EINVAL);
	assert_non_null(strstr(err.text, ":2: a NUL byte"));
	assert_int_equal(load("\xef\xbb\xbf{\"templates_max\": 1}"), 0);
	config_done(&cfg);
}

static void not_to_be_trusted(void **state)
{
	(void)state;
	assert_int_equal(load("{}"), 0);
	config_done(&cfg);
	chmod(file, 0666);
	assert_int_equal(config_load(&cfg, file, &err), -EPERM);
	unlink(file);
	mkfifo(file, 0600);
	assert_int_equal(config_load(&cfg, file, &err), -EINVAL);
	unlink(file);
	mkdir(file, 0700);
	assert_int_equal(config_load(&cfg, file, &err), -EINVAL);
	rmdir(file);
	if (geteuid() != 0)
		skip();
	assert_int_equal(load("{}"), 0);
	config_done(&cfg);
	assert_int_equal(chown(file, 65534, (gid_t)-1), 0);
	assert_int_equal(config_load(&cfg, file, &err), -EPERM);
	unlink(file);
}

/* cut or spoilt anywhere, it is refused or taken, and no byte outside is read (sanitizer) */
static void spoilt(void **state)
{
	const char good[] =
		"{\"max_age\": \"1h\", \"disable\": [\"a\\u0041\", \"b\"],\n\"ignore_paths\": [\"/x\"]}";
	char text[sizeof(good)];

	(void)state;
	for (size_t i = 0; i < sizeof(good) - 1; i++) {
		for (const char *c = "\"{}[],:\\x1 "; *c; c++) {
			memcpy(text, good, sizeof(good));
			text[i] = *c;
			if (load(text) == 0)
				config_done(&cfg);
		}
		if (load_bytes(good, i) == 0)
			config_done(&cfg);
	}
}

static void distances(void **state)
{
	(void)state;
	assert_int_equal(text_distance("memroy", "memory"), 1);
	assert_int_equal(text_distance("", "abc"), 3);
	assert_int_equal(text_distance("kitten", "sitting"), 3);
	assert_int_equal(text_distance("same", "same"), 0);
}

static int setup(void **state)
{
	(void)state;
	if (!mkdtemp(dir))
		return -1;
	snprintf(file, sizeof(file), "%s/config.json", dir);
	umask(022);
	return 0;
}

static int teardown(void **state)
{
	char cmd[64];

	(void)state;
	snprintf(cmd, sizeof(cmd), "rm -rf '%s'", dir);
	return system(cmd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(defaults),	 cmocka_unit_test(default_place),
		cmocka_unit_test(all_keys),	 cmocka_unit_test(budgets),
		cmocka_unit_test(lines_of_keys), cmocka_unit_test(lines_of_values),
		cmocka_unit_test(syntax),	 cmocka_unit_test(not_to_be_trusted),
		cmocka_unit_test(spoilt),	 cmocka_unit_test(distances),
	};

	alarm(60);
	return cmocka_run_group_tests(tests, setup, teardown);
}
