/* SPDX-License-Identifier: MIT */
/* plan.c - the memfds of a template: plan_build() */
#include "snapshot/plan.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>

#include "engine/base/fd.h"
#include "engine/trace.h"

#ifndef MFD_EXEC
#define MFD_EXEC 0x0010u
#endif
#define SEALS (F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL)

#define STUB_AREA_START 0x200000000000ull	/* no kernel places anything here by itself */
#define STUB_AREA_END 0x300000000000ull
#define STUB_AREA_SIZE (64ull << 20)		/* text, data, context area, staging */
#define CONTEXT_AREA_SIZE (16ull << 20)
#define STAGING_OFFSET (48ull << 20)
#define THREAD_STACK 1024			/* in front of each thread's frame */
#define TASK_SIZE 0x7ffffffff000ull

extern const char blob_stub[], blob_stub_end[];

/* a growing image of struct stub_data and its tables */
struct image {
	char *v;
	size_t len, cap;
	bool failed;
};

static uint64_t reserve(struct image *im, size_t len, size_t align)
{
	size_t at = (im->len + align - 1) & ~(align - 1);

	if (at + len > im->cap) {
		size_t cap = im->cap ? im->cap : 65536;
		char *more;

		while (cap < at + len)
			cap *= 2;
		more = realloc(im->v, cap);
		if (!more) {
			im->failed = true;
			return 0;
		}
		memset(more + im->cap, 0, cap - im->cap);
		im->v = more;
		im->cap = cap;
	}
	im->len = at + len;
	return at;
}

static uint64_t put(struct image *im, const void *data, size_t len, size_t align)
{
	uint64_t at = reserve(im, len, align);

	if (!im->failed && len)
		memcpy(im->v + at, data, len);
	return at;
}

static struct stub_data *head(struct image *im)
{
	return (struct stub_data *)im->v;
}

/* put() may move the image: the table's offset is stored afterwards */
static void set_table(struct image *im, size_t field, uint64_t at)
{
	if (!im->failed)
		memcpy(im->v + field, &at, sizeof(at));
}

static int sealed_memfd(const char *name, struct error *err)
{
	int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_EXEC);

	/* before 6.3 MFD_EXEC is unknown, and the default */
	if (fd < 0 && errno == EINVAL)
		fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
	return fd < 0 ? error_errno(err, errno, "memfd_create") : fd;
}

static int seal(int fd, struct error *err)
{
	return fcntl(fd, F_ADD_SEALS, SEALS) < 0 ? error_errno(err, errno, "sealing a memfd") : 0;
}

/* --- pages --- */

static int copy_range(pid_t pid, int memfd, int mem, uint64_t start, uint64_t len, uint64_t off, void *buf, size_t size)
{
	while (len) {
		size_t n = len < size ? len : size;
		int r = trace_read(pid, start, buf, n);

		if (r == -EFAULT)
			r = pread_full(mem, buf, n, (off_t)start);
		if (r == 0)
			r = pwrite_full(memfd, buf, n, (off_t)off);
		if (r < 0)
			return r;
		start += n;
		off += n;
		len -= n;
	}
	return 0;
}

/* the stored pages of one VMA, to where the layout has put them; holes stay holes */
static int copy_vma(const struct record_process *p, const struct record_vma *v, const struct plan_layout *l, int memfd,
		    int mem, void *buf, size_t size)
{
	size_t i = 0;

	for (size_t m = 0; m < l->nmaps; m++) {
		const struct stub_map *map = &l->maps[m];
		uint64_t start = map->flags & STUB_MAP_COPY ? map->copy_addr : map->addr;
		uint64_t len = map->flags & STUB_MAP_COPY ? map->copy_len : map->len;
		uint64_t from, to;
		int r;

		if (map->file != STUB_FILE_PAGES && !(map->flags & STUB_MAP_COPY))
			continue;
		from = start > v->start ? start : v->start;
		to = start + len < v->end ? start + len : v->end;
		if (from >= to)
			continue;
		if (v->object >= 0 && !v->shared) {
			/* a file's pages between written ones are stored whole */
			r = copy_range(p->pid, memfd, mem, from, to - from, map->off + (from - start), buf, size);
			if (r < 0)
				return r;
			continue;
		}
		for (i = 0; i < v->nruns; i++) {
			const struct record_run *run = &v->runs[i];

			if (run->start < from || run->end > to)
				continue;
			r = copy_range(p->pid, memfd, mem, run->start, run->end - run->start,
				       map->off + (run->start - start), buf, size);
			if (r < 0)
				return r;
		}
	}
	return 0;
}

