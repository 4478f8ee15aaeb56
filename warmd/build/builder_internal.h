/* SPDX-License-Identifier: MIT */
/* builder_internal.h - one build's state, shared by the files of the builder */
#ifndef WARM_WARMD_BUILD_BUILDER_INTERNAL_H
#define WARM_WARMD_BUILD_BUILDER_INTERNAL_H

#include "engine/base/fd.h"
#include "engine/trace.h"
#include "launcher/wire/control.pb-c.h"
#include "warmd/build/builder.h"
#include "snapshot/plan/plan.h"
#include "warmd/build/adaptor.h"
#include "warmd/build/builder_child.h"
#include "warmd/build/language.h"
#include "warmd/build/ready.h"
#include "warmd/config/config.h"

/* functions of the program that clones have hooks in: those of the EXIT line, exit(), and four of the C library */
#define BUILDER_HOOKS (ARRAY_SIZE(((struct adaptor_exit *)0)->symbols) + 5)

/* what is done when thread @t stops at the breakpoint that the program goes to. Return: 0; 1: the readiness point is reached; a negative errno */
typedef int builder_step(struct builder *b, struct tracee *t, struct error *err);

/* debug registers by their use */
enum { BUILDER_SLOT_MAIN, BUILDER_SLOT_GETENV, BUILDER_SLOT_START, BUILDER_SLOT_SEED };

#define BUILDER_ATTEMPTS 4 /* how often one build begins anew, to stop in front of a child or thread */

/* the adaptor is called in the middle of the program: builder_boundary.c, struct language.leave */
struct builder_leave {
	uint64_t restore,
		release; /* functions of the runtime: take back an exception, and what was taken for the call */
	uint64_t exception; /* three words on the thread's stack, restore()'s arguments */
	uint64_t frame; /* what the thread goes back to; 0: the adaptor was not called so */
	uint64_t slot; /* where the return address of the call lies */
	uint32_t release_argument; /* release()'s */
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
	struct ready point;
	builder_step *
		next; /* at the breakpoint of BUILDER_SLOT_MAIN; NULL: the program is stopped by its system calls or the clock alone */
	const struct language
		*language; /* whose runtime the program is; NULL: none, or the point has no use for it */
	void *language_data; /* the language's own, malloc'd */
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
	uint64_t clock_start_ns; /* CLOCK_MONOTONIC of the start of the build */
	bool failed; /* the program ended on its way to the readiness point */
	bool shell_seeded; /* bash: RANDOM was assigned to */
	bool env_changed; /* a program that executed this one gave it another environment than the request's */
	char **env; /* names that C's getenv was asked for */
	size_t nenv;
	struct model *model; /* its entry is filled by builder_take() */
	struct model_files files; /* of the model */
	struct plan plan;
	struct model_exit exit;
	struct model_hook hooks[BUILDER_HOOKS];
	size_t nhooks;
	char *cmdline, **cmdline_argv; /* the process's arguments: bytes, and pointers to them */
	size_t cmdline_argc;
	int argv_count;
	uint32_t argv_prefix_n, argv_drop;
	uint64_t start_rlimits[WIRE_RLIMITS][2];
	uint32_t start_personality;
	struct builder_scheduling start_scheduling;
	uint64_t start_affinity[16];
	char oom_score_adj[256];
};

/** builder_is_live() - is it stopped wherever it happens to be, and not told its launch context? */
static inline bool builder_is_live(const struct builder *b)
{
	return b->point.kind->live;
}

/** builder_go_to() - the program's next stop is at @addr, where @step is called. Return: 0 or a negative errno */
int builder_go_to(struct builder *b, uint64_t addr, builder_step *step, struct error *err);
/** builder_watch_calls() - it has no next stop: only its system calls are watched from here on. Return: 0 or a negative errno */
int builder_watch_calls(struct builder *b, struct error *err);
/** builder_entered() - the last step of struct language.enter: the adaptor is in place. Return: 0 or a negative errno */
int builder_entered(struct builder *b, struct error *err);

