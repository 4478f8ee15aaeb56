/* SPDX-License-Identifier: MIT */
#include "engine/remote.h"

#include <elf.h>
#include <errno.h>
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/uio.h>
#include <sys/wait.h>

#include "engine/elf.h"

int remote_find_insn(pid_t pid, uint64_t *ret, struct error *err)
{
	uint8_t code[4096];
	uint64_t vdso = 0;
	ssize_t at;

	if (elf_auxv(pid, AT_SYSINFO_EHDR, &vdso) < 0 || !vdso ||
	    remote_read(pid, vdso, code, sizeof(code)) < 0)
		return error_set(
			err, ENOEXEC,
			"process %d has no vDSO that can be read (is vdso=0 on the kernel's command line?)",
			pid);
	at = arch_find_syscall(code, sizeof(code));
	if (at < 0)
		return error_set(err, ENOEXEC, "no system call instruction in the vDSO of process %d", pid);
	*ret = vdso + (uint64_t)at;
	return 0;
}

int remote_wait(pid_t tid, struct error *err)
{
	int status;
	pid_t r;

	do
		r = waitpid(tid, &status, __WALL);
	while (r < 0 && errno == EINTR);
	if (r < 0 || !WIFSTOPPED(status))
		return error_set(err, ESRCH, "thread %d was killed", tid);
	return status;
}

int remote_to_syscall_stop(pid_t tid, int *held, struct error *err)
{
	for (;;) {
		int status;

		if (ptrace(PTRACE_SYSCALL, tid, 0, 0) < 0)
			return error_errno(err, errno, "resuming thread %d", tid);
		status = remote_wait(tid, err);
		if (status < 0)
			return status;
		if (status >> 8 == REMOTE_SYSCALL_STOP)
			return 0;
		/* an event's, like an interrupt's own stop, is passed over */
		if (!(status >> 16) && WSTOPSIG(status) != SIGTRAP)
			*held = WSTOPSIG(status);
	}
}

int remote_call(pid_t tid, uint64_t insn, const arch_regs *saved, const struct remote_call *call,
		int64_t *ret, int *held, struct error *err)
{
	arch_regs regs = *saved;
	int r;

	arch_prepare_syscall(&regs, insn, call->nr, call->args);
	r = arch_set_regs(tid, &regs);
	if (r < 0)
		return error_errno(err, r, "writing registers");
	for (int stops = 0; stops < 2; stops++) {
		r = remote_to_syscall_stop(tid, held, err);
		if (r < 0)
			return r;
	}
	r = arch_get_regs(tid, &regs);
	if (r == 0)
		r = arch_set_regs(tid, saved);
	if (r < 0)
		return error_errno(err, r, "restoring registers");
	*ret = (int64_t)arch_result(&regs);
	return 0;
}

int remote_read(pid_t pid, uint64_t addr, void *buf, size_t len)
{
	struct iovec local = { buf, len }, remote = { (void *)addr, len };
	ssize_t n = process_vm_readv(pid, &local, 1, &remote, 1, 0);

	if (n < 0)
		return -errno;
	return (size_t)n == len ? 0 : -EFAULT;
}

int remote_write(pid_t pid, uint64_t addr, const void *buf, size_t len)
{
	struct iovec local = { (void *)buf, len }, remote = { (void *)addr, len };
	ssize_t n = process_vm_writev(pid, &local, 1, &remote, 1, 0);

	if (n < 0)
		return -errno;
	return (size_t)n == len ? 0 : -EFAULT;
}
