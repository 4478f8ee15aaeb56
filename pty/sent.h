/* SPDX-License-Identifier: MIT */
/*
 * sent.h - what was written to the pty last, and when: at the program's end what came too late to be read there, or to be
 * taken out again, is told from what was in time.
 */
#ifndef WARM_PTY_SENT_H
#define WARM_PTY_SENT_H

#include <stddef.h>
#include <stdint.h>

#define SENT_BYTES  4096
#define SENT_WRITES 16

struct sent { /* all zero: nothing yet */
	uint8_t bytes[SENT_BYTES];
	size_t n;
	struct {
		uint64_t at; /* when the write(2) began */
		size_t n;
	} writes[SENT_WRITES]; /* the oldest first; their bytes are those above, in order */
	size_t nwrites;
};

/** sent_note() - remember one write; the oldest ones make room */
void sent_note(struct sent *s, uint64_t at, const uint8_t *p, size_t n);

/** sent_since() - what was written by those that began at @at or later. @ret: points into @s. Return: how many bytes */
size_t sent_since(const struct sent *s, uint64_t at, const uint8_t **ret);

#endif
