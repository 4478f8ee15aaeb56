/* SPDX-License-Identifier: MIT */
/* tool_restore.c - `warm restore DIR`: a process of an image, by the code that launches from memory */
#include "launcher/tool.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/random.h>
#include <sys/stat.h>

#include "engine/base/fd.h"
#include "launcher/follow.h"
#include "launcher/restored.h"
#include "snapshot/image/image.h"
#include "snapshot/model/model.h"
#include "snapshot/plan/plan.h"

/* of a program's arguments that its template replaces: as many as fit into a message to warmd are the most */
#define ARGUMENTS_MAX WIRE_MAX_SIZE

struct restore {
	const char *dir, *pidfile;
	bool detach, verify, no_verify;
};

/* where warmd keeps its own images: $WARM_CACHE_DIR, else $XDG_CACHE_HOME/warm, else ~/.cache/warm. Return: false: nowhere */
static bool cache_folder(char path[PATH_MAX])
{
	static const struct {
		const char *variable, *under;
	} places[] = { { "WARM_CACHE_DIR", "" }, { "XDG_CACHE_HOME", "/warm" }, { "HOME", "/.cache/warm" } };

	for (size_t i = 0; i < ARRAY_SIZE(places); i++) {
		const char *value = getenv(places[i].variable);

		if (value && value[0] == '/')
			return snprintf(path, PATH_MAX, "%s%s", value, places[i].under) < PATH_MAX;
	}
	return false;
}

/* did warmd write it itself, on this machine? What lies in its folder, which is this user's alone, is taken for that */
static bool is_own(const char *dir)
{
	char path[PATH_MAX], parent[PATH_MAX];
	struct stat cache, around;

	return cache_folder(path) && snprintf(parent, sizeof(parent), "%s/..", dir) < (int)sizeof(parent) &&
	       stat(path, &cache) == 0 && stat(parent, &around) == 0 && cache.st_dev == around.st_dev &&
	       cache.st_ino == around.st_ino && cache.st_uid == geteuid() &&
	       !(cache.st_mode & (S_IWGRP | S_IWOTH));
}

/*
 * The arguments that a launch of the template would come with: the program's own, but for those that are the template's, in whose
 * place stand argv_drop others that nobody reads. Return: NULL: no memory. The caller frees it
 */
static char **launch_arguments(const struct model_entry *e, struct error *err)
{
	size_t n = 0, rest = e->build_argc - (size_t)e->argv_prefix_n;
	char **argv;

	if (e->argv_prefix_n > e->build_argc || e->argv_drop > ARGUMENTS_MAX || e->argv_drop + rest == 0) {
		error_set(err, EBADMSG, "the program's arguments make no sense");
		return NULL;
	}
	argv = calloc(e->argv_drop + rest + 1, sizeof(*argv));
	if (!argv) {
		error_set(err, ENOMEM, "no memory");
		return NULL;
	}
	for (; n < e->argv_drop; n++)
		argv[n] = e->build_argc ? e->build_argv[0] : (char *)"";
	for (size_t i = 0; i < rest; i++)
		argv[n++] = e->build_argv[e->argv_prefix_n + i];
	return argv;
}

/* before there is a process: one that cannot be named is not made. Return: a descriptor, -EBADF: none is asked for, or another negative errno */
/* before anything runs. What is in the file stays there until it does; @ret_made: there was none */
static int open_pidfile(const char *path, bool *ret_made, struct error *err)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);

	*ret_made = fd >= 0;
	if (fd < 0 && errno == EEXIST)
		fd = open(path, O_WRONLY | O_CLOEXEC);
	return fd < 0 ? error_errno(err, errno, "the PID cannot be written to '%s'", path) : fd;
}

static int write_pidfile(int fd, const char *path, pid_t pid, struct error *err)
{
	char text[16];
	int n = snprintf(text, sizeof(text), "%d\n", (int)pid), r;

	r = ftruncate(fd, 0) < 0 && errno != EINVAL ? -errno : 0; /* EINVAL: a pipe or device */
	if (r == 0)
		r = write_full(fd, text, (size_t)n);
	return r < 0 ? error_errno(err, r, "the PID cannot be written to '%s'", path) : 0;
}

/* Return: 0 with *ret set, or a negative errno: -ECANCELED: words have been said */
static int launch(const struct restore *o, const struct model *m, const struct plan *plan,
		  struct restored *ret, struct error *err)
{
	const struct model_entry *e = &m->entry;
	_cleanup_free_ int *fds = calloc(plan->nfiles + 2, sizeof(*fds));
	_cleanup_free_ char **argv = launch_arguments(e, err);
	struct restored_launch l = {
		.reply = { .stub_base = plan->stub_base,
			   .text_size = plan->text_size,
			   .data_size = plan->data_size,
			   .args_base = plan->args_base,
			   .context_max = plan->context_max,
			   /* nobody here knows the descriptors of the build: what an adaptor makes of them it makes anew */
			   .stdio_changed = 7 },
		.fds = fds,
		.nfds = (unsigned int)plan->nfiles + 2,
		.argv = argv,
		.envp = e->build_env ? e->build_env : environ,
		.not_pid = m->processes[0].pid,
		.detach = o->detach,
	};

