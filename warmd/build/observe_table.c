/* SPDX-License-Identifier: MIT */
/*
 * Which system call is looked at, and how. Numbers differ by architecture and
 * newer ones lack the old calls, hence the #ifdefs by call.
 */
#include "warmd/build/observe_internal.h"

#include "engine/base/fd.h"

/* arguments are numbered from 1 in rules */
#define LOOK(d, p, f, h)                                                                                     \
	{                                                                                                    \
		.entry = on_look_entry, .exit = on_look, .dirfd = (d), .path = (p), .flags = (f), .how = (h) \
	}
#define CHANGE(e, d, p, d2, p2, v)                                                                           \
	{                                                                                                    \
		.entry = on_effect_entry, .exit = on_effect, .dirfd = (d), .path = (p), .dirfd2 = (d2),      \
		.path2 = (p2), .effect = (e), .verb = (v)                                                    \
	}
#define CONTENTS(p, v)                                                                                       \
	{                                                                                                    \
		.entry = on_effect_entry, .exit = on_effect, .path = (p), .effect = EFFECT_CHANGE_FD,        \
		.how = RULE_CONTENTS, .verb = (v)                                                            \
	}
#define OUTSIDE(v)                                                                                           \
	{                                                                                                    \
		.entry = on_outside_entry, .verb = (v)                                                       \
	}
/* of or about the process that argument @p names */
#define PROCESS(p, v, e)                                                                                     \
	{                                                                                                    \
		.entry = on_process_entry, .exit = (e), .path = (p), .verb = (v)                             \
	}