static int build_pages(const struct record_process *p, const struct plan_layout *l, int memfd, struct error *err)
{
	_cleanup_close_ int mem = -EBADF;
	const size_t size = 1 << 20;
	_cleanup_free_ char *buf = malloc(size);
	char path[64];
	int r = 0;

	snprintf(path, sizeof(path), "/proc/%d/mem", p->pid);
	mem = open(path, O_RDONLY | O_CLOEXEC);
	if (!buf || mem < 0 || ftruncate(memfd, (off_t)(l->pages_size ? l->pages_size : 4096)) < 0)
		return error_errno(err, errno ? errno : ENOMEM, "making the template's memory");
	for (size_t i = 0; i < p->nvmas && r == 0; i++)
		if (p->vmas[i].nruns)
			r = copy_vma(p, &p->vmas[i], l, memfd, mem, buf, size);
	if (r < 0)
		return error_errno(err, r, "copying the memory of process %d", p->pid);
	return seal(memfd, err);
}

/* --- tables --- */

static int find_base(const struct record_process *p, uint64_t *ret, struct error *err)
{
	for (uint64_t base = STUB_AREA_START; base < STUB_AREA_END; base += 1ull << 32) {
		bool free_here = true;

		for (size_t i = 0; i < p->nvmas && free_here; i++)
			free_here = p->vmas[i].end <= base || p->vmas[i].start >= base + STUB_AREA_SIZE;
		if (free_here) {
			*ret = base;
			return 0;
		}
	}
	return error_set(err, EOPNOTSUPP, "process %d leaves no room for the stub in its address space", p->pid);
}

static bool differs(const struct stub_sigaction *s, uint64_t ignored)
{
	uint64_t launcher = ignored >> (s->signo - 1) & 1 ? 1 /* SIG_IGN */ : 0;

	/* default and ignored signals have no flags that matter, but SA_NOCLDWAIT of SIGCHLD */
	return s->handler != launcher || s->flags & 2;
}

static void put_signals(struct image *im, const struct record_process *p, uint64_t ignored)
{
	struct stub_sigaction list[64];
	uint32_t n = 0;

	for (int i = 0; i < 64; i++)
		if (p->sigactions[i].signo && differs(&p->sigactions[i], ignored))
			list[n++] = p->sigactions[i];
	head(im)->nsigactions = n;
	set_table(im, offsetof(struct stub_data, sigactions), put(im, list, n * sizeof(list[0]), 8));
	head(im)->npendings = (uint32_t)p->npendings;
	set_table(im, offsetof(struct stub_data, pendings), put(im, p->pendings, p->npendings * sizeof(*p->pendings), 8));
	head(im)->nitimers = (uint32_t)p->nitimers;
	set_table(im, offsetof(struct stub_data, itimers), put(im, p->itimers, p->nitimers * sizeof(p->itimers[0]), 8));
	head(im)->ntimers = (uint32_t)p->ntimers;
	set_table(im, offsetof(struct stub_data, timers), put(im, p->timers, p->ntimers * sizeof(*p->timers), 8));
}

/*
 * A thread in a timed call goes on in the stub, which makes the call with the time
 * that is left and then restores the argument register. The registers that
 * it needs lie below the thread's red zone; those bytes are dead in the process too.
 */
static int retime(const struct record_process *p, const struct record_thread *t, arch_regs *regs, uint64_t time_at,
		  uint64_t resume_timed)
{
	uint64_t saved[4], slot = arch_retime_slot(regs);
	int r;

	if (t->timeout_arg < 0)
		return 0;
	r = arch_retime_call(regs, t->timeout_arg, t->timeout_ms ? t->timeout_ns / 1000000 : time_at, resume_timed, saved);
	return r < 0 ? r : trace_write(p->pid, slot, saved, sizeof(saved));
}

