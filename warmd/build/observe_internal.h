/* SPDX-License-Identifier: MIT */
/*
 * observe_internal.h - the inside of the observer.
 *
 *   observe.c          life, threads and processes, results
 *   observe_table.c    which call is whose
 *   observe_peer.c     the caller's memory and the paths in it
 *   observe_paths.c    calls that look at the file system; exec
 *   observe_effects.c  calls that change it
 *   observe_outside.c  effects that are no files: sockets, signals, mounts; questions about other processes
 *   observe_fds.c      descriptors from outside: which are, and what they are
 *   observe_ioctl.c    ioctl(2): of the terminal, of files, of sockets
 *   observe_io.c       input and output
 *   observe_streams.c  who asks what standard descriptors are, and does not mind
 *   observe_keys.c     calls that ask for properties of the launch
 *   observe_facts.c    calls that ask about the machine, and how it is shared
 *   observe_environment.c, observe_program.c  what children can have read of the environment
 */
#ifndef WARM_WARMD_BUILD_OBSERVE_INTERNAL_H
#define WARM_WARMD_BUILD_OBSERVE_INTERNAL_H

#include <limits.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "engine/base/map.h"
#include "warmd/build/observe.h"

#define OBSERVE_PATH_MAX   (2 * PATH_MAX) /* a directory and a name under it */
#define OBSERVE_OUTPUT_MAX (64 * 1024)
#define OBSERVE_NR_MAX	   512

/* fd_info.origin besides the number in the launch */
#define ORIGIN_INSIDE (-1) /* made by the program */
#define ORIGIN_OWN    (-2) /* of the readiness protocol */
#define ORIGIN_TTY    (-3) /* a terminal that the program opened by its name */

struct fd_info {
	int origin;
	uint8_t family; /* of a socket that socket(2) made; else 0 */
	bool datagram;
	uint8_t protocol; /* of a netlink socket */
	bool modules; /* a directory opened as an importer does */
	bool listed;
	bool unread; /* a file opened for writing too, of which nothing was read: what is in it does not count yet */
};

struct proc {
	pid_t pid;
	unsigned int threads;
	/* set by the program itself, so that asking for it says nothing about the launch */
	bool cwd_own, umask_own, affinity_own, sigmask_own, nice_own, sched_own, ioprio_own;
	bool environment_own; /* what it was executed with was made by the program */
	bool executed; /* a program, since its fork; the first process is one */
	bool sigmask_full; /* the C library has blocked all for a moment */
	uint64_t signals_own;
	uint64_t signals_seen; /* asked for or set */
	uint64_t signals_leading; /* since observe_phase_leading() */
	uint64_t signals_blind; /* before it, and without having looked */
	uint32_t rlimits_own;
	struct fd_info *fds; /* by number; what is beyond is INSIDE */
	size_t nfds;
};

/* what a change would do to a path */
enum verdict {
	VERDICT_NONE, /* nothing, or not known */
	VERDICT_FREE, /* no effect: /dev/null, /proc/self/comm */
	VERDICT_NEW, /* is not there */
	VERDICT_REAL, /* is there */
	VERDICT_DANGLING, /* a link is there, and what it leads to is not */
	VERDICT_FIFO,
	VERDICT_DEVICE, /* one with a state that is not the program's */
	VERDICT_TTY, /* a terminal: what is done with the descriptor tells */
};

struct thread {
	pid_t tid;
	struct proc *proc;
	long entered; /* number of the call whose entry was seen, or -1 */
	char *paths[2]; /* taken at entry */
	enum verdict verdicts[2];
	char *looked_at; /* what the last path call stat'ed */
	struct given *given; /* what the exec under way gives; NULL: it does not matter */
};

