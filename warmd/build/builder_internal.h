/* SPDX-License-Identifier: MIT */
/* builder_internal.h - one build's state, shared by the files of the builder */
#ifndef WARM_WARMD_BUILD_BUILDER_INTERNAL_H
#define WARM_WARMD_BUILD_BUILDER_INTERNAL_H

#include "engine/base/fd.h"
#include "engine/trace.h"
#include "snapshot/plan/plan.h"
#include "warmd/build/adaptor.h"
#include "warmd/build/builder_child.h"
#include "warmd/config/config.h"

/* functions of the program that clones have hooks in: those of the EXIT line, exit(), and four of the C library */
#define BUILDER_HOOKS (ARRAY_SIZE(((struct adaptor_exit *)0)->symbols) + 5)

enum ready_point {
	READY_AUTO,
	READY_MAIN,
	READY_IMPORT,
	READY_CALL,
	READY_DELAY, /* some time after the start */
	READY_IDLE, /* when all threads have been waiting for some time */
};

struct builder_point {
	enum ready_point kind;
	uint64_t ns; /* DELAY, IDLE: that time */
};

enum builder_state {
	STATE_ENTRY, /* a program was executed; next: AT_ENTRY */
	STATE_RUNMAIN, /* next: Py_RunMain */
	STATE_INJECTED, /* the adaptor's start runs; next: Py_RunMain again */
	STATE_START, /* next: __libc_start_main */
	STATE_MAIN, /* next: main, the readiness point */
	STATE_RUNNING, /* next: the read of the readiness descriptor, or a boundary */
	STATE_ENSURE, /* at a boundary: PyGILState_Ensure runs; next: its return */
	STATE_FETCH, /* PyErr_Fetch runs: an exception may be on its way; next: its return */
	STATE_LEAVING, /* the adaptor ends the leading part; next: the read of the readiness descriptor */
};

/* debug registers by their use */
enum { BUILDER_SLOT_MAIN, BUILDER_SLOT_GETENV, BUILDER_SLOT_START, BUILDER_SLOT_SEED };

#define BUILDER_ATTEMPTS 4 /* how often one build begins anew, to stop in front of a child or thread */

/* the adaptor is called in the middle of the program: builder_boundary.c */
struct builder_leave {
	uint64_t fetch, restore, release, is_true; /* functions of the interpreter */
	uint64_t exception; /* three words on the thread's stack: what PyErr_Fetch found */
	uint64_t frame; /* what the thread goes back to; 0: the adaptor was not called so */
	uint64_t slot; /* where the return address of the call lies */
	uint32_t gil_state; /* what PyGILState_Ensure returned */
};

/* a child of the program that has ended */
struct builder_ended {
	pid_t pid;
	unsigned int origin; /* struct tracee */
};

/* what the program began with: the request's, as far as warmd may set it */
struct builder_scheduling {
	int nice;
	int32_t policy, priority, ioprio; /* as struct scheduling has them */
};

struct builder {
	const struct request *req;
	const struct config *cfg;
	struct builder_child child;
	struct trace *trace;
	struct observe *observe;
	struct builder_point point;
	enum builder_state state;
	struct tracee *ready; /* DELAY, IDLE: NULL, unless early */
	int context_fd; /* where clones read their context from; -1: nowhere, or into the read's buffer */
	bool early; /* stopped at a boundary, with nothing to tell it of its launch */
	char boundary
		[512]; /* words of the boundary that the template stands in front of; "": its readiness point */
	struct builder_leave leave;
	/* of the builds before this one */
	unsigned int attempts;
	unsigned int stop_at; /* the first thread's own call of clone(2) that is a boundary; 0: none */
	char stop_words[512];
	bool stop_at_bind; /* observe_bind_counts() */
	bool stop_at_redirection; /* to close or redirect a descriptor of the caller's is a boundary */
	struct builder_ended *ended;
	size_t nended;
	int warm_outer;
	char stdio_links[3][256];
	struct adaptor_lines lines;
	bool adaptor_used, env_visible;
	bool failed; /* the program ended on its way to the readiness point */
	bool shell_seeded; /* bash: RANDOM was assigned to */
	bool env_changed; /* a program that executed this one gave it another environment than the request's */
	char **env; /* names that C's getenv was asked for */
	size_t nenv;
	uint64_t runmain, run_string, injected, injected_len;
	arch_regs saved;
	struct record *record;
	struct plan plan;
	struct stub_exit exit;
	struct stub_hook hooks[BUILDER_HOOKS];
	uint32_t nhooks;
	char *cmdline, **cmdline_argv; /* the process's arguments: bytes, and pointers to them */
	size_t cmdline_argc;
	int argv_count;
	uint64_t start_rlimits[WIRE_RLIMITS][2];
	uint32_t start_personality;
	struct builder_scheduling start_scheduling;
	uint64_t start_affinity[16];
	char oom_score_adj[256];
};

