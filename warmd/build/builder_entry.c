/* SPDX-License-Identifier: MIT */
/* builder_entry.c - how clones come in: the model's entry, from what the build knows of the program */
#include "warmd/build/builder_internal.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#include "engine/base/fd.h"
#include "engine/elf.h"
#include "snapshot/dump/dump.h"
#include "warmd/build/observe.h"

static int oom_score_adj(const char *proc, char text[256])
{
	_cleanup_free_ char *value = NULL;
	char path[300];
	int r;

	snprintf(path, sizeof(path), "%s/oom_score_adj", proc);
	r = read_file(path, &value, NULL);
	if (r == 0)
		snprintf(text, 256, "%s", value);
	return r;
}

static void add_hook(struct builder *b, uint64_t addr, enum model_hook_kind kind)
{
	b->hooks[b->nhooks++] = (struct model_hook){ .addr = addr, .kind = kind };
}

static int find_exit(struct builder *b, struct model_exit *ret, struct error *err)
{
	struct adaptor_exit e;
	struct elf_query q[ARRAY_SIZE(e.symbols) + 4];
	int r;

	if (adaptor_parse_exit(b->lines.exit, &e) < 0)
		return error_set(err, EBADMSG, "the adaptor's EXIT line is malformed");
	memset(q, 0, sizeof(q));
	q[0].name = e.call;
	q[1].name = e.value;
	q[2].name = "exit";
	q[3].name = "fflush";
	for (unsigned int i = 0; i < e.n; i++)
		q[4 + i].name = e.symbols[i];
	r = elf_lookup(trace_root(b->trace), q, 4 + e.n);
	if (r < 0)
		return error_errno(err, r, "reading the program's symbols");
	memset(ret, 0, sizeof(*ret));
	b->nhooks = 0; /* that of find_learning_exit() is among these */
	if (!q[0].addr || !q[1].addr || !q[2].addr || !q[3].addr)
		return 0; /* no fast exit: complete finalisation, as without the line */
	ret->call = q[0].addr;
	ret->value = q[1].addr;
	ret->arg = e.arg;
	ret->libc_exit = q[2].addr;
	ret->libc_fflush = q[3].addr;
	for (unsigned int i = 0; i < e.n; i++)
		if (q[4 + i].addr)
			add_hook(b, q[4 + i].addr, e.marked[i] ? MODEL_HOOK_EXIT : MODEL_HOOK_RETURN);
	add_hook(b, ret->libc_exit, MODEL_HOOK_FINAL);
	return 0;
}

/* without an adaptor exit(3) is hooked in those launches alone that tell which pages they wrote */
static void find_learning_exit(struct builder *b)
{
	struct elf_query q = { .name = "exit" };

	elf_lookup(trace_root(b->trace), &q, 1);
	if (!q.addr)
		return;
	b->exit.libc_exit = q.addr;
	b->exit.learn_only = 1;
	add_hook(b, q.addr, MODEL_HOOK_FINAL);
}

/* engine/stub/madvise.c, readlink.c */
static void find_hooked(struct builder *b)
{
	struct elf_query q[] = { { .name = "__errno_location" },
				 { .name = "madvise" },
				 { .name = "mremap" },
				 { .name = "readlink" },
				 { .name = "readlinkat" } };

	elf_lookup(trace_root(b->trace), q, ARRAY_SIZE(q));
	if (!q[0].addr)
		return;
	b->exit.errno_location = q[0].addr;
	if (q[1].addr)
		add_hook(b, q[1].addr, MODEL_HOOK_MADVISE);
	if (q[1].addr && q[2].addr)
		add_hook(b, q[2].addr, MODEL_HOOK_MREMAP);
	/* not what a preloaded library (fakeroot) has in their place */
	for (unsigned int i = 3; i < 5; i++)
		if (q[i].addr && q[i].bias == q[0].bias)
			add_hook(b, q[i].addr, i == 3 ? MODEL_HOOK_READLINK : MODEL_HOOK_READLINKAT);
}

static void find_main_symbols(struct builder *b, struct model_entry *e)
{
	struct elf_query q[] = { { .name = "__environ" },
				 { .name = "environ" },
				 { .name = "program_invocation_name" },
				 { .name = "program_invocation_short_name" },
				 { .name = "__libc_argv" } };
	unsigned int n = 0;

	elf_lookup(trace_root(b->trace), q, ARRAY_SIZE(q));
	for (unsigned int i = 0; i < 2; i++) {
		/* a copy relocation: the executable's is the one in use, the library's is written too */
		if (q[i].addr)
			e->environ_addr[n++] = q[i].addr;
		if (q[i].in_exe && q[i].in_exe != q[i].addr)
			e->environ_addr[n++] = q[i].in_exe;
	}
	e->progname_full_addr = q[2].in_exe ? q[2].in_exe : q[2].addr;
	e->progname_short_addr = q[3].in_exe ? q[3].in_exe : q[3].addr;
	e->libc_argv_addr = q[4].addr;
}

/* where a clone's context comes to it */
static void fill_context(struct builder *b, uint32_t resume, struct model_entry *e)
{
	e->context_raw = resume == MODEL_RESUME_CONTEXT;
	e->context_late = b->early && b->point.kind->asks;
	e->context_fd = e->context_late || (resume == DUMP_RESUME_AGAIN && !b->early) ? b->child.warm_fd : -1;
	b->context_fd = e->context_raw ? -1 : e->context_fd;
	if (b->leave.frame)
		e->leave = (struct model_leave){ .slot = b->leave.slot,
						 .restore = b->leave.restore,
						 .exception = b->leave.exception,
						 .release = b->leave.release,
						 .gil_state = b->leave.release_argument,
						 .frame = b->leave.frame };
}

