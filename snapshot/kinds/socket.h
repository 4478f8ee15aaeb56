/* SPDX-License-Identifier: MIT */
/* socket.h - what kinds of sockets have in common: their options, setsockopt(2) */
#ifndef WARM_SNAPSHOT_KINDS_SOCKET_H
#define WARM_SNAPSHOT_KINDS_SOCKET_H

#include <stdbool.h>

#include "snapshot/model/model.h"

/** socket_int() - an option of SOL_SOCKET that is an int. Return: its value or a negative errno */
int socket_int(int fd, int name);

/**
 * socket_options() - the options in which a socket is different from a new one
 * @fresh: a new one of the same domain, type and protocol
 * @ret, @ret_n: the caller frees the array
 * Return: 0; -EOPNOTSUPP: one cannot be set on a new one; -ENOMEM
 */
int socket_options(int fd, int fresh, struct model_option **ret, size_t *ret_n);

/** socket_has_filter() - filters have no value that could be compared */
bool socket_has_filter(int fd);

/** socket_carries() - is this option of setsockopt(2) one that socket_options() finds? */
bool socket_carries(int level, int name);

#endif
