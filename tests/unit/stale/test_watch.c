/* SPDX-License-Identifier: MIT */
/* the watches: each kind of change is told once, and what does not count is not told */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/aio_abi.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "engine/base/clock.h"
#include "engine/base/fd.h"
#include "tests/unit/scratch.h"
#include "warmd/stale/watch.h"

static struct watch *watch;

/* one registration under test */
struct reg {
	struct dep_set *set;
	struct watch_user *user;
	int told;
	char path[PATH_MAX + 64];
	struct reg *also_remove; /* by the callback, besides itself */
};

static void reg_remove(struct reg *reg)
{
	if (reg->user)
		watch_remove(TAKE_PTR(reg->user));
}

static void on_change(void *data, const char *path)
{
	struct reg *reg = data;

	reg->told++;
	snprintf(reg->path, sizeof(reg->path), "%s", path);
	if (reg->also_remove) {
		reg_remove(reg->also_remove);
		reg_remove(reg);
	}
}

static struct reg *reg_new(const char *name, enum dep_kind kind)
{
	struct reg *reg = calloc(1, sizeof(*reg));

	assert_int_equal(dep_set_new(&reg->set), 0);
	assert_int_equal(dep_set_module_names(reg->set, ".py .so !__pycache__"), 0);
	if (name)
		assert_int_equal(dep_set_add(reg->set, at(name), kind), 0);
	return reg;
}

static void reg_watch(struct reg *reg)
{
	struct error err = { 0 };

	if (watch_add(watch, reg->set, reg, &reg->user, &err) < 0)
		fail_msg("%s", err.text);
}

static struct reg *watched(const char *name, enum dep_kind kind)
{
	struct reg *reg = reg_new(name, kind);

	reg_watch(reg);
	return reg;
}

static void reg_free(struct reg *reg)
{
	reg_remove(reg);
	dep_set_free(reg->set);
	free(reg);
}

static void expect(struct reg *reg, int told, const char *name)
{
	watch_drain(watch);
	assert_int_equal(reg->told, told);
	if (name)
		assert_string_equal(reg->path, at(name));
}

static void expect_and_free(struct reg *reg, int told, const char *name)
{
	expect(reg, told, name);
	reg_free(reg);
	assert_int_equal(watch_count(watch), 0);
}

static int setup(void **state)
{
	struct error err;

	(void)state;
	return scratch_make() < 0 ? -1 : watch_new(&watch, on_change, &err);
}

static int teardown(void **state)
{
	(void)state;
	watch_free(watch);
	return scratch_remove();
}

static void quiet(void **state)
{
	struct reg *reg;

	(void)state;
	put("a", "one");
	put("b", "one");
	reg = watched("a", DEP_FILE);
	put("b", "two");
	unlink(at("b"));
	put("c", "");
	expect_and_free(reg, 0, NULL);
}

static void modified(void **state)
{
	struct reg *reg;

	(void)state;
	put("a", "one");
	reg = watched("a", DEP_FILE);
	put("a", "two");
	expect(reg, 1, "a");
	put("a", "three");
	expect_and_free(reg, 1, NULL); /* at most once */
}

/* rewritten in place with size and times as they were: only the event can tell */
static void modified_within_a_tick(void **state)
{
	struct reg *reg;
	int fd;

	(void)state;
	put("a", "one");
	reg = watched("a", DEP_FILE);
	fd = open(at("a"), O_WRONLY);
	assert_int_equal(write(fd, "one", 3), 3);
	close(fd);
	expect_and_free(reg, 1, "a");
}

static void replaced(void **state)
{
	struct reg *reg;

	(void)state;
	put("a", "one");
	put("new", "one");
	reg = watched("a", DEP_FILE);
	rename(at("new"), at("a"));
	expect_and_free(reg, 1, "a");
}

static void removed_and_attributes(void **state)
{
	struct reg *a, *b, *c;

	(void)state;
	put("a", "");
	put("b", "");
	put("c", "");
	a = watched("a", DEP_FILE);
	b = watched("b", DEP_FILE);
	c = watched("c", DEP_FILE);
	unlink(at("a"));
	chmod(at("b"), 0600);
	close(open(at("c"), O_RDWR));
	expect(a, 1, "a");
	expect(b, 1, "b");
	expect(c, 0, NULL);
	reg_free(a);
	reg_free(b);
	expect_and_free(c, 0, NULL);
}

