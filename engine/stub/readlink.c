/* SPDX-License-Identifier: MIT */
/*
 * readlink.c - /proc/self/exe of a clone that may not have its own (PR_SET_MM_EXE_FILE needs
 * CAP_CHECKPOINT_RESTORE): the link is the launcher. Programs read it to find their files, or to start
 * themselves again (node, perl, Qt, Rust's current_exe()), so the C library's readlink() and readlinkat() are hooked. What
 * opens or executes the link itself still gets the launcher: docs/coverage.md.
 */
#include "engine/stub/stub.h"

#include <linux/fcntl.h>
#include <sys/syscall.h>

static int starts(const char **s, const char *with)
{
	const char *p = *s;

	while (*with && *p == *with)
		p++, with++;
	if (*with)
		return 0;
	*s = p;
	return 1;
}

static int is_own_exe(const char *path)
{
	long pid = 0;

	if (!starts(&path, "/proc/"))
		return 0;
	if (!starts(&path, "self") && !starts(&path, "thread-self")) {
		while (*path >= '0' && *path <= '9' && pid < 1 << 24)
			pid = pid * 10 + *path++ - '0';
		if (!pid || pid != SYSCALL0(SYS_getpid))
			return 0;
	}
	return starts(&path, "/exe") && !*path;
}

long stub_readlinkat(int dir, const char *path, char *buf, uint64_t size)
{
	struct stub_process *p = stub_self();
	long r = SYSCALL4(SYS_readlinkat, dir, path, buf, size);
	const char *exe = stub_at(p->exe_path);
	uint64_t len;

	if (r < 0) {
		stub_set_errno(r);
		return -1;
	}
	if (!is_own_exe(path))
		return r;
	len = strlen(exe);
	if (len > size)
		len = size;
	memcpy(buf, exe, len);
	return (long)len;
}

long stub_readlink(const char *path, char *buf, uint64_t size)
{
	return stub_readlinkat(AT_FDCWD, path, buf, size);
}
