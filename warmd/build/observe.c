/* SPDX-License-Identifier: MIT */
#include "warmd/build/observe_internal.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>

#include "engine/base/fd.h"
#include "engine/base/proc_path.h"

static ssize_t read_vm(void *data, pid_t tid, uint64_t addr, void *buf, size_t len)
{
	struct iovec local = { buf, len }, remote = { (void *)(uintptr_t)addr, len };
	ssize_t n = process_vm_readv(tid, &local, 1, &remote, 1, 0);

	(void)data;
	return n < 0 ? -errno : n;
}

static void proc_free(void *p)
{
	struct proc *proc = p;

	free(proc->fds);
	free(proc);
}

static void thread_free(void *p)
{
	struct thread *t = p;

	free(t->paths[0]);
	free(t->paths[1]);
	free(t->looked_at);
	environment_forget(t);
	free(t);
}

static struct proc *proc_new(struct observe *o, pid_t pid)
{
	struct proc *proc = calloc(1, sizeof(*proc));

	if (!proc || map_put(&o->procs, &pid, sizeof(pid), proc) < 0) {
		free(proc);
		return NULL;
	}
	proc->pid = pid;
	return proc;
}

/* the build's stand-in for the caller's terminal; 0: none */
static dev_t terminal_of(pid_t root)
{
	for (int fd = 0; fd < 3; fd++) {
		struct stat st;

		/* Unix98 ptys: Documentation/admin-guide/devices.txt */
		if (stat(proc_path(root, "fd/%d", fd).text, &st) == 0 && S_ISCHR(st.st_mode) &&
		    major(st.st_rdev) >= 136 && major(st.st_rdev) <= 143)
			return st.st_rdev;
	}
	return 0;
}

int observe_new(struct observe **ret, const struct config *cfg, pid_t root, int own_fd)
{
	struct observe *o = calloc(1, sizeof(*o));
	struct proc *proc;
	int r = -ENOMEM;

	if (!o)
		return -ENOMEM;
	o->cfg = cfg;
	o->root = root;
	o->own_fd = own_fd;
	o->read = read_vm;
	o->terminal_master = -EBADF;
	proc = proc_new(o, root);
	if (proc) {
		proc->executed = true;
		r = fds_of_root(proc, own_fd);
		o->terminal_device = terminal_of(root);
	}
	if (r == 0)
		r = dep_set_new(&o->deps);
	if (r < 0) {
		observe_free(o);
		return r;
	}
	*ret = o;
	return 0;
}

void observe_free(struct observe *o)
{
	if (!o)
		return;
	map_done(&o->threads, thread_free);
	map_done(&o->procs, proc_free);
	map_done(&o->candidates, NULL);
	map_done(&o->confirmed, NULL);
	map_done(&o->listed, NULL);
	map_done(&o->set_for_children, NULL);
	map_done(&o->children_variables, NULL);
	map_done(&o->fact_files, NULL);
	free(o->environment);
	for (size_t i = 0; i < o->noutput; i++)
		free((void *)o->output[i].data);
	free(o->output);
	dep_set_free(o->deps);
	free(o);
}

void observe_set_reader(struct observe *o, observe_read_fn read, void *data)
{
	o->read = read;
	o->read_data = data;
}

__attribute__((format(printf, 4, 0))) static int refuse_va(struct observe *o, const struct thread *t,
							   bool retryable, const char *fmt, va_list ap)
{
	struct observe_refusal *refusal = &o->refusal;
	size_t len;

	/* the first one is told, except that a final one tells more than one that may pass */
	if (refusal->text[0] && (retryable || !refusal->retryable))
		return 0;
	vsnprintf(refusal->text, sizeof(refusal->text), fmt, ap);
	len = strlen(refusal->text);
	snprintf(refusal->text + len, sizeof(refusal->text) - len, " before its readiness point");
	refusal->retryable = retryable;
	refusal->tid = t ? t->tid : o->root;
	return OBSERVE_REFUSED;
}

int refuse(struct observe *o, const struct thread *t, bool retryable, const char *fmt, ...)
{
	va_list ap;
	int r;

	va_start(ap, fmt);
	r = refuse_va(o, t, retryable, fmt, ap);
	va_end(ap);
	return r;
}

int boundary(struct observe *o, const struct thread *t, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(o->refusal.text, sizeof(o->refusal.text), fmt, ap);
	va_end(ap);
	o->refusal.retryable = false;
	o->refusal.tid = t->tid;
	return OBSERVE_BOUNDARY;
}

int deny(struct observe *o, int error)
{
	o->denied = -error;
	return OBSERVE_DENIED;
}

int observe_denied(const struct observe *o)
{
	return o->denied;
}

void observe_bind_counts(struct observe *o)
{
	o->bind_counts = true;
}

bool in_tree(const struct observe *o, pid_t pid)
{
	return map_has(&o->procs, &pid, sizeof(pid)) || map_has(&o->threads, &pid, sizeof(pid));
}

/* a field of /proc/TID/status, or 0 */
static pid_t status_number(const char *text, const char *field)
{
	const char *p = strstr(text, field);

	return p ? (pid_t)strtol(p + strlen(field), NULL, 10) : 0;
}

/* the process that a new thread id belongs to; a new process starts as its parent is now */
static struct proc *proc_of(struct observe *o, pid_t tid)
{
	_cleanup_free_ char *text = NULL;
	pid_t tgid = tid, ppid = 0;
	struct proc *proc, *parent, fresh;

