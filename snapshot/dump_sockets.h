/* SPDX-License-Identifier: MIT */
/*
 * dump_sockets.h - pairs of unix stream sockets, as socketpair(2) makes them, whose both ends are the process' own. All
 * other sockets are refused.
 */
#ifndef WARM_SNAPSHOT_DUMP_SOCKETS_H
#define WARM_SNAPSHOT_DUMP_SOCKETS_H

#include "snapshot/record.h"

/**
 * dump_socket() - one end: its bytes, which way it is shut down, and who the other end is
 * @fd: a descriptor of this process for the same open file; @inode: the socket's
 * @ret_refusal: words, when -EOPNOTSUPP is returned
 */
int dump_socket(struct record_description *d, int fd, uint64_t inode, const char **ret_refusal);

/** dump_socket_pairs() - each end finds its other. Return: 0, or -EOPNOTSUPP with *ret_refusal set: one is not there */
int dump_socket_pairs(struct record *rec, const char **ret_refusal);

#endif
