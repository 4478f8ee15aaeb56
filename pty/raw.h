/* SPDX-License-Identifier: MIT */
/*
 * raw.h - raw mode of the caller's terminal, and back.
 *
 * A process in the background must not touch the terminal: it belongs to the foreground's, and the kernel would
 * stop us (SIGTTOU, termios(3)). Both functions look first. A terminal that is not our controlling one has no
 * foreground as far as we are concerned, and may be changed.
 */
#ifndef WARM_PTY_RAW_H
#define WARM_PTY_RAW_H

#include <stdbool.h>
#include <termios.h>

/** raw_foreground() - may this process change @tty (and read it) now? */
bool raw_foreground(int tty);

/** raw_settings() - @t as it is in raw mode: every byte passes as it is, both ways, and none means anything */
void raw_settings(struct termios *t);

/** raw_is() - is @tty in raw mode already, whatever is done to its output? */
bool raw_is(int tty);

/**
 * raw_output() - in raw mode: what @tty does to newlines as the program's terminal does it
 * @from: its settings; OPOST and ONLCR count
 */
void raw_output(int tty, const struct termios *from);

/**
 * raw_enter() - raw mode
 * @saved: the settings before; set on success
 * Return: 0. -EAGAIN: in the background, nothing done. -EIO: hung up. Other negative errno
 */
int raw_enter(int tty, struct termios *saved);

/**
 * raw_leave() - @saved again; does not wait for output, loses none, and keeps what has been typed ahead
 * Return: 0. -EAGAIN: in the background, nothing done. Other negative errno
 */
int raw_leave(int tty, const struct termios *saved);

#endif
