/* SPDX-License-Identifier: MIT */
/*
 * pty.h - terminals for programs that do not run in the caller's process: read this file first.
 *
 * A clone that warmd launched is nobody's child in the terminal it was asked for in. It gets a terminal of its
 * own (a pty), and its bytes are carried to the caller's terminal and back. This folder carries them; it knows
 * nothing of clones, warmd or its protocol, and uses engine/base only. It is part of warmd, of warm-tool and of
 * the static launcher, so it must compile with musl too and stay small.
 *
 * Words
 *
 *   the caller's terminal   the one that `warm` was started in: a terminal emulator's pty, usually
 *   the pty                 the program's: the program has the slave, we have the master
 *   pump                    whoever reads the master. What it reads goes into the ring
 *   ring                    the last bytes that the program printed, in a memfd shared by warmd and the clients
 *   writer                  the client whose terminal is the program's: it pumps, and what is typed there is typed
 *                           in the program
 *   viewer, follower        a client that only looks: it follows the ring
 *
 * What flows
 *
 *   program ─► slave ═ master ─read(2)─► ring ─write(2)─► the writer's terminal     one copy in user space
 *                                         └──write(2)──► each viewer's terminal, warm logs
 *   program ◄─ slave ═ master ◄─write(2)─ the writer's input buffer ◄─read(2)─ the writer's terminal
 *
 * Nothing is ever queued in memory that grows: the writer reads the master only when all that it read before is
 * written, so a terminal that takes no bytes fills the pty, and the kernel stops the program, as it stops one on
 * a plain terminal. The same the other way: while the master takes nothing, the caller's terminal is not read.
 * Viewers stop nobody: one that is too slow is overtaken and goes on with the oldest bytes the ring has.
 *
 * Who may pump
 *
 *   exactly one process at any time: the writer, or warmd while there is no writer (pump.h). Two would tear the
 *   output apart, each having every other read. The role is handed over by warmd's protocol: a writer that
 *   leaves (detach, hang-up, crash: its connection ends) pumps no more, then warmd does; warmd stops before it
 *   answers a new writer. Bytes that the writer read but did not get written are in the ring all the same.
 *
 * The ring's rules (ring.h)
 *
 *   - only the pump changes data and head; everybody may read both at any time; followers count themselves in
 *     `viewers` while they follow, and the pump writes to the wake eventfd when it is not 0.
 *   - its size is fixed by seals before anybody sees it; nobody trusts a number in it: another process of the
 *     user may write anything there at any time. Contents may become nonsense by that, memory accesses may not.
 *   - positions are counts of bytes since the beginning and never wrap in practice (64 bits).
 *
 * The master's description is shared by warmd and the writer (a dup), so its O_NONBLOCK is too: it is always
 * set. The caller's terminal's description is shared with its shell: it is never made O_NONBLOCK (relay.h).
 * While warmd keeps a slave open the master never reports the end (EIO): then only the program's exit tells.
 *
 *   ring.h    the ring              relay.h   the writer's and the viewers' loop, in steps
 *   raw.h     raw mode and back     pump.h    one step of a pump
 */
#ifndef WARM_PTY_H
#define WARM_PTY_H

#define PTY_RING_BYTES	(256 * 1024) /* what a ring holds unless told otherwise */
#define PTY_DETACH_KEYS "\x1c\x04" /* Ctrl-\ Ctrl-D */

#endif
