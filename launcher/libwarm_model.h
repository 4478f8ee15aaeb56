/* SPDX-License-Identifier: MIT */
/*
 * libwarm_model.h - a launch that went through warmd, and what the next one must have like it to go past warmd:
 * WIRE_MODEL (launcher/wire/protocol.h), taken apart and compared.
 */
#ifndef WARM_LAUNCHER_LIBWARM_MODEL_H
#define WARM_LAUNCHER_LIBWARM_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "engine/stub/order.h"
#include "launcher/wire/protocol.h"

struct launch_model {
	struct launch_model *next;
	uint64_t number;
	/* its lease; clone 0: none */
	uint64_t clone, generation;
	uint32_t learn;
	pid_t pid;
	int channel, pidfd; /* owned */
	/* pointers into bytes */
	const struct wire_model *head;
	const struct wire_run *run;
	const struct stub_order *order;
	const char *name, *argv, *envp, *fixed, *env, *names;
	uint32_t argv_size, envp_size;
	uint64_t bytes[];
};

struct launch_strings {
	const char *argv, *envp;
	uint32_t argv_size, envp_size;
};

/** libwarm_model_skip() - behind @n strings, or NULL when there are fewer before @end */
const char *libwarm_model_skip(const char *at, const char *end, uint32_t n);

/** libwarm_model_take_apart() - the pointers into @m->bytes, of which @len came. Return: false: sizes or strings are not right */
bool libwarm_model_take_apart(struct launch_model *m, size_t len);

/** libwarm_find_strings() - arguments and environment behind a launch's message */
void libwarm_find_strings(const struct wire_run *run, struct launch_strings *s);

/** libwarm_model_is_like() - is the launch, with these strings, like the model in everything that counts? */
bool libwarm_model_is_like(const struct launch_model *m, const struct wire_run *run,
			   const struct launch_strings *s);

#endif
