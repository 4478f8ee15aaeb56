/* SPDX-License-Identifier: MIT */
/* the folder of an image: its place, what is refused, what is left behind */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/file.h>
#include <sys/stat.h>

#include "engine/base/fd.h"
#include "snapshot/image/image_folder.h"

#define OTHER 65534

static char base[64];
static int dirfd_;
static struct error err;

static int begin(void **state)
{
	(void)state;
	strcpy(base, "/tmp/warm-test-XXXXXX");
	assert_non_null(mkdtemp(base));
	dirfd_ = open(base, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_true(dirfd_ >= 0);
	err.text[0] = '\0';
	return 0;
}

static int end(void **state)
{
	char command[128];

	(void)state;
	umask(022);
	close(dirfd_);
	snprintf(command, sizeof(command), "rm -rf %s", base);
	return system(command);
}

/* names in the folder but "." and ".." */
static unsigned int entries(void)
{
	DIR *dir = opendir(base);
	unsigned int n = 0;

	assert_non_null(dir);
	while (readdir(dir))
		n++;
	closedir(dir);
	return n - 2;
}

static void put(int folder, const char *name, const char *text)
{
	int fd = openat(folder, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(write_full(fd, text, strlen(text)), 0);
	close(fd);
}

static void fill(const struct image_stage *stage, const char *text)
{
	int fd = image_stage_file(stage, IMAGE_MANIFEST, &err);

	assert_true(fd >= 0);
	assert_int_equal(write_full(fd, IMAGE_FIRST_BYTES, sizeof(IMAGE_FIRST_BYTES) - 1), 0);
	assert_int_equal(write_full(fd, text, strlen(text)), 0);
	close(fd);
	fd = image_stage_file(stage, "pages-1.img", &err);
	assert_true(fd >= 0);
	close(fd);
}

static int write_at(const char *path, const char *text)
{
	_cleanup_(image_stage_done) struct image_stage stage = IMAGE_STAGE_NONE;
	int r = image_stage_begin(dirfd_, path, &stage, &err);

	if (r < 0)
		return r;
	fill(&stage, text);
	return image_stage_commit(&stage, &err);
}

static void expect_text(const char *path, const char *text)
{
	uint64_t size;
	int folder = image_folder_open(dirfd_, path, &err), fd;
	char buf[64] = "";

	assert_true(folder >= 0);
	fd = image_folder_file(folder, IMAGE_MANIFEST, &size, &err);
	assert_true(fd >= 0);
	assert_int_equal(size, sizeof(IMAGE_FIRST_BYTES) - 1 + strlen(text));
	assert_int_equal(pread_full(fd, buf, strlen(text), sizeof(IMAGE_FIRST_BYTES) - 1), 0);
	assert_string_equal(buf, text);
	close(fd);
	close(folder);
}

static void expect_words(int r, int code, const char *words)
{
	if (r != code)
		fail_msg("it is %d, not %d: %s", r, code, err.text);
	if (!strstr(err.text, words))
		fail_msg("\"%s\" is not in \"%s\"", words, err.text);
}

static void modes_do_not_follow_the_umask(void **state)
{
	static const mode_t umasks[] = { 0, 022, 0277, 0777 };
	struct stat st;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(umasks); i++) {
		umask(umasks[i]);
		assert_int_equal(write_at("img", "x"), 0);
		assert_int_equal(fstatat(dirfd_, "img", &st, 0), 0);
		assert_int_equal(st.st_mode & 07777, 0700);
		assert_int_equal(fstatat(dirfd_, "img/" IMAGE_MANIFEST, &st, 0), 0);
		assert_int_equal(st.st_mode & 07777, 0600);
		assert_int_equal(fstatat(dirfd_, "img/pages-1.img", &st, 0), 0);
		assert_int_equal(st.st_mode & 07777, 0600);
	}
}

static void an_older_image_is_replaced(void **state)
{
	(void)state;
	assert_int_equal(write_at("img", "one"), 0);
	assert_int_equal(write_at("img/", "two"), 0);
	expect_text("img", "two");
	assert_int_equal(entries(), 1);
}

static void an_image_that_is_given_up_leaves_nothing(void **state)
{
	struct image_stage stage = IMAGE_STAGE_NONE;

	(void)state;
	assert_int_equal(write_at("img", "one"), 0);
	assert_int_equal(image_stage_begin(dirfd_, "img", &stage, &err), 0);
	fill(&stage, "two");
	assert_int_equal(entries(), 2);
	image_stage_done(&stage);
	expect_text("img", "one");
	assert_int_equal(entries(), 1);
}

static void what_is_no_image_stays(void **state)
{
	(void)state;
	put(dirfd_, "file", "mine");
	assert_int_equal(mkdirat(dirfd_, "empty", 0700), 0);
	assert_int_equal(mkdirat(dirfd_, "folder", 0700), 0);
	put(dirfd_, "folder/README", "mine");
	assert_int_equal(symlinkat("folder", dirfd_, "link"), 0);
	assert_int_equal(symlinkat("nowhere", dirfd_, "dangling"), 0);
	assert_int_equal(write_at("img", "x"), 0);
	put(dirfd_, "img/notes.txt", "mine");
	assert_int_equal(write_at("half", "x"), 0);
	put(dirfd_, "half/" IMAGE_MANIFEST, "something else");
	expect_words(write_at("file", "x"), -EEXIST, "it is no folder");
	expect_words(write_at("empty", "x"), -EEXIST, "no manifest");
	expect_words(write_at("folder", "x"), -EEXIST, "'README' in it is no file of an image");
	expect_words(write_at("link", "x"), -EEXIST, "it is no folder");
	expect_words(write_at("dangling", "x"), -EEXIST, "it is no folder");
	expect_words(write_at("img", "y"), -EEXIST, "'notes.txt' in it");
	expect_words(write_at("half", "y"), -EEXIST, "no manifest");
	expect_words(write_at(".", "x"), -EINVAL, "a name of its own");
	expect_words(write_at("folder/..", "x"), -EINVAL, "a name of its own");
	expect_words(write_at("/", "x"), -EINVAL, "a name of its own");
	expect_words(write_at("", "x"), -EINVAL, "a name of its own");
	expect_words(write_at("nowhere/img", "x"), -ENOENT, "'nowhere/' cannot be opened");
	expect_words(image_folder_remove(dirfd_, "folder", &err), -EEXIST, "'README' in it");
	expect_words(image_folder_remove(dirfd_, "img", &err), -EEXIST, "'notes.txt' in it");
	expect_words(image_folder_remove(dirfd_, "file", &err), -EEXIST, "it is no folder");
	expect_words(image_folder_remove(dirfd_, "nowhere", &err), -ENOENT, "opening it");
	expect_text("img", "x");
	assert_int_equal(faccessat(dirfd_, "folder/README", F_OK, 0), 0);
	assert_int_equal(faccessat(dirfd_, "file", F_OK, 0), 0);
	assert_int_equal(entries(), 7);
}

/* it came while the image was written */
static void what_came_meanwhile_stays(void **state)
{
	struct image_stage stage = IMAGE_STAGE_NONE;

	(void)state;
	assert_int_equal(image_stage_begin(dirfd_, "img", &stage, &err), 0);
	fill(&stage, "x");
	assert_int_equal(mkdirat(dirfd_, "img", 0700), 0);
	put(dirfd_, "img/README", "mine");
	expect_words(image_stage_commit(&stage, &err), -EEXIST, "'README' in it");
	image_stage_done(&stage);
	assert_int_equal(faccessat(dirfd_, "img/README", F_OK, 0), 0);
	assert_int_equal(entries(), 1);
}

static void what_a_dead_writer_left_is_removed(void **state)
{
	static const char left[] = IMAGE_TEMPORARY "0123456789abcdef";
	struct image_stage stage = IMAGE_STAGE_NONE;

	(void)state;
	assert_int_equal(mkdirat(dirfd_, left, 0700), 0);
	put(dirfd_, ".warm-image-0123456789abcdef/pages-1.img", "half");
	/* names that are not quite of that form are somebody else's */
	assert_int_equal(mkdirat(dirfd_, IMAGE_TEMPORARY "0123456789abcdeg", 0700), 0);
	assert_int_equal(mkdirat(dirfd_, IMAGE_TEMPORARY "0123", 0700), 0);
	/* a writer that lives holds its lock */
	assert_int_equal(image_stage_begin(dirfd_, "other", &stage, &err), 0);
	assert_int_equal(faccessat(dirfd_, left, F_OK, 0), -1);
	assert_int_equal(write_at("img", "x"), 0);
	assert_int_equal(entries(), 4);
	fill(&stage, "y");
	assert_int_equal(image_stage_commit(&stage, &err), 0);
	image_stage_done(&stage);
	expect_text("other", "y");
	assert_int_equal(entries(), 4);
}

static void removing(void **state)
{
	int fd;
	char c;

	(void)state;
	assert_int_equal(write_at("img", "x"), 0);
	/* whatever is in the files */
	put(dirfd_, "img/" IMAGE_MANIFEST, "damaged");
	fd = openat(dirfd_, "img/" IMAGE_MANIFEST, O_RDONLY | O_CLOEXEC);
	assert_int_equal(image_folder_remove(dirfd_, "img", &err), 0);
	assert_int_equal(entries(), 0);
	assert_int_equal(read(fd, &c, 1), 1);
	close(fd);
}

static void others_may_write(void **state)
{
	static const struct {
		mode_t folder, manifest;
		const char *words;
	} rows[] = {
		{ 0770, 0600, "the image 'img' is not used: others may write to it (mode 0770)" },
		{ 0702, 0600, "(mode 0702)" },
		{ 0755, 0660, "manifest.pb is not used: others may write to it (mode 0660)" },
		{ 0700, 0602, "(mode 0602)" },
	};

	(void)state;
	assert_int_equal(write_at("img", "x"), 0);
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		uint64_t size;
		int folder, r;

		assert_int_equal(fchmodat(dirfd_, "img", rows[i].folder, 0), 0);
		assert_int_equal(fchmodat(dirfd_, "img/" IMAGE_MANIFEST, rows[i].manifest, 0), 0);
		r = folder = image_folder_open(dirfd_, "img", &err);
		if (folder >= 0)
			r = image_folder_file(folder, IMAGE_MANIFEST, &size, &err);
		fd_close(folder);
		expect_words(r, -EACCES, rows[i].words);
	}
}