static void appears(void **state)
{
	struct reg *reg = watched("a", DEP_ABSENT);

	(void)state;
	put("b", "");
	expect(reg, 0, NULL);
	put("a", "");
	expect_and_free(reg, 1, "a");
}

static void appears_step_by_step(void **state)
{
	struct reg *reg = watched("x/y/z", DEP_ABSENT);

	(void)state;
	mkdir(at("x"), 0755);
	expect(reg, 0, NULL);
	mkdir(at("x/y"), 0755);
	put("x/other", "");
	expect(reg, 0, NULL);
	put("x/y/z", "");
	expect_and_free(reg, 1, "x/y/z");
}

static void appears_at_once(void **state)
{
	struct reg *reg = watched("x/y/z", DEP_ABSENT);

	(void)state;
	mkdir(at("x"), 0755);
	mkdir(at("x/y"), 0755);
	put("x/y/z", "");
	expect_and_free(reg, 1, "x/y/z");
}

static void directory_renamed(void **state)
{
	struct reg *reg, *gone;

	(void)state;
	mkdir(at("d"), 0755);
	mkdir(at("d/e"), 0755);
	put("d/e/a", "");
	reg = watched("d/e/a", DEP_FILE);
	gone = watched("d/e/none", DEP_ABSENT);
	rename(at("d"), at("d2"));
	expect(reg, 1, "d/e/a");
	expect(gone, 0, NULL);
	/* what is there now is another directory, and that one counts */
	mkdir(at("d"), 0755);
	mkdir(at("d/e"), 0755);
	put("d2/e/none", "");
	expect(gone, 0, NULL);
	put("d/e/none", "");
	expect(gone, 1, "d/e/none");
	reg_free(reg);
	expect_and_free(gone, 1, NULL);
}

static void link_points_elsewhere(void **state)
{
	struct reg *reg;

	(void)state;
	mkdir(at("v1"), 0755);
	mkdir(at("v2"), 0755);
	put("v1/a", "one");
	put("v2/a", "one");
	assert_int_equal(symlink("v1", at("now")), 0);
	assert_int_equal(symlink("v2", at("next")), 0);
	reg = watched("now/a", DEP_FILE);
	put("v2/a", "two");
	expect(reg, 0, NULL);
	rename(at("next"), at("now"));
	expect_and_free(reg, 1, "now");
}

static void link_target_written(void **state)
{
	struct reg *reg;

	(void)state;
	put("a", "one");
	assert_int_equal(symlink("a", at("link")), 0);
	reg = watched("link", DEP_FILE);
	put("a", "two");
	expect_and_free(reg, 1, "a");
}

static void replaced_by_link(void **state)
{
	struct reg *reg;
	struct error err;

	(void)state;
	mkdir(at("d"), 0755);
	put("d/a", "one");
	reg = reg_new("d/a", DEP_FILE);
	rename(at("d"), at("d2"));
	assert_int_equal(symlink("d2", at("d")), 0);
	assert_int_equal(watch_add(watch, reg->set, reg, &reg->user, &err), -ESTALE);
	expect_and_free(reg, 0, NULL);
}

static void hard_link(void **state)
{
	struct reg *reg;

	(void)state;
	mkdir(at("d"), 0755);
	put("a", "one");
	assert_int_equal(link(at("a"), at("d/b")), 0);
	reg = watched("a", DEP_FILE);
	put("d/b", "two");
	expect_and_free(reg, 1, "a");
}

/* names that it got after the watch began, in directories that nobody watches */
static void other_names(void **state)
{
	struct reg *reg, *made;
	char link_of_fd[64];
	int fd;

	(void)state;
	mkdir(at("d"), 0755);
	put("a", "one");
	reg = watched("a", DEP_FILE);
	assert_int_equal(rename(at("a"), at("d/a")), 0);
	assert_int_equal(link(at("d/a"), at("a")), 0);
	expect_and_free(reg, 1, "a"); /* ctime is another */
	fd = open(at("d"), O_TMPFILE | O_RDWR, 0644);
	if (fd < 0)
		return; /* not on this file system */
	snprintf(link_of_fd, sizeof(link_of_fd), "/proc/self/fd/%d", fd);
	assert_int_equal(linkat(AT_FDCWD, link_of_fd, AT_FDCWD, at("d/made"), AT_SYMLINK_FOLLOW), 0);
	made = watched("d/made", DEP_FILE);
	assert_int_equal(write(fd, "text", 4), 4);
	expect_and_free(made, 1, "d/made");
	close(fd);
}