static const struct rule rules[OBSERVE_NR_MAX] = {
/* looking at the file system */
#ifdef SYS_open
	[SYS_open] = { .entry = on_open_entry, .exit = on_open, .path = 1, .flags = 2 },
	[SYS_creat] = { .entry = on_open_entry, .exit = on_open, .path = 1 },
	[SYS_stat] = LOOK(0, 1, 0, RULE_STAT),
	[SYS_lstat] = LOOK(0, 1, 0, RULE_NOFOLLOW),
	[SYS_access] = LOOK(0, 1, 0, 0),
	[SYS_readlink] = { .entry = on_readlink_entry, .exit = on_look, .path = 1, .how = RULE_NOFOLLOW },
	[SYS_getdents] = { .entry = on_getdents_entry, .exit = on_getdents },
#endif
	[SYS_openat] = { .entry = on_open_entry, .exit = on_open, .dirfd = 1, .path = 2, .flags = 3 },
	[SYS_openat2] = { .entry = on_open_entry, .exit = on_open, .dirfd = 1, .path = 2, .flags = 3 },
	[SYS_newfstatat] = LOOK(1, 2, 4, RULE_STAT | RULE_FLAG_NOFOLLOW),
	[SYS_statx] = LOOK(1, 2, 3, RULE_STAT | RULE_FLAG_NOFOLLOW),
	[SYS_faccessat] = LOOK(1, 2, 0, 0),
	[SYS_faccessat2] = LOOK(1, 2, 4, RULE_FLAG_NOFOLLOW),
	[SYS_readlinkat] = { .entry = on_readlink_entry,
			     .exit = on_look,
			     .dirfd = 1,
			     .path = 2,
			     .how = RULE_NOFOLLOW },
	[SYS_getxattr] = LOOK(0, 1, 0, 0),
	[SYS_lgetxattr] = LOOK(0, 1, 0, RULE_NOFOLLOW),
	[SYS_listxattr] = LOOK(0, 1, 0, 0),
	[SYS_llistxattr] = LOOK(0, 1, 0, RULE_NOFOLLOW),
#ifdef SYS_getxattrat
	[SYS_getxattrat] = LOOK(1, 2, 3, RULE_FLAG_NOFOLLOW),
	[SYS_listxattrat] = LOOK(1, 2, 3, RULE_FLAG_NOFOLLOW),
#endif
	[SYS_inotify_add_watch] = LOOK(0, 2, 0, 0),
	[SYS_statfs] = LOOK(0, 1, 0, RULE_EXISTS),
	[SYS_getdents64] = { .entry = on_getdents_entry, .exit = on_getdents },
	[SYS_chdir] = { .entry = on_chdir_entry, .exit = on_chdir, .path = 1 },
	[SYS_fchdir] = { .exit = on_chdir },
	[SYS_execve] = { .entry = on_exec_entry, .exit = on_exec, .path = 1 },
	[SYS_execveat] = { .entry = on_exec_entry, .exit = on_exec, .dirfd = 1, .path = 2 },

/* changing it */
#ifdef SYS_rename
	[SYS_rename] = CHANGE(EFFECT_RENAME, 0, 1, 0, 2, "renames"),
	[SYS_unlink] = CHANGE(EFFECT_REMOVE, 0, 1, 0, 0, "removes"),
	[SYS_rmdir] = CHANGE(EFFECT_REMOVE, 0, 1, 0, 0, "removes"),
	[SYS_mkdir] = CHANGE(EFFECT_CREATE, 0, 1, 0, 0, "makes"),
	[SYS_mknod] = CHANGE(EFFECT_CREATE, 0, 1, 0, 0, "makes"),
	[SYS_symlink] = CHANGE(EFFECT_CREATE, 0, 2, 0, 0, "makes"),
	[SYS_link] = CHANGE(EFFECT_CREATE, 0, 2, 0, 0, "makes"),
	[SYS_chmod] = CHANGE(EFFECT_CHANGE, 0, 1, 0, 0, "changes the mode of"),
	[SYS_chown] = CHANGE(EFFECT_CHANGE, 0, 1, 0, 0, "changes the owner of"),
	[SYS_lchown] = CHANGE(EFFECT_CHANGE, 0, 1, 0, 0, "changes the owner of"),
	[SYS_utime] = CHANGE(EFFECT_CHANGE, 0, 1, 0, 0, "changes the times of"),
	[SYS_utimes] = CHANGE(EFFECT_CHANGE, 0, 1, 0, 0, "changes the times of"),
	[SYS_futimesat] = CHANGE(EFFECT_CHANGE, 1, 2, 0, 0, "changes the times of"),
#endif
#ifdef SYS_renameat
	[SYS_renameat] = CHANGE(EFFECT_RENAME, 1, 2, 3, 4, "renames"),
#endif
	[SYS_renameat2] = CHANGE(EFFECT_RENAME, 1, 2, 3, 4, "renames"),
	[SYS_unlinkat] = CHANGE(EFFECT_REMOVE, 1, 2, 0, 0, "removes"),
	[SYS_mkdirat] = CHANGE(EFFECT_CREATE, 1, 2, 0, 0, "makes"),
	[SYS_mknodat] = CHANGE(EFFECT_CREATE, 1, 2, 0, 0, "makes"),
	[SYS_symlinkat] = CHANGE(EFFECT_CREATE, 2, 3, 0, 0, "makes"),
	[SYS_linkat] = CHANGE(EFFECT_CREATE, 3, 4, 0, 0, "makes"),
	[SYS_fchmodat] = CHANGE(EFFECT_CHANGE, 1, 2, 0, 0, "changes the mode of"),
#ifdef SYS_fchmodat2
	[SYS_fchmodat2] = CHANGE(EFFECT_CHANGE, 1, 2, 0, 0, "changes the mode of"),
#endif
	[SYS_fchownat] = CHANGE(EFFECT_CHANGE, 1, 2, 0, 0, "changes the owner of"),
	[SYS_utimensat] = CHANGE(EFFECT_CHANGE, 1, 2, 0, 0, "changes the times of"),
	[SYS_truncate] = CHANGE(EFFECT_CHANGE, 0, 1, 0, 0, "truncates"),
	[SYS_setxattr] = CHANGE(EFFECT_CHANGE, 0, 1, 0, 0, "changes attributes of"),
	[SYS_lsetxattr] = CHANGE(EFFECT_CHANGE, 0, 1, 0, 0, "changes attributes of"),
	[SYS_removexattr] = CHANGE(EFFECT_CHANGE, 0, 1, 0, 0, "changes attributes of"),
	[SYS_lremovexattr] = CHANGE(EFFECT_CHANGE, 0, 1, 0, 0, "changes attributes of"),
	[SYS_ftruncate] = CONTENTS(1, "truncates"),
	[SYS_fallocate] = CONTENTS(1, "writes to"),
	[SYS_fchmod] = CHANGE(EFFECT_CHANGE_FD, 0, 1, 0, 0, "changes the mode of"),
	[SYS_fchown] = CHANGE(EFFECT_CHANGE_FD, 0, 1, 0, 0, "changes the owner of"),
	[SYS_fsetxattr] = CHANGE(EFFECT_CHANGE_FD, 0, 1, 0, 0, "changes attributes of"),
	[SYS_fremovexattr] = CHANGE(EFFECT_CHANGE_FD, 0, 1, 0, 0, "changes attributes of"),

	/* descriptors */
	[SYS_socket] = { .exit = on_socket },
	[SYS_accept] = { .exit = on_fd_made },
	[SYS_accept4] = { .exit = on_fd_made },
	[SYS_eventfd2] = { .exit = on_fd_made },
	[SYS_epoll_create1] = { .exit = on_fd_made },
	[SYS_memfd_create] = { .exit = on_fd_made },
	[SYS_timerfd_create] = { .exit = on_fd_made },
	[SYS_signalfd4] = { .exit = on_fd_made },
	[SYS_inotify_init1] = { .exit = on_fd_made },
	[SYS_pipe2] = { .exit = on_fd_made, .path = 1 },
	[SYS_socketpair] = { .exit = on_fd_made, .path = 4 },
#ifdef SYS_pipe
	[SYS_pipe] = { .exit = on_fd_made, .path = 1 },
	[SYS_eventfd] = { .exit = on_fd_made },
	[SYS_epoll_create] = { .exit = on_fd_made },
	[SYS_signalfd] = { .exit = on_fd_made },
	[SYS_inotify_init] = { .exit = on_fd_made },
	[SYS_dup2] = { .exit = on_dup },
#endif
	[SYS_dup] = { .exit = on_dup },
	[SYS_dup3] = { .exit = on_dup },
	[SYS_close] = { .exit = on_close },
	[SYS_close_range] = { .exit = on_close },
	[SYS_flock] = { .entry = on_lock_entry },
	[SYS_fcntl] = { .entry = on_fcntl_entry, .exit = on_fcntl },
	[SYS_fstat] = { .entry = on_fstat_entry, .exit = on_fstat },
	[SYS_lseek] = { .entry = on_lseek_entry, .exit = on_fstat },
	[SYS_fstatfs] = { .entry = on_fstat_entry, .exit = on_fstat },
	[SYS_getsockname] = { .entry = on_name_entry, .exit = on_fstat },
	[SYS_getsockopt] = { .entry = on_fstat_entry, .exit = on_fstat },
	[SYS_ioctl] = { .entry = on_ioctl_entry, .exit = on_ioctl },
	[SYS_read] = { .entry = on_read_entry, .exit = on_read },
	[SYS_readv] = { .entry = on_read_entry, .exit = on_read },
	[SYS_pread64] = { .entry = on_read_entry, .exit = on_read },
	[SYS_preadv] = { .entry = on_read_entry, .exit = on_read },
	[SYS_preadv2] = { .entry = on_read_entry, .exit = on_read },
	[SYS_recvfrom] = { .entry = on_read_entry, .exit = on_read },
	[SYS_recvmsg] = { .entry = on_read_entry, .exit = on_read },
	[SYS_recvmmsg] = { .entry = on_read_entry, .exit = on_read },
	[SYS_write] = { .entry = on_write_entry, .exit = on_write },
	[SYS_pwrite64] = { .entry = on_write_entry, .exit = on_write },
	[SYS_writev] = { .entry = on_write_entry, .exit = on_writev },
	[SYS_pwritev] = { .entry = on_write_entry, .exit = on_writev },
	[SYS_pwritev2] = { .entry = on_write_entry, .exit = on_writev },
	/* from the descriptor in `dirfd` to the one in `path` */
	[SYS_splice] = { .entry = on_copy_entry, .dirfd = 1, .path = 3 },
	[SYS_tee] = { .entry = on_copy_entry, .dirfd = 1, .path = 2 },
	[SYS_sendfile] = { .entry = on_copy_entry, .dirfd = 2, .path = 1 },
	[SYS_copy_file_range] = { .entry = on_copy_entry, .dirfd = 1, .path = 3 },
	[SYS_vmsplice] = { .entry = on_copy_entry, .path = 1 },
	[SYS_mmap] = { .entry = on_mmap_entry },

	/* the outside */
	[SYS_connect] = { .entry = on_connect_entry, .exit = on_connect },
	[SYS_bind] = { .entry = on_bind_entry },
	[SYS_listen] = OUTSIDE("listens on a socket"),
	[SYS_sendto] = { .entry = on_send_entry, .path = 5 },
	[SYS_sendmsg] = { .entry = on_send_entry },
	[SYS_sendmmsg] = { .entry = on_send_entry },
	[SYS_kill] = { .entry = on_kill_entry },
	[SYS_tkill] = { .entry = on_kill_entry },
	[SYS_tgkill] = { .entry = on_kill_entry },
	[SYS_rt_sigqueueinfo] = { .entry = on_kill_entry },
	[SYS_rt_tgsigqueueinfo] = { .entry = on_kill_entry },
	[SYS_pidfd_send_signal] = { .entry = on_kill_entry },
	[SYS_mount] = OUTSIDE("mounts a file system"),
	[SYS_move_mount] = OUTSIDE("mounts a file system"),
	[SYS_umount2] = OUTSIDE("unmounts a file system"),
	[SYS_pivot_root] = OUTSIDE("changes the root file system"),
	[SYS_swapon] = OUTSIDE("changes the swap space"),
	[SYS_swapoff] = OUTSIDE("changes the swap space"),
	[SYS_sethostname] = OUTSIDE("sets the host's name"),
	[SYS_setdomainname] = OUTSIDE("sets the domain's name"),
	[SYS_settimeofday] = OUTSIDE("sets the clock"),
	[SYS_clock_settime] = OUTSIDE("sets the clock"),
	[SYS_init_module] = OUTSIDE("loads a kernel module"),
	[SYS_finit_module] = OUTSIDE("loads a kernel module"),
	[SYS_delete_module] = OUTSIDE("unloads a kernel module"),
	[SYS_acct] = OUTSIDE("switches process accounting"),
	[SYS_shmget] = OUTSIDE("opens System V shared memory"),
	[SYS_shmat] = OUTSIDE("opens System V shared memory"),
	[SYS_shmctl] = OUTSIDE("uses System V shared memory"),
	[SYS_semop] = OUTSIDE("uses a System V semaphore"),
	[SYS_semtimedop] = OUTSIDE("uses a System V semaphore"),
	[SYS_semctl] = OUTSIDE("uses a System V semaphore"),
	[SYS_msgsnd] = OUTSIDE("uses a System V message queue"),
	[SYS_msgrcv] = OUTSIDE("uses a System V message queue"),
	[SYS_msgctl] = OUTSIDE("uses a System V message queue"),
	[SYS_mount_setattr] = OUTSIDE("changes a mount"),
	[SYS_fspick] = OUTSIDE("mounts a file system"),
	[SYS_fsconfig] = OUTSIDE("mounts a file system"),
	[SYS_fsmount] = OUTSIDE("mounts a file system"),
	[SYS_quotactl_fd] = OUTSIDE("uses quotas"),
	[SYS_syslog] = OUTSIDE("uses the kernel's log"),
	[SYS_kexec_load] = OUTSIDE("loads a kernel"),
	[SYS_kexec_file_load] = OUTSIDE("loads a kernel"),
#ifdef SYS_iopl
	[SYS_iopl] = OUTSIDE("uses I/O ports"),
	[SYS_ioperm] = OUTSIDE("uses I/O ports"),
	[SYS_modify_ldt] = OUTSIDE("changes its segments"),
#endif
	[SYS_memfd_secret] = OUTSIDE("makes secret memory"),
	[SYS_pidfd_getfd] = OUTSIDE("takes a descriptor of another process"),
	[SYS_process_madvise] = OUTSIDE("changes the memory of another process"),
	[SYS_process_mrelease] = OUTSIDE("changes the memory of another process"),
	[SYS_mq_timedsend] = OUTSIDE("uses a message queue"),
	[SYS_mq_timedreceive] = OUTSIDE("uses a message queue"),
	[SYS_mq_notify] = OUTSIDE("uses a message queue"),
	[SYS_mq_getsetattr] = OUTSIDE("uses a message queue"),
	[SYS_setsockopt] = { .entry = on_setsockopt_entry },
	[SYS_shutdown] = { .entry = on_fstat_entry },
	[SYS_getpeername] = { .entry = on_name_entry },
	[SYS_semget] = OUTSIDE("opens a System V semaphore"),
	[SYS_msgget] = OUTSIDE("opens a System V message queue"),
	[SYS_mq_open] = OUTSIDE("opens a message queue"),
	[SYS_mq_unlink] = OUTSIDE("removes a message queue"),
	[SYS_add_key] = OUTSIDE("adds a key to a keyring"),
	[SYS_request_key] = OUTSIDE("asks for a key of a keyring"),
	[SYS_keyctl] = OUTSIDE("uses a keyring"),
	[SYS_io_setup] = OUTSIDE("uses asynchronous I/O"),
	[SYS_fanotify_init] = OUTSIDE("uses fanotify"),
	[SYS_perf_event_open] = OUTSIDE("opens a performance counter"),
	[SYS_bpf] = OUTSIDE("uses bpf(2)"),
	[SYS_quotactl] = OUTSIDE("uses quotas"),
	[SYS_reboot] = OUTSIDE("reboots"),
	[SYS_vhangup] = OUTSIDE("hangs up its terminal"),
	[SYS_adjtimex] = OUTSIDE("asks how the clock is adjusted, or adjusts it"),
	[SYS_clock_adjtime] = OUTSIDE("asks how the clock is adjusted, or adjusts it"),
	[SYS_fsopen] = OUTSIDE("mounts a file system"),
	[SYS_open_tree] = OUTSIDE("mounts a file system"),

	/* the program's own, but not carried: each clone does it itself */
	[SYS_setsid] = OUTSIDE("begins a session"),
	[SYS_setpgid] = OUTSIDE("changes its process group"),
	[SYS_setuid] = OUTSIDE("changes its user or group ids"),
	[SYS_setgid] = OUTSIDE("changes its user or group ids"),
	[SYS_setreuid] = OUTSIDE("changes its user or group ids"),
	[SYS_setregid] = OUTSIDE("changes its user or group ids"),
	[SYS_setresuid] = OUTSIDE("changes its user or group ids"),
	[SYS_setresgid] = OUTSIDE("changes its user or group ids"),
	[SYS_setfsuid] = OUTSIDE("changes its user or group ids"),
	[SYS_setfsgid] = OUTSIDE("changes its user or group ids"),
	[SYS_setgroups] = OUTSIDE("changes its supplementary groups"),
	[SYS_capset] = OUTSIDE("changes its capabilities"),
	[SYS_seccomp] = OUTSIDE("installs a seccomp filter"),
	[SYS_unshare] = OUTSIDE("changes its namespaces"),
	[SYS_setns] = OUTSIDE("changes its namespaces"),
	[SYS_chroot] = OUTSIDE("changes its root directory"),
#ifdef SYS_landlock_restrict_self
	[SYS_landlock_restrict_self] = OUTSIDE("restricts itself with Landlock"),
#endif
	[SYS_prctl] = { .entry = on_prctl_entry },

	/* about other processes */
	[SYS_pidfd_open] = PROCESS(1, "opens", on_fd_made),
	[SYS_getpgid] = { .entry = on_kin_entry, .path = 1, .verb = "asks for the process group of" },
	[SYS_getsid] = { .entry = on_kin_entry, .path = 1, .verb = "asks for the session of" },
#ifdef SYS_getpgrp
	[SYS_getpgrp] = { .entry = on_kin_entry, .verb = "asks for the process group of" },
#endif
	[SYS_getppid] = { .entry = on_kin_entry, .verb = "asks for the parent of" },
	[SYS_migrate_pages] = PROCESS(1, "moves pages of", NULL),
	[SYS_move_pages] = PROCESS(1, "moves pages of", NULL),
	[SYS_process_vm_readv] = PROCESS(1, "reads the memory of", NULL),
	[SYS_process_vm_writev] = PROCESS(1, "writes to the memory of", NULL),
	[SYS_get_robust_list] = PROCESS(1, "asks about", NULL),
	[SYS_ptrace] = OUTSIDE("uses ptrace(2)"),
	[SYS_io_uring_setup] = OUTSIDE("uses io_uring"),
	[SYS_open_by_handle_at] = OUTSIDE("opens a file by handle"),

/* properties of the launch */
#ifdef SYS_fork
	[SYS_fork] = { .exit = on_clone },
	[SYS_vfork] = { .exit = on_clone },
#endif
	[SYS_clone] = { .entry = on_clone_entry, .exit = on_clone },
	[SYS_clone3] = { .entry = on_clone_entry, .exit = on_clone },
	[SYS_uname] = { .exit = on_uname },
	[SYS_times] = { .exit = on_times },
	[SYS_sysinfo] = { .exit = on_sysinfo },
	[SYS_getpriority] = { .entry = on_priority_entry, .exit = on_getpriority, .verb = "asks for" },
	[SYS_setpriority] = { .entry = on_priority_entry, .exit = on_setpriority, .verb = "changes" },
	[SYS_ioprio_get] = { .entry = on_priority_entry, .exit = on_ioprio_get, .verb = "asks for" },
	[SYS_ioprio_set] = { .entry = on_priority_entry, .exit = on_ioprio_set, .verb = "changes" },
	[SYS_kcmp] = PROCESS(2, "asks about", NULL),
	[SYS_sched_rr_get_interval] = PROCESS(1, "asks about", on_getsched),
	[SYS_sched_getscheduler] = PROCESS(1, "asks about", on_getsched),
	[SYS_sched_getparam] = PROCESS(1, "asks about", on_getsched),
	[SYS_sched_getattr] = PROCESS(1, "asks about", on_getsched),
	[SYS_sched_setscheduler] = PROCESS(1, "changes the scheduling of", on_setsched),
	[SYS_sched_setparam] = PROCESS(1, "changes the scheduling of", on_setsched),
	[SYS_sched_setattr] = PROCESS(1, "changes the scheduling of", on_setsched),
	[SYS_getcwd] = { .exit = on_getcwd },
	[SYS_umask] = { .exit = on_umask },
	[SYS_sched_getaffinity] = PROCESS(1, "asks about", on_affinity),
	[SYS_sched_setaffinity] = PROCESS(1, "sets the affinity of", on_set_affinity),
#ifdef SYS_getrlimit
	[SYS_getrlimit] = { .exit = on_getrlimit },
	[SYS_setrlimit] = { .exit = on_setrlimit },
#endif
	[SYS_prlimit64] = PROCESS(1, "asks for limits of, or sets limits of,", on_prlimit),
	[SYS_rt_sigaction] = { .exit = on_sigaction },
	[SYS_rt_sigprocmask] = { .exit = on_sigprocmask },
};

