/* SPDX-License-Identifier: MIT */
/* observe_ioctl.c - ioctl(2): of the terminal, of files, of sockets. What is not known to ask is an effect */
#include "warmd/build/observe_internal.h"

#include <asm/termbits.h> /* struct termios2, for TCSETS2; <termios.h> would clash */
#include <errno.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "engine/base/fd.h"
#include "engine/base/proc_path.h"

#define TERMIOS_ROOM 256 /* more than any architecture's struct termios */

/* the terminal's settings as they are now, asked at its other end */
static int note_termios(struct observe *o)
{
	struct observe_output *last = o->noutput ? &o->output[o->noutput - 1] : NULL;
	char *data = calloc(1, TERMIOS_ROOM);

	if (!data || ioctl(o->terminal_master, TCGETS, data) < 0) {
		free(data);
		return data ? 0 : -ENOMEM;
	}
	o->keys.termios = true;
	/* nothing was written with the ones before */
	if (last && last->termios) {
		free((void *)last->data);
		last->data = data;
		return 0;
	}
	return output_add(o, (struct observe_output){ .fd = o->terminal_fd,
						      .termios = true,
						      .data = data,
						      .len = sizeof(struct termios) });
}

static bool same_size(struct observe *o, const struct thread *t, uint64_t addr)
{
	struct winsize size;

	return peer_read(o, t->tid, addr, &size, sizeof(size)) > 0 && size.ws_row == o->rows &&
	       size.ws_col == o->columns;
}

static bool own_group(struct observe *o, const struct thread *t, uint64_t addr)
{
	pid_t group;

	return peer_read(o, t->tid, addr, &group, sizeof(group)) > 0 && group == getpgid(o->root);
}

/* does it change nothing but the settings of the terminal, which a clone is given, too? */
static bool is_own_change(struct observe *o, const struct thread *t, const struct observe_call *c)
{
	if (o->terminal_master < 0)
		return false;
	switch ((unsigned int)c->args[1]) {
	case TCSETS:
	case TCSETSW:
	case TCSETSF:
	case TCSETS2:
	case TCSETSW2:
	case TCSETSF2:
	case TCSETA:
	case TCSETAW:
	case TCSETAF:
	case TCFLSH: /* nothing was typed, and output is recorded already */
		return true;
	case TCSBRK:
		return c->args[2] != 0; /* tcdrain(3) */
	case TIOCSWINSZ:
		return same_size(o, t, c->args[2]);
	case TIOCSPGRP:
		return own_group(o, t, c->args[2]);
	default:
		return false;
	}
}

static bool is_terminal(const struct thread *t, int fd)
{
	struct stat st;

	return stat(proc_path(t->tid, "fd/%d", fd).text, &st) == 0 && S_ISCHR(st.st_mode) &&
	       major(st.st_rdev) != 1 /* null and its like */;
}

/* those that change a file, from linux/fs.h */
static int change_of_file(struct observe *o, struct thread *t, const struct observe_call *c)
{
	switch ((unsigned int)c->args[1]) {
	case FICLONE:
	case FICLONERANGE:
	case FIDEDUPERANGE:
		return effect_on_fd(o, t, (int)c->args[0], "writes to");
	case FS_IOC_SETFLAGS:
	case FS_IOC_FSSETXATTR:
		return effect_on_fd(o, t, (int)c->args[0], "changes attributes of");
	default:
		return 0;
	}
}

/* of a socket: ioctl_list(2), netdevice(7). Those that ask */
static bool is_socket_question(unsigned int request)
{
	static const unsigned int questions[] = {
		0x8905 /* SIOCATMARK */,   0x8906,
		0x8907 /* SIOCGSTAMP */,   0x890b /* SIOCOUTQNSD */,
		0x8910 /* SIOCGIFNAME */,  0x8912 /* SIOCGIFCONF */,
		0x8913 /* SIOCGIFFLAGS */, 0x8915 /* ADDR */,
		0x8917 /* DSTADDR */,	   0x8919 /* BRDADDR */,
		0x891b /* NETMASK */,	   0x891d /* METRIC */,
		0x8921 /* MTU */,	   0x8927 /* HWADDR */,
		0x8929 /* SLAVE */,	   0x8933 /* INDEX */,
		0x8935 /* PFLAGS */,	   0x8938 /* COUNT */,
		0x8942 /* TXQLEN */,	   0x8970 /* MAP */,
		0x8b01 /* SIOCGIWNAME */,
	};

	for (size_t i = 0; i < ARRAY_SIZE(questions); i++)
		if (request == questions[i])
			return true;
	return false;
}

/* of a descriptor that the program made itself: what is not known to ask, or to be the descriptor's own, is an effect */
static int own_ioctl(struct observe *o, struct thread *t, const struct observe_call *c)
{
	unsigned int request = (unsigned int)c->args[1];
	int fd = (int)c->args[0];

	switch (request) {
	case FIOCLEX:
	case FIONCLEX:
	case FIONBIO:
	case FIOASYNC:
	case FIONREAD:
	case TIOCOUTQ:
	case FIGETBSZ:
		return 0;
	default:
		break;
	}
	/* its own pty; TCGETS of a file, which fails; what only copies to the program */
	if (is_terminal(t, fd) || request >> 8 == 'T' || is_socket_question(request) ||
	    _IOC_DIR(request) == _IOC_READ)
		return 0;
	return boundary(o, t, "makes an ioctl (0x%x)", request);
}

int on_ioctl_entry(struct observe *o, struct thread *t, const struct observe_call *c, const struct rule *rule)
{
	int fd = (int)c->args[0], origin = fd_get(t->proc, fd).origin, r;

	(void)rule;
	r = change_of_file(o, t, c);
	if (r)
		return r;
	if (origin < 0 && origin != ORIGIN_TTY)
		return own_ioctl(o, t, c);
	if (origin > 2)
		return fd_look(o, t, fd);
	if (o->live && is_own_change(o, t, c))
		return 0;
	switch ((unsigned int)c->args[1]) {
	case FIONBIO:
	case FIOASYNC:
		return boundary(o, t, "changes the flags of descriptor %d", origin);
	case FIONREAD:
		return origin == 0 && !o->live ? boundary(o, t, "asks how much standard input there is") : 0;
	case TCSETS:
	case TCSETSW:
	case TCSETSF:
	case TCSETS2:
	case TCSETSW2:
	case TCSETSF2:
	case TCSETA:
	case TCSETAW:
	case TCSETAF:
	case TCSBRK:
	case TCSBRKP:
	case TCXONC:
	case TCFLSH:
	case TIOCSWINSZ:
	case TIOCSPGRP:
	case TIOCSCTTY:
	case TIOCNOTTY:
	case TIOCSTI:
	case TIOCSETD:
	case TIOCEXCL:
		return is_terminal(t, fd) ? boundary(o, t, "changes the terminal") : 0;
	default:
		return 0;
	}
}

int on_ioctl(struct observe *o, struct thread *t, const struct observe_call *c, const struct rule *rule)
{
	int fd = (int)c->args[0], origin = fd_get(t->proc, fd).origin;

	(void)rule;
	if (origin < 0 && origin != ORIGIN_TTY)
		return 0;
	fd_looked_at(o, t, fd);
	if (c->ret < 0)
		return 0;
	if (o->live && is_own_change(o, t, c))
		return note_termios(o);
	switch ((unsigned int)c->args[1]) {
	case TIOCGWINSZ:
		o->keys.window_size = true;
		return 0;
	case TCGETS:
	case TCGETS2:
	case TCGETA:
		o->keys.termios |= o->live;
		return 0;
	default:
		return 0;
	}
}
