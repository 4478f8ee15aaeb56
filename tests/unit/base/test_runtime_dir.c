/* SPDX-License-Identifier: MIT */
/* the runtime directory: what others put in its place between looking, making and opening */
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
#include <sys/stat.h>
#include <unistd.h>

#include "engine/base/fd.h"
#include "engine/base/runtime_dir.h"

#define OTHER 65534

static char base[64], own[96], elsewhere[96], at[160];
static struct runtime_dir dir;
static struct error err;

/* looked at while nothing is there: what follows happens in the gap before it is made */
static int look(void **state)
{
	(void)state;
	strcpy(base, "/tmp/warm-test-XXXXXX");
	assert_non_null(mkdtemp(base));
	snprintf(own, sizeof(own), "%s/rt", base);
	snprintf(elsewhere, sizeof(elsewhere), "%s/elsewhere", base);
	assert_int_equal(mkdir(elsewhere, 0700), 0);
	setenv("WARM_RUNTIME_DIR", own, 1);
	assert_int_equal(runtime_dir_find(&dir, &err), 0);
	assert_false(dir.exists);
	err.text[0] = '\0';
	return 0;
}

static int clean(void **state)
{
	char command[128];

	(void)state;
	snprintf(command, sizeof(command), "rm -rf %s", base);
	return system(command);
}

static void need_root(void)
{
	if (geteuid() != 0)
		skip();
}

static int open_dir(void)
{
	return runtime_dir_open(&dir, 1, &err);
}

static void refused(int code, const char *words)
{
	int fd = open_dir();

	if (fd >= 0)
		fail_msg("it was opened");
	assert_int_equal(fd, code);
	if (!strstr(err.text, words))
		fail_msg("\"%s\" is not in \"%s\"", words, err.text);
}

static void made(void **state)
{
	int fd = open_dir();
	struct stat a, b;

	(void)state;
	assert_true(fd >= 0);
	assert_int_equal(fstat(fd, &a), 0);
	assert_int_equal(lstat(own, &b), 0);
	assert_true(a.st_ino == b.st_ino && (a.st_mode & 07777) == 0700);
	assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
	fd_close(fd);
	/* by this user, meanwhile */
	fd = open_dir();
	assert_true(fd >= 0);
	fd_close(fd);
}

static void others_may_use_it(void **state)
{
	(void)state;
	assert_int_equal(mkdir(own, 0755), 0);
	refused(-EACCES, "chmod 700");
}

static void no_directory(void **state)
{
	(void)state;
	fd_close(open(own, O_CREAT | O_WRONLY, 0600));
	refused(-ENOTDIR, "not a directory");
}

static void of_another_user(void **state)
{
	(void)state;
	need_root();
	assert_int_equal(mkdir(own, 0700), 0);
	assert_int_equal(chown(own, OTHER, OTHER), 0);
	refused(-EACCES, "belongs to uid 65534");
}

/* even where it leads to a directory of this user's that is closed to others */
static void link_of_another_user(void **state)
{
	(void)state;
	need_root();
	/* so that fs.protected_symlinks does not do our work */
	assert_int_equal(chown(base, OTHER, OTHER), 0);
	assert_int_equal(symlink(elsewhere, own), 0);
	assert_int_equal(lchown(own, OTHER, OTHER), 0);
	refused(-EACCES, "is a link that belongs to uid 65534");
	assert_int_equal(runtime_dir_find(&dir, &err), -EACCES);
	strcat(dir.path, "/");
	setenv("WARM_RUNTIME_DIR", dir.path, 1);
	assert_int_equal(runtime_dir_find(&dir, &err), -EACCES);
	assert_int_equal(lchown(own, 0, 0), 0);
	assert_int_equal(runtime_dir_find(&dir, &err), 0);
}