	if (!argv)
		return err->code;
	if (!fds)
		return error_set(err, ENOMEM, "no memory");
	/* a number that no other clone of this boot has; those that warmd gives count from one */
	if (getrandom(&l.reply.generation, sizeof(l.reply.generation), 0) != sizeof(l.reply.generation))
		return error_errno(err, errno, "getrandom");
	l.reply.generation |= 1ull << 63;
	fds[0] = plan->control;
	fds[1] = plan->pages;
	memcpy(fds + 2, plan->files, plan->nfiles * sizeof(*fds));
	return restored_begin(&l, ret, err);
}

static int make_plan(const struct image *image, struct model *m, struct model_files *files, struct plan *ret,
		     struct error *err)
{
	const struct page_source source = page_source_file(image_pages(image));
	/* nobody asks here whether read-only data may be executable, so it is as it is cold: docs/security.md */
	const struct plan_options options = { .join_text = false };
	int r = image_check_machine(image, err);

	if (r == 0)
		r = image_open_files(m, files, err);
	return r < 0 ? r : plan_build(m, files, &source, &options, ret, err);
}

/* Return: 0 with *ret set, or a negative errno */
static int restore(const struct restore *o, struct restored *ret, struct error *err)
{
	bool verify = o->verify || (!o->no_verify && !is_own(o->dir));
	_cleanup_(image_freep) struct image *image = NULL;
	_cleanup_(model_freep) struct model *m = NULL;
	struct model_files files = { 0 };
	struct plan plan = { .control = -EBADF, .pages = -EBADF, .huge = -EBADF };
	int r = image_open(AT_FDCWD, o->dir, verify ? IMAGE_VERIFY : 0, &image, err);

	if (r < 0)
		return r;
	m = image_take_model(image);
	r = make_plan(image, m, &files, &plan, err);
	if (r < 0)
		error_prefix(err, "the image '%s' cannot be restored", o->dir);
	else
		r = launch(o, m, &plan, ret, err);
	plan_done(&plan);
	model_files_done(&files);
	return r;
}

/* Return: -1 to go on; else an exit status */
static int parse(const struct tool_command *self, int argc, char **argv, struct restore *ret)
{
	bool new_pids, detach = false;
	const struct tool_option options[] = {
		{ "--detach", .flag = &ret->detach },
		{ "-d", .flag = &detach },
		{ "--pidfile", .value = &ret->pidfile },
		{ "--verify", .flag = &ret->verify },
		{ "--no-verify", .flag = &ret->no_verify },
		{ "--new-pids", .flag = &new_pids },
		{ 0 },
	};
	struct tool_args args;
	int r = tool_options(self, options, TOOL_OPERANDS_FREE, argc, argv, &args);

	if (r >= 0)
		return r;
	if (args.argc != 1)
		return tool_usage(self, args.argc == 0 ? "which image? give its folder" : "one at a time");
	if (ret->verify && ret->no_verify)
		return tool_usage(self, "--verify and --no-verify exclude each other");
	ret->dir = args.argv[0];
	ret->detach = ret->detach || detach;
	return -1;
}

static int run(const struct tool_command *self, int argc, char **argv)
{
	struct restore o = { 0 };
	_cleanup_close_ int pidfile = -EBADF;
	struct error err = { 0 };
	struct restored restored;
	bool made = false;
	int failed = 0, r = parse(self, argc, argv, &o);

	if (r >= 0)
		return r;
	if (o.pidfile) {
		pidfile = open_pidfile(o.pidfile, &made, &err);
		if (pidfile < 0)
			return tool_fail(&err);
	}
	r = restore(&o, &restored, &err);
	if (r < 0 && made)
		unlink(o.pidfile);
	if (r == -ECANCELED)
		return TOOL_FAILED;
	if (r < 0)
		return tool_fail(&err);
	/* from here on it runs, whatever becomes of the file */
	if (o.pidfile && write_pidfile(pidfile, o.pidfile, restored.pid, &err) < 0)
		failed = tool_fail(&err);
	if (o.detach) {
		printf("%d\n", (int)restored.pid);
		r = tool_finish();
		return r ? r : failed;
	}
	r = restored_follow(&restored, &err);
	return r < 0 ? tool_fail(&err) : follow_exit(r);
}

const struct tool_command tool_restore = {
	.name = "restore",
	.run = run,
	.operands = "[--detach] [--pidfile F] [--verify | --no-verify] [--new-pids] DIR",
	.summary = "make the process that an image is of",
	.details =
		"DIR is the folder of an image ('warm build --out DIR'). Of a template's image it makes a\n"
		"clone that goes on behind the readiness point, with the template's arguments and\n"
		"environment, and with this command's directory, descriptors, terminal, limits and signals.\n"
		"No daemon is needed.\n"
		"warm restore passes signals on, stops and goes on with it, and ends with its status.\n"
		"\n"
		"An image is refused that others can write, that is damaged, or that is of another kind of\n"
		"machine or kernel; and if a file that the program has mapped or open is another now.\n"
		"\n"
		"  -d, --detach  print the PID and leave it running, in a session of its own\n"
		"  --pidfile F   write the PID to F once it runs\n"
		"  --verify      read all pages before, and compare them with their checksums: the default\n"
		"                for images outside of warmd's own folder ($XDG_CACHE_HOME/warm)\n"
		"  --no-verify   read the pages that the program touches, when it does\n"
		"  --new-pids    it gets a new PID: always so for an image of one process\n"
		"\n"
		"Exit status: the program's; 125 when there was no process, with the reason.\n"
		"\n"
		"Examples:\n"
		"  warm build --out ./report.img python3 report.py\n"
		"  warm restore ./report.img > may.txt\n"
		"  warm restore --detach --pidfile /run/shop.pid --no-verify /srv/images/shop\n",
};
