/* SPDX-License-Identifier: MIT */
/*
 * observe.h - what a program's system calls mean for its template.
 *
 * The builder traces a program (with its threads and children) and hands every
 * system call that observe_wants() to observe_syscall(), at its entry and at
 * its exit, while the caller is stopped. Out come
 *
 *   dependencies  files that were read, looked at or looked for (deps.h)
 *   keys          properties of the launch that were asked for
 *   output        what was written to the standard streams, to replay in clones
 *   a boundary    the call that is about to be made would change something outside, ask about others at this
 *                 moment, or take in what cannot be taken in twice. No build makes it: the template is taken in front of it
 *   a refusal     why this program, as run now, cannot be a template
 *
 * No tracing here: calls come in as structs, memory through a callback, and
 * the rest (names of descriptors, cwd) is read from /proc.
 */
#ifndef WARM_WARMD_BUILD_OBSERVE_H
#define WARM_WARMD_BUILD_OBSERVE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>

#include "engine/base/error.h"
#include "engine/base/facts.h"
#include "warmd/config/config.h"
#include "warmd/stale/deps.h"

struct observe;

struct observe_call {
	pid_t tid;
	long nr; /* the caller's architecture is ours: 32-bit calls are the tracer's to refuse */
	uint64_t args[6];
	int64_t ret; /* at exit: a value or a negative errno */
	bool entry;
};

/* what the program asked of its launch; a template serves only launches that agree in these */
struct observe_keys {
	bool argv; /* its own command line, through /proc */
	bool environment; /* its whole environment, through /proc */
	bool children_environment; /* a child had it, and can have read any of it */
	bool cwd; /* getcwd, or a relative path */
	bool umask;
	bool affinity;
	bool bound; /* not asked: a socket was bound to a port of the kernel's choice */
	bool terminal; /* is there a controlling terminal: /dev/tty was opened, or could not be */
	bool window_size; /* of a standard stream that is a terminal */
	bool sigmask; /* signals blocked at the start, or it added to them */
	bool termios; /* settings of the terminal, of a program that is live */
	bool nice, sched, ioprio; /* getpriority(2), sched_getscheduler(2) and its like, ioprio_get(2) */
	bool uptime; /* how long the machine has been up, or what counts from its start: /proc/uptime, /proc/stat, times(2) */
	uint64_t facts[FACTS]; /* of the machine: fact_value() when it was asked for; 0: it was not */
	uint32_t rlimits; /* bit RLIMIT_x */
	uint64_t
		signals_start; /* bit n-1: was signal n ignored at the start; before observe_phase_leading() */
	uint64_t signals; /* the same, after it */
	uint64_t
		signals_default; /* not asked: the program itself set them to their default, before anything else */
	uint64_t signals_ignored; /* the program itself ignores them */
	uint32_t stdio_start; /* bit 0..2: what the descriptor is; before observe_phase_leading() */
	uint32_t stdio; /* the same, after it */
};

/* one write(2), or a change of the terminal's settings, in order */
struct observe_output {
	int fd; /* 0..2, as the launch calls it */
	bool termios; /* data is the kernel's struct termios (TCGETS) */
	size_t len;
	const char *data;
};

/* a refusal, or a boundary */
struct observe_refusal {
	bool retryable; /* the next build may not meet it */
	pid_t tid;
	char text
		[512]; /* "reads /x, which was replaced meanwhile, before its readiness point"; a boundary: "writes to /x" */
};

/* what observe_syscall() says beside 0 and a negative errno */
enum observe_verdict {
	OBSERVE_REFUSED = 1, /* observe_refusal() is new or has become a final one */
	OBSERVE_BOUNDARY, /* only at the entry: observe_refusal() says what the call, which the kernel has not seen, would do */
	OBSERVE_DENIED, /* only at the entry: the call is to end with observe_denied(), unmade */
};

/**
 * observe_read_fn - read another process's memory
 * Return: bytes read, which may be fewer than @len; or a negative errno
 */
typedef ssize_t (*observe_read_fn)(void *data, pid_t tid, uint64_t addr, void *buf, size_t len);

