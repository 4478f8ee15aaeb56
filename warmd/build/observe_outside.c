/* SPDX-License-Identifier: MIT */
/* Effects that are no files: sockets, signals to strangers, what root may do; and questions about strangers. */
#include "warmd/build/observe_internal.h"

#include <errno.h>
#include <limits.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <sched.h>
#include <arpa/inet.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/param.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "engine/base/fd.h"
#include "engine/base/proc_path.h"
#include "snapshot/kinds/socket.h"

int on_socket(struct observe *o, struct thread *t, const struct observe_call *c, const struct rule *rule)
{
	(void)o;
	(void)rule;
	if (c->ret < 0)
		return 0;
	return fd_put(t->proc, (int)c->ret,
		      (struct fd_info){ .origin = ORIGIN_INSIDE,
					.family = (uint8_t)MIN(c->args[0], 255),
					.datagram = (c->args[1] & 0xf) == SOCK_DGRAM,
					.protocol = (uint8_t)MIN(c->args[2], 255) });
}

/* an address in the caller's memory, and words for it */
struct peer_address {
	union {
		struct sockaddr any;
		struct sockaddr_un un;
		struct sockaddr_in in;
		struct sockaddr_in6 in6;
		char bytes[sizeof(struct sockaddr_storage) + 1];
	};
	char words[160];
	const char *path; /* of a socket in the file system, else NULL */
};

static int address_read(struct observe *o, const struct thread *t, uint64_t addr, uint64_t len,
			struct peer_address *ret)
{
	char number[INET6_ADDRSTRLEN] = "?";

	memset(ret, 0, sizeof(*ret));
	if (addr == 0 || len < sizeof(sa_family_t) || len > sizeof(struct sockaddr_storage) ||
	    peer_read(o, t->tid, addr, ret->bytes, (size_t)len) < 0)
		return -EINVAL;
	switch (ret->any.sa_family) {
	case AF_UNIX:
		if (len > offsetof(struct sockaddr_un, sun_path) && ret->un.sun_path[0]) {
			ret->path = ret->un.sun_path; /* ended by the byte behind bytes, at the latest */
			snprintf(ret->words, sizeof(ret->words), "%s", ret->path);
		} else {
			snprintf(ret->words, sizeof(ret->words), "@%s", ret->un.sun_path + 1);
		}
		break;
	case AF_INET:
		inet_ntop(AF_INET, &ret->in.sin_addr, number, sizeof(number));
		snprintf(ret->words, sizeof(ret->words), "%s:%u", number, ntohs(ret->in.sin_port));
		break;
	case AF_INET6:
		inet_ntop(AF_INET6, &ret->in6.sin6_addr, number, sizeof(number));
		snprintf(ret->words, sizeof(ret->words), "[%s]:%u", number, ntohs(ret->in6.sin6_port));
		break;
	default:
		snprintf(ret->words, sizeof(ret->words), "an address of family %u", ret->any.sa_family);
	}
	return 0;
}

/* sockets over which the C library looks up names: asking them changes nothing */
static bool is_name_service(const char *path)
{
	static const char *const prefixes[] = { "/var/run/nscd/", "/run/nscd/", "/run/systemd/userdb/",
						"/run/systemd/resolve/", "/var/lib/sss/pipes/" };

	for (size_t i = 0; path && i < ARRAY_SIZE(prefixes); i++) {
		if (strncmp(path, prefixes[i], strlen(prefixes[i])) == 0)
			return true;
	}
	return false;
}

/* asking the kernel itself: interfaces, routes, ciphers */
static bool is_local_family(unsigned int family)
{
	return family == AF_NETLINK || family == AF_ALG || family == AF_UNSPEC;
}

/* addresses whose connections ask, and change nothing */
static bool is_harmless(const struct peer_address *a)
{
	return is_local_family(a->any.sa_family) || is_name_service(a->path);
}

/* is there a file of that name? Relative ones start from the caller's directory */
static bool is_missing(const struct thread *t, const char *path)
{
	char full[PATH_MAX];

	if (path[0] == '/')
		snprintf(full, sizeof(full), "%s", path);
	else
		snprintf(full, sizeof(full), "/proc/%d/cwd/%s", t->tid, path);
	return access(full, F_OK) < 0 && errno == ENOENT;
}

int on_connect_entry(struct observe *o, struct thread *t, const struct observe_call *c,
		     const struct rule *rule)
{
	struct fd_info info = fd_get(t->proc, (int)c->args[0]);
	struct peer_address a;

	(void)rule;
	if (info.origin == ORIGIN_OWN || address_read(o, t, c->args[1], c->args[2], &a) < 0 ||
	    is_harmless(&a))
		return 0;
	/* no packet goes out: getaddrinfo(3) does it to learn the source address. Sends are judged themselves. */
	if (info.datagram && a.any.sa_family != AF_UNIX)
		return 0;
	if (a.path && is_missing(t, a.path))
		return deny(o, ENOENT);
	return boundary(o, t, "connects to %s", a.words);
}

