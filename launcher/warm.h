/* SPDX-License-Identifier: MIT */
/*
 * warm.h - libwarm: for programs that want to start warm, and for those that launch them.
 *
 * Link with -lwarm (pkg-config warm), or take libwarm.a with -pthread. libwarm(3) is the manual.
 *
 * All functions that can fail return a negative errno; what they return through pointers is set on success only.
 */
#ifndef WARM_H
#define WARM_H

#include <stddef.h>
#include <sys/types.h>

#ifdef __cplusplus
extern "C" {
#endif

/* --- launching clones of templates that warmd has --------------------------------------- */

/* A connection to warmd. Any number of threads may launch and wait on one at once. */
struct warm;

/**
 * warm_open() - connect to the warmd of this user
 * @ret: the handle, to be given to warm_close()
 * @socket_path: its socket; NULL: $WARM_RUNTIME_DIR/warmd.sock, with the defaults of warm(1)
 *
 * umask, limits, nice value, oom_score_adj, ignored signals, CPU affinity, groups and rights of the clones are those
 * that this process has now; a later change counts for handles that are opened later. The daemon is not started: `warm build` does that.
 *
 * A handle belongs to the process that opened it. In a child made by fork(2) every call but warm_close() fails with
 * -ECHILD. Its descriptors are closed by execve(2).
 *
 * Return: 0. -ECONNREFUSED: warmd is not running. -ETIMEDOUT: it does not accept. -EACCES: the socket or its
 * directory is another user's. -EINVAL, -ENAMETOOLONG: the path. -EMFILE, -ENOMEM.
 */
int warm_open(struct warm **ret, const char *socket_path);

/**
 * warm_close() - end the connection and free the handle; NULL is allowed
 *
 * Clones of the handle that still run get SIGHUP (and SIGCONT), as from a terminal that is closed, and so they do when this process ends.
 * No other thread may be in a call on the handle.
 */
void warm_close(struct warm *w);

/* Zero it, then set size; what is left 0 or NULL is as said here. */
struct warm_launch_options {
	size_t size; /* sizeof(struct warm_launch_options): later versions may know more */
	const char *template_name; /* as given to warm build --name, or a name of warm ls */
	/*
	 * Each ended by NULL. argv is the whole command as `warm build` had it, name first. NULL: the
	 * template's own. Together less than 128 KiB.
	 */
	char *const *argv, *const *envp;
	const char *cwd; /* NULL: the caller's */
	int fds[3]; /* to be stdin, stdout, stderr; they stay the caller's; -1: /dev/null. Nothing else is inherited */
};

/**
 * warm_launch() - launch a clone of a template
 * @o: read during the call only
 * @ret_pid: its PID, for warm_wait(); may be NULL
 * @ret_pidfd: a pidfd (pidfd_open(2)), close-on-exec, the caller's to close; NULL: not wanted. It is readable once the
 *	clone has ended. The clone is a child of warmd: wait(2) and waitid(2) do not know it
 *
 * Returns when the clone has its launch and is about to run. Bounded: 60 s, since a stale template may have to be built anew. If the
 * daemon was restarted the connection is made anew; a launch is never made twice. Signals do not
 * interrupt it. Not for signal handlers.
 *
 * Return: 0. From warmd, with its words in warm_error():
 *	-ENOENT		there is no such template
 *	-EAGAIN		it is being built, or went stale
 *	-EOPNOTSUPP	the program cannot be a template
 *	-EACCES		the template, or warmd, does not fit this launch: ids, capabilities, namespaces, limits, arguments, environment
 *	-ENOSPC		the memory budget is used up
 *	-EIO		warmd failed
 *	-EPERM		the configuration disables it
 * From this side:
 *	-EINVAL, -E2BIG	the options
 *	-EBADF		fds
 *	-ENOENT, -ENOTDIR, -EACCES.. of cwd (warm_error() tells which it is)
 *	-ECONNREFUSED	warmd is not running any more
 *	-ECONNRESET, -EBADMSG	it went away, or answered nonsense, before its answer: the clone may have run
 *	-ETIMEDOUT	no answer; a clone that is launched later is killed
 *	-EMFILE		no descriptor was free for the directory or the pidfd; a clone that ran was killed
 *	-EPROTONOSUPPORT	warmd is of another version
 *	-ENOMEM, -ECHILD (after fork)
 */
int warm_launch(struct warm *w, const struct warm_launch_options *o, pid_t *ret_pid, int *ret_pidfd);

/**
 * warm_wait() - wait until a clone that this handle launched has ended
 * @ret_wstatus: as of wait(2): WIFEXITED(), WTERMSIG()..; may be NULL
 *
 * Each clone can be waited for once, by one thread, at any time after its launch, also in the order of other threads'. A clone that is
 * never waited for costs some 50 bytes until warm_close(). If warmd dies its clones go on, and the kernel is asked how
 * they ended. Signals do not interrupt it: poll the pidfd before, to be able to give up.
 *
 * Return: 0. -ECHILD: no clone of this handle has that PID, it was or is waited for, or the handle is from before fork().
 * -ECONNRESET: warmd died before the clone ended, and the kernel does not tell how it ended (before Linux 6.15) or no
 * descriptor was to spare for it.
 */
int warm_wait(struct warm *w, pid_t pid, int *ret_wstatus);

/**
 * warm_error() - the last failure in words: one line, no newline
 * @w: the handle; NULL: the last failure of any libwarm call of this thread, that of warm_open() too
 *
 * That of the calling thread, if its last failure was on this handle; else that of any thread; "" when there was none. As errno it
 * says nothing after a call that succeeded.
 *
 * Return: never NULL. Lives until the calling thread's next libwarm call, or its end; other threads do not change it.
 */
const char *warm_error(struct warm *w);

/* --- within a program of which templates are made ------------------------------------------ */

/**
 * warm_ready() - the readiness point: what was done before it is done once, for all launches
 *
 * Not under warm (no WARM_FD in the environment): returns 0 at once. While a
 * template is built it does not return: the process is checkpointed here. In
 * each clone it returns 1, with working directory, umask, limits, descriptors and
 * signal dispositions of the launch in place, environ replaced by the launch's environment
 * (without WARM_FD), and warm_argc() and warm_argv() telling its arguments.
 *
 * Environment and argument strings live as long as the process. Pointers
 * from getenv(3) of before are stale in meaning, though not freed.
 *
 * Return: 0, 1, or a negative errno when the launch context could not be read.
 */
int warm_ready(void);

/** warm_argc(), warm_argv() - the launch's arguments, program name first; 0 and NULL before warm_ready() returned 1 */
int warm_argc(void);
char *const *warm_argv(void);

/**
 * warm_generation() - which clone is this?
 *
 * For libraries that must not be the same in two clones of a template: keep the number beside what you drew or
 * opened, and when it is another one now, seed anew, drop connections, forget identifiers. At any readiness point, also where the
 * program has none of its own (main, import, idle, delay); before it, and outside warm, 0. In a
 * child made by fork(2) it is the parent's: see MADV_WIPEONFORK in madvise(2) for those.
 *
 * Costs as much as reading a variable. It never changes while a clone runs.
 *
 * Return: a number that no other clone of this boot has; 0 outside a clone. Of a library that a clone loads
 * itself, by dlopen(3) behind the readiness point, also 0: nothing of it is shared.
 */
unsigned long long warm_generation(void);

/**
 * WARM_GENERATION_COUNTER() - the same for a library that shall not depend on libwarm
 * @name: a name of C for the counter, which this defines: volatile unsigned long long, hidden; read it only
 *
 * At file scope, in a source file: `WARM_GENERATION_COUNTER(tls_generation);`. It leaves an ELF note (owner "warm", type 1) that
 * says where the counter is, as 64 bits relative to the note's contents; stripping keeps it. Every such counter gets the number.
 * Link with nothing; this header is all that is needed.
 */
#define WARM_GENERATION_COUNTER(name)                                                                        \
	__attribute__((visibility("hidden"), used)) volatile unsigned long long name = 0;                    \
	__asm__(".pushsection .note.warm, \"a\", %note\n"                                                    \
		".balign 4\n"                                                                                \
		".long 5, 8, 1\n"                                                                            \
		".asciz \"warm\"\n"                                                                          \
		".balign 4\n"                                                                                \
		".quad " #name " - .\n"                                                                      \
		".popsection")

#ifdef __cplusplus
}
#endif

#endif
