/* SPDX-License-Identifier: MIT */
#include "warmd/template/match.h"

#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

#include "engine/base/facts.h"
#include "engine/base/fd.h"

static bool words(char *reason, size_t size, const char *fmt, const char *a)
{
	snprintf(reason, size, fmt, a);
	return true;
}

static bool argv_differs(const struct template *t, const struct request *req, char *reason, size_t size)
{
	const struct request *had = t->request;
	/* more than there were: all of them, and that there are no others */
	int32_t count = t->result->argv_count > (int64_t)had->run.argc ? -1 : t->result->argv_count;
	uint32_t n = count < 0 ? had->run.argc : (uint32_t)count;

	if (count < 0 ? req->run.argc != had->run.argc : req->run.argc < n)
		return words(reason, size, "another number of arguments%s", "");
	for (uint32_t i = 0; i < n; i++)
		if (strcmp(req->argv[i], had->argv[i]) != 0)
			return words(reason, size, "argument '%.100s' is another", req->argv[i]);
	return false;
}

static bool variable_differs(const struct request *a, const struct request *b, const char *name, size_t len)
{
	const char *va = request_getenv(a, name, len), *vb = request_getenv(b, name, len);

	if (!va || !vb)
		return va != vb;
	return strcmp(va, vb) != 0;
}

bool template_variable_counts_always(const char *name)
{
	/* ld.so reads these before anything can be watched: ld.so(8); setlocale(3) looks for the others past getenv() */
	static const char *const starts[] = { "LD_", "GLIBC_TUNABLES=", "LC_", "LANG=", "LANGUAGE=" };

	for (size_t i = 0; i < ARRAY_SIZE(starts); i++)
		if (strncmp(name, starts[i], strlen(starts[i])) == 0)
			return true;
	return false;
}

/* before main() nothing acts on what terminal it is, or it was seen to ask for it */
static bool looked_at_later(const struct template *t, const char *setting)
{
	static const char *const names[] = { "TERM=", "TERM_PROGRAM=", "TERM_PROGRAM_VERSION=",
					     "COLORTERM=" };

	for (size_t i = 0; i < ARRAY_SIZE(names) && t->result->before_main; i++)
		if (strncmp(setting, names[i], strlen(names[i])) == 0)
			return true;
	return false;
}

static bool is_own(const struct template *t, const char *setting, size_t len)
{
	for (size_t i = 0; i < t->result->n_environment_own; i++) {
		const char *name = t->result->environment_own[i];

		if (strlen(name) == len && memcmp(name, setting, len) == 0)
			return true;
	}
	return false;
}

/* past those that are listed. @config: NULL: what it ignores counts too */
static bool counts_unlisted(const struct template *t, const char *setting, size_t len, bool everything,
			    const struct config *config)
{
	if (template_variable_counts_always(setting))
		return true;
	return everything && !(config && (config_ignores_variable(config, setting, len) ||
					  looked_at_later(t, setting) || is_own(t, setting, len)));
}

bool template_variable_counts(const struct template *t, const char *setting, const struct config *config,
			      bool listed_only)
{
	const Warm__BuildResult *r = t->result;
	bool exact = r->environment_exact && !listed_only;
	bool everything = (r->environment_all && !listed_only) || exact;
	size_t len = strcspn(setting, "=");

	for (size_t i = 0; i < r->n_environment; i++) {
		const char *name = r->environment[i];

		if (strcmp(name, "*") == 0)
			everything = true;
		else if (strlen(name) == len && memcmp(name, setting, len) == 0 &&
			 !config_ignores_listed_variable(config, name, len))
			return true;
	}
	return counts_unlisted(t, setting, len, everything, exact ? NULL : config);
}

static bool all_of_one_differ(const struct template *t, const struct request *a, const struct request *b,
			      bool everything, const struct config *config, char *reason, size_t size)
{
	for (char **e = a->envp; *e; e++) {
		size_t len = strcspn(*e, "=");

		if (!counts_unlisted(t, *e, len, everything, config))
			continue;
		if (variable_differs(a, b, *e, len)) {
			snprintf(reason, size, "variable %.*s differs", (int)(len < 100 ? len : 100), *e);
			return true;
		}
	}
	return false;
}

