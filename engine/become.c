/* SPDX-License-Identifier: MIT */
/*
 * become.c - the launcher's part: map the stub, lay out the launch context
 * area, jump.
 *
 * The context area, in pages of its own because it stays in the clone:
 *
 *	raw context	docs/adaptor.md: header, thread pairs, then
 *	strings		argv, environment: /proc/PID/cmdline and environ point here
 *	argv[], envp[]	for main()
 *	cold[]		the launcher's words and the caller's arguments, for a cold start if the stub fails
 *	files[]		descriptor numbers that the maps refer to
 */
#include "engine/become.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <signal.h>
#include <stddef.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "engine/stub/image.h"
#include "engine/stub/launch.h"
#include "engine/stub/order.h"

#define CAP_CHECKPOINT_RESTORE_BIT (1u << (40 - 32))
#define CAP_SYS_ADMIN_BIT	   (1u << 21)

static const char *const cold_words[] = { "warm", "run", "--cold", "--", NULL };

struct sizes {
	size_t strings; /* bytes of the program's argv and environment */
	size_t signals; /* bytes of struct stub_context_signals, or 0 */
	size_t cold; /* bytes of the arguments for a cold start that are not among them */
	int argc, envc, cold_words;
	const char *const *words; /* [cold_words] */
};

/* the program's arguments: the template's beginning, then the caller's */
static const char *argument(const struct become *b, const struct stub_data *data, int i)
{
	const char *s = (const char *)data + data->argv_prefix;

	if (i >= (int)data->argv_prefix_n)
		return b->argv[(int)data->argv_drop + i - (int)data->argv_prefix_n];
	while (i--)
		s += strlen(s) + 1;
	return s;
}

/* the one that the launcher becomes */
static struct stub_process *root_of(const struct stub_data *data)
{
	return (struct stub_process *)((char *)data + data->processes);
}

static uint64_t total_size(const struct become *b, const struct stub_data *data, struct sizes *ret)
{
	struct sizes z = { .argc = (int)data->argv_prefix_n + b->argc - (int)data->argv_drop };

	for (int i = 0; i < z.argc; i++)
		z.strings += strlen(argument(b, data, i)) + 1;
	z.words = b->cold_words ? b->cold_words : cold_words;
	for (; z.words[z.cold_words]; z.cold_words++)
		z.cold += strlen(z.words[z.cold_words]) + 1;
	for (uint32_t i = 0; i < data->argv_drop; i++)
		z.cold += strlen(b->argv[i]) + 1;
	for (char *const *e = b->envp; *e; e++, z.envc++)
		z.strings += strlen(*e) + 1;
	if (data->tell_signals && stub_other_signals(data, b->ignored_signals, b->blocked_signals))
		z.signals = sizeof(struct stub_context_signals);
	*ret = z;
	return sizeof(struct stub_context) + 8ull * root_of(data)->nthreads + z.strings + z.signals + 16 +
	       8ull * ((size_t)z.argc + 1 + (size_t)z.envc + 1) + z.cold +
	       8ull * ((size_t)z.cold_words + (size_t)b->argc + 1) + 4ull * b->nfiles + 64;
}

static char *copy_string(char *p, const char *from, uint64_t *pointer)
{
	size_t len = strlen(from) + 1;

	memcpy(p, from, len);
	*pointer = (uint64_t)p;
	return p + len;
}

static bool may_set_exe(bool *ret_drop)
{
	struct __user_cap_header_struct header = { _LINUX_CAPABILITY_VERSION_3, 0 };
	struct __user_cap_data_struct data[2];

	*ret_drop = false;
	if (syscall(SYS_capget, &header, data) < 0)
		return false;
	/* capabilities of the file `warm` (setcap), not of the user who runs it */
	*ret_drop = getauxval(AT_SECURE) && geteuid() != 0;
	return (data[0].effective & CAP_SYS_ADMIN_BIT) || (data[1].effective & CAP_CHECKPOINT_RESTORE_BIT);
}

static int map_stub(const struct become *b, struct error *err)
{
	const int fixed = MAP_PRIVATE | MAP_FIXED_NOREPLACE;
	char *base = (char *)b->stub_base;

	/* launchers lie elsewhere; an address that is taken is a template of another architecture's layout, or an attack */
	if (mmap(base, b->text_size, PROT_READ | PROT_EXEC, fixed, b->control_fd, 0) != base ||
	    mmap(base + b->text_size, b->data_size, PROT_READ | PROT_WRITE, fixed, b->control_fd,
		 (off_t)b->text_size) != base + b->text_size)
		return error_errno(err, errno, "mapping the stub");
	return 0;
}

static void unmap_stub(const struct become *b)
{
	munmap((char *)b->stub_base, b->text_size + b->data_size);
}

