/* SPDX-License-Identifier: MIT */
#include "engine/base/pidfd.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>

#include "engine/base/proc_path.h"

#ifndef SYS_pidfd_send_signal
#define SYS_pidfd_send_signal 424
#define SYS_pidfd_open	      434
#endif
#define SIGNAL_PROCESS_GROUP (1u << 2) /* include/uapi/linux/pidfd.h, Linux 6.9 */

/* struct pidfd_info of Linux 6.15, 64 bytes: include/uapi/linux/pidfd.h */
struct kernel_pidfd_info {
	uint64_t mask, cgroupid;
	uint32_t pid, tgid, ppid, ruid, rgid, euid, egid, suid, sgid, fsuid, fsgid;
	int32_t exit_code;
};
#define INFO_EXIT (1ull << 3)
#define GET_INFO  _IOWR(0xFF, 11, struct kernel_pidfd_info)

int pidfd_open_process(pid_t pid)
{
	int fd = (int)syscall(SYS_pidfd_open, pid, 0);

	return fd < 0 ? -errno : fd;
}

int pidfd_kill(int pidfd, pid_t pid, int sig, bool group)
{
	if (!group)
		return syscall(SYS_pidfd_send_signal, pidfd, sig, NULL, 0) < 0 ? -errno : 0;
	if (syscall(SYS_pidfd_send_signal, pidfd, sig, NULL, SIGNAL_PROCESS_GROUP) == 0)
		return 0;
	if (errno == EINVAL && syscall(SYS_pidfd_send_signal, pidfd, 0, NULL, 0) == 0 && kill(-pid, sig) == 0)
		return 0;
	/* it has no group of its own yet */
	if (errno == ESRCH)
		return syscall(SYS_pidfd_send_signal, pidfd, sig, NULL, 0) < 0 ? -errno : 0;
	return -errno;
}

int pidfd_exit_status(int pidfd, int *ret_wstatus)
{
	struct kernel_pidfd_info info = { .mask = INFO_EXIT };

	if (ioctl(pidfd, GET_INFO, &info) < 0)
		return -errno;
	if (!(info.mask & INFO_EXIT))
		return -ENODATA;
	*ret_wstatus = info.exit_code;
	return 0;
}

/* exit_code, the last of 52 fields of /proc/PID/stat: proc_pid_stat(5). Return: 0, or a negative errno */
static int read_exit_code(pid_t pid, int *ret_wstatus)
{
	int fd = proc_open(pid, O_RDONLY, "stat"), state = 0;
	char text[1024], *at;
	ssize_t n;

	if (fd < 0)
		return fd;
	n = read(fd, text, sizeof(text) - 1);
	close(fd);
	if (n <= 0)
		return -EIO;
	text[n] = '\0';
	at = strrchr(text, ')'); /* of the name, which may have any bytes; the state is field 3 */
	if (at && at[1] == ' ')
		state = at[2];
	for (int field = 2; at && field < 52; field++)
		at = strchr(at + 1, ' ');
	if (state != 'Z' || !at)
		return -ENODATA;
	*ret_wstatus = (int)strtol(at, NULL, 10);
	return 0;
}

int pidfd_zombie_status(int pidfd, pid_t pid, int *ret_wstatus)
{
	char link[8];
	int wstatus, r;

	/* those who may not read the exit code read 0. They may not look at the executable either; others find none */
	if (readlink(proc_path(pid, "exe").text, link, sizeof(link)) >= 0 || errno != ENOENT)
		return -EACCES;
	r = read_exit_code(pid, &wstatus);
	/* still there: so the number was its own all the time */
	if (r == 0 && syscall(SYS_pidfd_send_signal, pidfd, 0, NULL, 0) < 0)
		r = -errno;
	if (r == 0)
		*ret_wstatus = wstatus;
	return r;
}
