/* SPDX-License-Identifier: MIT */
/* the dependency set: what is recorded of a path, and what counts as a change of it */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "tests/unit/scratch.h"
#include "warmd/stale/deps.h"

/* of a language */
#define NAMES ".py .pyc .so .pth .egg-link .zip .egg .dist-info !__pycache__ !."

static const struct dep *find(const struct dep_set *set, const char *path, enum dep_kind kind)
{
	for (size_t i = 0; i < dep_set_count(set); i++) {
		const struct dep *dep = dep_set_get(set, i);

		if (dep->kind == kind && strcmp(dep->path, path) == 0)
			return dep;
	}
	return NULL;
}

static int setup(void **state)
{
	struct dep_set *set;

	if (scratch_make() < 0 || dep_set_new(&set) < 0 || dep_set_module_names(set, NAMES) < 0)
		return -1;
	*state = set;
	return 0;
}

static int teardown(void **state)
{
	dep_set_free(*state);
	return scratch_remove();
}

static void file(void **state)
{
	struct dep_set *set = *state;
	const char *path = NULL;

	put("a", "one");
	assert_int_equal(dep_set_add(set, at("a"), DEP_FILE), 0);
	assert_int_equal(dep_set_add(set, at("a"), DEP_FILE), 0);
	assert_non_null(find(set, at("a"), DEP_FILE));
	assert_int_equal(dep_set_check(set, &path), 0);
	put("a", "three");
	assert_int_equal(dep_set_check(set, &path), 1);
	assert_string_equal(path, at("a"));
}

static void first_record_stands(void **state)
{
	struct dep_set *set = *state;

	put("a", "one");
	dep_set_add(set, at("a"), DEP_FILE);
	put("a", "three");
	dep_set_add(set, at("a"), DEP_FILE);
	dep_set_add(set, at("./a"), DEP_FILE);
	assert_int_equal(dep_set_count(set), 1);
	assert_int_equal(find(set, at("a"), DEP_FILE)->st.size, 3);
	assert_int_equal(dep_set_check(set, NULL), 1);
}

static void same_size_and_mtime(void **state)
{
	struct dep_set *set = *state;
	struct timespec times[2];
	struct stat st;

	put("a", "one");
	stat(at("a"), &st);
	dep_set_add(set, at("a"), DEP_FILE);
	usleep(30000); /* past a tick of the file system's clock */
	put("a", "two");
	times[0] = st.st_atim;
	times[1] = st.st_mtim;
	assert_int_equal(utimensat(AT_FDCWD, at("a"), times, 0), 0);
	assert_int_equal(dep_set_check(set, NULL), 1); /* ctime tells */
}

static void kinds_follow_types(void **state)
{
	struct dep_set *set = *state;

	mkdir(at("dir"), 0755);
	mkfifo(at("fifo"), 0600);
	put("a", "");
	dep_set_add(set, at("dir"), DEP_FILE);
	dep_set_add(set, at("fifo"), DEP_FILE);
	dep_set_add(set, at("none"), DEP_FILE);
	dep_set_add(set, at("a/"), DEP_FILE);
	dep_set_add(set, at("a/b"), DEP_FILE);
	dep_set_add(set, "/", DEP_FILE);
	assert_non_null(find(set, at("dir"), DEP_EXISTS));
	assert_non_null(find(set, at("fifo"), DEP_EXISTS));
	assert_non_null(find(set, at("none"), DEP_ABSENT));
	assert_non_null(find(set, at("a/"), DEP_ABSENT));
	assert_non_null(find(set, at("a/b"), DEP_ABSENT));
	assert_non_null(find(set, "/", DEP_EXISTS));
	assert_int_equal(dep_set_check(set, NULL), 0);
	put("dir/x", "");
	put("a", "written");
	assert_int_equal(dep_set_check(set, NULL), 0);
	chmod(at("dir"), 0700);
	assert_int_equal(dep_set_check(set, NULL), 1);
	assert_int_equal(dep_set_add(set, "relative", DEP_FILE), -EINVAL);
}

static void absent(void **state)
{
	struct dep_set *set = *state;

	dep_set_add(set, at("no/../deep"), DEP_FILE);
	dep_set_add(set, at("no/deep/x"), DEP_FILE);
	assert_non_null(find(set, at("no/../deep"), DEP_ABSENT));
	mkdir(at("no"), 0755);
	assert_int_equal(dep_set_check(set, NULL), 0);
	mkdir(at("deep"), 0755);
	assert_int_equal(dep_set_check(set, NULL), 1);
}