int on_connect(struct observe *o, struct thread *t, const struct observe_call *c, const struct rule *rule)
{
	struct peer_address a;
	char path[OBSERVE_PATH_MAX];

	(void)rule;
	if (address_read(o, t, c->args[1], c->args[2], &a) < 0 || !a.path || a.path[0] != '/')
		return 0;
	strcpy(path, a.path);
	return path_record(o, t, path, RULE_EXISTS, c->ret == -ECONNREFUSED ? 0 : c->ret, -1);
}

/*
 * A port that the kernel chooses is nobody's but the program's: it is free again when the socket is closed. Where a
 * socket stays open, the next attempt stops in front of its bind(2). Libraries find out so whether the host has IPv6 (urllib3 does
 * when it is imported, and with it pip and requests).
 */
static bool is_unnamed_port(const struct peer_address *a)
{
	return (a->any.sa_family == AF_INET && a->in.sin_port == 0) ||
	       (a->any.sa_family == AF_INET6 && a->in6.sin6_port == 0);
}

int on_bind_entry(struct observe *o, struct thread *t, const struct observe_call *c, const struct rule *rule)
{
	struct peer_address a;

	(void)rule;
	if (address_read(o, t, c->args[1], c->args[2], &a) < 0 || is_local_family(a.any.sa_family))
		return 0;
	if (is_unnamed_port(&a)) {
		o->keys.bound = true;
		if (!o->bind_counts)
			return 0;
	}
	return boundary(o, t, "binds a socket to %s", a.words);
}

/* a question to the kernel about routes, interfaces or sockets; what changes them is an effect */
static bool is_question(unsigned int protocol, unsigned int type)
{
	if (protocol == NETLINK_SOCK_DIAG)
		return type == SOCK_DIAG_BY_FAMILY;
	/* rtnetlink(7): NEW, DEL, GET, SET in turns */
	return protocol == NETLINK_ROUTE && type >= RTM_BASE && (type - RTM_BASE) % 4 == 2;
}

static int netlink_send(struct observe *o, struct thread *t, const struct observe_call *c,
			const struct fd_info *info)
{
	uint64_t at = c->args[1], len = c->args[2];
	struct nlmsghdr head;
	struct msghdr msg;
	struct iovec iov;

	if (c->nr == SYS_sendmsg || c->nr == SYS_sendmmsg) {
		if (peer_read(o, t->tid, c->args[1], &msg, sizeof(msg)) < 0 || msg.msg_iovlen != 1 ||
		    peer_read(o, t->tid, (uint64_t)(uintptr_t)msg.msg_iov, &iov, sizeof(iov)) < 0)
			return boundary(o, t, "sends to the kernel by netlink");
		at = (uint64_t)(uintptr_t)iov.iov_base;
		len = iov.iov_len;
	}
	if (c->nr == SYS_sendmmsg || peer_read(o, t->tid, at, &head, sizeof(head)) < 0 ||
	    NLMSG_ALIGN(head.nlmsg_len) < len || !is_question(info->protocol, head.nlmsg_type))
		return boundary(o, t, "sends to the kernel by netlink");
	return 0;
}

int on_send_entry(struct observe *o, struct thread *t, const struct observe_call *c, const struct rule *rule)
{
	struct fd_info info = fd_get(t->proc, (int)c->args[0]);
	struct peer_address a;
	struct msghdr msg;
	uint64_t addr = 0, len = 0;

	if (info.origin == ORIGIN_OWN)
		return 0;
	if (info.origin >= 0)
		return boundary(o, t, "sends over descriptor %d, which it inherited,", info.origin);
	if (info.family == AF_NETLINK)
		return netlink_send(o, t, c, &info);
	if (info.family == 0 || is_local_family(info.family))
		return 0; /* of a pair, or accepted: both within the program, as listen is refused */
	if (rule->path) {
		addr = c->args[rule->path - 1];
		len = c->args[rule->path];
	} else if (peer_read(o, t->tid, c->args[1], &msg, sizeof(msg)) > 0) { /* mmsghdr begins with one */
		addr = (uint64_t)(uintptr_t)msg.msg_name;
		len = msg.msg_namelen;
	}
	if (address_read(o, t, addr, len, &a) == 0)
		return is_name_service(a.path) ? 0 : boundary(o, t, "sends to %s", a.words);
	/* connected: a unix socket's connect has been judged already */
	return info.family == AF_UNIX ? 0 : boundary(o, t, "sends to the network");
}

/* the process behind a pidfd, from its fdinfo; -1: gone or unknown */
static pid_t pid_of_pidfd(pid_t tid, int fd)
{
	_cleanup_free_ char *text = NULL;
	const char *p;

	if (read_file(proc_path(tid, "fdinfo/%d", fd).text, &text, NULL) < 0)
		return -1;
	p = strstr(text, "\nPid:");
	return p ? (pid_t)strtol(p + 5, NULL, 10) : -1;
}

int on_name_entry(struct observe *o, struct thread *t, const struct observe_call *c, const struct rule *rule)
{
	int origin = fd_get(t->proc, (int)c->args[0]).origin;

	(void)rule;
	return origin >= 0 ? boundary(o, t, "asks for the name of descriptor %d, which it inherited,", origin)
			   : 0;
}