bool template_environment_differs(const struct template *t, const struct request *req,
				  const struct config *config, bool listed_only, char *reason, size_t size)
{
	const Warm__BuildResult *r = t->result;
	bool exact = r->environment_exact && !listed_only;
	bool everything = (r->environment_all && !listed_only) || exact;

	for (size_t i = 0; i < r->n_environment; i++) {
		const char *name = r->environment[i];
		size_t len = strlen(name);

		if (strcmp(name, "*") == 0)
			everything = true;
		else if (variable_differs(t->request, req, name, len) &&
			 !config_ignores_listed_variable(config, name, len))
			return words(reason, size, "variable %.100s differs, which was read at the start",
				     name);
	}
	if (exact)
		config = NULL;
	return all_of_one_differ(t, t->request, req, everything, config, reason, size) ||
	       all_of_one_differ(t, req, t->request, everything, config, reason, size);
}

/* SIGCANCEL and SIGSETXID of glibc, which no program sees: its posix_spawn(3) leaves them ignored, its fork(2) does not */
#define LIBC_SIGNALS (3ull << (32 - 1))

/* rights are not among it: both callers had warmd's (peer.h) */
static bool identity_differs(const struct template *t, const struct request *req, char *reason, size_t size)
{
	const struct wire_run *a = &t->request->run, *b = &req->run;

	if ((a->personality ^ b->personality) & ~TEMPLATE_LAYOUT_ONLY)
		return words(reason, size, "another %s", "personality(2)");
	return false;
}

uint64_t template_signals_counting(const struct template *t, const struct request *req)
{
	if (req->run.header.type == WIRE_LAUNCH && t->result->for_any_caller)
		return 0;
	return t->result->signal_keys & ~LIBC_SIGNALS;
}

bool template_looked_at_differs(const struct template *t, const struct request *req, char *reason,
				size_t size)
{
	const struct wire_run *a = &t->request->run, *b = &req->run;
	uint32_t keys = t->result->keys;
	uint64_t signals = (a->ignored_signals ^ b->ignored_signals) & template_signals_counting(t, req);

	if (signals) {
		snprintf(reason, size, "signal %d is ignored in one of build and launch, which was looked at",
			 __builtin_ctzll(signals) + 1);
		return true;
	}
	if ((keys & TEMPLATE_KEY_SIGMASK) && a->blocked_signals != b->blocked_signals)
		return words(reason, size, "other signals are %s, which was looked at", "blocked");
	if ((keys & TEMPLATE_KEY_UMASK) && a->umask != b->umask)
		return words(reason, size, "another %s, which was read at the start", "umask");
	if ((keys & TEMPLATE_KEY_AFFINITY) && a->scheduling.affinity != b->scheduling.affinity)
		return words(reason, size, "another %s, which was read at the start", "CPU affinity");
	if ((keys & TEMPLATE_KEY_NICE) && a->nice != b->nice)
		return words(reason, size, "another %s, which was read at the start", "nice value");
	if ((keys & TEMPLATE_KEY_SCHED) && (a->scheduling.policy != b->scheduling.policy ||
					    a->scheduling.priority != b->scheduling.priority))
		return words(reason, size, "another %s, which was read at the start", "scheduling policy");
	if ((keys & TEMPLATE_KEY_IOPRIO) && a->scheduling.ioprio != b->scheduling.ioprio)
		return words(reason, size, "another %s, which was read at the start", "I/O priority");
	for (unsigned int i = 0; i < WIRE_RLIMITS; i++)
		if ((t->result->rlimit_keys >> i & 1) &&
		    memcmp(a->rlimits[i], b->rlimits[i], sizeof(a->rlimits[i])) != 0)
			return words(reason, size, "another %s, which was read at the start",
				     "resource limit");
	if ((keys & TEMPLATE_KEY_WINSIZE) && (a->rows != b->rows || a->columns != b->columns))
		return words(reason, size, "the terminal has another %s",
			     "size, which was read at the start");
	/* the program will set back what it found */
	if ((keys & TEMPLATE_KEY_TERMIOS) &&
	    (a->termios_size != b->termios_size || memcmp(a->termios, b->termios, sizeof(a->termios)) != 0))
		return words(reason, size, "the terminal has other settings (stty -a)%s",
			     ", which were read at the start");
	return false;
}