static int put_thread(struct image *im, const struct record_process *p, size_t i, uint64_t table, uint64_t data_base,
		      uint64_t resume_timed, const struct plan_options *o)
{
	const struct record_thread *t = &p->threads[i], *main_thread = &p->threads[0];
	struct stub_thread s = {
		.fs_base = t->regs.fs_base, .gs_base = t->regs.gs_base, .clear_tid = t->clear_tid, .tid_addr = t->tid_addr,
		.robust_list = t->robust_list, .robust_len = t->robust_len, .rseq_addr = t->rseq_addr,
		.rseq_size = t->rseq_size, .rseq_sig = t->rseq_sig, .old_tid = (uint32_t)t->tid, .resume = t->resume,
	};
	arch_regs regs = t->regs;
	uint64_t room, times[2] = { t->timeout_ns / 1000000000, t->timeout_ns % 1000000000 };
	int r;

	memcpy(s.comm, t->comm, sizeof(s.comm));
	/* what a new thread has from the one that makes it needs no setting */
	if (i > 0 ? t->sched_policy != main_thread->sched_policy || t->sched_priority != main_thread->sched_priority :
		    t->sched_policy != o->start_policy) {
		s.sched_policy = t->sched_policy;
		s.sched_priority = t->sched_priority;
		s.sched_flags |= 1;
	}
	if (t->nice != (i > 0 ? main_thread->nice : o->start_nice)) {
		s.nice = t->nice;
		s.sched_flags |= 2;
	}
	if (i > 0 ? memcmp(t->affinity, main_thread->affinity, sizeof(t->affinity)) != 0 :
		    o->start_affinity && memcmp(t->affinity, o->start_affinity, sizeof(t->affinity)) != 0) {
		memcpy(s.affinity, t->affinity, sizeof(s.affinity));
		s.sched_flags |= 4;
	}
	memcpy(s.time_left, times, sizeof(times));
	r = retime(p, t, &regs, data_base + table + i * sizeof(s) + offsetof(struct stub_thread, time_left), resume_timed);
	if (r < 0)
		return r;
	room = reserve(im, THREAD_STACK + arch_frame_size(t->xstate_len), 64);
	s.frame = room + THREAD_STACK;
	if (im->failed)
		return -ENOMEM;
	arch_write_frame(im->v + s.frame, data_base + s.frame, &regs, t->xstate, t->xstate_len, t->sigmask, t->altstack);
	memcpy(im->v + table + i * sizeof(s), &s, sizeof(s));
	return 0;
}

static int put_threads(struct image *im, const struct record_process *p, uint64_t data_base, uint64_t resume_timed,
		       const struct plan_options *o, struct error *err)
{
	uint64_t table = reserve(im, p->nthreads * sizeof(struct stub_thread), 64);

	if (im->failed)
		return error_set(err, ENOMEM, "no memory for the template's tables");
	head(im)->threads = table;
	head(im)->nthreads = (uint32_t)p->nthreads;
	for (size_t i = 0; i < p->nthreads; i++) {
		int r = put_thread(im, p, i, table, data_base, resume_timed, o);

		if (r < 0)
			return error_errno(err, r, "preparing thread %d", p->threads[i].tid);
		if (p->threads[i].resume != STUB_RESUME_FRAME)
			head(im)->ready_thread = (uint32_t)i;
	}
	return 0;
}

