/* SPDX-License-Identifier: MIT */
/* proc.h - what /proc tells of a process: proc_pid_maps(5), proc_pid_smaps(5), proc_pid_status(5) */
#ifndef WARM_ENGINE_PROC_H
#define WARM_ENGINE_PROC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum proc_vmflag { /* two-letter codes of smaps' VmFlags line */
		   VMF_GROWSDOWN = 1 << 0, /* gd */
		   VMF_LOCKED = 1 << 1, /* lo */
		   VMF_DONTFORK = 1 << 2, /* dc */
		   VMF_DONTDUMP = 1 << 3, /* dd */
		   VMF_WIPEONFORK = 1 << 4, /* wf */
		   VMF_HUGETLB = 1 << 5, /* ht */
		   VMF_HUGEPAGE = 1 << 6, /* hg */
		   VMF_NOHUGEPAGE = 1 << 7, /* nh */
		   VMF_MERGEABLE = 1 << 8, /* mg */
		   VMF_SEQUENTIAL = 1 << 9, /* sr */
		   VMF_RANDOM = 1 << 10, /* rr */
		   VMF_NORESERVE = 1 << 11, /* nr */
		   VMF_SHADOWSTACK = 1 << 12, /* ss */
		   VMF_SEALED = 1 << 13, /* sl */
		   VMF_IO = 1 << 14, /* io */
		   VMF_PFNMAP = 1 << 15, /* pf */
		   VMF_DROPPABLE = 1 << 16, /* dp */
		   VMF_UFFD = 1 << 17, /* um, uw, ui */
		   VMF_GUARD = 1 << 18, /* gu: guard regions (MADV_GUARD_INSTALL) */
		   VMF_MAYSHARE = 1 << 19, /* ms */
};

struct proc_map {
	uint64_t start, end, offset;
	uint32_t prot; /* PROT_* */
	bool shared, deleted;
	uint64_t dev, ino;
	uint32_t vmflags; /* enum proc_vmflag; 0 unless asked for */
	char *path; /* "" for none; "[heap]" etc. as the kernel names them, " (deleted)" cut off */
};

struct proc_maps {
	struct proc_map *v;
	size_t n;
};

/** proc_read_maps() - @flags: with VmFlags (smaps, slower). The caller ends with proc_maps_done(). */
int proc_read_maps(pid_t pid, bool flags, struct proc_maps *ret);
void proc_maps_done(struct proc_maps *maps);

/** proc_status_hex(), proc_status_long() - a field of /proc/PID/task/TID/status; @key as "SigIgn:" */
int proc_status_hex(const char *status, const char *key, uint64_t *ret);
int proc_status_long(const char *status, const char *key, long *ret);

/** proc_stat_field() - field number @n (1-based, as proc_pid_stat(5) counts) of a stat line */
int proc_stat_field(const char *stat, int n, uint64_t *ret);

#define PROC_COMM_SIZE 16 /* TASK_COMM_LEN */

/** proc_comm() - the name of a process (proc_pid_comm(5)), "?" if it cannot be read */
void proc_comm(pid_t pid, char ret[PROC_COMM_SIZE]);

#endif
