/* SPDX-License-Identifier: MIT */
/* codec_threads.c - threads */
#include "snapshot/image/image_codec.h"

#define THREAD_NUMBERS(_)                                                                                    \
	_(tid)                                                                                               \
	_(sigmask)                                                                                           \
	_(clear_tid)                                                                                         \
	_(tid_addr)                                                                                          \
	_(robust_list)                                                                                       \
	_(robust_len)                                                                                        \
	_(rseq_addr)                                                                                         \
	_(rseq_size) _(rseq_sig) _(timeout_ns) _(timeout_arg) _(timeout_ms) _(sched_policy)                  \
		_(sched_priority) _(nice)

/* the numbers of the format are those of enum arch_restart */
_Static_assert(IMAGE__RESTART__RETURNED == (int)ARCH_RETURNED &&
		       IMAGE__RESTART__RESTART_TIMED == (int)ARCH_RESTART_TIMED,
	       "what becomes of an interrupted call");
#define RESTARTS (ARCH_RETURNED + 1)

static void put_thread(const struct model_thread *from, Image__Thread *to)
{
	THREAD_NUMBERS(PUT)
	to->regs = codec_put_bytes(&from->regs, sizeof(from->regs));
	to->xstate = codec_put_bytes(from->xstate, from->xstate_len);
	to->comm = codec_put_bytes(from->comm, sizeof(from->comm));
	to->resume = (Image__Resume)from->resume;
	to->restart = (Image__Restart)from->restart;
	PUT_WORDS(to, altstack, from->altstack, 3);
	PUT_WORDS(to, affinity, from->affinity, MODEL_CPU_WORDS);
}

static void take_thread(struct decoder *d, const Image__Thread *from, struct model_thread *to)
{
	THREAD_NUMBERS(TAKE)
	codec_take_struct(d, &to->regs, sizeof(to->regs), from->regs, "the registers of a thread");
	to->xstate = codec_take_bytes(d, from->xstate, &to->xstate_len);
	codec_take_struct(d, to->comm, sizeof(to->comm), from->comm, "the name of a thread");
	if (to->comm[sizeof(to->comm) - 1])
		decoder_bad(d, "the name of a thread is too long");
	to->resume = (enum model_resume)codec_take_choice(d, from->resume, MODEL_RESUMES,
							  "where a thread goes on");
	to->restart = codec_take_choice(d, from->restart, RESTARTS, "what becomes of a thread's call");
	codec_take_words(d, to->altstack, 3, from->n_altstack, from->altstack,
			 "the signal stack of a thread");
	codec_take_words(d, to->affinity, MODEL_CPU_WORDS, from->n_affinity, from->affinity,
			 "the processors of a thread");
}

void codec_put_threads(struct arena *arena, const struct model_process *from, Image__Process *to)
{
	PUT_LIST(arena, to, threads, from->nthreads, thread);
	for (size_t i = 0; i < to->n_threads; i++)
		put_thread(&from->threads[i], to->threads[i]);
}

void codec_take_threads(struct decoder *d, const Image__Process *from, struct model_process *to)
{
	to->threads = codec_take_list(d, from->n_threads, sizeof(*to->threads), &to->nthreads);
	for (size_t i = 0; i < to->nthreads; i++)
		take_thread(d, from->threads[i], &to->threads[i]);
}