	if (read_file(proc_path(tid, "status").text, &text, NULL) == 0) {
		tgid = status_number(text, "\nTgid:");
		ppid = status_number(text, "\nPPid:");
	}
	proc = map_get(&o->procs, &tgid, sizeof(tgid));
	if (proc)
		return proc;
	parent = map_get(&o->procs, &ppid, sizeof(ppid));
	if (!parent)
		parent = map_get(&o->procs, &o->root, sizeof(o->root));
	proc = proc_new(o, tgid);
	if (!proc || !parent)
		return proc;
	fresh = *parent;
	fresh.pid = tgid;
	fresh.threads = 0;
	fresh.executed = false;
	fresh.fds = NULL;
	fresh.nfds = 0;
	*proc = fresh;
	return fds_copy(proc, parent) == 0 ? proc : NULL;
}

struct thread *thread_get(struct observe *o, pid_t tid)
{
	struct thread *t = o->last;

	if (t && t->tid == tid)
		return t;
	t = map_get(&o->threads, &tid, sizeof(tid));
	if (!t) {
		struct proc *proc = proc_of(o, tid);

		t = proc ? calloc(1, sizeof(*t)) : NULL;
		if (!t || map_put(&o->threads, &tid, sizeof(tid), t) < 0) {
			free(t);
			return NULL;
		}
		t->tid = tid;
		t->proc = proc;
		t->entered = -1;
		proc->threads++;
	}
	o->last = t;
	return t;
}

void observe_exited(struct observe *o, pid_t tid)
{
	struct thread *t = map_remove(&o->threads, &tid, sizeof(tid));

	if (!t)
		return;
	if (o->last == t)
		o->last = NULL;
	/* the root stays known: those who lose their parents start as it is */
	if (--t->proc->threads == 0 && t->proc->pid != o->root)
		proc_free(map_remove(&o->procs, &t->proc->pid, sizeof(t->proc->pid)));
	thread_free(t);
}

static void forget_entry(struct thread *t)
{
	t->entered = -1;
	environment_forget(t);
	for (size_t i = 0; i < ARRAY_SIZE(t->paths); i++) {
		free(TAKE_PTR(t->paths[i]));
		t->verdicts[i] = VERDICT_NONE;
	}
}

int observe_syscall(struct observe *o, const struct observe_call *c, struct error *err)
{
	const struct rule *rule = rule_find(c->nr);
	struct thread *t;
	int r = 0;

	if (!rule)
		return 0;
	t = thread_get(o, c->tid);
	if (!t)
		return error_set(err, ENOMEM, "out of memory");
	if (c->entry) {
		forget_entry(t);
		t->entered = c->nr;
		if (rule->entry)
			r = rule->entry(o, t, c, rule);
	} else {
		if (t->entered != c->nr) /* its entry was not seen */
			forget_entry(t);
		if (rule->exit)
			r = rule->exit(o, t, c, rule);
		forget_entry(t);
	}
	return r < 0 ? error_errno(err, r, "observing system call %ld of %d", c->nr, c->tid) : r;
}

void observe_live(struct observe *o, int master, int fd)
{
	struct winsize size = { 0 };

	o->live = true;
	o->terminal_master = master;
	o->terminal_fd = fd;
	if (master >= 0)
		ioctl(master, TIOCGWINSZ, &size);
	o->rows = size.ws_row;
	o->columns = size.ws_col;
}

void observe_phase_adaptor(struct observe *o)
{
	o->leading = false;
	o->adaptor = true;
}

void observe_phase_leading(struct observe *o)
{
	o->leading = o->watching = true;
}

/* the values of such a map are numbers */
int count_path(struct map *m, const char *path, unsigned int more)
{
	uintptr_t n = (uintptr_t)map_get(m, path, strlen(path));

	return map_put(m, path, strlen(path), (void *)(n + more));
}

int observe_module_names(struct observe *o, const char *words)
{
	return dep_set_module_names(o->deps, words);
}

int observe_modules_dir(struct observe *o, const char *path)
{
	_cleanup_free_ char *real = realpath(path, NULL);

	return real ? map_put(&o->confirmed, real, strlen(real), NULL) : 0;
}

int observe_modules_listed(struct observe *o, const char *path)
{
	_cleanup_free_ char *real = realpath(path, NULL);

	return real ? count_path(&o->listed, real, 1) : 0;
}

int observe_held(struct observe *o, const char *path, const struct stat *st)
{
	return path_class(path) == PATH_REAL ? dep_set_add_opened(o->deps, path, DEP_INODE, st) : 0;
}

static bool is_importers(const struct observe *o, const struct map_slot *candidate)
{
	return map_has(&o->confirmed, candidate->key, candidate->len) &&
	       (uintptr_t)candidate->value <= (uintptr_t)map_get(&o->listed, candidate->key, candidate->len);
}

int observe_finish(struct observe *o, struct error *err)
{
	const struct map_slot *slot;
	size_t pos = 0;

	while ((slot = map_next(&o->candidates, &pos))) {
		if (!is_importers(o, slot) && dep_set_add(o->deps, slot->key, DEP_LISTING) == -ENOMEM)
			return error_set(err, ENOMEM, "out of memory");
	}
	return 0;
}

struct dep_set *observe_deps(struct observe *o)
{
	return o->deps;
}

const struct observe_keys *observe_keys(const struct observe *o)
{
	return &o->keys;
}

const struct observe_output *observe_output(const struct observe *o, size_t *ret_count)
{
	*ret_count = o->noutput;
	return o->output;
}

const struct observe_refusal *observe_refusal(const struct observe *o)
{
	return o->refusal.text[0] ? &o->refusal : NULL;
}

int observe_fd_origin(const struct observe *o, pid_t pid, int fd)
{
	const struct proc *proc = map_get(&o->procs, &pid, sizeof(pid));
	int origin = proc ? fd_get(proc, fd).origin : ORIGIN_INSIDE;

	return origin >= 0 ? origin : -1;
}
