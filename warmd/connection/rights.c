/* SPDX-License-Identifier: MIT */
/* rights.c - what a thread may do, compared with what warmd may */
#include "warmd/connection/rights.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include "engine/base/fd.h"
#include "engine/base/pidfd.h"

#ifndef STATX_MNT_ID
#define STATX_MNT_ID 0x1000u /* Linux 5.8 */
#endif
#ifndef STATX_MNT_ID_UNIQUE
#define STATX_MNT_ID_UNIQUE 0x4000u /* Linux 6.8: a number that no other mount will have */
#endif
#define PIDFD_IOCTL(n) _IO(0xff, n) /* linux/pidfd.h: PIDFD_GET_*_NAMESPACE, Linux 6.11 */

/* lines of proc_pid_status(5), each behind a newline, which the kernel escapes in the name above them. All but the last two are compared */
static const char *const fields[] = {
	"Uid:",	   "Gid:",	  "Groups:",  "CapInh:",	  "CapPrm:",  "CapEff:", "CapBnd:",
	"CapAmb:", "NoNewPrivs:", "Seccomp:", "Seccomp_filters:", "Threads:", "NSpid:"
};
#define FIELDS	 ARRAY_SIZE(fields)
#define COMPARED (FIELDS - 2)
#define THREADS	 (FIELDS - 2)
#define NSPID	 (FIELDS - 1)
/* in the order of PIDFD_GET_*_NAMESPACE, which begins with 1 */
static const char *const namespaces[] = {
	"cgroup", "ipc", "mnt", "net", "pid", "pid_for_children", "time", "time_for_children", "user", "uts"
};
#define MNT 2 /* in namespaces[] */
/* the first is that of the module that LSM_ID chose for old readers, the others' are there when several modules have labels */
static const char *const labels[] = { "attr/current", "attr/apparmor/current", "attr/smack/current" };

struct text {
	char *bytes;
	size_t size, len;
};

struct field {
	const char *at; /* in status; NULL: this kernel has no such line */
	size_t len;
};

struct rights {
	struct text status, label[ARRAY_SIZE(labels)];
	struct field field[FIELDS];
	bool labelled[ARRAY_SIZE(labels)]; /* of this process alone: there is such a module */
	ino_t ns[ARRAY_SIZE(namespaces)]; /* 0: there is none */
	struct statx root;
};