static void put_fds(struct image *im, const struct record *rec, const struct record_process *p)
{
	struct stub_fd *list = calloc(p->nfds + 1, sizeof(*list));
	struct stub_epoll *epolls = calloc(rec->nepolls + 1, sizeof(*epolls));
	uint32_t n = 0;

	if (!list || !epolls) {
		im->failed = true;
		goto out;
	}
	for (size_t i = 0; i < p->nfds; i++) {
		const struct record_fd *f = &p->fds[i];
		const struct record_description *d = &rec->descriptions[f->description], *peer;
		struct stub_fd s = { .fd = f->fd, .peer = -1, .kind = d->kind, .flags = d->flags, .cloexec = f->cloexec,
				     .a = d->a, .b = d->b, .c = d->c, .owner_signo = d->owner_signo };
		bool done = false;

		for (size_t j = 0; j < i; j++) {
			if (p->fds[j].description == f->description) {
				s.kind = STUB_FD_DUP;
				s.a = (uint64_t)p->fds[j].fd;
				done = true;
				break;
			}
			/* made with its other end */
			if (d->peer >= 0 && p->fds[j].description == d->peer)
				done = true, s.kind = UINT32_MAX;
		}
		if (s.kind == UINT32_MAX)
			continue;
		if (!done && (d->kind == STUB_FD_PIPE || d->kind == STUB_FD_SOCKETPAIR)) {
			/* of a pipe the read end comes first; one whose other end is closed is made and closed again */
			bool writer = d->kind == STUB_FD_PIPE && (d->flags & 3) != 0;

			peer = d->peer >= 0 ? &rec->descriptions[d->peer] : NULL;
			for (size_t j = i + 1; j < p->nfds && peer; j++) {
				if (p->fds[j].description == d->peer) {
					s.peer = p->fds[j].fd;
					s.peer_flags = peer->flags;
					s.peer_owner_signo = peer->owner_signo;
					s.cloexec |= p->fds[j].cloexec ? 2 : 0;
					break;
				}
			}
			s.data_len = d->data_len;
			s.data = put(im, d->data, d->data_len, 8);
			if (peer) {
				s.data2_len = peer->data_len;
				s.data2 = put(im, peer->data, peer->data_len, 8);
			}
			if (writer) {
				int32_t fd = s.fd;
				uint32_t flags = s.flags;
				int32_t owner = s.owner_signo;

				s.fd = s.peer;
				s.flags = s.peer_flags;
				s.peer = fd;
				s.peer_flags = flags;
				s.owner_signo = s.peer_owner_signo;
				s.peer_owner_signo = owner;
				s.cloexec = (s.cloexec & 1) << 1 | s.cloexec >> 1;
				s.data = s.data2;
				s.data_len = s.data2_len;
				s.data2_len = 0;
			}
		} else if (!done && d->kind == STUB_FD_PATH) {
			s.data = put(im, d->path, strlen(d->path) + 1, 1);
			s.b = d->offset;
		}
		list[n++] = s;
	}
	head(im)->nfds = n;
	set_table(im, offsetof(struct stub_data, fds), put(im, list, n * sizeof(*list), 8));
	for (size_t i = 0; i < rec->nepolls; i++) {
		for (size_t j = 0; j < p->nfds; j++)
			if (p->fds[j].description == rec->epolls[i].description)
				epolls[i].epfd = p->fds[j].fd;
		epolls[i].fd = rec->epolls[i].fd;
		epolls[i].events = rec->epolls[i].events;
		epolls[i].data = rec->epolls[i].data;
	}
	head(im)->nepolls = (uint32_t)rec->nepolls;
	set_table(im, offsetof(struct stub_data, epolls), put(im, epolls, rec->nepolls * sizeof(*epolls), 8));
out:
	free(list);
	free(epolls);
}

static int put_exit(struct image *im, const struct record_process *p, const struct stub_exit *e, uint64_t stub_base,
		    struct error *err)
{
	const uint64_t *table = (const uint64_t *)(blob_stub + 64);
	const uint64_t hooks[] = { table[0], table[1], table[3], table[4], table[5] };	/* by enum stub_hook */
	struct stub_exit *out;

	if (!e || !e->npatches)
		return 0;
	out = &head(im)->exit;
	*out = *e;
	for (uint32_t i = 0; i < e->npatches; i++) {
		struct stub_patch *patch = &out->patches[i];
		int r;

		patch->len = (uint32_t)arch_jump_patch(patch->bytes, stub_base + hooks[patch->kind] + (patch->kind >= STUB_HOOK_MADVISE ? 0 : 16 * i));
		r = trace_read(p->pid, patch->addr, patch->original, patch->len);
		if (r < 0)
			return error_errno(err, r, "reading the program's exit function");
	}
	return 0;
}

