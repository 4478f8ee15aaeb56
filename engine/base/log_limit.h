/* SPDX-License-Identifier: MIT */
/*
 * log_limit.h - messages that come again and again: after some of one kind within a while the others are counted, not written.
 *
 * A kind is a place in the source, told by its format string, so that a name or number in a message makes no other kind.
 */
#ifndef WARM_ENGINE_BASE_LOG_LIMIT_H
#define WARM_ENGINE_BASE_LOG_LIMIT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LOG_LIMIT_KINDS	    64 /* that are remembered; one more takes the place of the oldest */
#define LOG_LIMIT_BURST	    20 /* of one kind in LOG_LIMIT_WINDOW_NS */
#define LOG_LIMIT_WINDOW_NS 10000000000ull
#define LOG_LIMIT_WORDS	    160

struct log_kind {
	const char *format; /* NULL: free */
	uint64_t since_ns; /* the window's begin */
	unsigned int count; /* in this window */
	uint64_t left_out; /* not told yet */
	char last[LOG_LIMIT_WORDS]; /* the last that was left out, cut */
};

struct log_limit {
	struct log_kind kinds[LOG_LIMIT_KINDS];
};

/** log_limit_take() - may @text, of the kind @format, be written? If not, it is counted */
bool log_limit_take(struct log_limit *l, const char *format, const char *text, uint64_t now_ns);

/**
 * log_limit_due() - what is to be told of messages that were left out, in @words
 * @format: NULL, or that kind alone. Kinds whose window is not over at @now_ns tell nothing yet
 * Return: false: nothing (any more)
 */
bool log_limit_due(struct log_limit *l, const char *format, uint64_t now_ns, char *words, size_t size);

#endif