/*
 * Calls that are newer than the headers, by their numbers, which are the same for all architectures from 424 on. What is not
 * known to be harmless is a boundary.
 */
#define NEWEST_HEADERS 450
static const long harmless[] = {
	451, /* cachestat */
	453, /* map_shadow_stack */
	454, /* futex_wake */
	455, /* futex_wait */
	456, /* futex_requeue */
	457, /* statmount */
	458, /* listmount */
	459, /* lsm_get_self_attr */
	461, /* lsm_list_modules */
	462, /* mseal */
	464, /* getxattrat */
	465, /* listxattrat */
	468, /* file_getattr */
};
static const struct rule unknown = OUTSIDE("makes a system call that warm does not know");

const struct rule *rule_find(long nr)
{
	const struct rule *rule;

	if (nr < 0) /* none has such a number */
		return NULL;
	rule = (size_t)nr < ARRAY_SIZE(rules) ? &rules[nr] : &unknown;
	if (rule->entry || rule->exit)
		return rule;
	for (size_t i = 0; i < ARRAY_SIZE(harmless); i++)
		if (nr == harmless[i])
			return NULL;
	return nr > NEWEST_HEADERS ? &unknown : NULL;
}

bool observe_wants(long nr)
{
	return rule_find(nr) != NULL;
}