static void links(void **state)
{
	struct dep_set *set = *state;
	const char *path;

	mkdir(at("v1"), 0755);
	mkdir(at("v2"), 0755);
	put("v1/a", "one");
	put("v2/a", "two");
	assert_int_equal(symlink("v1", at("now")), 0);
	assert_int_equal(symlink(at("now/a"), at("top")), 0);
	dep_set_add(set, at("top"), DEP_FILE);
	assert_int_equal(dep_set_count(set), 3);
	assert_true(S_ISLNK(find(set, at("top"), DEP_FILE)->st.mode));
	assert_true(S_ISLNK(find(set, at("now"), DEP_FILE)->st.mode));
	assert_non_null(find(set, at("v1/a"), DEP_FILE));
	assert_int_equal(dep_set_check(set, NULL), 0);
	unlink(at("now"));
	assert_int_equal(symlink("v2", at("now")), 0);
	assert_int_equal(dep_set_check(set, &path), 1);
	assert_string_equal(path, at("now"));
}

static void links_to_nowhere(void **state)
{
	struct dep_set *set = *state;

	assert_int_equal(symlink("gone/x", at("dangling")), 0);
	assert_int_equal(symlink("b", at("a")), 0);
	assert_int_equal(symlink("a", at("b")), 0);
	dep_set_add(set, at("dangling"), DEP_FILE);
	assert_non_null(find(set, at("gone/x"), DEP_ABSENT));
	dep_set_add(set, at("a"), DEP_FILE);
	assert_int_equal(dep_set_check(set, NULL), 0);
	mkdir(at("gone"), 0755);
	assert_int_equal(dep_set_check(set, NULL), 0);
	put("gone/x", "");
	assert_int_equal(dep_set_check(set, NULL), 1);
}

static void not_followed(void **state)
{
	struct dep_set *set = *state;

	put("a", "one");
	assert_int_equal(symlink("a", at("link")), 0);
	dep_set_add_link(set, at("link"));
	assert_int_equal(dep_set_count(set), 1);
	put("a", "three");
	assert_int_equal(dep_set_check(set, NULL), 0);
}

static void opened(void **state)
{
	struct dep_set *set = *state;
	struct stat st;

	put("a", "one");
	put("b", "one");
	stat(at("a"), &st);
	assert_int_equal(dep_set_add_opened(set, at("a"), DEP_FILE, &st), 0);
	assert_int_equal(dep_set_add_opened(set, at("b"), DEP_FILE, &st), 1);
	assert_int_equal(dep_set_add_opened(set, at("c"), DEP_FILE, &st), 1);
	assert_int_equal(dep_set_count(set), 1);
}

static void module_names(void **state)
{
	static const char *const yes[] = { "a.py",	"a.pyc", "a.cpython-311-x86_64-linux-gnu.so",
					   "x.pth",	"a.zip", "a.egg",
					   "a.egg-link" };
	static const char *const no[] = { ".a.py", "a.txt", "py", ".py", "data", "a.pyd" };

	for (size_t i = 0; i < sizeof(yes) / sizeof(*yes); i++)
		assert_true(dep_set_is_module(*state, yes[i], false));
	for (size_t i = 0; i < sizeof(no) / sizeof(*no); i++)
		assert_false(dep_set_is_module(*state, no[i], false));
	assert_true(dep_set_is_module(*state, "pkg", true));
	assert_true(dep_set_is_module(*state, "pkg-1.0.dist-info", true));
	/* import takes the dot for a package's */
	assert_false(dep_set_is_module(*state, "report.img", true));
	assert_false(dep_set_is_module(*state, "__pycache__", true));
	assert_false(dep_set_is_module(*state, ".git", true));
}

/* another language: the words alone say what counts */
static void module_names_of_another(void **state)
{
	struct dep_set *set = *state, *none;

	assert_int_equal(dep_set_module_names(set, ".rb !vendor !tmp"), 0);
	assert_true(dep_set_is_module(set, "a.rb", false));
	assert_false(dep_set_is_module(set, "a.py", false));
	assert_true(dep_set_is_module(set, "lib", true));
	assert_true(dep_set_is_module(set, "vendors", true));
	assert_false(dep_set_is_module(set, "vendor", true));
	assert_false(dep_set_is_module(set, "tmp", true));
	assert_true(dep_set_is_module(set, "__pycache__", true));
	assert_int_equal(dep_set_new(&none), 0);
	assert_true(dep_set_is_module(none, "anything", false)); /* without words every name counts */
	dep_set_free(none);
}

