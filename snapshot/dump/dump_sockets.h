/* SPDX-License-Identifier: MIT */
/*
 * dump_sockets.h - pairs of unix stream sockets, as socketpair(2) makes them, whose both ends are the process' own, and
 * sockets that are neither bound nor connected. All others are refused.
 */
#ifndef WARM_SNAPSHOT_DUMP_DUMP_SOCKETS_H
#define WARM_SNAPSHOT_DUMP_DUMP_SOCKETS_H

#include "snapshot/model/model.h"

/**
 * dump_socket() - one end: its bytes, which way it is shut down, and who the other end is
 * @fd: a descriptor of this process for the same open file; @inode: the socket's
 * @ret_refusal: words, when -EOPNOTSUPP is returned
 */
int dump_socket(struct model_description *d, int fd, uint64_t inode, const char **ret_refusal);

/** dump_socket_pairs() - each end finds its other. Return: 0, or -EOPNOTSUPP with *ret_refusal set: one is not there */
int dump_socket_pairs(struct model *m, const char **ret_refusal);

/** dump_socket_unused() - a socket that was made and not used yet. Return: 1; 0: it is another, @d is as it was; a negative errno */
int dump_socket_unused(struct model_description *d, int fd, uint64_t inode);
/** dump_socket_options() - options of SOL_SOCKET that can be set and read */
const int *dump_socket_options(size_t *ret_count);
bool dump_socket_has_filter(int fd);
/** dump_socket_carries() - is this option of setsockopt(2) one that dump_socket_unused() finds? */
bool dump_socket_carries(int level, int name);

#endif
