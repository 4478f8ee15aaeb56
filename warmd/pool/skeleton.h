/* SPDX-License-Identifier: MIT */
/* skeleton.h - the process that a template's clones are forked from: engine/stub/skeleton.c */
#ifndef WARM_WARMD_POOL_SKELETON_H
#define WARM_WARMD_POOL_SKELETON_H

#include <sys/types.h>

#include "warmd/template/template.h"

/**
 * skeleton_start() - make one from the template's memfds
 * @ret_pid: a child of this process
 * @ret_sock: orders go in, notes come out (struct stub_fork, struct stub_note); closing it ends the skeleton
 */
int skeleton_start(const struct template *t, pid_t *ret_pid, int *ret_sock, struct error *err);

#endif
