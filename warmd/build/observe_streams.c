/* SPDX-License-Identifier: MIT */
/*
 * Libraries that ask what the standard descriptors are when they are loaded, long before anybody uses them for that,
 * and that are right with any kind if they were told of one: these are told that it is a FIFO, and what they keep
 * of the answer binds the template to no kind. Who asks is known from the stack: the first return address
 * beyond the C library's.
 *
 * libgfortran (numpy and scipy have it with OpenBLAS; libgfortran/io/unix.c: fd_to_stream()) opens units 0, 5 and 6
 * in its constructor. It buffers what is a regular file, and nothing else. Unbuffered is right with all of them; only, what
 * Fortran code itself writes to a file is there at once, not at the program's end.
 */
#include "warmd/build/observe_internal.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>

#include "engine/base/fd.h"
#include "engine/base/proc_path.h"
#include "engine/proc.h"

#define STACK_BYTES                                                                                          \
	1024 /* the C library's own frames between the system call and its caller are much smaller */

static const char *const indifferent[] = { "libgfortran" };
static const char *const c_library[] = { "libc.so", "libc-", "libpthread", "ld-", "ld.so", "libc.musl" };

static bool named(const char *path, const char *const *names, size_t n)
{
	const char *base = strrchr(path, '/');

	for (size_t i = 0; base && i < n; i++)
		if (strncmp(base + 1, names[i], strlen(names[i])) == 0)
			return true;
	return false;
}

/* the code at @addr, or NULL: it is none */
static const struct proc_map *code_at(const struct proc_maps *maps, uint64_t addr)
{
	for (size_t i = 0; i < maps->n; i++)
		if (addr >= maps->v[i].start && addr < maps->v[i].end)
			return maps->v[i].prot & PROT_EXEC ? &maps->v[i] : NULL;
	return NULL;
}

/* /proc/TID/syscall of a thread that is stopped in one: its number, six arguments, stack pointer, program counter */
static uint64_t stack_pointer(pid_t tid)
{
	_cleanup_free_ char *text = NULL;
	uint64_t sp;

	if (read_file(proc_path(tid, "syscall").text, &text, NULL) < 0 ||
	    sscanf(text, "%*d %*s %*s %*s %*s %*s %*s %" SCNx64, &sp) != 1)
		return 0;
	return sp;
}

static bool caller_is_indifferent(struct observe *o, const struct thread *t)
{
	uint64_t words[STACK_BYTES / 8] = { 0 }, sp = stack_pointer(t->tid);
	struct proc_maps maps = { 0 };
	bool found = false;

	/* what lies beyond the stack's end cannot be read, and is not needed */
	if (!sp || o->read(o->read_data, t->tid, sp, words, sizeof(words)) <= 0 ||
	    proc_read_maps(t->proc->pid, false, &maps) < 0)
		return false;
	for (size_t i = 0; i < ARRAY_SIZE(words); i++) {
		const struct proc_map *m = code_at(&maps, words[i]);

		if (!m || named(m->path, c_library, ARRAY_SIZE(c_library)))
			continue;
		found = named(m->path, indifferent, ARRAY_SIZE(indifferent));
		break;
	}
	proc_maps_done(&maps);
	return found;
}

bool stream_answered(struct observe *o, const struct thread *t, const struct observe_call *c)
{
	int origin = fd_get(t->proc, (int)c->args[0]).origin;
	uint64_t at = c->nr == SYS_fstat ? c->args[1] : c->args[2];
	struct stat st;
	struct iovec local = { &st, sizeof(st) }, remote = { (void *)(uintptr_t)at, sizeof(st) };

	if (c->ret != 0 || origin < 0 || origin > 2 || (c->nr != SYS_fstat && c->nr != SYS_newfstatat) ||
	    !caller_is_indifferent(o, t) || peer_read(o, t->tid, at, &st, sizeof(st)) < 0)
		return false;
	st.st_mode = (st.st_mode & 07777) | S_IFIFO;
	st.st_rdev = 0;
	st.st_size = 0;
	st.st_blocks = 0;
	st.st_blksize = 4096;
	return process_vm_writev(t->tid, &local, 1, &remote, 1, 0) == (ssize_t)sizeof(st);
}