/* what a template carries of a socket that was made and not used yet is set freely */
int on_setsockopt_entry(struct observe *o, struct thread *t, const struct observe_call *c,
			const struct rule *rule)
{
	struct fd_info info = fd_get(t->proc, (int)c->args[0]);

	(void)rule;
	if (info.origin >= 0)
		return boundary(o, t, "sets an option of descriptor %d, which it inherited,", info.origin);
	if (info.origin == ORIGIN_OWN || !info.family || is_local_family(info.family) ||
	    socket_carries((int)c->args[1], (int)c->args[2]))
		return 0;
	return boundary(o, t, "sets option %d of a socket", (int)c->args[2]);
}

/* a child in namespaces of its own is not carried; one that is not traced could do anything */
int on_clone_entry(struct observe *o, struct thread *t, const struct observe_call *c, const struct rule *rule)
{
	const uint64_t namespaces = CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC |
				    CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET |
				    0x80 /* CLONE_NEWTIME, of clone3(2) */;
	uint64_t flags = c->args[0];

	(void)rule;
	/* struct clone_args begins with the flags; in clone(2) the lowest byte is a signal */
	if (c->nr == SYS_clone3 && peer_read(o, t->tid, c->args[0], &flags, sizeof(flags)) < 0)
		return 0;
	if (c->nr == SYS_clone)
		flags &= ~0xffull;
	if (flags & CLONE_UNTRACED)
		return boundary(o, t, "starts a process that cannot be observed");
	return flags & namespaces ? boundary(o, t, "starts a process in namespaces of its own") : 0;
}

int on_kill_entry(struct observe *o, struct thread *t, const struct observe_call *c, const struct rule *rule)
{
	/* all but tgkill and its like have the signal second */
	bool three = c->nr == SYS_tgkill || c->nr == SYS_rt_tgsigqueueinfo;
	pid_t pid = (pid_t)c->args[0];
	int sig = (int)c->args[three ? 2 : 1];

	(void)rule;
	if (c->nr == SYS_pidfd_send_signal)
		pid = pid_of_pidfd(t->tid, (int)c->args[0]);
	else if (pid == 0)
		pid = getpgid(t->tid);
	else if (pid < -1)
		pid = -pid;
	if (pid != -1 && in_tree(o, pid))
		return 0;
	if (sig == 0)
		return boundary(o, t, "asks whether process %d is there", pid);
	return boundary(o, t, "sends signal %d to process %d", sig, pid);
}

int on_process_entry(struct observe *o, struct thread *t, const struct observe_call *c,
		     const struct rule *rule)
{
	pid_t pid = (pid_t)c->args[rule->path - 1];

	if (pid == 0 || in_tree(o, pid))
		return 0;
	return boundary(o, t, "%s process %d", rule->verb, pid);
}

/*
 * Whose child it is, and in which group and session: another in each launch. A runtime asks at its start, and knows why (bash's
 * $PPID); so does a child, which is gone in clones. What the program itself asks it may act on: kill(getppid(), ...).
 */
int on_kin_entry(struct observe *o, struct thread *t, const struct observe_call *c, const struct rule *rule)
{
	pid_t pid = rule->path ? (pid_t)c->args[rule->path - 1] : 0;

	if (pid != 0 && !in_tree(o, pid))
		return boundary(o, t, "%s process %d", rule->verb, pid);
	if (!o->leading || o->adaptor || t->proc->pid != o->root)
		return 0;
	return boundary(o, t, "%s its own process", rule->verb);
}

/* getpriority(2) and ioprio_get(2) and their like: which, who. The kinds of which are numbered from 0 in one and from 1 in the other */
int on_priority_entry(struct observe *o, struct thread *t, const struct observe_call *c,
		      const struct rule *rule)
{
	bool io = c->nr == SYS_ioprio_get || c->nr == SYS_ioprio_set;
	bool process = (int)c->args[0] == (io ? 1 /* IOPRIO_WHO_PROCESS */ : PRIO_PROCESS);
	pid_t who = (pid_t)c->args[1];

	if (process && (who == 0 || in_tree(o, who)))
		return 0;
	return boundary(o, t, "%s the priority of other processes", rule->verb);
}

int on_outside_entry(struct observe *o, struct thread *t, const struct observe_call *c,
		     const struct rule *rule)
{
	(void)c;
	return boundary(o, t, "%s", rule->verb);
}

/* what cannot be carried, and what kills the program when the tracer makes calls for it */
int on_prctl_entry(struct observe *o, struct thread *t, const struct observe_call *c, const struct rule *rule)
{
	(void)rule;
	switch ((int)c->args[0]) {
	case PR_SET_SECCOMP:
		return boundary(o, t, "installs a seccomp filter");
	case PR_SET_SECUREBITS:
	case PR_CAPBSET_DROP:
	case PR_CAP_AMBIENT:
		return boundary(o, t, "changes its capabilities");
	default:
		return 0;
	}
}