/* what was summed up by another rule is compared in full */
static void module_names_come_later(void **state)
{
	struct dep_set *set = *state;

	dep_set_add(set, root, DEP_MODULES);
	assert_int_equal(dep_set_module_names(set, NAMES), 0); /* the same ones: nothing changes */
	assert_non_null(find(set, root, DEP_MODULES));
	assert_int_equal(dep_set_module_names(set, ".rb"), 0);
	assert_non_null(find(set, root, DEP_LISTING));
	assert_int_equal(dep_set_check(set, NULL), 0);
}

static void module_names_have_an_end(void **state)
{
	char words[5000];

	memset(words, 'x', sizeof(words) - 1);
	words[sizeof(words) - 1] = '\0';
	assert_int_equal(dep_set_module_names(*state, words), -EINVAL);
	assert_true(dep_set_is_module(*state, "a.py", false)); /* those before stay */
}

static void listings(void **state)
{
	struct dep_set *set = *state;

	mkdir(at("mods"), 0755);
	mkdir(at("list"), 0755);
	put("mods/a.py", "");
	dep_set_add(set, at("mods"), DEP_MODULES);
	put("mods/notes.txt", "");
	mkdir(at("mods/__pycache__"), 0755);
	assert_int_equal(dep_set_check(set, NULL), 0);
	put("mods/b.py", "");
	assert_int_equal(dep_set_check(set, NULL), 1);
	unlink(at("mods/b.py"));
	assert_int_equal(dep_set_check(set, NULL), 0);
	dep_set_add(set, at("list"), DEP_LISTING);
	assert_int_equal(dep_set_check(set, NULL), 0);
	put("list/notes.txt", "");
	assert_int_equal(dep_set_check(set, NULL), 1);
}

static void listing_wins(void **state)
{
	struct dep_set *set = *state;

	dep_set_add(set, root, DEP_MODULES);
	dep_set_add(set, root, DEP_LISTING);
	dep_set_add(set, root, DEP_MODULES);
	assert_int_equal(dep_set_count(set), 1);
	assert_non_null(find(set, root, DEP_LISTING));
	usleep(30000);
	put("notes.txt", "");
	assert_int_equal(dep_set_check(set, NULL), 1);
}

static void racy(void **state)
{
	struct dep_set *old, *set = *state;
	const char *path = NULL;

	put("a", "one");
	dep_set_add(set, at("a"), DEP_FILE);
	assert_true(dep_set_racy(set, &path));
	assert_string_equal(path, at("a"));
	usleep(60000);
	assert_int_equal(dep_set_new(&old), 0);
	dep_set_add(old, at("a"), DEP_FILE);
	dep_set_add(old, at("none"), DEP_FILE);
	assert_false(dep_set_racy(old, NULL));
	dep_set_free(old);
}

static void forget_absent(void **state)
{
	struct dep_set *set = *state;

	dep_set_add(set, at("lock"), DEP_ABSENT);
	dep_set_add(set, at("other"), DEP_ABSENT);
	put("last", "");
	dep_set_add(set, at("last"), DEP_FILE);
	assert_int_equal(dep_set_forget_absent(set, at("lock")), 0);
	assert_int_equal(dep_set_forget_absent(set, at("last")), 0);
	assert_int_equal(dep_set_forget_absent(set, at("unknown")), 0);
	assert_int_equal(dep_set_count(set), 2);
	put("lock", "");
	assert_int_equal(dep_set_check(set, NULL), 0);
	assert_non_null(find(set, at("last"), DEP_FILE));
	/* what is looked for afterwards counts */
	dep_set_add(set, at("lock"), DEP_FILE);
	assert_int_equal(dep_set_count(set), 3);
	put("other", "");
	assert_int_equal(dep_set_check(set, NULL), 1);
}