/* most launches differ from the build in nothing: then the adaptor has nothing to do */
static uint32_t same_as_build(const struct stub_data *data, const struct stub_launch *l)
{
	const char *d = (const char *)data;
	uint32_t bits = 0;

	if (l->env_end - l->env_start == data->build_env_len &&
	    memcmp((const char *)l->env_start, d + data->build_env, data->build_env_len) == 0)
		bits |= STUB_SAME_ENVIRONMENT;
	if (l->arg_end - l->arg_start == data->build_argv_len &&
	    memcmp((const char *)l->arg_start, d + data->build_argv, data->build_argv_len) == 0)
		bits |= STUB_SAME_ARGUMENTS;
	return bits;
}

/* the launch context area while it is filled */
struct laid_out {
	struct sizes z;
	uint64_t size, context_len; /* bytes */
	uint64_t *argv, *envp, *cold; /* arrays of pointers, behind the strings */
	int32_t *files;
};

static int make_area(const struct become *b, const struct stub_data *data, struct laid_out *ret,
		     struct error *err)
{
	struct laid_out a = { .size = total_size(b, data, &a.z) };

	a.context_len = sizeof(struct stub_context) + 8ull * root_of(data)->nthreads + a.z.strings +
			a.z.signals;
	if (b->context_max && a.context_len > b->context_max)
		return error_set(err, E2BIG,
				 "arguments and environment exceed the %lu bytes that the program reads",
				 (unsigned long)b->context_max);
	if (a.size > data->keep_end - b->args_base)
		return error_set(err, E2BIG, "arguments and environment are too large");
	if (mmap((void *)b->args_base, a.size, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE | MAP_POPULATE, -1,
		 0) != (void *)b->args_base)
		return error_errno(err, errno, "making the launch context area");
	*ret = a;
	return 0;
}

/* arguments and environment, one behind the other. Return: behind them */
static char *put_strings(const struct become *b, const struct stub_data *data, const struct laid_out *a,
			 struct stub_launch *l, char *p)
{
	l->arg_start = (uint64_t)p;
	for (int i = 0; i < a->z.argc; i++)
		p = copy_string(p, argument(b, data, i), &a->argv[i]);
	a->argv[a->z.argc] = 0;
	l->arg_end = l->env_start = (uint64_t)p;
	for (int i = 0; i < a->z.envc; i++)
		p = copy_string(p, b->envp[i], &a->envp[i]);
	a->envp[a->z.envc] = 0;
	l->env_end = (uint64_t)p;
	return p;
}

/* by which the stub runs the program cold: the launcher's own memory will be gone when these are needed */
static void put_cold_words(const struct become *b, const struct stub_data *data, const struct laid_out *a,
			   char *p)
{
	for (int i = 0; i < a->z.cold_words; i++)
		p = copy_string(p, a->z.words[i], &a->cold[i]);
	for (int i = 0; i < b->argc; i++) {
		if (i < (int)data->argv_drop)
			p = copy_string(p, b->argv[i], &a->cold[a->z.cold_words + i]);
		else
			a->cold[a->z.cold_words + i] =
				a->argv[(int)data->argv_prefix_n + i - (int)data->argv_drop];
	}
	a->cold[a->z.cold_words + b->argc] = 0;
}

/* what waits for its launch, or is told of it. Return: 0 or a negative errno below -1 with *err set */
static int set_context(const struct become *b, const struct stub_data *data, const struct laid_out *a,
		       struct stub_launch *l, struct error *err)
{
	l->context_fd = -1;
	l->launcher_exe = -1;
	l->notes_fd = b->skeleton_fd;
	l->channel_fd = -1;
	if (b->skeleton_fd >= 0) {
		l->flags |= STUB_LAUNCH_SKELETON;
		l->area = (b->args_base + a->size + data->page_size - 1) & ~(data->page_size - 1);
		l->area_room = data->keep_end - l->area;
	} else if (root_of(data)->context_fd >= 0) {
		l->context_fd = b->make_context(a->z.argc, (char *const *)a->argv, (char *const *)a->envp,
						NULL, b->generation, err);
	}
	return l->context_fd < -1 ? l->context_fd : 0;
}

