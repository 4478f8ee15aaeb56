/* SPDX-License-Identifier: MIT */
/*
 * builder.h - makes one template, in a process of its own: a build that is
 * killed, or runs out of memory, takes nothing else with it.
 *
 * In: a request (the program's whole context). Out, on a socket to the daemon:
 * a BuildResult (launcher/wire/control.proto) in a memfd, and with it the control and pages memfds
 * and the mapped files.
 */
#ifndef WARM_WARMD_BUILD_BUILDER_H
#define WARM_WARMD_BUILD_BUILDER_H

#include "warmd/config/config.h"
#include "launcher/wire/request.h"

/**
 * builder_run() - build and report; called in a forked child
 * @sock: SOCK_SEQPACKET to the daemon
 * Return: exit status for _exit()
 */
int builder_run(const struct request *req, const struct config *cfg, int sock);

#define BUILDER_FDS_PER_PACKET 200

/* first packet: this, with the result's memfd; further packets: a byte with descriptors */
struct builder_report {
	uint32_t magic;
	uint32_t nfds; /* control, pages and files, in packets that follow */
	uint64_t result_size; /* bytes of BuildResult in the memfd */
};
#define BUILDER_MAGIC 0x444c4942u

#endif