bool template_asks_for_context(const struct template *t)
{
	return t->result->asks_for_context;
}

const char *template_fact_differs(const struct template *t)
{
	for (size_t i = 0; i < t->result->n_facts; i++) {
		const Warm__Fact *f = t->result->facts[i];
		uint64_t now = f->path[0]	 ? fact_of_file(f->path)
			       : f->kind < FACTS ? fact_value((enum fact)f->kind)
						 : 0;

		if (now != f->value)
			return f->path[0] ? f->path : fact_name((enum fact)f->kind);
	}
	return NULL;
}

bool template_read_arguments(const struct template *t)
{
	return !t->result->takes_arguments;
}

bool template_arguments_differ(const struct template *t, const struct request *req, char *reason, size_t size)
{
	const struct request *had = t->request;
	int32_t count = t->result->argv_count;
	/* more than there were: all of them, and that there are no others */
	bool all = template_read_arguments(t) || count > (int64_t)had->run.argc;
	bool append = req->run.flags & WIRE_LAUNCH_APPEND; /* the template's own stand in front */
	bool differ = all && req->run.argc != (append ? 0 : had->run.argc);
	uint32_t n = all ? had->run.argc : count < 0 ? 0 : (uint32_t)count;

	if (differ)
		return words(reason, size, "other arguments, which were read at the start%s", "");
	for (uint32_t i = 0; i < n && !append; i++)
		if (i >= req->run.argc || strcmp(req->argv[i], had->argv[i]) != 0)
			return words(reason, size,
				     "other arguments, which were read at the start: one was '%.100s'",
				     had->argv[i]);
	return false;
}

bool template_stream_counts(const struct template *t, int fd)
{
	return (t->result->stdio_keys >> fd & 1) || t->result->streams_count;
}

static int highest_own(const struct template *t)
{
	int high = -1;

	for (size_t i = 0; i < t->result->n_descriptors; i++)
		if (t->result->descriptors[i]->fd > high)
			high = t->result->descriptors[i]->fd;
	return high;
}

void template_descriptors_counting(const struct template *t, uint64_t ret[4])
{
	int high = highest_own(t);

	memset(ret, 0, 4 * sizeof(*ret));
	for (int fd = 3; fd < high && fd < 256; fd++)
		if (request_inherits(t->request, fd))
			ret[fd / 64] |= 1ull << (fd % 64);
	for (size_t i = 0; i < t->result->n_descriptors; i++) {
		int fd = t->result->descriptors[i]->fd;

		if (fd >= 0 && fd < 256)
			ret[fd / 64] |= 1ull << (fd % 64);
	}
}

/* the program's own descriptors have the lowest numbers that its caller left: those below decide */
static bool numbers_differ(const struct template *t, const struct request *req, char *reason, size_t size)
{
	int high = highest_own(t);

	for (int fd = 3; fd < high && fd < 256; fd++) {
		if (request_inherits(t->request, fd) && !request_inherits(req, fd)) {
			snprintf(
				reason, size,
				"descriptor %d came from the caller in the build, and the program's own are numbered around it",
				fd);
			return true;
		}
	}
	return false;
}

