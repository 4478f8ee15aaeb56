/* SPDX-License-Identifier: MIT */
/* codec_entry.c - how a clone comes in */
#include "snapshot/image/image_codec.h"

#define ENTRY_NUMBERS(_)                                                                                     \
	_(libc_argv_addr)                                                                                    \
	_(progname_full_addr)                                                                                \
	_(progname_short_addr)                                                                               \
	_(context_raw)                                                                                       \
	_(context_buf)                                                                                       \
	_(context_max)                                                                                       \
	_(context_fd)                                                                                        \
	_(context_late)                                                                                      \
	_(argv_drop)                                                                                         \
	_(start_umask)                                                                                       \
	_(start_nice)                                                                                        \
	_(start_policy)                                                                                      \
	_(start_personality)                                                                                 \
	_(start_timerslack_ns)                                                                               \
	_(ignored_signals)                                                                                   \
	_(own_signals)                                                                                       \
	_(blocked_signals)                                                                                   \
	_(tell_signals)
#define LEAVE_NUMBERS(_)  _(slot) _(restore) _(exception) _(release) _(gil_state) _(frame)
#define EXIT_NUMBERS(_)	  _(call) _(arg) _(value) _(libc_exit) _(libc_fflush) _(errno_location) _(learn_only)
#define HOOK_NUMBERS(_)	  _(addr) _(len)
#define RANGE_NUMBERS(_)  _(addr) _(len)
#define OUTPUT_NUMBERS(_) _(at) _(len) _(fd) _(termios)

static void put_leave(const struct model_leave *from, Image__Leave *to)
{
	LEAVE_NUMBERS(PUT)
}

static void take_leave(struct decoder *d, const Image__Leave *from, struct model_leave *to)
{
	LEAVE_NUMBERS(TAKE)
}

static void put_exit(const struct model_exit *from, Image__Exit *to)
{
	EXIT_NUMBERS(PUT)
}

static void take_exit(struct decoder *d, const Image__Exit *from, struct model_exit *to)
{
	EXIT_NUMBERS(TAKE)
}

static void put_hook(const struct model_hook *from, Image__Hook *to)
{
	HOOK_NUMBERS(PUT)
	to->kind = (Image__HookKind)from->kind;
	to->original = codec_put_bytes(from->original, sizeof(from->original));
}

static void take_hook(struct decoder *d, const Image__Hook *from, struct model_hook *to)
{
	HOOK_NUMBERS(TAKE)
	to->kind = (enum model_hook_kind)codec_take_choice(d, from->kind, MODEL_HOOKS, "the kind of a hook");
	codec_take_struct(d, to->original, sizeof(to->original), from->original, "what a hook replaces");
	if (to->len > sizeof(to->original))
		decoder_bad(d, "a hook is too long");
}

static void put_range(const struct model_range *from, Image__Range *to)
{
	RANGE_NUMBERS(PUT)
}

static void take_range(struct decoder *d, const Image__Range *from, struct model_range *to)
{
	RANGE_NUMBERS(TAKE)
}

static void put_output(const struct model_output *from, Image__Output *to)
{
	OUTPUT_NUMBERS(PUT)
}

static void take_output(struct decoder *d, const Image__Output *from, struct model_output *to, size_t room)
{
	OUTPUT_NUMBERS(TAKE)
	if (to->at > room || to->len > room - to->at)
		decoder_bad(d, "output that is not there");
}

static void put_start(const struct model_entry *from, Image__Entry *to)
{
	if (from->has_start_rlimits)
		PUT_WORDS(to, start_rlimits, from->start_rlimits, MODEL_RLIMITS * 2);
	if (from->has_start_affinity)
		PUT_WORDS(to, start_affinity, from->start_affinity, MODEL_CPU_WORDS);
	to->start_cwd = codec_put_text(from->start_cwd);
	to->oom_score_adj = codec_put_text(from->oom_score_adj);
}

static void take_start(struct decoder *d, const Image__Entry *from, struct model_entry *to)
{
	to->has_start_rlimits = from->n_start_rlimits != 0;
	if (to->has_start_rlimits)
		codec_take_words(d, to->start_rlimits[0], MODEL_RLIMITS * 2, from->n_start_rlimits,
				 from->start_rlimits, "the limits of the program's start");
	to->has_start_affinity = from->n_start_affinity != 0;
	if (to->has_start_affinity)
		codec_take_words(d, to->start_affinity, MODEL_CPU_WORDS, from->n_start_affinity,
				 from->start_affinity, "the processors of the program's start");
	to->start_cwd = codec_take_text(d, from->start_cwd, "the directory of the program's start");
	to->oom_score_adj = codec_take_text(d, from->oom_score_adj, "the OOM score");
}