/* the bytes that a clone's hooks take the place of, and puts back when they are not wanted any more */
static int read_hooked(struct builder *b, struct error *err)
{
	for (size_t i = 0; i < b->nhooks; i++) {
		struct model_hook *hook = &b->hooks[i];
		uint8_t jump[sizeof(hook->original)];
		int r;

		hook->len = (uint32_t)arch_jump_patch(jump, 0);
		r = trace_read(trace_root(b->trace), hook->addr, hook->original, hook->len);
		if (r < 0)
			return error_errno(err, r, "reading the program's exit function");
	}
	return 0;
}

static int fill_hooks(struct builder *b, uint32_t resume, struct model_entry *e, struct error *err)
{
	int r;

	if (resume == MODEL_RESUME_MAIN)
		find_main_symbols(b, e);
	find_learning_exit(b);
	if (b->lines.exit) {
		r = find_exit(b, &b->exit, err);
		if (r < 0)
			return r;
	}
	find_hooked(b);
	e->has_exit = b->nhooks > 0;
	e->exit = b->exit;
	e->hooks = b->hooks;
	e->nhooks = b->nhooks;
	return read_hooked(b, err);
}

/* builder_split_arguments() has found them */
static void fill_arguments(const struct builder *b, struct model_entry *e)
{
	e->argv_prefix = b->cmdline_argv;
	e->argv_prefix_n = b->argv_prefix_n;
	e->argv_drop = b->argv_drop;
}

/* what the program found at its start: a clone is given what it changed of that */
static void fill_start(struct builder *b, struct model_entry *e)
{
	char proc[64], before[256];

	e->start_cwd = b->req->cwd;
	e->build_env = b->req->envp;
	e->build_envc = b->req->run.envc;
	e->build_argv = b->cmdline_argv;
	e->build_argc = (uint32_t)b->cmdline_argc;
	/* same shape: an address and a length */
	_Static_assert(sizeof(*e->randoms) == sizeof(*b->lines.randoms),
		       "struct model_range is struct adaptor_range");
	e->randoms = (struct model_range *)b->lines.randoms;
	e->nrandoms = b->lines.nrandoms;
	e->start_umask = b->req->run.umask;
	e->has_start_rlimits = true;
	memcpy(e->start_rlimits, b->start_rlimits, sizeof(e->start_rlimits));
	e->start_nice = b->start_scheduling.nice;
	e->start_policy = b->start_scheduling.policy;
	e->has_start_affinity = true;
	memcpy(e->start_affinity, b->start_affinity, sizeof(e->start_affinity));
	snprintf(proc, sizeof(proc), "/proc/%d", trace_root(b->trace));
	if (oom_score_adj("/proc/self", before) == 0 && oom_score_adj(proc, b->oom_score_adj) == 0 &&
	    strcmp(before, b->oom_score_adj) != 0)
		e->oom_score_adj = b->oom_score_adj;
	e->start_personality = b->start_personality;
	e->start_timerslack_ns = (uint64_t)prctl(PR_GET_TIMERSLACK);
	e->ignored_signals = b->req->run.ignored_signals;
	e->blocked_signals = b->req->run.blocked_signals;
	e->own_signals = observe_keys(b->observe)->signals_default |
			 observe_keys(b->observe)->signals_ignored;
	e->tell_signals = b->lines.signals && e->context_raw;
}

/* where a read-like call that waits for the launch context will put it. Return: 0; -EOPNOTSUPP for another call */
static int context_buffer(const struct frozen_process *frozen, const struct model_thread *t,
			  uint64_t *ret_addr, uint64_t *ret_size)
{
	struct iovec iov;
	struct msghdr msg;
	uint64_t args[6], at;
	long nr;
	int r = 0;

	arch_syscall_args(&t->regs, &nr, args);
	at = args[1];
	switch (nr) {
	case SYS_read:
	case SYS_recvfrom:
		*ret_addr = args[1];
		*ret_size = args[2];
		return 0;
	case SYS_recvmsg:
		r = frozen_read(frozen, args[1], &msg, sizeof(msg));
		at = (uint64_t)msg.msg_iov;
		break;
	case SYS_readv:
		break;
	default:
		return -EOPNOTSUPP;
	}
	if (r == 0)
		r = frozen_read(frozen, at, &iov, sizeof(iov));
	if (r == 0) {
		*ret_addr = (uint64_t)iov.iov_base;
		*ret_size = iov.iov_len;
	}
	return r;
}

static int fill_context_buffer(const struct builder *b, const struct frozen_process *frozen,
			       struct model_entry *e, struct error *err)
{
	const struct model_process *p = &b->model->processes[0];

	for (size_t i = 0; i < p->nthreads; i++) {
		int r;

		if (p->threads[i].resume != MODEL_RESUME_CONTEXT)
			continue;
		r = context_buffer(frozen, &p->threads[i], &e->context_buf, &e->context_max);
		return r < 0 ? error_errno(err, r, "the read at the readiness point") : 0;
	}
	return error_set(err, EIO, "no thread reads the launch context");
}

int builder_fill_entry(struct builder *b, const struct frozen_process *frozen, uint32_t resume,
		       struct error *err)
{
	struct model_entry *e = &b->model->entry;
	int r;

	fill_context(b, resume, e);
	fill_arguments(b, e);
	r = fill_hooks(b, resume, e, err);
	if (r == 0 && e->context_raw)
		r = fill_context_buffer(b, frozen, e, err);
	if (r < 0)
		return r;
	fill_start(b, e);
	return builder_fill_outputs(b, e) < 0 ? error_set(err, ENOMEM, "no memory") : 0;
}
