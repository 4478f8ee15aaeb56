/* SPDX-License-Identifier: MIT */
/* builder_internal.h - one build's state, shared by builder.c and builder_report.c */
#ifndef WARM_WARMD_BUILDER_INTERNAL_H
#define WARM_WARMD_BUILDER_INTERNAL_H

#include "engine/trace.h"
#include "snapshot/plan.h"
#include "warmd/adaptor.h"
#include "warmd/builder_child.h"
#include "warmd/config.h"

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
	STATE_RUNNING, /* next: the read of the readiness descriptor */
};

/* what the program began with: the request's, as far as warmd may set it */
struct builder_scheduling {
	int nice;
	uint32_t sched, ioprio; /* as struct wire_run has them */
};

struct builder {
	const struct request *req;
	const struct config *cfg;
	struct builder_child child;
	struct trace *trace;
	struct observe *observe;
	struct builder_point point;
	enum builder_state state;
	struct tracee *ready; /* DELAY, IDLE: NULL */
	int warm_outer;
	char stdio_links[3][256];
	struct adaptor_lines lines;
	bool adaptor_used, env_visible;
	bool env_changed; /* a program that executed this one gave it another environment than the request's */
	char **env; /* names that C's getenv was asked for */
	size_t nenv;
	uint64_t runmain, run_string, injected, injected_len;
	arch_regs saved;
	struct record *record;
	struct plan plan;
	struct stub_exit exit;
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
