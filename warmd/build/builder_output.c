/* SPDX-License-Identifier: MIT */
/* builder_output.c - what the program wrote on its way to its readiness point: a clone writes it again */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/fd.h"
#include "warmd/build/builder_internal.h"
#include "warmd/build/observe.h"

/*
 * Scrolling between the terminal's first and last line is set by their numbers (terminfo's csr; ECMA-48's form of it is
 * "CSI 1 ; rows r"). A terminal that is resized takes that back by itself; one that had its size before the
 * program came does not. Without numbers it means the terminal's own. Return: the new length
 */
static size_t unset_margins(char *data, size_t len, unsigned int rows)
{
	char set[2][24];

	snprintf(set[0], sizeof(set[0]), "\033[1;%ur", rows);
	snprintf(set[1], sizeof(set[1]), "\033[;%ur", rows);
	for (size_t i = 0; i < ARRAY_SIZE(set); i++) {
		size_t n = strlen(set[i]);
		char *p = data;

		while ((p = memmem(p, len - (size_t)(p - data), set[i], n))) {
			char *rest = p + n - 1;

			memmove(p + 2, rest, len - (size_t)(rest - data));
			len -= n - 3;
			p += 3;
		}
	}
	return len;
}

int builder_fill_outputs(struct builder *b, struct model_entry *e)
{
	size_t n, bytes = 0, at = 0;
	const struct observe_output *o = observe_output(b->observe, &n);
	struct model_output *outputs = calloc(n + 1, sizeof(*outputs));
	char *all;

	for (size_t i = 0; i < n; i++)
		bytes += o[i].len;
	all = malloc(bytes + 1);
	if (!outputs || !all) {
		free(outputs);
		free(all);
		return -ENOMEM;
	}
	for (size_t i = 0; i < n; i++) {
		outputs[i] = (struct model_output){
			.fd = o[i].fd, .at = at, .len = o[i].len, .termios = o[i].termios
		};
		memcpy(all + at, o[i].data, o[i].len);
		if (builder_is_live(b) && !o[i].termios)
			outputs[i].len = unset_margins(all + at, o[i].len, b->req->run.rows);
		at += outputs[i].len;
	}
	/* freed with the process */
	e->outputs = outputs;
	e->noutputs = n;
	e->output_bytes = all;
	e->output_size = bytes;
	return 0;
}
