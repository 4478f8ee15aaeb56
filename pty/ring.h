/* SPDX-License-Identifier: MIT */
/*
 * ring.h - the last bytes that a program printed, shared between processes; pty.h has the rules.
 *
 * One memfd: a page of header, then the data, a power of two of bytes. One process writes (the pump), any
 * number follow. No locks: a follower that was too slow notices by the positions.
 */
#ifndef WARM_PTY_RING_H
#define WARM_PTY_RING_H

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RING_MIN_BYTES 65536
#define RING_MAX_BYTES (1u << 30)
#define RING_CHUNK     16384 /* the most that one ring_space() gives: what is about to be overwritten */

struct ring_header;

struct ring {
	int fd; /* the memfd, to be passed on; owned. -EBADF after ring_map() */
	struct ring_header *header; /* shared: believe nothing that it says */
	uint8_t *data;
	size_t size; /* of data, as the file's size said when it was mapped */
	size_t mapped; /* bytes of the mapping */
};

#define RING_NONE                                                                                            \
	{                                                                                                    \
		-EBADF, NULL, NULL, 0, 0                                                                     \
	}

/**
 * ring_create() - a new, empty ring
 * @bytes: of data; rounded up to a power of two, at least RING_MIN_BYTES. 0: PTY_RING_BYTES
 * @ret: set on success; release with ring_unmap()
 * Return: 0. -EINVAL: more than RING_MAX_BYTES. Other negative errno
 */
int ring_create(size_t bytes, struct ring *ret);

/**
 * ring_map() - a ring that another process made
 * @fd: stays the caller's, and may be closed afterwards
 * @ret: set on success
 * Return: 0. -EBADMSG: it is no ring of ours: size, seals, magic or version. Other negative errno
 */
int ring_map(int fd, struct ring *ret);

/** ring_unmap() - and close its descriptor, if it has one; @r may be RING_NONE or all zero */
void ring_unmap(struct ring *r);

/** ring_head() - bytes ever written: the position behind the newest one */
uint64_t ring_head(const struct ring *r);

/** ring_oldest() - position of the oldest byte that is there to be read */
uint64_t ring_oldest(const struct ring *r);

/** ring_space() - for the pump: where the next bytes go. Return: how many fit there, 1 to RING_CHUNK */
size_t ring_space(struct ring *r, void **ret);

/** ring_commit() - for the pump: @n bytes are in the space that ring_space() gave; more than that are cut */
void ring_commit(struct ring *r, size_t n);

/**
 * ring_read() - for the pump, or while nobody pumps: the next contiguous bytes, in place
 * @pos: the reader's position; moved only to the oldest byte when that was overwritten (or to the head when it
 *	is behind the newest byte). The caller adds what it used.
 * @ret: set when there are any; good until the pump writes again, so followers use ring_copy()
 * @ret_lost: how many bytes were skipped; may be NULL
 * Return: bytes at *ret; 0: none yet
 */
size_t ring_read(const struct ring *r, uint64_t *pos, const void **ret, uint64_t *ret_lost);

/**
 * ring_copy() - for followers: the next bytes, whole even while the pump writes
 * @pos: moved behind what was copied
 * @ret_lost: bytes that had been overwritten before they could be read, just before those copied now; may be NULL
 * Return: bytes in @buf; 0: none yet
 */
size_t ring_copy(const struct ring *r, uint64_t *pos, void *buf, size_t size, uint64_t *ret_lost);

/**
 * ring_replay_start() - where to begin so that a terminal shows what it should
 *
 * The start if nothing was overwritten. Else just behind the first newline that is not inside an escape
 * sequence or control string; without one, at the first escape sequence; without that at the first whole
 * character (UTF-8).
 */
uint64_t ring_replay_start(const struct ring *r);

/** ring_follow() - count a follower in (+1, before its first read) or out (-1): while there are any, the pump wakes them */
void ring_follow(struct ring *r, int change);

/** ring_forget_followers() - for warmd: the last follower's connection ended, perhaps without its ring_follow(-1) */
void ring_forget_followers(struct ring *r);

/** ring_followers() - is somebody following? Called after ring_commit(). */
int ring_followers(const struct ring *r);

/** ring_set_raw() - for the writer: its own terminal is in raw mode from here on, or no longer is */
void ring_set_raw(struct ring *r, bool raw);

/** ring_is_raw() - for warmd, when the writer is gone: did it leave its terminal in raw mode? A hint only: anybody may write it */
bool ring_is_raw(const struct ring *r);

#endif