/* a file that is held open: which file it is counts, what is in it does not */
static void inode(void **state)
{
	struct dep_set *set = *state, *copy;
	const char *path = NULL;
	struct stat st;
	void *buf;
	size_t len;

	put("a", "one");
	mkdir(at("d"), 0755);
	stat(at("a"), &st);
	assert_int_equal(dep_set_add_opened(set, at("a"), DEP_INODE, &st), 0);
	assert_int_equal(dep_set_add_opened(set, at("d"), DEP_INODE, &st), 1);
	assert_int_equal(dep_set_add(set, at("d"), DEP_INODE), 0);
	assert_non_null(find(set, at("d"), DEP_INODE));
	assert_false(dep_set_racy(set, NULL));
	put("a", "three");
	put("d/b", "");
	assert_int_equal(dep_set_check(set, NULL), 0);
	assert_int_equal(dep_set_pack(set, &buf, &len), 0);
	assert_int_equal(dep_set_unpack(buf, len, &copy), 0);
	free(buf);
	rename(at("a"), at("a.1"));
	assert_int_equal(dep_set_check(set, &path), 1);
	assert_string_equal(path, at("a"));
	put("a", "three");
	assert_int_equal(dep_set_check(copy, NULL), 1);
	rename(at("a.1"), at("a"));
	assert_int_equal(dep_set_check(copy, NULL), 0);
	chmod(at("a"), 0600);
	assert_int_equal(dep_set_check(copy, NULL), 1);
	dep_set_free(copy);
}

static void pack(void **state)
{
	struct dep_set *set = *state, *copy;
	char *buf, *cut;
	size_t len;

	put("a", "one");
	dep_set_add(set, at("a"), DEP_FILE);
	dep_set_add(set, at("b"), DEP_FILE);
	dep_set_add(set, root, DEP_MODULES);
	assert_int_equal(dep_set_pack(set, (void **)&buf, &len), 0);
	assert_int_equal(dep_set_unpack(buf, len, &copy), 0);
	assert_int_equal(dep_set_count(copy), 3);
	assert_true(dep_set_is_module(copy, "a.py", false));
	assert_false(dep_set_is_module(copy, "a.rb", false));
	for (size_t i = 0; i < 3; i++) {
		assert_string_equal(dep_set_get(copy, i)->path, dep_set_get(set, i)->path);
		assert_int_equal(dep_set_get(copy, i)->kind, dep_set_get(set, i)->kind);
		assert_memory_equal(&dep_set_get(copy, i)->st, &dep_set_get(set, i)->st, 52);
	}
	assert_int_equal(dep_set_check(copy, NULL), 0);
	assert_int_equal(dep_set_racy(copy, NULL), dep_set_racy(set, NULL));
	put("notes.txt", "");
	assert_int_equal(dep_set_check(copy, NULL), 0); /* the names came along */
	dep_set_free(copy);
	/* every cut is refused; exact allocations let the sanitizer see a read too far */
	for (size_t n = 0; n < len; n++) {
		cut = malloc(n ? n : 1);
		memcpy(cut, buf, n);
		assert_true(dep_set_unpack(cut, n, &copy) < 0);
		free(cut);
	}
	free(buf);
}

static void unpack_hostile(void **state)
{
	struct dep_set *set = *state, *copy;
	unsigned char *buf, *bad;
	size_t len;

	dep_set_add(set, at("b"), DEP_FILE);
	dep_set_add(set, at("c"), DEP_FILE);
	assert_int_equal(dep_set_pack(set, (void **)&buf, &len), 0);
	bad = malloc(len);
	for (size_t i = 0; i < len; i++) {
		for (unsigned int bit = 0; bit < 8; bit++) {
			memcpy(bad, buf, len);
			bad[i] ^= 1u << bit;
			if (dep_set_unpack(bad, len, &copy) == 0)
				dep_set_free(copy);
		}
	}
	memcpy(bad, buf, len);
	memset(bad + 8, 0xff, 8); /* the count */
	assert_int_equal(dep_set_unpack(bad, len, &copy), -EBADMSG);
	free(bad);
	free(buf);
}

static void many(void **state)
{
	struct dep_set *set = *state;
	char name[32];

	for (int i = 0; i < 20000; i++) {
		snprintf(name, sizeof(name), "f%d", i % 5000);
		assert_int_equal(dep_set_add(set, at(name), DEP_FILE), 0);
	}
	assert_int_equal(dep_set_count(set), 5000);
	assert_int_equal(dep_set_check(set, NULL), 0);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(file),
		TEST(first_record_stands),
		TEST(same_size_and_mtime),
		TEST(kinds_follow_types),
		TEST(absent),
		TEST(links),
		TEST(links_to_nowhere),
		TEST(not_followed),
		TEST(opened),
		TEST(module_names),
		TEST(module_names_of_another),
		TEST(module_names_come_later),
		TEST(module_names_have_an_end),
		TEST(listings),
		TEST(listing_wins),
		TEST(racy),
		TEST(forget_absent),
		TEST(inode),
		TEST(pack),
		TEST(unpack_hostile),
		TEST(many),
	};

	alarm(60);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