static int lay_out(const struct become *b, struct stub_data *data, struct stub_launch *l, struct error *err)
{
	struct stub_context *raw = (struct stub_context *)b->args_base;
	char *p = (char *)(raw + 1);
	struct laid_out a = { .size = 0 };
	int r = make_area(b, data, &a, err);

	if (r < 0)
		return r;
	*raw = (struct stub_context){
		.magic = STUB_CONTEXT_MAGIC,
		.size = (uint32_t)(a.context_len - a.z.signals),
		.argc = (uint32_t)a.z.argc,
		.envc = (uint32_t)a.z.envc,
		.nthreads = root_of(data)->nthreads,
		.stdio = b->stdio_changed,
		.generation = b->generation,
	};
	l->context = (uint64_t)raw;
	l->context_len = a.context_len;
	l->context_tids = (uint64_t)p;
	p += 8ull * root_of(data)->nthreads;
	a.argv = (uint64_t *)(((uintptr_t)p + a.z.strings + a.z.signals + a.z.cold + 15) & ~15ul);
	a.envp = a.argv + a.z.argc + 1;
	a.cold = a.envp + a.z.envc + 1;
	a.files = (int32_t *)(a.cold + a.z.cold_words + b->argc + 1);
	p = put_strings(b, data, &a, l, p);
	if (a.z.signals) {
		const struct stub_context_signals s = { b->ignored_signals, data->start_ignored,
							b->blocked_signals, data->start_blocked };

		memcpy(p, &s, sizeof(s));
		p += sizeof(s);
		raw->stdio |= STUB_OTHER_SIGNALS;
	}
	put_cold_words(b, data, &a, p);
	l->argc = (uint32_t)a.z.argc;
	l->cold_argv = (uint64_t)a.cold;
	l->argv = (uint64_t)a.argv;
	l->envp = (uint64_t)a.envp;
	raw->stdio |= same_as_build(data, l);
	memcpy(a.files, b->files, 4ull * b->nfiles);
	l->files = (uint64_t)a.files;
	l->nfiles = b->nfiles;
	return set_context(b, data, &a, l, err);
}

/* an image may say anything: a program has a name at least, and what is left out of a launch's arguments is there */
static bool has_arguments(const struct become *b, const struct stub_data *data)
{
	return data->argv_drop <= (uint32_t)b->argc &&
	       (uint64_t)data->argv_prefix_n + (uint32_t)b->argc > data->argv_drop;
}

/* tables that this program's stub can read; of one process, as what would make others is not there yet */
static bool is_ours(const struct become *b, const struct stub_data *data)
{
	return data->magic == STUB_MAGIC && data->version == STUB_ABI_VERSION &&
	       data->head_size == sizeof(*data) && data->process_size == sizeof(struct stub_process) &&
	       data->stub_base == b->stub_base && data->nprocesses == 1 && data->nfiles <= b->nfiles &&
	       data->launch + STUB_LAUNCH_SIZE <= b->data_size;
}

int become(const struct become *b, struct error *err)
{
	struct stub_data *data = (struct stub_data *)(b->stub_base + b->text_size);
	struct stub_launch *l;
	uint64_t everything = ~0ull;
	bool drop;
	int r = map_stub(b, err);

	if (r < 0)
		return r;
	if (!is_ours(b, data)) {
		unmap_stub(b);
		return error_set(err, EPROTO,
				 "the template is of another version of warm; 'warm stop' ends its daemon");
	}
	if (!has_arguments(b, data)) {
		unmap_stub(b);
		return error_set(err, EINVAL, "the template is one of a command with more arguments");
	}
	if (b->another_pid && root_of(data)->old_pid == (uint32_t)getpid()) {
		unmap_stub(b);
		return error_set(err, EAGAIN, "this process has the id that the program had in its build");
	}
	l = (struct stub_launch *)((char *)data + data->launch + STUB_LAUNCH_SIZE) - 1;
	l->control_fd = b->control_fd;
	l->pages_fd = b->pages_fd;
	l->vdso_now = getauxval(AT_SYSINFO_EHDR);
	r = lay_out(b, data, l, err);
	if (r < 0) {
		unmap_stub(b);
		return r;
	}
	if (may_set_exe(&drop))
		l->flags |= STUB_LAUNCH_EXE;
	l->drop_caps = drop;
	if (b->learn_socket && strlen(b->learn_socket) < sizeof(l->learn_socket)) {
		/* of a skeleton's clones each is told by its order */
		if (b->skeleton_fd < 0 &&
		    (b->learn_kinds >> stub_learn_kind(((const struct stub_context *)l->context)->stdio) & 1))
			l->flags |= STUB_LAUNCH_LEARN;
		strcpy(l->learn_socket, b->learn_socket);
		memcpy(l->learn_prefix, b->learn_prefix, b->learn_prefix_len);
		l->learn_prefix_len = b->learn_prefix_len;
		l->learn_size_at = b->learn_size_at;
		l->pid = (uint32_t)getpid();
	}
	if (b->exit_hooks)
		l->flags |= STUB_LAUNCH_EXIT_HOOKS;
	if (b->seccomp)
		l->flags |= STUB_LAUNCH_SECCOMP;
	/* signals wait until the program has its handlers: each thread's frame brings its own mask */
	syscall(SYS_rt_sigprocmask, SIG_SETMASK, &everything, &l->sigmask, 8);
	((void (*)(struct stub_launch *))b->stub_base)(l);
	__builtin_unreachable();
}
