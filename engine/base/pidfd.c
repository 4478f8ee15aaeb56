/* SPDX-License-Identifier: MIT */
#include "engine/base/pidfd.h"

#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <unistd.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>

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
	if (errno != EINVAL || syscall(SYS_pidfd_send_signal, pidfd, 0, NULL, 0) < 0)
		return -errno;
	return kill(-pid, sig) < 0 ? -errno : 0;
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