/* strings one behind the other. Return: offset of the first */
static uint64_t put_strings(struct image *im, char *const *v, uint32_t n, uint64_t *ret_len)
{
	uint64_t first = im->len;

	for (uint32_t i = 0; i < n; i++)
		put(im, v[i], strlen(v[i]) + 1, 1);
	*ret_len = im->len - first;
	return first;
}

static void put_context(struct image *im, const struct plan_options *o)
{
	uint64_t len, at = put_strings(im, o->argv_prefix, o->argv_prefix_n, &len);

	set_table(im, offsetof(struct stub_data, argv_prefix), at);
	at = put_strings(im, o->build_env, o->build_envc, &len);
	set_table(im, offsetof(struct stub_data, build_env), at);
	set_table(im, offsetof(struct stub_data, build_env_len), len);
	at = put_strings(im, o->build_argv, o->build_argc, &len);
	set_table(im, offsetof(struct stub_data, build_argv), at);
	set_table(im, offsetof(struct stub_data, build_argv_len), len);
	at = put(im, o->randoms, o->nrandoms * sizeof(*o->randoms), 8);
	set_table(im, offsetof(struct stub_data, randoms), at);
	if (!im->failed)
		head(im)->nrandoms = (uint32_t)o->nrandoms;
}

static void put_rlimits(struct image *im, const struct record_process *p, const struct plan_options *o)
{
	struct stub_rlimit list[ARRAY_SIZE(p->rlimits)];
	uint32_t n = 0;

	for (uint32_t i = 0; o->start_rlimits && i < ARRAY_SIZE(list); i++)
		if (memcmp(p->rlimits[i], o->start_rlimits[i], sizeof(p->rlimits[i])) != 0)
			list[n++] = (struct stub_rlimit){ .resource = i, .soft = p->rlimits[i][0], .hard = p->rlimits[i][1] };
	set_table(im, offsetof(struct stub_data, rlimits), put(im, list, n * sizeof(list[0]), 8));
	if (!im->failed)
		head(im)->nrlimits = n;
}

static void put_process(struct image *im, const struct record_process *p, const struct plan_options *o)
{
	const char *start_cwd = o->start_cwd ? o->start_cwd : p->cwd;
	struct stub_data *d = head(im);	/* valid until something is put */
	uint64_t auxv;

	memcpy(d->vdso, p->vdso, sizeof(d->vdso));
	d->vdso_addr = p->vdso_addr;
	d->mm = p->mm;
	memcpy(d->environ_addr, o->environ_addr, sizeof(d->environ_addr));
	d->libc_argv_addr = o->libc_argv_addr;
	d->progname_full_addr = o->progname_full_addr;
	d->progname_short_addr = o->progname_short_addr;
	d->context_fd = o->context_raw ? -1 : o->context_fd;
	d->argv_prefix_n = o->argv_prefix_n;
	d->argv_drop = o->argv_drop;
	d->umask = p->umask == o->start_umask ? -1 : (int32_t)p->umask;
	d->dumpable = p->dumpable;
	d->no_new_privs = p->no_new_privs;
	d->pdeathsig = p->pdeathsig;
	d->subreaper = p->subreaper;
	d->thp_disable = p->thp_disable;
	d->timerslack_ns = p->timerslack_ns;
	d->timerslack_set = o->start_timerslack_ns && p->timerslack_ns != o->start_timerslack_ns;
	d->personality = p->personality;
	d->personality_set = p->personality != o->start_personality;
	d->xcomp_perm = p->amx;
	d->old_pid = (uint32_t)p->pid;
	auxv = put(im, p->auxv, p->auxv_len, 8);
	if (!im->failed)
		head(im)->mm.auxv = auxv;
	put_rlimits(im, p, o);
	if (o->oom_score_adj) {
		uint64_t at = put(im, o->oom_score_adj, strlen(o->oom_score_adj) + 1, 1);

		set_table(im, offsetof(struct stub_data, oom_score_adj), at);
	}
	put_context(im, o);
	if (strcmp(start_cwd, p->cwd) != 0) {
		uint64_t at = put(im, p->cwd, strlen(p->cwd) + 1, 1);

		head(im)->cwd = at;
	}
}