struct observe {
	const struct config *cfg;
	pid_t root;
	int own_fd;
	observe_read_fn read;
	void *read_data;
	bool leading;
	bool adaptor; /* observe_phase_adaptor() */
	bool live; /* observe_live() */
	bool bind_counts; /* observe_bind_counts() */
	int terminal_master, terminal_fd;
	dev_t terminal_device; /* of the first standard descriptor that is a terminal; 0: none is */
	uint16_t rows, columns; /* that the terminal began with */
	bool watching; /* the adaptor tells of listings: from the leading part on */
	struct map threads; /* tid -> struct thread */
	struct map procs; /* pid -> struct proc */
	struct thread *last; /* the thread of the last call */
	struct dep_set *deps;
	struct observe_keys keys;
	struct observe_refusal refusal; /* text "": none */
	int denied; /* errno of the call that deny() was for */
	struct map
		candidates; /* canonical directories listed as an importer does -> how often since the adaptor watches */
	struct map confirmed; /* canonical directories of the adaptor */
	struct map
		listed; /* canonical directories -> how often the adaptor says that the importer listed them */
	struct observe_output *output;
	size_t noutput, output_len;
	char *environment,
		*environment_end; /* the program's at its start, strings ended by NUL; NULL: not read yet */
	struct map
		set_for_children; /* names that the program set or removed for every child that got the rest */
	struct map fact_files; /* path -> fact_of_file() */
	struct map children_variables; /* names that children got with the launch's values */
};

/* what a file system change is */
enum effect {
	EFFECT_NONE,
	EFFECT_CREATE, /* mkdir, mknod, symlink, link */
	EFFECT_REMOVE,
	EFFECT_RENAME,
	EFFECT_CHANGE, /* attributes, length */
	EFFECT_CHANGE_FD, /* the same of a descriptor: its number is args[path] */
};

enum rule_flags {
	RULE_NOFOLLOW = 1 << 0, /* never follows a link at the end */
	RULE_FLAG_NOFOLLOW = 1 << 1, /* does not with AT_SYMLINK_NOFOLLOW in its flags */
	RULE_STAT = 1 << 2, /* an importer's first look */
	RULE_EXISTS = 1 << 3, /* contents do not count */
	RULE_CONTENTS = 1 << 4, /* of EFFECT_CHANGE_FD: contents, not attributes */
};

struct rule;
typedef int (*rule_fn)(struct observe *o, struct thread *t, const struct observe_call *c,
		       const struct rule *rule);

/* argument numbers plus 1, so that 0 is "none": a path without a dirfd is relative to the cwd */
struct rule {
	rule_fn entry, exit;
	uint8_t dirfd, path, flags;
	uint8_t dirfd2, path2;
	uint8_t how; /* enum rule_flags */
	uint8_t effect; /* enum effect */
	const char *verb; /* "renames", "changes the mode of" */
};

/** rule_find() - what to do with a call. Return: NULL: nothing */
const struct rule *rule_find(long nr);

/* observe.c */

