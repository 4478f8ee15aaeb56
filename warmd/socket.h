/* SPDX-License-Identifier: MIT */
/* socket.h - sockets of the runtime directory */
#ifndef WARM_WARMD_SOCKET_H
#define WARM_WARMD_SOCKET_H

/**
 * socket_listen_in() - a socket with mode 0600 in a directory, in place of what has that name
 * @dir: descriptor of the directory, which only this user may use
 * @type: SOCK_STREAM or SOCK_SEQPACKET
 *
 * Return: a listening descriptor (O_CLOEXEC, O_NONBLOCK), or a negative errno
 */
int socket_listen_in(int dir, const char *name, int type, int backlog);

#endif