static void put_outputs(struct image *im, const struct plan_options *o)
{
	uint64_t bytes = put(im, o->output_bytes, o->output_size, 1);
	uint64_t table = reserve(im, o->noutputs * sizeof(struct stub_output), 8);

	for (size_t i = 0; i < o->noutputs && !im->failed; i++) {
		struct stub_output out = o->outputs[i];

		out.data += bytes;
		memcpy(im->v + table + i * sizeof(out), &out, sizeof(out));
	}
	head(im)->outputs = table;
	head(im)->noutputs = (uint32_t)o->noutputs;
}

static int write_control(struct image *im, uint64_t text_size, int *ret, struct error *err)
{
	_cleanup_close_ int memfd = sealed_memfd("warm-control", err);
	int r;

	if (memfd < 0)
		return memfd;
	if (ftruncate(memfd, (off_t)(text_size + im->len)) < 0)
		return error_errno(err, errno, "making the control file");
	r = pwrite_full(memfd, blob_stub, (size_t)(blob_stub_end - blob_stub), 0);
	if (r == 0)
		r = pwrite_full(memfd, im->v, im->len, (off_t)text_size);
	if (r < 0)
		return error_errno(err, r, "writing the control file");
	r = seal(memfd, err);
	if (r == 0)
		*ret = TAKE_FD(memfd);
	return r;
}

/* by which a clone tells the memfd's mappings from others */
static int put_pages_identity(struct image *im, int pages, struct error *err)
{
	struct stat st;

	if (fstat(pages, &st) < 0)
		return error_errno(err, errno, "looking at the pages memfd");
	head(im)->pages_inode = st.st_ino;
	head(im)->pages_major = major(st.st_dev);
	head(im)->pages_minor = minor(st.st_dev);
	return 0;
}

static int build_control(const struct record *rec, const struct plan_options *o, const struct plan_layout *l,
			 struct plan *plan, struct error *err)
{
	const struct record_process *p = &rec->processes[0];
	const uint64_t *table = (const uint64_t *)(blob_stub + 64);
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE), data_base;
	struct image im = { 0 };
	int r;

	plan->text_size = ((uint64_t)(blob_stub_end - blob_stub) + page - 1) & ~(page - 1);
	r = find_base(p, &plan->stub_base, err);
	if (r < 0)
		return r;
	data_base = plan->stub_base + plan->text_size;
	reserve(&im, sizeof(struct stub_data), 64);
	if (im.failed)
		return error_set(err, ENOMEM, "no memory for the template's tables");
	head(&im)->magic = STUB_MAGIC;
	head(&im)->version = STUB_ABI_VERSION;
	head(&im)->stub_base = plan->stub_base;
	head(&im)->text_size = plan->text_size;
	head(&im)->page_size = page;
	head(&im)->task_size = TASK_SIZE;
	head(&im)->staging = plan->stub_base + STAGING_OFFSET + (1 << 20);
	head(&im)->exe_file = p->exe_object;
	head(&im)->nmaps = (uint32_t)l->nmaps;
	head(&im)->nadvices = (uint32_t)l->nadvices;
	r = put_pages_identity(&im, plan->pages, err);
	if (r < 0) {
		free(im.v);
		return r;
	}
	put_process(&im, p, o);
	set_table(&im, offsetof(struct stub_data, maps), put(&im, l->maps, l->nmaps * sizeof(*l->maps), 64));
	set_table(&im, offsetof(struct stub_data, advices), put(&im, l->advices, l->nadvices * sizeof(*l->advices), 8));
	put_signals(&im, p, o->ignored_signals);
	put_fds(&im, rec, p);
	put_outputs(&im, o);
	if (!im.failed)
		r = put_threads(&im, p, data_base, plan->stub_base + table[2], o, err);
	if (r == 0 && !im.failed)
		r = put_exit(&im, p, o->exit, plan->stub_base, err);
	if (r == 0 && !im.failed) {
		/* a hole until it is needed */
		uint64_t hot = reserve(&im, STUB_HOT_RANGES * sizeof(struct stub_range), page);
		uint64_t launch = reserve(&im, STUB_LAUNCH_SIZE, page);

		head(&im)->hot = hot;
		head(&im)->hot_room = STUB_HOT_RANGES;
		head(&im)->launch = launch;
		plan->data_size = im.len;
		plan->args_base = plan->stub_base + plan->text_size + im.len + page;
		head(&im)->data_size = im.len;
		head(&im)->keep_start = plan->stub_base;
		head(&im)->keep_end = plan->args_base + CONTEXT_AREA_SIZE;
		if (head(&im)->keep_end > plan->stub_base + STAGING_OFFSET)
			r = error_set(err, EOPNOTSUPP, "process %d has too many threads and mappings for one control file", p->pid);
	}
	if (r == 0 && im.failed)
		r = error_set(err, ENOMEM, "no memory for the template's tables");
	if (r == 0 && o->context_raw) {
		uint64_t args[6];
		long nr;

		arch_syscall_args(&p->threads[head(&im)->ready_thread].regs, &nr, args);
		r = plan_context_buffer(p->pid, nr, args, &head(&im)->context_buf, &head(&im)->context_max);
		if (r < 0)
			r = error_errno(err, r, "the read at the readiness point");
		plan->context_max = head(&im)->context_max;
	}
	if (r == 0)
		r = write_control(&im, plan->text_size, &plan->control, err);
	free(im.v);
	return r;
}