/* the buffer is kept from one reading to the next: one launch of each program asks. Return: 0 or a negative errno */
static int read_text(int dir, const char *name, struct text *t)
{
	_cleanup_close_ int fd = openat(dir, name, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	for (t->len = 0;;) {
		ssize_t n;

		if (t->size - t->len < 2048) {
			size_t size = t->size ? 2 * t->size : 8192;
			char *more = realloc(t->bytes, size);

			if (!more)
				return -ENOMEM;
			t->bytes = more;
			t->size = size;
		}
		n = read(fd, t->bytes + t->len, t->size - t->len - 1);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		t->len += (size_t)n;
		t->bytes[t->len] = '\0';
		/* such files give all they have, or fill the buffer: seq_read_iter() */
		if (t->size - t->len > 1)
			return 0;
	}
}

static int read_root(int dir, const char *name, struct statx *ret)
{
	if (statx(dir, name, 0, STATX_BASIC_STATS | STATX_MNT_ID | STATX_MNT_ID_UNIQUE, ret) < 0)
		return -errno;
	/* a bind mount of a directory has the device and the inode of that directory */
	return ret->stx_mask & (STATX_MNT_ID | STATX_MNT_ID_UNIQUE) ? 0 : -EOPNOTSUPP;
}

/*
 * By the pidfd where the kernel can: what is in /proc/PID/ns has to be made for each process that is looked at, 5 us
 * each. A namespace's inode is there already, as this process keeps its own open.
 */
static int read_namespace(int proc, int pidfd, size_t i, ino_t *ret)
{
	char path[32];
	struct stat st;

	*ret = 0;
	if (pidfd >= 0) {
		_cleanup_close_ int fd = ioctl(pidfd, PIDFD_IOCTL(1 + i), 0);

		if (fd >= 0 && fstat(fd, &st) == 0) {
			*ret = st.st_ino;
			return 0;
		}
	}
	snprintf(path, sizeof(path), "ns/%s", namespaces[i]);
	/* one that the kernel does not have is nobody's; a process that ends has none any more */
	if (fstatat(proc, path, &st, 0) < 0)
		return errno == ENOENT ? 0 : -errno;
	*ret = st.st_ino;
	return 0;
}

static void find_fields(struct rights *r)
{
	memset(r->field, 0, sizeof(r->field));
	for (const char *line = r->status.bytes; (line = strchr(line, '\n'));) {
		line++;
		for (size_t i = 0; i < FIELDS; i++)
			if (strncmp(line, fields[i], strlen(fields[i])) == 0)
				r->field[i] = (struct field){ line, strcspn(line, "\n") };
	}
}

static int read_rights(int proc, int pidfd, const struct rights *own, struct rights *ret)
{
	int r = read_text(proc, "status", &ret->status);

	if (r == 0)
		find_fields(ret);
	for (size_t i = 0; i < ARRAY_SIZE(namespaces) && r == 0; i++)
		r = read_namespace(proc, pidfd, i, &ret->ns[i]);
	/*
	 * A thread that ends has no root directory any more either; exit_fs() comes in front of exit_task_namespaces(),
	 * and get_task_root() says ENOENT in between.
	 */
	if (r == 0 && (ret->ns[MNT] || !own->ns[MNT])) {
		r = read_root(proc, "root", &ret->root);
		if (r == -ENOENT)
			r = -ESRCH;
	}
	for (size_t i = 0; i < ARRAY_SIZE(labels) && r == 0; i++)
		if (own->labelled[i])
			r = read_text(proc, labels[i], &ret->label[i]);
	return r;
}

static bool field_differs(const struct field *a, const struct field *b)
{
	return !a->at || !b->at ? a->at != b->at : a->len != b->len || memcmp(a->at, b->at, a->len) != 0;
}

static bool root_differs(const struct statx *a, const struct statx *b)
{
	return a->stx_dev_major != b->stx_dev_major || a->stx_dev_minor != b->stx_dev_minor ||
	       a->stx_ino != b->stx_ino || a->stx_mnt_id != b->stx_mnt_id;
}

static int compare(const struct rights *a, const struct rights *own, const char *who, struct error *err)
{
	/* what differs in another namespace follows from that: in a user namespace, the capabilities */
	for (size_t i = 0; i < ARRAY_SIZE(namespaces); i++)
		if (a->ns[i] != own->ns[i])
			return error_set(err, EACCES, "%s is in another %s namespace than warmd", who,
					 namespaces[i]);
	for (size_t i = 0; i < COMPARED; i++)
		if (field_differs(&a->field[i], &own->field[i]))
			return error_set(err, EACCES, "%s and warmd differ in %.*s", who,
					 (int)strlen(fields[i]) - 1, fields[i]);
	if (root_differs(&a->root, &own->root))
		return error_set(err, EACCES, "%s has another root directory than warmd", who);
	for (size_t i = 0; i < ARRAY_SIZE(labels); i++)
		if (own->labelled[i] &&
		    (a->label[i].len != own->label[i].len ||
		     memcmp(a->label[i].bytes, own->label[i].bytes, own->label[i].len) != 0))
			return error_set(err, EACCES, "%s and warmd have other security labels (%s)", who,
					 labels[i]);
	return 0;
}

/* its namespaces stay open, see read_namespace() */
static void keep_namespaces(int pidfd)
{
	for (size_t i = 0; i < ARRAY_SIZE(namespaces) && pidfd >= 0; i++)
		(void)ioctl(pidfd, PIDFD_IOCTL(1 + i), 0); /* close-on-exec: open_namespace() in Linux */
}

/*
 * A PID namespace can be entered without mounting its /proc: then numbers in /proc are others', and a process that is
 * looked at there is not the one that was meant. NSpid has a number for each namespace from that of /proc inwards.
 */
static bool proc_is_of_others(const struct rights *own)
{
	const struct field *f = &own->field[NSPID];
	const char *first = f->at ? memchr(f->at, '\t', f->len) : NULL;

	return first && memchr(first + 1, '\t', f->len - (size_t)(first + 1 - f->at));
}

/* this process changes nothing of its own but its root directory, which pivot_root(2) in its namespace can */
static int read_own(struct rights *own)
{
	_cleanup_close_ int proc = open("/proc/self", O_PATH | O_DIRECTORY | O_CLOEXEC);
	_cleanup_close_ int pidfd = pidfd_open_process(getpid());
	static const struct rights nothing;
	int r;

	if (proc < 0)
		return -errno;
	/* EINVAL: no module has labels; ENOENT: there is no such module */
	for (size_t i = 0; i < ARRAY_SIZE(labels); i++)
		own->labelled[i] = read_text(proc, labels[i], &own->label[i]) == 0;
	r = read_rights(proc, pidfd, &nothing, own);
	if (r == 0 && proc_is_of_others(own))
		r = -EXDEV;
	if (r == 0)
		keep_namespaces(pidfd);
	return r;
}

static unsigned int threads_of(const struct rights *r)
{
	return r->field[THREADS].at ? (unsigned int)strtoul(strchr(r->field[THREADS].at, ':') + 1, NULL, 10)
				    : 0;
}

/* exit_task_namespaces() comes behind the last thing that a thread does itself: only its ids are left then */
static bool has_ended(int proc, int r, const struct rights *thread, const struct rights *own)
{
	struct stat st;

	if (r == 0)
		return own->ns[MNT] && !thread->ns[MNT];
	if (r == -ESRCH)
		return true;
	/* links of one that is gone say EACCES, as those of one that must not be looked at: proc_fd_access_allowed() */
	return fstatat(proc, "status", &st, 0) < 0 && (errno == ENOENT || errno == ESRCH);
}

static struct rights mine; /* of this process; static, as the buffers of one reading serve the next */
static bool have_own;

int rights_prepare(void)
{
	int r = have_own ? read_root(AT_FDCWD, "/", &mine.root) : read_own(&mine);

	have_own |= r == 0;
	return r;
}

int rights_compare(int proc, int pidfd, const char *who, bool *ret_ended, unsigned int *ret_threads,
		   struct error *err)
{
	static struct rights other;
	int r = rights_prepare();

	if (r == -EXDEV)
		return error_set(err, EXDEV,
				 "/proc is not that of warmd's pid namespace: who asks cannot be looked at");
	if (r < 0)
		return error_errno(err, r, "reading what warmd itself may do");
	r = read_rights(proc, pidfd, &mine, &other);
	*ret_ended = has_ended(proc, r, &other, &mine);
	*ret_threads = r == 0 ? threads_of(&other) : 0;
	if (*ret_ended)
		return 0;
	if (r < 0)
		return error_set(err, EACCES, "the rights of %s cannot be read: %s", who, strerror(-r));
	return compare(&other, &mine, who, err);
}