static void own_link(void **state)
{
	static const char *const targets[] = { elsewhere, "elsewhere" };
	struct stat a, b;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(targets); i++) {
		int fd;

		assert_int_equal(symlink(targets[i], own), 0);
		fd = open_dir();
		if (fd < 0)
			fail_msg("%s", err.text);
		assert_int_equal(fstat(fd, &a), 0);
		assert_int_equal(stat(elsewhere, &b), 0);
		assert_true(a.st_ino == b.st_ino);
		fd_close(fd);
		unlink(own);
	}
	assert_int_equal(symlink("nowhere", own), 0);
	refused(-ENOENT, "cannot open");
	/* into what others may use */
	unlink(own);
	assert_int_equal(symlink(elsewhere, own), 0);
	assert_int_equal(chmod(elsewhere, 0750), 0);
	refused(-EACCES, "chmod 700");
}

static void file_refused(int fd, int code)
{
	int file = runtime_dir_file(fd, "f", O_WRONLY | O_APPEND, &err);

	if (file >= 0)
		fail_msg("it was opened");
	assert_int_equal(file, code);
	assert_int_equal(unlink(at), 0);
}

/* planted while the directory was open to others */
static void files(void **state)
{
	int fd = open_dir(), file;
	struct stat st;

	(void)state;
	assert_true(fd >= 0);
	snprintf(at, sizeof(at), "%s/f", own);
	assert_int_equal(symlink("../elsewhere/x", at), 0);
	file_refused(fd, -ELOOP);
	assert_int_equal(mkfifo(at, 0600), 0);
	file_refused(fd, -ENXIO); /* O_WRONLY and O_NONBLOCK without a reader: fifo(7) */
	snprintf(elsewhere + strlen(elsewhere), 4, "/x");
	fd_close(open(elsewhere, O_CREAT | O_WRONLY, 0600));
	assert_int_equal(link(elsewhere, at), 0);
	file_refused(fd, -EACCES);
	file = runtime_dir_file(fd, "f", O_WRONLY | O_APPEND, &err);
	assert_true(file >= 0 && fchmod(file, 0666) == 0);
	fd_close(file);
	file = runtime_dir_file(fd, "f", O_WRONLY | O_APPEND, &err);
	assert_int_equal(fstat(file, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	fd_close(file);
	fd_close(fd);
}

static void file_of_another_user(void **state)
{
	int fd = open_dir();

	(void)state;
	need_root();
	snprintf(at, sizeof(at), "%s/f", own);
	fd_close(open(at, O_CREAT | O_WRONLY, 0666));
	assert_int_equal(chown(at, OTHER, OTHER), 0);
	file_refused(fd, -EACCES);
	fd_close(fd);
}

/* what stands at the path by now is another's; what was opened is still ours */
static void moved(void **state)
{
	int fd = open_dir(), file;

	(void)state;
	snprintf(at, sizeof(at), "%s/away", base);
	assert_int_equal(rename(own, at), 0);
	assert_int_equal(symlink(elsewhere, own), 0);
	file = runtime_dir_file(fd, "f", O_WRONLY, &err);
	assert_true(file >= 0);
	fd_close(file);
	snprintf(at, sizeof(at), "%s/away/f", base);
	assert_int_equal(access(at, F_OK), 0);
	fd_close(fd);
}

/* sudo(8) keeps the variable: what is another user's is passed over */
static void xdg_of_another_user(void **state)
{
	(void)state;
	need_root();
	unsetenv("WARM_RUNTIME_DIR");
	setenv("XDG_RUNTIME_DIR", base, 1);
	(void)runtime_dir_find(&dir, &err);
	assert_memory_equal(dir.path, base, strlen(base));
	assert_int_equal(chown(base, OTHER, OTHER), 0);
	(void)runtime_dir_find(&dir, &err);
	assert_string_equal(dir.path, "/tmp/warm-0");
	unsetenv("XDG_RUNTIME_DIR");
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, look, clean)
	const struct CMUnitTest tests[] = {
		TEST(made),
		TEST(others_may_use_it),
		TEST(no_directory),
		TEST(of_another_user),
		TEST(link_of_another_user),
		TEST(own_link),
		TEST(files),
		TEST(file_of_another_user),
		TEST(moved),
		TEST(xdg_of_another_user),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