int plan_context_buffer(pid_t pid, long nr, const uint64_t args[6], uint64_t *ret_addr, uint64_t *ret_size)
{
	struct iovec iov;
	struct msghdr msg;
	uint64_t at = args[1];
	int r = 0;

	switch (nr) {
	case SYS_read:
	case SYS_recvfrom:
		*ret_addr = args[1];
		*ret_size = args[2];
		return 0;
	case SYS_recvmsg:
		r = trace_read(pid, args[1], &msg, sizeof(msg));
		at = (uint64_t)msg.msg_iov;
		break;
	case SYS_readv:
		break;
	default:
		return -EOPNOTSUPP;
	}
	if (r == 0)
		r = trace_read(pid, at, &iov, sizeof(iov));
	if (r == 0) {
		*ret_addr = (uint64_t)iov.iov_base;
		*ret_size = iov.iov_len;
	}
	return r;
}

int plan_build(const struct record *rec, const struct plan_options *o, struct plan *ret, struct error *err)
{
	const struct record_process *p = &rec->processes[0];
	struct plan plan = { .control = -EBADF, .pages = -EBADF };
	_cleanup_free_ int *index = calloc(rec->nobjects + 1, sizeof(*index));
	struct plan_layout layout = { 0 };
	int r;

	plan.files = calloc(rec->nobjects + 1, sizeof(*plan.files));
	if (!index || !plan.files) {
		free(plan.files);
		return error_set(err, ENOMEM, "no memory");
	}
	for (size_t i = 0; i < rec->nobjects; i++) {
		plan.files[plan.nfiles++] = rec->objects[i].fd;
		index[i] = (int)plan.nfiles;
	}
	r = plan_layout(rec, p, index, (uint64_t)sysconf(_SC_PAGESIZE), &layout);
	if (r < 0)
		error_errno(err, r, "planning the mappings");
	if (r == 0) {
		plan.pages = sealed_memfd("warm", err);
		r = plan.pages < 0 ? plan.pages : 0;
	}
	/* the control file first: it may put bytes into the process's stacks */
	if (r == 0)
		r = build_control(rec, o, &layout, &plan, err);
	if (r == 0)
		r = build_pages(p, &layout, plan.pages, err);
	plan.nmaps = (uint32_t)layout.nmaps;
	plan.nthreads = (uint32_t)p->nthreads;
	plan.sealed_bytes = layout.stored + plan.text_size + plan.data_size;
	plan_layout_done(&layout);
	if (r < 0) {
		plan_done(&plan);
		return r;
	}
	*ret = plan;
	return 0;
}

void plan_done(struct plan *plan)
{
	plan->control = fd_close(plan->control);
	plan->pages = fd_close(plan->pages);
	free(plan->files);
	plan->files = NULL;
}