struct builder_call {
	uint64_t function, args[3];
	uint64_t stack; /* below which it is called; 0: where the thread's is */
	uint64_t returns_to;
};
/**
 * builder_call() - have thread @t, which is stopped, call a function of the program when it goes on
 * @ret_slot: where the return address lies
 * Return: 0 or a negative errno
 */
int builder_call(struct builder *b, struct tracee *t, const struct builder_call *call, uint64_t *ret_slot,
		 struct error *err);
/**
 * builder_leave_frame() - for struct language.leave: thread @t is taken out of the call that it is about to make, and what leads back to it lies on its stack
 *
 * Fills @b->leave.frame; below that the stack is free. Return: 0, -EOPNOTSUPP with words or another negative errno
 */
int builder_leave_frame(struct builder *b, struct tracee *t, struct error *err);
/** builder_read_cmdline() - fill cmdline, cmdline_argv and cmdline_argc from /proc */
int builder_read_cmdline(struct builder *b, struct error *err);
/**
 * builder_split_arguments() - argv_count: leading arguments of the request that count, -1: all; argv_prefix_n and argv_drop: what a
 * clone's argv begins with (struct model_entry)
 */
int builder_split_arguments(struct builder *b, struct error *err);
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
/** builder_check_children() - none is left, and none ended that was not waited for. Return: 0, -ERESTART, or -EOPNOTSUPP with words */
int builder_check_children(struct builder *b, struct error *err);
/** builder_check_stdio() - standard and inherited descriptors are what they were. Return: as above */
int builder_check_stdio(struct builder *b, struct error *err);
/** builder_environment_changed() - a program that executed this one gave it another environment than the request's */
bool builder_environment_changed(const struct builder *b);
/** builder_check_identity() - of the record: ids, capabilities, seccomp, root and namespaces are warmd's. Return: 0 or -EOPNOTSUPP with words */
int builder_check_identity(const struct builder *b, struct error *err);
/** builder_hold_files() - files of the record that clones open by their names become dependencies. Return: 0, -EOPNOTSUPP with words, or another negative errno */
int builder_hold_files(struct builder *b, struct error *err);
/** builder_fill_outputs() - what clones write again: outputs to output_size of @po, which end with the process. Return: 0 or -ENOMEM */
int builder_fill_outputs(struct builder *b, struct model_entry *e);
/** builder_take() - at the readiness point: freeze, check, dump, plan. Return: 0, -EOPNOTSUPP with the reason, or another negative errno */
int builder_take(struct builder *b, struct error *err);
/** builder_fill_entry() - how clones come in: model->entry. @resume: enum model_resume or DUMP_RESUME_AGAIN */
int builder_fill_entry(struct builder *b, const struct frozen_process *frozen, uint32_t resume,
		       struct error *err);

/** builder_note_env() - the variable counts. Return: 0 or -ENOMEM */
int builder_note_env(struct builder *b, const char *name);
/** builder_check_environment() - what the program set past its adaptor: those variables count, or all do (env_changed). Return: 0 or -ENOMEM */
int builder_check_environment(struct builder *b, struct error *err);

/** builder_note_scheduling() - of the program that was just executed for the first time */
void builder_note_scheduling(struct builder *b, pid_t pid);
/** builder_check_scheduling() - what the program looked at has to be what launches have. Return: 0, or -EOPNOTSUPP with words */
int builder_check_scheduling(const struct builder *b, struct error *err);

/**
 * builder_fill_facts() - what a launch has to know of the readiness point and the language, so that it compares no names of them
 * @argv_read: the program was seen to read its arguments (observe_keys)
 * @m: takes_arguments to streams_count are set
 */
void builder_fill_facts(const struct builder *b, bool argv_read, Warm__BuildResult *m);
/** builder_report_send() - tell the daemon how the build went: @r 0 or a negative errno with @err. Return: exit status */
int builder_report_send(struct builder *b, int r, const struct error *err,
			void (*reported)(const struct builder_made *made, int sock), int sock);

#endif