/**
 * observe_new() - observe a program from here on
 * @cfg: borrowed; ignored paths are not recorded
 * @root: the program's process, stopped, its descriptors in place (they are "from outside")
 * @own_fd: the descriptor number of the readiness protocol in it, whose use does not count; -1: none
 *
 * Memory is read with process_vm_readv(2).
 */
int observe_new(struct observe **ret, const struct config *cfg, pid_t root, int own_fd);
void observe_free(struct observe *o);
void observe_set_reader(struct observe *o, observe_read_fn read, void *data);

/** observe_wants() - does this system call mean anything? For a seccomp filter or to leave out work */
bool observe_wants(long nr);

/**
 * observe_syscall() - take in one stop of one thread
 *
 * Return: 0: go on; enum observe_verdict; a negative errno: observing itself failed
 */
int observe_syscall(struct observe *o, const struct observe_call *c, struct error *err);
/** observe_denied() - a negative errno, of the last call that was denied */
int observe_denied(const struct observe *o);
/** observe_exited() - a thread or process is gone (its number may be used again) */
void observe_exited(struct observe *o, pid_t tid);

/** observe_program() - record an executable with its interpreters, for an exec that was not seen */
int observe_program(struct observe *o, const char *path);
/**
 * observe_live() - the program will be checkpointed while it waits: it may try to read its standard descriptors, and
 * change and write to its terminal
 * @master: of the pty that stands in for the caller's terminal, borrowed; -EBADF: there is none
 * @fd: the first standard descriptor that is open on it
 */
void observe_live(struct observe *o, int master, int fd);
/** observe_bind_counts() - to bind a socket to a port of the kernel's choice is a boundary, too: such a socket stays open */
void observe_bind_counts(struct observe *o);
/** observe_module_names() - the program is one of a language with these modules, dep_set_module_names() */
int observe_module_names(struct observe *o, const char *words);
/** observe_phase_leading() - the interpreter has started, the program's own leading part begins */
void observe_phase_leading(struct observe *o);
/** observe_phase_adaptor() - the leading part is over, the adaptor prepares the readiness point: its looks at the standard streams are not the program's */
void observe_phase_adaptor(struct observe *o);
/**
 * observe_modules_dir() - the adaptor's word that the language searches @path for modules
 *
 * It holds for what was listed before observe_phase_leading(). Of later listings the adaptor must tell each one that
 * was the language's own: a program's own look at the directory can be the very same calls, and every name counts then.
 */
int observe_modules_dir(struct observe *o, const char *path);
/** observe_modules_listed() - one of those listings */
int observe_modules_listed(struct observe *o, const char *path);

/**
 * observe_held() - the program has @path open at its readiness point, and clones open it again
 * @st: fstat(2) of it
 *
 * After observe_finish(). ignore_paths does not count here: without that file there are no clones.
 * Return: 0, 1 if the path does not lead to that file any more, or a negative errno.
 */
int observe_held(struct observe *o, const char *path, const struct stat *st);
/**
 * observe_finish() - the readiness point is reached
 *
 * Listings that no adaptor explained count in full. Return: 0 or a negative errno
 */
int observe_finish(struct observe *o, struct error *err);

/* results: borrowed, valid until the next call */
struct dep_set *observe_deps(struct observe *o);
const struct observe_keys *observe_keys(const struct observe *o);
const struct observe_output *observe_output(const struct observe *o, size_t *ret_count);
/** observe_child_variable() - names of variables that children were given with the launch's values; *pos begins with 0. Return: false: no more */
bool observe_child_variable(const struct observe *o, size_t *pos, const char **ret);
/** observe_set_variable() - where keys.children_environment: those that the program itself set or removed for them. Return: as above */
bool observe_set_variable(const struct observe *o, size_t *pos, const char **ret);
/** observe_fact_file() - files of /proc and /sys that were read and say the same until somebody changes the machine, with fact_of_file() then. Return: as above */
bool observe_fact_file(const struct observe *o, size_t *pos, const char **ret, uint64_t *ret_value);
/** observe_refusal() - the reason; a final one takes the place of a retryable one, a boundary that of both. NULL: none */
const struct observe_refusal *observe_refusal(const struct observe *o);
/** observe_fd_origin() - the number that a process's descriptor had in the launch, through dup and dup2. -1: the program's own */
int observe_fd_origin(const struct observe *o, pid_t pid, int fd);

#endif
