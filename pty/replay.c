/* SPDX-License-Identifier: MIT */
/*
 * replay.c - where in a ring that has lost its beginning a replay may begin.
 *
 * The oldest byte may be inside a character, an escape sequence or a control string (ECMA-48), and would be
 * shown as rubbish. A newline outside of those is a place where a terminal's line begins anyway. That the oldest
 * byte was inside a control string shows later, by the string's end (ESC \) without a beginning.
 */
#include "pty/ring.h"

#include <stdbool.h>

enum state {
	TEXT,
	ESCAPE, /* behind ESC */
	SEQUENCE, /* CSI: parameters until a final byte */
	STRING, /* OSC, DCS, APC, PM, SOS: until ESC \, or BEL */
	STRING_ESCAPE, /* ESC inside one */
};

#define NO_PLACE UINT64_MAX

static uint8_t at(const struct ring *r, uint64_t pos)
{
	return r->data[pos & (r->size - 1)];
}

static enum state after_escape(uint8_t c)
{
	if (c == '[')
		return SEQUENCE;
	if (c == ']' || c == 'P' || c == '_' || c == '^' || c == 'X')
		return STRING;
	/* intermediate bytes (ESC ( B): the final one is still to come */
	return c >= 0x20 && c <= 0x2f ? ESCAPE : TEXT;
}

static enum state after(enum state s, uint8_t c)
{
	/* CAN and SUB end whatever there is */
	if (c == 0x18 || c == 0x1a)
		return TEXT;
	switch (s) {
	case TEXT:
		return c == 0x1b ? ESCAPE : TEXT;
	case ESCAPE:
		return c == 0x1b ? ESCAPE : after_escape(c);
	case SEQUENCE:
		return c == 0x1b ? ESCAPE : c >= 0x40 && c <= 0x7e ? TEXT : SEQUENCE;
	case STRING:
		return c == 0x1b ? STRING_ESCAPE : c == '\a' ? TEXT : STRING;
	case STRING_ESCAPE:
		return c == '\\' ? TEXT : after_escape(c);
	}
	return TEXT;
}

/* behind the first newline that counts */
static uint64_t behind_newline(const struct ring *r, uint64_t from, uint64_t head)
{
	uint64_t place = NO_PLACE;
	enum state s = TEXT;

	for (uint64_t pos = from; pos < head; pos++) {
		uint8_t c = at(r, pos);

		/* the end of a string whose beginning is lost: what came before was inside it */
		if (s == ESCAPE && c == '\\')
			place = NO_PLACE;
		else if (s == TEXT && c == '\n' && place == NO_PLACE)
			place = pos + 1;
		s = after(s, c);
	}
	return place;
}

/* the first byte that begins something */
static uint64_t first_whole(const struct ring *r, uint64_t from, uint64_t head)
{
	uint64_t character = NO_PLACE;

	for (uint64_t pos = from; pos < head; pos++) {
		uint8_t c = at(r, pos);

		if (c == 0x1b && !(pos + 1 < head && at(r, pos + 1) == '\\'))
			return pos;
		if (character == NO_PLACE && (c & 0xc0) != 0x80)
			character = pos;
	}
	return character == NO_PLACE ? head : character;
}

uint64_t ring_replay_start(const struct ring *r)
{
	uint64_t head = ring_head(r), from = ring_oldest(r), place;

	/* another process may have written anything to head meanwhile */
	if (from == 0 || head - from > r->size)
		return from;
	place = behind_newline(r, from, head);
	return place < head ? place : first_whole(r, from, head);
}
