/* SPDX-License-Identifier: MIT */
#include "launcher/wire/request.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/fd.h"

#define TERMINAL_FLAGS (WIRE_LAUNCH_TERMINAL | WIRE_LAUNCH_BACKGROUND)
#define RUN_FLAGS                                                                                            \
	(uint32_t)(WIRE_RUN_NO_BUILD | WIRE_RUN_BUILD | WIRE_RUN_EXPLAIN | WIRE_RUN_REBUILD |                \
		   WIRE_RUN_POOL | WIRE_RUN_OUT | WIRE_RUN_LOAD | TERMINAL_FLAGS)
#define LAUNCH_FLAGS                                                                                         \
	(uint32_t)(WIRE_LAUNCH_DETACH | WIRE_LAUNCH_APPEND | WIRE_LAUNCH_ENV | WIRE_LAUNCH_CGROUP |          \
		   TERMINAL_FLAGS | WIRE_LAUNCH_COLD)

struct cursor {
	char *p, *end;
};

static char *next_string(struct cursor *c)
{
	char *s = c->p, *nul;

	if (c->p >= c->end)
		return NULL;
	nul = memchr(c->p, '\0', (size_t)(c->end - c->p));
	if (!nul)
		return NULL;
	c->p = nul + 1;
	return s;
}

static char **strings(struct cursor *c, uint32_t n)
{
	char **v;

	/* each string takes a byte at least: a count beyond the bytes is a lie, and would be much memory */
	if (n > (size_t)(c->end - c->p))
		return NULL;
	v = calloc((size_t)n + 1, sizeof(*v));
	for (uint32_t i = 0; v && i < n; i++) {
		v[i] = next_string(c);
		if (!v[i]) {
			free(v);
			return NULL;
		}
	}
	return v;
}

static int check(const struct request *r, const struct cursor *c, struct error *err)
{
	const struct wire_run *run = &r->run;

	if (!r->name || !r->ready || !r->cwd || !r->argv || !r->envp || c->p != c->end)
		return error_set(err, EBADMSG, "run message: strings do not fit their counts");
	if (r->cwd[0] != '/' && (r->cwd[0] || run->header.type != WIRE_LAUNCH))
		return error_set(err, EBADMSG, "run message: the directory is not absolute");
	for (int i = 0; i < 3; i++)
		if (run->stdio[i] > WIRE_STDIO_OTHER)
			return error_set(err, EBADMSG, "run message: unknown kind of standard descriptor");
	if (run->termios_size != 0 && run->termios_size != WIRE_TERMIOS_SIZE)
		return error_set(err, EBADMSG, "run message: a terminal's settings have %u bytes, not %d",
				 run->termios_size, WIRE_TERMIOS_SIZE);
	if (run->header.type == WIRE_RUN && (run->flags & (WIRE_RUN_OUT | WIRE_RUN_LOAD)) &&
	    !(run->flags & WIRE_RUN_BUILD))
		return error_set(err, EBADMSG, "run message: an image, but no build");
	if (r->out ? r->out[0] != '/' : (run->flags & WIRE_RUN_LOAD) && r->argv[0][0] != '/')
		return error_set(err, EBADMSG, "run message: the path of an image is not absolute");
	if (run->flags & ~(run->header.type == WIRE_LAUNCH ? LAUNCH_FLAGS : RUN_FLAGS))
		return error_set(err, EBADMSG, "run message: unknown flags %x", run->flags);
	return 0;
}