bool template_descriptors_clash(const struct template *t, const struct request *req, char *reason,
				size_t size)
{
	const struct wire_run *b = &req->run;

	if (b->rlimits[RLIMIT_NOFILE][0] < t->result->descriptors_needed) {
		snprintf(reason, size,
			 "the program has descriptors up to %u open, and the limit is %llu (ulimit -n)",
			 t->result->descriptors_needed - 1, (unsigned long long)b->rlimits[RLIMIT_NOFILE][0]);
		return true;
	}
	/* a clone of warmd's gets its descriptors before its limits */
	if (req->run.header.type == WIRE_RUN && !(req->run.flags & WIRE_RUN_POOL) &&
	    t->result->context_number && b->rlimits[RLIMIT_NOFILE][0] < t->result->context_number + 2) {
		snprintf(reason, size,
			 "its context comes by descriptor %u, and the limit is %llu (ulimit -n)",
			 t->result->context_number, (unsigned long long)b->rlimits[RLIMIT_NOFILE][0]);
		return true;
	}
	if (numbers_differ(t, req, reason, size))
		return true;
	for (size_t i = 0; i < t->result->n_descriptors; i++) {
		int fd = t->result->descriptors[i]->fd;

		if (fd >= 0 && fd < 256 && (b->inherited_fds[fd / 64] >> (fd % 64) & 1)) {
			snprintf(
				reason, size,
				"descriptor %d comes from the caller, and the program uses that number itself",
				fd);
			return true;
		}
	}
	return false;
}

uint32_t template_stdio_changes(const struct template *t, const struct request *req)
{
	const struct wire_run *a = &t->request->run, *b = &req->run;
	uint32_t bits = 0;

	/* a stand-in for a file is at its start; streams look at where they begin (byte order marks) */
	for (int i = 0; i < 3; i++)
		if (a->stdio[i] != b->stdio[i] || a->stdio_blksize[i] != b->stdio_blksize[i] ||
		    (b->stdio_offset_nonzero >> i & 1))
			bits |= 1u << i;
	return bits;
}

static bool descriptors_differ(const struct template *t, const struct request *req, char *reason, size_t size)
{
	const struct wire_run *a = &t->request->run, *b = &req->run;
	static const char *const names[3] = { "standard input", "standard output", "standard error" };

	for (int i = 0; i < 3; i++) {
		if ((a->stdio[i] == WIRE_STDIO_CLOSED) != (b->stdio[i] == WIRE_STDIO_CLOSED))
			return words(reason, size, "%s is closed in one of the two", names[i]);
		if (!(t->result->stdio_keys >> i & 1))
			continue;
		if (a->stdio[i] != b->stdio[i] || a->stdio_blksize[i] != b->stdio_blksize[i])
			return words(reason, size, "%s is of another kind, which was looked at", names[i]);
	}
	return template_descriptors_clash(t, req, reason, size);
}

bool template_mismatch(const struct template *t, const struct request *req, const struct config *config,
		       char *reason, size_t size)
{
	if (strcmp(req->name, t->request->name) != 0 && req->name[0])
		return words(reason, size, "template '%.60s' has another name", t->label);
	if (strcmp(req->ready, t->request->ready) != 0 && !request_any_point(req) &&
	    strcmp(req->ready, t->result->ready) != 0)
		return words(reason, size, "its readiness point is '%s'", t->result->ready);
	if (argv_differs(t, req, reason, size) || identity_differs(t, req, reason, size) ||
	    descriptors_differ(t, req, reason, size) || template_looked_at_differs(t, req, reason, size))
		return true;
	if ((t->result->keys & TEMPLATE_KEY_CWD) && strcmp(t->request->cwd, req->cwd) != 0)
		return words(reason, size, "another working directory (built in %.150s)", t->request->cwd);
	/* PATH decides which file a bare name is */
	if (!strchr(req->argv[0], '/') && variable_differs(t->request, req, "PATH", 4))
		return words(reason, size, "variable %s differs", "PATH");
	return template_environment_differs(t, req, config, false, reason, size);
}

bool template_same_program(const struct template *t, const struct request *req)
{
	return (!req->name[0] || strcmp(t->request->name, req->name) == 0) &&
	       request_same_program(t->request, req);
}