/** builder_parse_point() - from the word of --ready. Return: 0; -EINVAL with words that name what is wrong */
int builder_parse_point(const char *word, struct builder_point *ret, struct error *err);
/** builder_is_live() - is it stopped wherever it happens to be, and not told its launch context? */
static inline bool builder_is_live(const struct builder *b)
{
	return b->point.kind == READY_DELAY || b->point.kind == READY_IDLE;
}
/** builder_read_cmdline() - fill cmdline, cmdline_argv and cmdline_argc from /proc */
int builder_read_cmdline(struct builder *b, struct error *err);
/**
 * builder_split_arguments() - which of the caller's arguments count, and what a clone's argv begins with
 * @ret_count: leading arguments of the request that count, -1: all
 */
int builder_split_arguments(struct builder *b, struct plan_options *o, int *ret_count, struct error *err);
/** builder_on_exec(), builder_on_breakpoint() - of struct trace_ops: the program's way to its readiness point */
int builder_on_exec(void *data, struct tracee *t, struct error *err);
int builder_on_breakpoint(void *data, struct tracee *t, int slot, struct error *err);
/** builder_drain() - take in what has come over the readiness socket so far. Return: 0; -EOPNOTSUPP with the adaptor's reason, or another negative errno */
int builder_drain(struct builder *b, struct error *err);
/**
 * builder_boundary() - @t is about to make a call that no build makes
 * @words: what the call would do: "writes to /x"
 * Return: 0: the program goes on, with the adaptor; 1: the template is to be taken now; -ERESTART: the build is to begin anew;
 *	-EOPNOTSUPP with words
 */
int builder_boundary(struct builder *b, struct tracee *t, const char *words, struct error *err);
/** builder_leave_next() - the breakpoint of STATE_ENSURE or STATE_FETCH. Return: 0 or a negative errno */
int builder_leave_next(struct builder *b, struct tracee *t, struct error *err);
/**
 * builder_find_wrapper() - the function of the C library that a thread, @regs, makes its call from, if clones have a hook
 * in it that covers the call: a clone has to call that function again
 * @ret: its address; 0: no such function
 */
int builder_find_wrapper(struct builder *b, const arch_regs *regs, uint64_t *ret, struct error *err);
/**
 * builder_stop_before() - the build is to begin anew, and stop in front of what made a child or thread
 * @origin: of that child or thread (struct tracee)
 * Return: -ERESTART; -EOPNOTSUPP if that is no help, with "@words before its readiness point"
 */
int builder_stop_before(struct builder *b, unsigned int origin, const char *words, struct error *err);
/**
 * builder_fresh() - at the readiness point, all threads frozen: libraries and runtimes in C forget what they drew at random, or the
 * place is noted for each clone to get bytes of its own
 */
int builder_fresh(struct builder *b, struct error *err);
/** builder_stop_before_redirection() - the same, in front of what closes or redirects descriptor @fd of the caller's */
int builder_stop_before_redirection(struct builder *b, int fd, struct error *err);
/** builder_redirects() - is @t about to close or redirect one of the caller's descriptors? Return: its number or -1 */
int builder_redirects(const struct builder *b, const struct tracee *t);
/** builder_take() - at the readiness point: freeze, check, dump, plan. Return: 0, -EOPNOTSUPP with the reason, or another negative errno */
int builder_take(struct builder *b, struct plan_options *po, struct error *err);

/** builder_note_env() - the variable counts. Return: 0 or -ENOMEM */
int builder_note_env(struct builder *b, const char *name);
/** builder_check_environment() - what the program set past its adaptor: those variables count, or all do (env_changed). Return: 0 or -ENOMEM */
int builder_check_environment(struct builder *b, struct error *err);

/** builder_note_scheduling() - of the program that was just executed for the first time */
void builder_note_scheduling(struct builder *b, pid_t pid);
/** builder_check_scheduling() - what the program looked at has to be what launches have. Return: 0, or -EOPNOTSUPP with words */
int builder_check_scheduling(const struct builder *b, struct error *err);

/** builder_report_send() - tell the daemon how the build went: @r 0 or a negative errno with @err. Return: exit status */
int builder_report_send(struct builder *b, int r, const struct error *err, int sock);

#endif
