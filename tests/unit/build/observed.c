/* SPDX-License-Identifier: MIT */
#include "tests/unit/build/observed.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

struct config cfg;
struct observe *o;
bool allow;
static int verdict; /* of the last entry */

int tell(long nr, const uint64_t args[6], bool entry, int64_t ret)
{
	struct observe_call c = { .tid = getpid(), .nr = nr, .entry = entry, .ret = ret };
	struct error err;
	int r;

	memcpy(c.args, args, sizeof(c.args));
	r = observe_syscall(o, &c, &err);
	if (r < 0)
		fail_msg("%s", err.text);
	if (entry)
		verdict = r;
	return r;
}

long observed_call(long nr, const uint64_t a[6])
{
	long ret;

	if (tell(nr, a, true, 0) == OBSERVE_DENIED) {
		ret = observe_denied(o);
		tell(nr, a, false, ret);
		return ret;
	}
	if (verdict && !allow)
		return -ECANCELED;
	ret = syscall(nr, a[0], a[1], a[2], a[3], a[4], a[5]);
	if (ret == -1)
		ret = -errno;
	tell(nr, a, false, ret);
	return ret;
}

int open_at(const char *path, int flags)
{
	return (int)call(SYS_openat, A(AT_FDCWD), A(path), A(flags), 0600);
}

void stat_at(const char *path)
{
	struct stat st;

	call(SYS_newfstatat, A(AT_FDCWD), A(path), A(&st), 0);
}

void list(const char *path, bool looked)
{
	char buf[4096];
	int fd;

	if (looked)
		stat_at(path);
	fd = open_at(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	while (call(SYS_getdents64, A(fd), A(buf), sizeof(buf)) > 0)
		;
	call(SYS_close, A(fd));
}

const struct dep *dep(const char *path, enum dep_kind kind)
{
	const struct dep_set *set = observe_deps(o);

	for (size_t i = 0; i < dep_set_count(set); i++) {
		if (dep_set_get(set, i)->kind == kind && strcmp(dep_set_get(set, i)->path, path) == 0)
			return dep_set_get(set, i);
	}
	return NULL;
}

void fresh(void)
{
	observe_free(o);
	assert_int_equal(observe_new(&o, &cfg, getpid(), OWN_FD), 0);
}

void refused(bool retryable, const char *words)
{
	const struct observe_refusal *refusal = observe_refusal(o);

	assert_non_null(refusal);
	if (!strstr(refusal->text, words))
		fail_msg("\"%s\" is not in \"%s\"", words, refusal->text);
	assert_int_equal(refusal->retryable, retryable);
	fresh();
}

void bounded(const char *words)
{
	const struct observe_refusal *refusal = observe_refusal(o);

	if (verdict != OBSERVE_BOUNDARY || !refusal)
		fail_msg("no boundary: \"%s\"", words);
	if (!strstr(refusal->text, words))
		fail_msg("\"%s\" is not in \"%s\"", words, refusal->text);
	assert_null(strstr(refusal->text, "readiness point"));
	fresh();
}

void not_refused(void)
{
	if (observe_refusal(o))
		fail_msg("refused: %s", observe_refusal(o)->text);
}

void finish(void)
{
	struct error err;

	assert_true(observe_finish(o, &err) >= 0);
}

int observed_setup(void **state)
{
	(void)state;
	close_range(3, ~0u, 0); /* what the last test opened would be "from outside" in this one */
	if (scratch_make() < 0 || chdir(root) < 0)
		return -1;
	allow = false;
	config_defaults(&cfg);
	return observe_new(&o, &cfg, getpid(), OWN_FD);
}

int observed_teardown(void **state)
{
	(void)state;
	observe_free(o);
	o = NULL;
	config_done(&cfg);
	if (chdir("/") < 0)
		return -1;
	return scratch_remove();
}
