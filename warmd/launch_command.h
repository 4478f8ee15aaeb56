/* SPDX-License-Identifier: MIT */
/*
 * launch_command.h - a launch by name that cannot be served warm: what the client is to run instead, as `warm run`
 * runs its command cold.
 */
#ifndef WARM_WARMD_LAUNCH_COMMAND_H
#define WARM_WARMD_LAUNCH_COMMAND_H

#include "launcher/wire/protocol.h"
#include "warmd/pool/launch_request.h"

/**
 * launch_command() - what a client of WIRE_LAUNCH_COLD runs instead of a clone
 * @had: what the template was built for
 * @ret: malloc'd
 * Return: 0; -EXDEV: it means something else in the launch's directory; another negative errno
 */
int launch_command(const struct launch_request *l, const struct request *had, struct wire_command **ret);

#endif
