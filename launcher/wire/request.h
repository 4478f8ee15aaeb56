/* SPDX-License-Identifier: MIT */
/* request.h - a WIRE_RUN message, checked and taken apart */
#ifndef WARM_LAUNCHER_WIRE_REQUEST_H
#define WARM_LAUNCHER_WIRE_REQUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/error.h"
#include "launcher/wire/protocol.h"

struct request {
	struct wire_run run; /* the fixed part */
	const char *name, *ready, *cwd; /* point into bytes */
	char **argv, **envp; /* NULL-terminated, point into bytes */
	const char *out; /* WIRE_RUN_OUT: where its image is to be written; else NULL. The last string */
	bool variant; /* made by request_variant(): nobody asked for it */
	bool promised; /* built again for its name's sake, which `warm rm` may take away meanwhile */
	char *bytes; /* owned */
};

/**
 * request_parse() - check a packet and make a request of it
 * @packet: @len bytes as received, any contents
 *
 * Checked: the header's size is @len, counts fit the bytes, each string ends inside, argc >= 1,
 * cwd is absolute, nothing follows the last string, kinds are known.
 * Return: 0; -EBADMSG with words; -ENOMEM. *ret is the caller's: request_free().
 */
int request_parse(const void *packet, size_t len, struct request **ret, struct error *err);
/** request_copy() - NULL when there is no memory */
struct request *request_copy(const struct request *r);
/** request_with() - a copy with another readiness point, and @pool clones. NULL when there is no memory */
struct request *request_with(const struct request *r, const char *ready, uint32_t pool);
/** request_variant() - the command of @r in the context of a launch by its name, to be built. NULL when there is no memory, or it is too large */
struct request *request_variant(const struct request *r, const struct request *launch);
/** request_with_name() - a copy with another name. NULL when there is no memory, or it is too large */
struct request *request_with_name(const struct request *r, const char *name);
/** request_strip_out() - nothing is to be written for it any more */
void request_strip_out(struct request *r);
void request_free(struct request *r);

#define REQUEST_LABEL_MAX 192

/** request_label() - the name that its template gets: the given one, or one made of the command */
void request_label(const struct request *r, char *ret, size_t size);

/** request_same_command() - do they run the same: all arguments, in the same directory? */
bool request_same_command(const struct request *a, const struct request *b);
/** request_same_environment() - the same variables, in the same order */
bool request_same_environment(const struct request *a, const struct request *b);
/**
 * request_program() - how many of the words of @r tell which program it is, and not what it works on
 * Up to the first that is no option: `python3 -m tool`, `git log`.
 * @ret_absolute: the same program in every directory: neither the first nor the last of these words is a relative path
 */
uint32_t request_program(const struct request *r, bool *ret_absolute);
/** request_same_program() - are these words equal, and the directory where it counts? */
bool request_same_program(const struct request *a, const struct request *b);

/** request_any_point() - is the readiness point left to warmd ("" or "auto")? */
bool request_any_point(const struct request *r);
/** request_inherits() - is @fd, above 2, one that the caller has open? */
bool request_inherits(const struct request *r, int fd);
/** request_getenv() - value of @name in the request's environment, NULL when it has none */
const char *request_getenv(const struct request *r, const char *name, size_t name_len);

#endif