/* the environment, the arguments, and what of them is the template's own */
static void put_words(struct arena *arena, const struct model_entry *from, Image__Entry *to)
{
	to->has_build_env = from->build_env != NULL;
	codec_put_texts(arena, from->build_env, from->build_env ? from->build_envc : 0, &to->build_env,
			&to->n_build_env);
	codec_put_texts(arena, from->build_argv, from->build_argc, &to->build_argv, &to->n_build_argv);
	codec_put_texts(arena, from->argv_prefix, from->argv_prefix_n, &to->argv_prefix, &to->n_argv_prefix);
}

static void take_arguments(struct decoder *d, const Image__Entry *from, struct model_entry *to)
{
	if (from->has_build_env)
		to->build_env = codec_take_texts(d, from->n_build_env, from->build_env, "a variable");
	else if (from->n_build_env)
		decoder_bad(d, "variables of an environment that is not known");
	TAKE_NUMBER(d, to->build_envc, from->n_build_env);
	to->build_argv = codec_take_texts(d, from->n_build_argv, from->build_argv, "an argument");
	TAKE_NUMBER(d, to->build_argc, from->n_build_argv);
	to->argv_prefix = codec_take_texts(d, from->n_argv_prefix, from->argv_prefix, "an argument");
	TAKE_NUMBER(d, to->argv_prefix_n, from->n_argv_prefix);
}

void codec_put_entry(struct arena *arena, const struct model_entry *from, Image__Entry *to)
{
	ENTRY_NUMBERS(PUT)
	PUT_ONE(arena, to->leave, leave);
	if (to->leave)
		put_leave(&from->leave, to->leave);
	if (from->has_exit && PUT_ONE(arena, to->exit, exit))
		put_exit(&from->exit, to->exit);
	PUT_WORDS(to, environ_addr, from->environ_addr, 4);
	PUT_LIST(arena, to, hooks, from->nhooks, hook);
	for (size_t i = 0; i < to->n_hooks; i++)
		put_hook(&from->hooks[i], to->hooks[i]);
	PUT_LIST(arena, to, randoms, from->nrandoms, range);
	for (size_t i = 0; i < to->n_randoms; i++)
		put_range(&from->randoms[i], to->randoms[i]);
	PUT_LIST(arena, to, outputs, from->noutputs, output);
	for (size_t i = 0; i < to->n_outputs; i++)
		put_output(&from->outputs[i], to->outputs[i]);
	to->output_bytes = codec_put_bytes(from->output_bytes, from->output_size);
	put_words(arena, from, to);
	put_start(from, to);
}

void codec_take_entry(struct decoder *d, const Image__Entry *from, struct model_entry *to)
{
	ENTRY_NUMBERS(TAKE)
	if (from->leave)
		take_leave(d, from->leave, &to->leave);
	to->has_exit = from->exit != NULL;
	if (from->exit)
		take_exit(d, from->exit, &to->exit);
	codec_take_words(d, to->environ_addr, 4, from->n_environ_addr, from->environ_addr,
			 "where the environment is");
	to->hooks = codec_take_list(d, from->n_hooks, sizeof(*to->hooks), &to->nhooks);
	for (size_t i = 0; i < to->nhooks; i++)
		take_hook(d, from->hooks[i], &to->hooks[i]);
	to->randoms = codec_take_list(d, from->n_randoms, sizeof(*to->randoms), &to->nrandoms);
	for (size_t i = 0; i < to->nrandoms; i++)
		take_range(d, from->randoms[i], &to->randoms[i]);
	to->output_bytes = codec_take_bytes(d, from->output_bytes, &to->output_size);
	to->outputs = codec_take_list(d, from->n_outputs, sizeof(*to->outputs), &to->noutputs);
	for (size_t i = 0; i < to->noutputs; i++)
		take_output(d, from->outputs[i], &to->outputs[i], to->output_size);
	take_arguments(d, from, to);
	take_start(d, from, to);
}