static void write_unseen(int fd)
{
	aio_context_t context = 0;
	struct iocb cb = { .aio_fildes = (uint32_t)fd,
			   .aio_lio_opcode = IOCB_CMD_PWRITE,
			   .aio_buf = (uint64_t)(uintptr_t) "ONE",
			   .aio_nbytes = 3 };
	struct iocb *list = &cb;
	struct io_event event;

	assert_int_equal(syscall(SYS_io_setup, 1, &context), 0);
	assert_int_equal(syscall(SYS_io_submit, context, 1, &list), 1);
	assert_int_equal(syscall(SYS_io_getevents, context, 1, 1, &event, NULL), 1);
	assert_int_equal(event.res, 3);
	syscall(SYS_io_destroy, context);
}

/* io_submit(2) raises no event */
static void written_unseen(void **state)
{
	struct reg *reg;
	int fd;

	(void)state;
	put("a", "one");
	reg = watched("a", DEP_FILE);
	fd = open(at("a"), O_WRONLY);
	write_unseen(fd);
	close(fd);
	expect_and_free(reg, 1, "a");

	/* while the writer has it open */
	put("b", "one");
	reg = watched("b", DEP_FILE);
	assert_false(watch_has_unseen(reg->user));
	fd = open(at("b"), O_WRONLY);
	expect(reg, 0, NULL);
	assert_true(watch_has_unseen(reg->user));
	assert_int_equal(watch_recheck(reg->user), 0);
	assert_string_equal(watch_writer(reg->user), at("b"));
	write_unseen(fd);
	expect(reg, 0, NULL);
	assert_int_equal(watch_recheck(reg->user), 1);
	expect_and_free(reg, 1, "b");
	close(fd);
}

