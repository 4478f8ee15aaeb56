/* SPDX-License-Identifier: MIT */
/* template_send.h - a template is handed to a process that becomes it: a launcher, or a skeleton */
#ifndef WARM_WARMD_TEMPLATE_TEMPLATE_SEND_H
#define WARM_WARMD_TEMPLATE_TEMPLATE_SEND_H

#include "launcher/wire/protocol.h"
#include "warmd/template/template.h"

/** template_describe() - fill an answer with where the template's memory belongs; all else in it is 0 */
void template_describe(const struct template *t, struct wire_run_reply *reply);
/**
 * template_send() - an answer with the template's descriptors, in as many packets as it takes
 * @sock: a SOCK_SEQPACKET socket, which is not waited for
 * Return: 0 or a negative errno
 */
int template_send(int sock, struct wire_run_reply *reply, const struct template *t);

#endif