int request_parse(const void *packet, size_t len, struct request **ret, struct error *err)
{
	struct request *r;
	struct cursor c;
	int code;

	if (len < sizeof(struct wire_run))
		return error_set(err, EBADMSG, "run message: %zu bytes are too few", len);
	r = calloc(1, sizeof(*r));
	if (!r)
		return error_set(err, ENOMEM, "no memory for a request");
	memcpy(&r->run, packet, sizeof(r->run));
	if (r->run.header.size != len || r->run.strings_size != len - sizeof(r->run) ||
	    (r->run.argc < 1 &&
	     !(r->run.header.type == WIRE_LAUNCH && (r->run.flags & WIRE_LAUNCH_APPEND)))) {
		request_free(r);
		return error_set(err, EBADMSG, "run message: sizes do not agree");
	}
	r->bytes = malloc(r->run.strings_size + 1u);
	if (!r->bytes) {
		request_free(r);
		return error_set(err, ENOMEM, "no memory for a request");
	}
	memcpy(r->bytes, (const char *)packet + sizeof(r->run), r->run.strings_size);
	c = (struct cursor){ r->bytes, r->bytes + r->run.strings_size };
	r->name = next_string(&c);
	r->ready = next_string(&c);
	r->cwd = next_string(&c);
	r->argv = strings(&c, r->run.argc);
	if (r->argv)
		r->envp = strings(&c, r->run.envc);
	if (r->run.header.type == WIRE_RUN && (r->run.flags & WIRE_RUN_OUT)) {
		r->out = next_string(&c);
		if (!r->out) {
			request_free(r);
			return error_set(err, EBADMSG, "run message: strings do not fit their counts");
		}
	}
	code = check(r, &c, err);
	if (code < 0) {
		request_free(r);
		return code;
	}
	*ret = r;
	return 0;
}

void request_free(struct request *r)
{
	if (!r)
		return;
	free(r->argv);
	free(r->envp);
	free(r->bytes);
	free(r);
}

static bool same_words(const struct request *a, const struct request *b, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		if (strcmp(a->argv[i], b->argv[i]) != 0)
			return false;
	return true;
}

bool request_same_command(const struct request *a, const struct request *b)
{
	return a->run.argc == b->run.argc && strcmp(a->cwd, b->cwd) == 0 && same_words(a, b, a->run.argc);
}

bool request_same_environment(const struct request *a, const struct request *b)
{
	if (a->run.envc != b->run.envc)
		return false;
	for (uint32_t i = 0; i < a->run.envc; i++)
		if (strcmp(a->envp[i], b->envp[i]) != 0)
			return false;
	return true;
}

uint32_t request_program(const struct request *r, bool *ret_absolute)
{
	uint32_t n = r->run.argc ? 1 : 0;

	/* a name without a slash is looked for in PATH: the shell's way, execvp(3) */
	*ret_absolute = !n || r->argv[0][0] == '/' || !strchr(r->argv[0], '/');
	while (n < r->run.argc && r->argv[n][0] == '-')
		n++;
	if (n == r->run.argc || !n)
		return n;
	*ret_absolute = *ret_absolute && r->argv[n][0] == '/';
	return n + 1;
}

bool request_same_program(const struct request *a, const struct request *b)
{
	bool absolute;
	uint32_t n = request_program(a, &absolute);

	return request_program(b, &absolute) == n && same_words(a, b, n) &&
	       (absolute || strcmp(a->cwd, b->cwd) == 0);
}

bool request_any_point(const struct request *r)
{
	return !r->ready[0] || strcmp(r->ready, "auto") == 0;
}

bool request_inherits(const struct request *r, int fd)
{
	return fd > 2 && fd < 256 && (r->run.inherited_fds[fd / 64] >> (fd % 64) & 1);
}

const char *request_getenv(const struct request *r, const char *name, size_t name_len)
{
	for (char **e = r->envp; *e; e++)
		if (strncmp(*e, name, name_len) == 0 && (*e)[name_len] == '=')
			return *e + name_len + 1;
	return NULL;
}

void request_label(const struct request *r, char *ret, size_t size)
{
	size_t n = (size_t)snprintf(ret, size, "%s", r->name);

	for (uint32_t i = 0; !r->name[0] && i < r->run.argc && i < 4 && n < 60; i++)
		n += (size_t)snprintf(ret + n, n < size ? size - n : 0, "%s%.60s", i ? " " : "", r->argv[i]);
	for (char *p = ret; *p; p++)
		if ((unsigned char)*p < ' ')
			*p = '?';
}

struct request *request_copy(const struct request *r)
{
	size_t len = sizeof(r->run) + r->run.strings_size;
	char *packet = malloc(len);
	struct request *copy = NULL;

