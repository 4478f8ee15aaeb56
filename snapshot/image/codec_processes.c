/* SPDX-License-Identifier: MIT */
/* codec_processes.c - processes, and what of theirs can be shared beside memory and descriptors */
#include "snapshot/image/image_codec.h"

#define PROCESS_NUMBERS(_)                                                                                   \
	_(pid)                                                                                               \
	_(parent)                                                                                            \
	_(group)                                                                                             \
	_(session)                                                                                           \
	_(exit_status)                                                                                       \
	_(space)                                                                                             \
	_(fd_table)                                                                                          \
	_(fs)                                                                                                \
	_(handlers)                                                                                          \
	_(dumpable)                                                                                          \
	_(no_new_privs)                                                                                      \
	_(pdeathsig)                                                                                         \
	_(subreaper)                                                                                         \
	_(thp_disable)                                                                                       \
	_(personality)                                                                                       \
	_(timerslack_ns)                                                                                     \
	_(cap_effective)                                                                                     \
	_(cap_permitted)                                                                                     \
	_(cap_inheritable)                                                                                   \
	_(cap_ambient)                                                                                       \
	_(seccomp)                                                                                           \
	_(amx)                                                                                               \
	_(resized)
#define ITIMER_NUMBERS(_) _(which) _(interval_us) _(value_us)
#define TIMER_NUMBERS(_)                                                                                     \
	_(id) _(clock) _(notify) _(signo) _(value) _(thread) _(overrun) _(interval_ns) _(value_ns)

_Static_assert(sizeof(struct model_sigaction) == 4 * sizeof(uint64_t), "four numbers an action");

static void put_pending(const struct model_pending *from, Image__Pending *to)
{
	to->thread = from->thread;
	to->info = codec_put_bytes(from->info, sizeof(from->info));
}

static void take_pending(struct decoder *d, const Image__Pending *from, struct model_pending *to)
{
	TAKE_NUMBER(d, to->thread, from->thread);
	codec_take_struct(d, to->info, sizeof(to->info), from->info, "a pending signal");
}

static void put_itimer(const struct model_itimer *from, Image__Itimer *to)
{
	ITIMER_NUMBERS(PUT)
}

static void take_itimer(struct decoder *d, const Image__Itimer *from, struct model_itimer *to)
{
	ITIMER_NUMBERS(TAKE)
}

static void put_timer(const struct model_timer *from, Image__Timer *to)
{
	TIMER_NUMBERS(PUT)
}

static void take_timer(struct decoder *d, const Image__Timer *from, struct model_timer *to)
{
	TIMER_NUMBERS(TAKE)
}

static void put_process(struct arena *arena, const struct model_process *from, Image__Process *to)
{
	PROCESS_NUMBERS(PUT)
	to->state = (Image__State)from->state;
	codec_put_threads(arena, from, to);
	PUT_LIST(arena, to, pendings, from->npendings, pending);
	for (size_t i = 0; i < to->n_pendings; i++)
		put_pending(&from->pendings[i], to->pendings[i]);
	PUT_LIST(arena, to, itimers, from->nitimers, itimer);
	for (size_t i = 0; i < to->n_itimers; i++)
		put_itimer(&from->itimers[i], to->itimers[i]);
	PUT_LIST(arena, to, timers, from->ntimers, timer);
	for (size_t i = 0; i < to->n_timers; i++)
		put_timer(&from->timers[i], to->timers[i]);
	PUT_WORDS(to, rlimits, from->rlimits, MODEL_RLIMITS * 2);
	PUT_WORDS(to, uid, from->uid, 4);
	PUT_WORDS(to, gid, from->gid, 4);
}

static void take_timers(struct decoder *d, const Image__Process *from, struct model_process *to)
{
	to->nitimers = from->n_itimers;
	if (to->nitimers > sizeof(to->itimers) / sizeof(to->itimers[0])) {
		decoder_bad(d, "too many interval timers");
		to->nitimers = 0;
	}
	for (size_t i = 0; i < to->nitimers; i++)
		take_itimer(d, from->itimers[i], &to->itimers[i]);
	to->timers = codec_take_list(d, from->n_timers, sizeof(*to->timers), &to->ntimers);
	for (size_t i = 0; i < to->ntimers; i++)
		take_timer(d, from->timers[i], &to->timers[i]);
}

static void take_process(struct decoder *d, const Image__Process *from, struct model_process *to)
{
	PROCESS_NUMBERS(TAKE)
	to->state = (enum model_state)codec_take_choice(d, from->state, MODEL_STATES,
							"the state of a process");
	codec_take_threads(d, from, to);
	to->pendings = codec_take_list(d, from->n_pendings, sizeof(*to->pendings), &to->npendings);
	for (size_t i = 0; i < to->npendings; i++)
		take_pending(d, from->pendings[i], &to->pendings[i]);
	take_timers(d, from, to);
	codec_take_words(d, to->rlimits[0], MODEL_RLIMITS * 2, from->n_rlimits, from->rlimits, "limits");
	codec_take_words(d, to->uid, 4, from->n_uid, from->uid, "user ids");
	codec_take_words(d, to->gid, 4, from->n_gid, from->gid, "group ids");
}

static void put_fs(const struct model_fs *from, Image__Filesystem *to)
{
	to->umask = from->umask;
	to->cwd = codec_put_text(from->cwd);
	to->root = codec_put_text(from->root);
}

static void take_fs(struct decoder *d, const Image__Filesystem *from, struct model_fs *to)
{
	to->umask = from->umask;
	to->cwd = codec_take_text_there(d, from->cwd, "a working directory");
	to->root = codec_take_text(d, from->root, "a root directory");
}

void codec_put_processes(struct arena *arena, const struct model *from, Image__Model *to)
{
	PUT_LIST(arena, to, filesystems, from->nfilesystems, filesystem);
	for (size_t i = 0; i < to->n_filesystems; i++)
		put_fs(&from->filesystems[i], to->filesystems[i]);
	PUT_LIST(arena, to, handlers, from->nhandlers, handlers);
	for (size_t i = 0; i < to->n_handlers; i++)
		PUT_WORDS(to->handlers[i], actions, from->handlers[i].actions, MODEL_SIGNALS * 4);
	PUT_LIST(arena, to, processes, from->nprocesses, process);
	for (size_t i = 0; i < to->n_processes; i++)
		put_process(arena, &from->processes[i], to->processes[i]);
}

void codec_take_processes(struct decoder *d, const Image__Model *from, struct model *to)
{
	to->filesystems = codec_take_list(d, from->n_filesystems, sizeof(*to->filesystems),
					  &to->nfilesystems);
	for (size_t i = 0; i < to->nfilesystems; i++)
		take_fs(d, from->filesystems[i], &to->filesystems[i]);
	to->handlers = codec_take_list(d, from->n_handlers, sizeof(*to->handlers), &to->nhandlers);
	for (size_t i = 0; i < to->nhandlers; i++)
		codec_take_words(d, &to->handlers[i].actions[0].handler, MODEL_SIGNALS * 4,
				 from->handlers[i]->n_actions, from->handlers[i]->actions, "signal handlers");
	to->processes = codec_take_list(d, from->n_processes, sizeof(*to->processes), &to->nprocesses);
	for (size_t i = 0; i < to->nprocesses; i++)
		take_process(d, from->processes[i], &to->processes[i]);
}