/* a writer from before the watch, through a mapping, too */
static void written_unseen_later(void **state)
{
	struct reg *reg;
	struct statfs fs;
	char *map;
	int fd;

	(void)state;
	put("a", "one");
	fd = open(at("a"), O_RDWR);
	map = mmap(NULL, 3, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	assert_ptr_not_equal(map, MAP_FAILED);
	close(fd);
	reg = watched("a", DEP_FILE);
	assert_true(watch_has_unseen(reg->user));
	assert_int_equal(watch_recheck(reg->user), 0);
	map[0] = 'O';
	expect(reg, 0, NULL);
	assert_int_equal(statfs(at("a"), &fs), 0);
	if (fs.f_type == 0x01021994) { /* tmpfs: no time is set, so its end is waited for */
		assert_int_equal(watch_recheck(reg->user), 0);
		munmap(map, 3);
		expect_and_free(reg, 1, "a");
		return;
	}
	assert_int_equal(watch_recheck(reg->user), 1);
	expect_and_free(reg, 1, "a");
	munmap(map, 3);
}

/* a page that is dirty already: neither event nor time */
static void written_in_a_dirty_page(void **state)
{
	struct reg *reg;
	char *map;
	int fd;

	(void)state;
	put("a", "one");
	fd = open(at("a"), O_RDWR);
	map = mmap(NULL, 3, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	assert_ptr_not_equal(map, MAP_FAILED);
	close(fd);
	map[0] = 'O';
	reg = watched("a", DEP_FILE);
	map[0] = 'o';
	expect(reg, 0, NULL);
	assert_int_equal(watch_recheck(reg->user), 0);
	assert_string_equal(watch_writer(reg->user), at("a"));
	munmap(map, 3);
	expect_and_free(reg, 1, "a");
}

/* a file that has come to the path is not the one that is watched: who has that one open is not to be seen by it */
static void writer_behind_a_replaced_name(void **state)
{
	struct reg *reg, *same;
	int reader, writer;

	(void)state;
	assert_int_equal(mkdir(at("d"), 0755), 0);
	assert_int_equal(mkdir(at("new"), 0755), 0);
	put("d/a", "one");
	put("new/a", "one");
	assert_int_equal(link(at("d/a"), at("b")), 0);
	same = watched("b", DEP_FILE);
	reg = watched("d/a", DEP_FILE);
	reader = open(at("b"), O_RDONLY);
	expect(reg, 0, NULL);
	rename(at("d"), at("old"));
	rename(at("new"), at("d"));
	/* the queue has not been read: both names are one file, as far as is known */
	assert_int_equal(watch_recheck(reg->user), 1);
	reg_free(reg);
	watch_drain(watch);
	writer = open(at("b"), O_WRONLY);
	expect(same, 0, NULL);
	assert_true(watch_has_unseen(same->user));
	close(reader);
	expect(same, 0, NULL);
	assert_true(watch_has_unseen(same->user));
	assert_int_equal(watch_recheck(same->user), 0);
	assert_string_equal(watch_writer(same->user), at("b"));
	close(writer);
	expect_and_free(same, 0, NULL);
}

/* readers are nobody to be looked at, however many and however long */
static void read_by_others(void **state)
{
	struct reg *reg;
	int fd, more;

	(void)state;
	put("a", "one");
	reg = watched("a", DEP_FILE);
	fd = open(at("a"), O_RDONLY);
	close(fd);
	expect(reg, 0, NULL);
	assert_false(watch_has_unseen(reg->user));
	fd = open(at("a"), O_RDONLY);
	expect(reg, 0, NULL);
	assert_true(watch_has_unseen(reg->user)); /* nobody has asked yet who it is */
	assert_int_equal(watch_recheck(reg->user), 0);
	assert_false(watch_has_unseen(reg->user));
	expect(reg, 0, NULL); /* with the events of our own look */
	assert_null(watch_writer(reg->user));
	assert_false(watch_has_unseen(reg->user));
	more = open(at("a"), O_WRONLY);
	close(fd);
	expect(reg, 0, NULL);
	assert_true(watch_has_unseen(reg->user));
	write_unseen(more);
	assert_int_equal(watch_recheck(reg->user), 1);
	close(more);
	expect_and_free(reg, 1, "a");
}

static void listing(void **state)
{
	struct reg *list, *mods;

	(void)state;
	mkdir(at("d"), 0755);
	put("d/a", "one");
	list = watched("d", DEP_LISTING);
	mods = watched("d", DEP_MODULES);
	put("d/a", "two");
	expect(list, 0, NULL);
	put("d/b", "");
	expect(list, 1, "d/b");
	mkdir(at("d/__pycache__"), 0755);
	put("d/notes.txt", "");
	rename(at("d/notes.txt"), at("d/notes.md"));
	put("d/.hidden.py", "");
	expect(mods, 0, NULL);
	put("d/decimal.py", "");
	expect(mods, 1, "d/decimal.py");
	reg_free(list);
	expect_and_free(mods, 1, NULL);
}

static void modules_directories(void **state)
{
	struct reg *dir, *link, *gone;

	(void)state;
	mkdir(at("d"), 0755);
	mkdir(at("d/pkg"), 0755);
	dir = watched("d", DEP_MODULES);
	mkdir(at("d/new"), 0755);
	expect(dir, 1, "d/new");
	link = watched("d", DEP_MODULES);
	assert_int_equal(symlink("pkg", at("d/alias")), 0);
	expect(link, 1, "d/alias");
	gone = watched("d", DEP_MODULES);
	rmdir(at("d/pkg"));
	expect(gone, 1, "d/pkg");
	reg_free(dir);
	reg_free(link);
	expect_and_free(gone, 1, NULL);
}

static void listed_directory_replaced(void **state)
{
	struct reg *reg;

	(void)state;
	mkdir(at("d"), 0755);
	mkdir(at("e"), 0755);
	put("e/a.py", "");
	reg = watched("d", DEP_MODULES);
	rmdir(at("d"));
	rename(at("e"), at("d"));
	expect_and_free(reg, 1, "d");
}

static void exists(void **state)
{
	struct reg *reg, *top;

	(void)state;
	mkdir(at("d"), 0755);
	reg = watched("d", DEP_EXISTS);
	top = reg_new(NULL, DEP_EXISTS);
	dep_set_add(top->set, "/", DEP_EXISTS);
	reg_watch(top);
	put("d/a", "");
	expect(reg, 0, NULL);
	chmod(at("d"), 0700);
	expect(reg, 1, "d");
	expect(top, 0, NULL);
	reg_free(reg);
	expect_and_free(top, 0, NULL);
}

static bool anything_queued(void)
{
	struct pollfd p = { .fd = watch_fd(watch), .events = POLLIN };

	return poll(&p, 1, 0) > 0;
}

/* a log that the program has open: writes to it are not even told, until another needs to know of the directory's writes */
static void held_open(void **state)
{
	struct reg *reg, *file;

	(void)state;
	put("log", "one");
	put("a", "one");
	reg = watched("log", DEP_INODE);
	put("log", "two");
	assert_false(anything_queued());
	expect(reg, 0, NULL);
	file = watched("a", DEP_FILE);
	put("log", "three");
	expect(reg, 0, NULL);
	put("a", "two");
	expect(file, 1, "a");
	expect(reg, 0, NULL);
	reg_free(file);
	rename(at("log"), at("log.1"));
	put("log", "");
	expect(reg, 1, "log");
	reg_free(reg);
	reg = watched("log", DEP_INODE);
	unlink(at("log"));
	expect_and_free(reg, 1, "log");
	/* what was there first */
	file = watched("a", DEP_FILE);
	reg = watched("log.1", DEP_INODE);
	put("a", "three");
	expect(file, 1, "a");
	reg_free(file);
	expect_and_free(reg, 0, NULL);
}

static void stale_at_once(void **state)
{
	struct reg *reg;
	struct error err;

	(void)state;
	put("a", "one");
	reg = reg_new("a", DEP_FILE);
	dep_set_add(reg->set, at("deep/none"), DEP_FILE);
	put("a", "three");
	assert_int_equal(watch_add(watch, reg->set, reg, &reg->user, &err), -ESTALE);
	assert_non_null(strstr(err.text, at("a")));
	expect_and_free(reg, 0, NULL);
}

static void callback_removes(void **state)
{
	struct reg *a, *b;

	(void)state;
	put("a", "");
	a = watched("a", DEP_FILE);
	b = watched("a", DEP_FILE);
	a->also_remove = b;
	b->also_remove = a;
	put("a", "new");
	watch_drain(watch);
	assert_int_equal(a->told + b->told, 1);
	assert_null(a->user);
	assert_null(b->user);
	reg_free(a);
	expect_and_free(b, b->told, NULL);
}

static void shared_and_released(void **state)
{
	struct reg *a, *b;
	size_t one;

	(void)state;
	put("a", "");
	a = watched("a", DEP_FILE);
	one = watch_count(watch);
	b = watched("a", DEP_FILE);
	assert_int_equal(watch_count(watch), one);
	reg_free(a);
	assert_int_equal(watch_count(watch), one);
	put("a", "new");
	expect_and_free(b, 1, "a");
}

static void overflow(void **state)
{
	struct reg *quiet_one, *missed;
	int fd;

	(void)state;
	mkdir(at("d"), 0755);
	put("z", "");
	quiet_one = watched("d", DEP_MODULES);
	/* the queue holds 16384 events unless the sysctl says otherwise; two kinds in turn, so that none coalesce */
	fd = open(at("d/f"), O_CREAT | O_WRONLY, 0600);
	for (int i = 0; i < 20000; i++) {
		assert_int_equal(fchmod(fd, 0600), 0);
		assert_int_equal(write(fd, "x", 1), 1);
	}
	close(fd);
	missed = watched("z", DEP_FILE);
	put("z", "new");
	expect(quiet_one, 0, NULL);
	expect(missed, 1, "z");
	put("d/x.py", "");
	expect(quiet_one, 1, "d/x.py");
	reg_free(missed);
	expect_and_free(quiet_one, 1, NULL);
}

static void mounted_over(void **state)
{
	struct error err;
	struct reg *reg;
	struct pollfd p;

	(void)state;
	if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		skip(); /* needs CAP_SYS_ADMIN */
	watch_free(watch);
	assert_int_equal(watch_new(&watch, on_change, &err), 0);
	mkdir(at("d"), 0755);
	reg = watched("d/none", DEP_ABSENT);
	assert_int_equal(mount("tmpfs", at("d"), "tmpfs", 0, NULL), 0);
	p = (struct pollfd){ .fd = watch_mounts_fd(watch), .events = POLLPRI };
	assert_int_equal(poll(&p, 1, 1000), 1);
	expect(reg, 0, NULL);
	put("d/none", "");
	expect(reg, 1, "d/none");
	assert_int_equal(umount(at("d")), 0);
	expect_and_free(reg, 1, NULL);
}

/* a directory that can be entered but not read cannot be watched: a recheck sees what is in it */
static void unreadable_directory(void **state)
{
	struct reg *reg, *file, *below;

	(void)state;
	if (geteuid() == 0 && seteuid(65534) < 0)
		skip();
	if (seteuid(0) == 0) {
		assert_int_equal(chown(root, 65534, (gid_t)-1), 0);
		assert_int_equal(chmod(root, 0755), 0);
		assert_int_equal(seteuid(65534), 0);
	}
	mkdir(at("d"), 0755);
	mkdir(at("d/e"), 0755);
	put("d/a", "one");
	put("d/e/b", "one");
	chmod(at("d"), 0311);
	reg = watched("d/none", DEP_ABSENT);
	file = watched("d/a", DEP_FILE);
	below = watched("d/e/b", DEP_FILE);
	assert_int_equal(watch_recheck(reg->user), 0);
	assert_int_equal(watch_recheck(file->user), 0);
	put("d/a", "three");
	expect(file, 1, "d/a"); /* the file itself can be watched */
	reg_free(file);
	put("d/none", "");
	expect(reg, 0, NULL);
	assert_int_equal(watch_recheck(reg->user), 1);
	expect(reg, 1, "d/none");
	assert_int_equal(watch_recheck(reg->user), 1);
	expect(reg, 1, NULL);
	assert_int_equal(watch_recheck(below->user), 0);
	put("d/e/b", "two");
	expect(below, 1, "d/e/b"); /* this directory is readable */
	reg_free(below);
	below = watched("d/e/none", DEP_ABSENT);
	rename(at("d/e"), at("d/e2"));
	mkdir(at("d/e"), 0755);
	expect(below, 0, NULL); /* its own move is an event */
	assert_int_equal(watch_recheck(below->user), 0);
	put("d/e/none", "");
	expect(below, 1, "d/e/none");
	reg_free(below);
	chmod(at("d"), 0755);
	reg_free(reg);
	if (getuid() == 0)
		assert_int_equal(seteuid(0), 0);
	prctl(PR_SET_DUMPABLE, 1); /* LeakSanitizer wants it, seteuid(2) cleared it */
}

static void many(void **state)
{
	struct reg *reg = reg_new(NULL, DEP_FILE);
	char name[64];
	uint64_t t;

	(void)state;
	for (int d = 0; d < 50; d++) {
		snprintf(name, sizeof(name), "d%d", d);
		mkdir(at(name), 0755);
		for (int i = 0; i < 60; i++) {
			snprintf(name, sizeof(name), "d%d/f%d", d, i);
			if (i % 2)
				put(name, "");
			dep_set_add(reg->set, at(name), DEP_FILE);
		}
	}
	t = clock_ns(CLOCK_MONOTONIC);
	reg_watch(reg);
	print_message("registering 3000: %.1f ms, %zu watches\n",
		      (double)(clock_ns(CLOCK_MONOTONIC) - t) / 1e6, watch_count(watch));
	t = clock_ns(CLOCK_MONOTONIC);
	for (int i = 0; i < 1000; i++)
		watch_drain(watch);
	print_message("draining nothing: %.2f us\n", (double)(clock_ns(CLOCK_MONOTONIC) - t) / 1e6);
	put("d49/f0", "");
	expect_and_free(reg, 1, "d49/f0");
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(quiet),
		TEST(modified),
		TEST(modified_within_a_tick),
		TEST(replaced),
		TEST(removed_and_attributes),
		TEST(appears),
		TEST(appears_step_by_step),
		TEST(appears_at_once),
		TEST(directory_renamed),
		TEST(link_points_elsewhere),
		TEST(link_target_written),
		TEST(replaced_by_link),
		TEST(hard_link),
		TEST(other_names),
		TEST(written_unseen),
		TEST(written_unseen_later),
		TEST(written_in_a_dirty_page),
		TEST(writer_behind_a_replaced_name),
		TEST(read_by_others),
		TEST(listing),
		TEST(modules_directories),
		TEST(listed_directory_replaced),
		TEST(exists),
		TEST(held_open),
		TEST(stale_at_once),
		TEST(callback_removes),
		TEST(shared_and_released),
		TEST(overflow),
		TEST(mounted_over),
		TEST(unreadable_directory),
		TEST(many),
	};

	alarm(60);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
