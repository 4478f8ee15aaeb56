/* SPDX-License-Identifier: MIT */
#include "engine/base/facts.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/sysinfo.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "engine/base/fd.h"

#define FILE_MAX (64 * 1024)

uint64_t hash_bytes(uint64_t hash, const void *data, size_t len)
{
	const unsigned char *p = data;

	while (len--)
		hash = (hash ^ *p++) * 0x100000001b3ull;
	return hash;
}

static uint64_t hash_file(uint64_t h, const char *path)
{
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	char buf[4096];
	size_t done = 0;
	ssize_t n;

	if (fd < 0)
		return hash_bytes(h, &errno, sizeof(errno));
	while (done < FILE_MAX && (n = read(fd, buf, sizeof(buf))) > 0) {
		h = hash_bytes(h, buf, (size_t)n);
		done += (size_t)n;
	}
	return h;
}

uint64_t fact_of_file(const char *path)
{
	uint64_t h = hash_file(HASH_SEED, path);

	return h ? h : 1;
}

uint64_t fact_value(enum fact fact)
{
	struct utsname name;
	struct sysinfo info;
	uint64_t h = HASH_SEED;

	switch (fact) {
	case FACT_NAMES:
		memset(&name, 0, sizeof(name));
		uname(&name);
		h = hash_bytes(h, &name, sizeof(name));
		break;
	case FACT_MEMORY:
		memset(&info, 0, sizeof(info));
		sysinfo(&info);
		h = hash_bytes(h, &info.totalram, sizeof(info.totalram));
		h = hash_bytes(h, &info.mem_unit, sizeof(info.mem_unit));
		break;
	case FACT_CPUS: /* get_nprocs(3) and get_nprocs_conf(3) read these */
		h = hash_file(h, "/sys/devices/system/cpu/online");
		h = hash_file(h, "/sys/devices/system/cpu/possible");
		break;
	case FACTS:
		break;
	}
	return h ? h : 1;
}

const char *fact_name(enum fact fact)
{
	static const char *const names[] = { "host name or kernel", "amount of memory", "set of processors" };

	_Static_assert(ARRAY_SIZE(names) == FACTS, "a name for each fact");
	return fact < FACTS ? names[fact] : "?";
}