	if (!packet)
		return NULL;
	memcpy(packet, &r->run, sizeof(r->run));
	memcpy(packet + sizeof(r->run), r->bytes, r->run.strings_size);
	if (request_parse(packet, len, &copy, NULL) < 0)
		copy = NULL;
	if (copy) {
		copy->promised = r->promised;
		copy->variant = r->variant;
	}
	free(packet);
	return copy;
}

struct request *request_with(const struct request *r, const char *ready, uint32_t pool)
{
	size_t name = strlen(r->name) + 1, had = strlen(r->ready) + 1, has = strlen(ready) + 1;
	size_t rest = r->run.strings_size - name - had, len = sizeof(r->run) + name + has + rest;
	struct wire_run run = r->run;
	struct request *copy = NULL;
	char *packet = malloc(len), *at;

	if (!packet)
		return NULL;
	run.pool = pool;
	run.strings_size = (uint32_t)(name + has + rest);
	run.header.size = (uint32_t)len;
	at = mempcpy(packet, &run, sizeof(run));
	at = mempcpy(at, r->name, name);
	at = mempcpy(at, ready, has);
	memcpy(at, r->ready + had, rest);
	if (request_parse(packet, len, &copy, NULL) < 0)
		copy = NULL;
	free(packet);
	return copy;
}

struct request *request_with_name(const struct request *r, const char *name)
{
	size_t had = strlen(r->name) + 1, has = strlen(name) + 1, rest = r->run.strings_size - had;
	size_t len = sizeof(r->run) + has + rest;
	struct wire_run run = r->run;
	struct request *copy = NULL;
	char *packet = len > WIRE_MAX_SIZE ? NULL : malloc(len), *at;

	if (!packet)
		return NULL;
	run.strings_size = (uint32_t)(has + rest);
	run.header.size = (uint32_t)len;
	at = mempcpy(packet, &run, sizeof(run));
	at = mempcpy(at, name, has);
	memcpy(at, r->name + had, rest);
	if (request_parse(packet, len, &copy, NULL) < 0)
		copy = NULL;
	free(packet);
	return copy;
}

void request_strip_out(struct request *r)
{
	uint32_t len;

	r->run.flags &= ~(uint32_t)WIRE_RUN_OUT;
	if (!r->out)
		return;
	len = (uint32_t)strlen(r->out) + 1;
	r->run.strings_size -= len;
	r->run.header.size -= len;
	r->out = NULL;
}

static char *put_word(char *at, const char *word)
{
	size_t len = strlen(word) + 1;

	memcpy(at, word, len);
	return at + len;
}

struct request *request_variant(const struct request *r, const struct request *launch)
{
	bool own = launch->run.flags & WIRE_LAUNCH_ENV;
	char **envp = own ? launch->envp : r->envp, *packet, *at;
	size_t len = sizeof(r->run) + r->run.strings_size + (own ? launch->run.strings_size : 0);
	struct request *made = NULL;
	struct wire_run *run;

	packet = malloc(len);
	if (!packet)
		return NULL;
	run = (struct wire_run *)packet;
	*run = launch->run;
	run->header.type = WIRE_RUN;
	run->flags = r->run.flags;
	run->pool = r->run.pool;
	run->argc = r->run.argc;
	run->envc = own ? launch->run.envc : r->run.envc;
	run->tag = run->leases = 0;
	at = put_word(packet + sizeof(*run), r->name);
	at = put_word(at, r->ready);
	at = put_word(at, r->cwd);
	for (uint32_t i = 0; i < r->run.argc; i++)
		at = put_word(at, r->argv[i]);
	for (uint32_t i = 0; i < run->envc; i++)
		at = put_word(at, envp[i]);
	run->strings_size = (uint32_t)(at - packet - (ptrdiff_t)sizeof(*run));
	run->header.size = (uint32_t)(at - packet);
	if (run->header.size > WIRE_MAX_SIZE || request_parse(packet, run->header.size, &made, NULL) < 0)
		made = NULL;
	if (made)
		made->variant = true;
	free(packet);
	return made;
}