static void of_another_user(void **state)
{
	uint64_t size;
	int folder;

	(void)state;
	if (geteuid() != 0)
		skip();
	assert_int_equal(write_at("img", "x"), 0);
	folder = image_folder_open(dirfd_, "img", &err);
	assert_int_equal(fchownat(dirfd_, "img/" IMAGE_MANIFEST, OTHER, OTHER, 0), 0);
	expect_words(image_folder_file(folder, IMAGE_MANIFEST, &size, &err), -EACCES, "belongs to uid 65534");
	close(folder);
	assert_int_equal(fchownat(dirfd_, "img", OTHER, OTHER, 0), 0);
	expect_words(image_folder_open(dirfd_, "img", &err), -EACCES, "belongs to uid 65534");
	expect_words(write_at("img", "y"), -EACCES, "belongs to uid 65534");
}

static void no_regular_file(void **state)
{
	static const char manifest[] = "img/" IMAGE_MANIFEST;
	uint64_t size;
	int folder;

	(void)state;
	assert_int_equal(write_at("img", "x"), 0);
	folder = image_folder_open(dirfd_, "img", &err);
	assert_int_equal(renameat(dirfd_, manifest, dirfd_, "real"), 0);
	expect_words(image_folder_file(folder, IMAGE_MANIFEST, &size, &err), -ENOENT, "cannot be opened");
	assert_int_equal(symlinkat("../real", dirfd_, manifest), 0);
	expect_words(image_folder_file(folder, IMAGE_MANIFEST, &size, &err), -ELOOP, "is a symbolic link");
	assert_int_equal(unlinkat(dirfd_, manifest, 0), 0);
	assert_int_equal(mkfifoat(dirfd_, manifest, 0600), 0);
	expect_words(image_folder_file(folder, IMAGE_MANIFEST, &size, &err), -EINVAL, "no regular file");
	assert_int_equal(unlinkat(dirfd_, manifest, 0), 0);
	assert_int_equal(mkdirat(dirfd_, manifest, 0700), 0);
	expect_words(image_folder_file(folder, IMAGE_MANIFEST, &size, &err), -EINVAL, "no regular file");
	close(folder);
}

int main(void)
{
#define TEST(t) cmocka_unit_test_setup_teardown(t, begin, end)
	const struct CMUnitTest tests[] = {
		TEST(modes_do_not_follow_the_umask),
		TEST(an_older_image_is_replaced),
		TEST(an_image_that_is_given_up_leaves_nothing),
		TEST(what_is_no_image_stays),
		TEST(what_came_meanwhile_stays),
		TEST(what_a_dead_writer_left_is_removed),
		TEST(removing),
		TEST(others_may_write),
		TEST(of_another_user),
		TEST(no_regular_file),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