/** count_path() - add to the number that is @path's value. Return: 0 or -ENOMEM */
int count_path(struct map *m, const char *path, unsigned int more);
/** refuse() - raise a refusal, to which " before its readiness point" is added. Return: OBSERVE_REFUSED if it is news, 0 if not */
int refuse(struct observe *o, const struct thread *t, bool retryable, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));
/** boundary() - at the entry of a call: no build makes it. Return: OBSERVE_BOUNDARY */
int boundary(struct observe *o, const struct thread *t, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
/** deny() - at the entry of a call: it is to end with @error, unmade. Return: OBSERVE_DENIED */
int deny(struct observe *o, int error);
struct thread *thread_get(struct observe *o, pid_t tid);
/** in_tree() - is this a thread or process of the program? */
bool in_tree(const struct observe *o, pid_t pid);

/* observe_peer.c */

ssize_t peer_read(struct observe *o, pid_t tid, uint64_t addr, void *buf, size_t len);
/** peer_string() - a string of at most @size - 1 bytes. Return: its length or a negative errno */
ssize_t peer_string(struct observe *o, pid_t tid, uint64_t addr, char *buf, size_t size);
/** peer_fd_path() - what a descriptor leads to, as /proc says. Return: 0, or a negative errno (-ENOENT: it has no path in the file system) */
int peer_fd_path(pid_t tid, int fd, char *buf);
/** peer_dir_path() - what a dirfd argument leads to, AT_FDCWD included. Return: as peer_fd_path() */
int peer_dir_path(const struct thread *t, int dirfd, char *buf);
/** peer_fd_flags() - status flags of a descriptor, or a negative errno */
int peer_fd_flags(pid_t tid, int fd);
/**
 * peer_path() - the absolute path that two arguments of a call name
 * @buf: OBSERVE_PATH_MAX bytes
 * @ret_cwd: was it relative to the cwd?
 * Return: 1, 0 (empty or NULL: the descriptor itself is meant), or a negative errno (not to be known)
 */
int peer_path(struct observe *o, const struct thread *t, const struct observe_call *c, uint8_t dirfd,
	      uint8_t path, char *buf, bool *ret_cwd);

enum path_class { PATH_REAL, PATH_PROC, PATH_SYS, PATH_DEV, PATH_SHM };
enum path_class path_class(const char *path);
/** path_counts() - can what is at @path be a dependency? What the kernel makes up can not. */
bool path_counts(const char *path);
/** path_is_terminal() - one of /dev's terminals */
bool path_is_terminal(const char *path);
/** path_as_fd() - the number N of /dev/fd/N, /proc/self/fd/N, /dev/stdin and so on; -1: no such path */
int path_as_fd(const struct thread *t, const char *path);
/** path_in_proc_self() - what follows "/proc/self/", or the like for another process of the tree. NULL: another path */
const char *path_in_proc_self(const struct observe *o, const char *path);
/** path_is_strangers() - is it /proc/PID, or below it, of a process that is none of the program's? */
bool path_is_strangers(const struct observe *o, const char *path);
/** path_resolve_own() - /proc/self/cwd/x, root/x and fd/N/x, of any process of the program, become what they lead to, in place */
void path_resolve_own(const struct observe *o, const struct thread *t, char *path);

/* observe_paths.c */

void cwd_used(struct observe *o, const struct thread *t);
/** path_record() - a path that was looked at with result @ret; @fd: the descriptor that came of it, or -1; @how: enum rule_flags */
int path_record(struct observe *o, struct thread *t, const char *path, unsigned int how, int64_t ret, int fd);
int on_look_entry(struct observe *o, struct thread *t, const struct observe_call *c, const struct rule *rule);
int on_readlink_entry(struct observe *o, struct thread *t, const struct observe_call *c,
		      const struct rule *rule);
int on_look(struct observe *o, struct thread *t, const struct observe_call *c, const struct rule *rule);
int on_open_entry(struct observe *o, struct thread *t, const struct observe_call *c, const struct rule *rule);
int on_open(struct observe *o, struct thread *t, const struct observe_call *c, const struct rule *rule);
int on_chdir_entry(struct observe *o, struct thread *t, const struct observe_call *c,
		   const struct rule *rule);
int on_chdir(struct observe *o, struct thread *t, const struct observe_call *c, const struct rule *rule);
int on_exec_entry(struct observe *o, struct thread *t, const struct observe_call *c, const struct rule *rule);
int on_exec(struct observe *o, struct thread *t, const struct observe_call *c, const struct rule *rule);
int on_getdents_entry(struct observe *o, struct thread *t, const struct observe_call *c,
		      const struct rule *rule);
int on_getdents(struct observe *o, struct thread *t, const struct observe_call *c, const struct rule *rule);

/* observe_effects.c */

bool open_is_effect(uint64_t flags);
int effect_open_entry(struct observe *o, struct thread *t, const char *path, uint64_t flags);
int effect_open(struct observe *o, struct thread *t, const char *path, int fd);
/** attributes_of_fd() - a boundary if attributes of what descriptor @fd is open on would be changed */
int attributes_of_fd(struct observe *o, struct thread *t, int fd, const char *verb);
/** effect_on_fd() - a boundary if what descriptor @fd is open on would be changed, or asked about others; @verb: "writes to" */
int effect_on_fd(struct observe *o, struct thread *t, int fd, const char *verb);
int on_effect_entry(struct observe *o, struct thread *t, const struct observe_call *c,
		    const struct rule *rule);
int on_effect(struct observe *o, struct thread *t, const struct observe_call *c, const struct rule *rule);

/* observe_outside.c */

int on_socket(struct observe *o, struct thread *t, const struct observe_call *c, const struct rule *rule);
/** on_name_entry() - of a socket, or of who is at its other end */
int on_name_entry(struct observe *o, struct thread *t, const struct observe_call *c, const struct rule *rule);
int on_setsockopt_entry(struct observe *o, struct thread *t, const struct observe_call *c,
			const struct rule *rule);
int on_clone_entry(struct observe *o, struct thread *t, const struct observe_call *c,
		   const struct rule *rule);
int on_connect_entry(struct observe *o, struct thread *t, const struct observe_call *c,
		     const struct rule *rule);
int on_connect(struct observe *o, struct thread *t, const struct observe_call *c, const struct rule *rule);
int on_bind_entry(struct observe *o, struct thread *t, const struct observe_call *c, const struct rule *rule);
int on_send_entry(struct observe *o, struct thread *t, const struct observe_call *c, const struct rule *rule);
int on_kill_entry(struct observe *o, struct thread *t, const struct observe_call *c, const struct rule *rule);
/** on_process_entry() - a call that asks about the process in args[path - 1], or changes it */
int on_process_entry(struct observe *o, struct thread *t, const struct observe_call *c,
		     const struct rule *rule);
int on_kin_entry(struct observe *o, struct thread *t, const struct observe_call *c, const struct rule *rule);
int on_priority_entry(struct observe *o, struct thread *t, const struct observe_call *c,
		      const struct rule *rule);
int on_prctl_entry(struct observe *o, struct thread *t, const struct observe_call *c,
		   const struct rule *rule);
int on_outside_entry(struct observe *o, struct thread *t, const struct observe_call *c,
		     const struct rule *rule);

/* observe_fds.c */

struct fd_info fd_get(const struct proc *p, int fd);
int fd_put(struct proc *p, int fd, struct fd_info info);
int fds_of_root(struct proc *p, int own_fd);
int fds_copy(struct proc *to, const struct proc *from);
/** fd_opened_to_write() - @path was opened at @fd, to be written to and perhaps read */
int fd_opened_to_write(struct observe *o, struct thread *t, const char *path, int fd);
/** fds_after_exec() - drop what close-on-exec has closed */
void fds_after_exec(struct proc *p);
/** fd_read() - a file that was opened to be written to is read all the same. Return: as path_record() */
int fd_read(struct observe *o, struct thread *t, int fd);
/** fd_look() - the program is about to ask what a descriptor is. Return: 0 or OBSERVE_BOUNDARY */
int fd_look(struct observe *o, const struct thread *t, int fd);
/** fd_looked_at() - the program asked what a descriptor is */
void fd_looked_at(struct observe *o, const struct thread *t, int fd);
int on_fd_made(struct observe *o, struct thread *t, const struct observe_call *c, const struct rule *rule);
int on_dup(struct observe *o, struct thread *t, const struct observe_call *c, const struct rule *rule);
int on_close(struct observe *o, struct thread *t, const struct observe_call *c, const struct rule *rule);
int on_fcntl_entry(struct observe *o, struct thread *t, const struct observe_call *c,
		   const struct rule *rule);
int on_fcntl(struct observe *o, struct thread *t, const struct observe_call *c, const struct rule *rule);
int on_lseek_entry(struct observe *o, struct thread *t, const struct observe_call *c,
		   const struct rule *rule);
int on_fstat_entry(struct observe *o, struct thread *t, const struct observe_call *c,
		   const struct rule *rule);
int on_fstat(struct observe *o, struct thread *t, const struct observe_call *c, const struct rule *rule);
int on_lock_entry(struct observe *o, struct thread *t, const struct observe_call *c, const struct rule *rule);
int on_ioctl_entry(struct observe *o, struct thread *t, const struct observe_call *c,
		   const struct rule *rule);
int on_ioctl(struct observe *o, struct thread *t, const struct observe_call *c, const struct rule *rule);
/* observe_io.c */

/** output_add() - keep what was written; takes the data over. Return: 0 or -ENOMEM */
int output_add(struct observe *o, struct observe_output item);
int on_read_entry(struct observe *o, struct thread *t, const struct observe_call *c, const struct rule *rule);
int on_read(struct observe *o, struct thread *t, const struct observe_call *c, const struct rule *rule);
int on_copy_entry(struct observe *o, struct thread *t, const struct observe_call *c, const struct rule *rule);
int on_write_entry(struct observe *o, struct thread *t, const struct observe_call *c,
		   const struct rule *rule);
int on_write(struct observe *o, struct thread *t, const struct observe_call *c, const struct rule *rule);
int on_writev(struct observe *o, struct thread *t, const struct observe_call *c, const struct rule *rule);
int on_mmap_entry(struct observe *o, struct thread *t, const struct observe_call *c, const struct rule *rule);

/* observe_environment.c */

/** environment_given() - at an exec's entry: of a program with the environment at @array. Return: 0 or -ENOMEM */
int environment_given(struct observe *o, struct thread *t, uint64_t array);
/** environment_taken() - that exec has succeeded. Return: 0 or -ENOMEM */
int environment_taken(struct observe *o, struct thread *t);
/** environment_forget() - it has failed, or has been taken in */
void environment_forget(struct thread *t);
/** environment_forked() - a process was forked. Return: 0 or -ENOMEM */
int environment_forked(struct observe *o, const struct thread *t, const struct observe_call *c);

/* observe_facts.c */

/** fact_file_opened() - a file in /proc or /sys. Return: 0, OBSERVE_REFUSED: more than launches can look at, or -ENOMEM */
int fact_file_opened(struct observe *o, const struct thread *t, const char *path);
int on_times(struct observe *o, struct thread *t, const struct observe_call *c, const struct rule *rule);
int on_uname(struct observe *o, struct thread *t, const struct observe_call *c, const struct rule *rule);
int on_sysinfo(struct observe *o, struct thread *t, const struct observe_call *c, const struct rule *rule);
int on_getpriority(struct observe *o, struct thread *t, const struct observe_call *c,
		   const struct rule *rule);
int on_setpriority(struct observe *o, struct thread *t, const struct observe_call *c,
		   const struct rule *rule);
int on_ioprio_get(struct observe *o, struct thread *t, const struct observe_call *c, const struct rule *rule);
int on_ioprio_set(struct observe *o, struct thread *t, const struct observe_call *c, const struct rule *rule);
int on_getsched(struct observe *o, struct thread *t, const struct observe_call *c, const struct rule *rule);
int on_setsched(struct observe *o, struct thread *t, const struct observe_call *c, const struct rule *rule);

/* observe_streams.c */

/** stream_answered() - the exit of a look at a standard descriptor, by somebody to whom any answer is the same: was it answered so that no kind counts? */
bool stream_answered(struct observe *o, const struct thread *t, const struct observe_call *c);
/* observe_program.c */

/** program_reads_environment() - can the program of @pid have read variables besides those of the C library? */
bool program_reads_environment(pid_t pid);
extern const char *const environment_of_libc[]; /* up to NULL */

/* observe_keys.c */

/** is_ours() - is the process number in a call one of the program's own processes? 0 is the caller */
bool is_ours(const struct observe *o, uint64_t pid);

int on_clone(struct observe *o, struct thread *t, const struct observe_call *c, const struct rule *rule);
int on_getcwd(struct observe *o, struct thread *t, const struct observe_call *c, const struct rule *rule);
int on_umask(struct observe *o, struct thread *t, const struct observe_call *c, const struct rule *rule);
int on_affinity(struct observe *o, struct thread *t, const struct observe_call *c, const struct rule *rule);
int on_set_affinity(struct observe *o, struct thread *t, const struct observe_call *c,
		    const struct rule *rule);
int on_getrlimit(struct observe *o, struct thread *t, const struct observe_call *c, const struct rule *rule);
int on_setrlimit(struct observe *o, struct thread *t, const struct observe_call *c, const struct rule *rule);
int on_prlimit(struct observe *o, struct thread *t, const struct observe_call *c, const struct rule *rule);
int on_sigaction(struct observe *o, struct thread *t, const struct observe_call *c, const struct rule *rule);
int on_sigprocmask(struct observe *o, struct thread *t, const struct observe_call *c,
		   const struct rule *rule);
/** proc_file_looked_at() - a file of /proc/self was opened or read as a link */
void proc_file_looked_at(struct observe *o, const struct thread *t, const char *rest);

#endif
