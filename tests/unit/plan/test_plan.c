/* SPDX-License-Identifier: MIT */
/* plan_build(): a model in, memfds and tables out, without a process; from pages that are copied, and from a page file */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "engine/base/array.h"
#include "engine/base/fd.h"
#include "engine/proc.h"
#include "snapshot/plan/plan_internal.h"

#define PAGE   4096ull
#define TEXT   0x400000ull
#define HEAP   0x800000ull
#define STACK  0x7ff000000000ull
#define XSTATE 576 /* legacy area and header: the least that XSAVE writes */

static struct model *m;
static struct model_files files;
static struct plan plan;
static char *tables; /* the control file from its data on */

static struct model_vma *add_vma(uint64_t start, uint64_t pages, uint32_t prot, int object)
{
	struct model_space *s = &m->spaces[0];
	struct model_vma *v = array_append(&s->vmas, &s->nvmas, sizeof(*v));

	assert_non_null(v);
	*v = (struct model_vma){ .start = start,
				 .end = start + pages * PAGE,
				 .prot = prot,
				 .object = object,
				 .name = strdup("") };
	return v;
}

static void write_pages(struct model_vma *v, uint64_t from, uint64_t to)
{
	struct model_run *run = array_append(&v->runs, &v->nruns, sizeof(*run));

	assert_non_null(run);
	*run = (struct model_run){ v->start + from * PAGE, v->start + to * PAGE, MODEL_NO_OFFSET };
}

static struct model_description *add_fd(int number, enum model_fd_kind kind)
{
	struct model_fd_table *t = &m->fd_tables[0];
	struct model_fd *f = array_append(&t->fds, &t->nfds, sizeof(*f));
	struct model_description *d = array_append(&m->descriptions, &m->ndescriptions, sizeof(*d));

	assert_true(f && d);
	*f = (struct model_fd){ number, (int)m->ndescriptions - 1, false };
	d->kind = kind;
	d->peer = MODEL_NONE;
	return d;
}

/* each word of memory tells its address */
static int read_pattern(const struct page_source *s, size_t space, uint64_t addr, void *buf, size_t len)
{
	uint64_t *words = buf;

	(void)s;
	assert_int_equal(space, 0);
	for (size_t i = 0; i < len / sizeof(*words); i++)
		words[i] = addr + i * sizeof(*words);
	return 0;
}

static const struct page_source pattern = { .read = read_pattern, .file = -EBADF };

static int setup(void **state)
{
	struct model_object exe = { .path = strdup("/proc/self/exe") };
	struct model_thread *thread;

	(void)state;
	m = model_new(1);
	assert_true(m && exe.path);
	assert_int_equal(model_add_object(m, &exe), 0);
	files.fds = malloc(sizeof(int));
	files.fds[0] = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	files.n = 1;
	m->filesystems[0].cwd = strdup("/there");
	m->filesystems[0].umask = 022;
	m->entry.start_umask = 022;
	m->entry.start_cwd = "/there";
	m->processes[0].threads = calloc(1, sizeof(*thread));
	m->processes[0].nthreads = 1;
	m->processes[0].pid = 4321;
	thread = &m->processes[0].threads[0];
	thread->tid = 4321;
	thread->timeout_arg = -1;
	thread->xstate = calloc(1, XSTATE);
	thread->xstate_len = XSTATE;
	add_vma(TEXT, 4, PROT_READ | PROT_EXEC, 0);
	write_pages(add_vma(HEAP, 100, PROT_READ | PROT_WRITE, MODEL_NONE), 1, 3);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	free(tables);
	tables = NULL;
	plan_done(&plan);
	model_files_done(&files);
	model_free(m);
	return 0;
}

static void build(const struct page_source *source)
{
	const struct plan_options options = { 0 };
	struct error err = { 0 };

	assert_int_equal(plan_build(m, &files, source, &options, &plan, &err), 0);
	tables = malloc(plan.data_size);
	assert_non_null(tables);
	assert_int_equal(pread_full(plan.control, tables, plan.data_size, (off_t)plan.text_size), 0);
}

static const struct stub_data *head(void)
{
	return (const struct stub_data *)tables;
}

static const struct stub_process *process(void)
{
	return (const struct stub_process *)(tables + head()->processes);
}

static uint64_t word_at(uint64_t offset)
{
	uint64_t word = 0;

	assert_int_equal(pread_full(plan.pages, &word, sizeof(word), (off_t)offset), 0);
	return word;
}

static void memory_comes_from_its_places(void **state)
{
	const struct stub_map *maps;

	(void)state;
	build(&pattern);
	maps = (const struct stub_map *)(tables + process()->maps);
	assert_int_equal(process()->nmaps, 3);
	assert_int_equal(maps[0].file, 1);
	assert_int_equal(maps[0].addr, TEXT);
	assert_int_equal(maps[1].file, STUB_FILE_PAGES);
	assert_int_equal(maps[1].addr, HEAP);
	assert_int_equal(word_at(maps[1].off), 0); /* a hole */
	assert_int_equal(word_at(maps[1].off + PAGE), HEAP + PAGE);
	assert_int_equal(word_at(maps[1].off + 3 * PAGE - 8), HEAP + 3 * PAGE - 8);
	assert_int_equal(maps[2].file, STUB_FILE_NONE);
	assert_int_equal(fcntl(plan.pages, F_GET_SEALS),
			 F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL);
}

/* what was planned of live processes is planned the same of their image, whose pages stay where they are */
static void a_page_file_gives_the_same_tables(void **state)
{
	struct plan first;
	char *before;
	struct page_source file;
	struct stub_data *a, *b;
	struct model_vma *stack = add_vma(STACK, 20, PROT_READ | PROT_WRITE, MODEL_NONE);

	(void)state;
	stack->vmflags = VMF_GROWSDOWN;
	write_pages(stack, 15, 20);
	write_pages(&m->spaces[0].vmas[0], 2, 3);
	build(&pattern);
	first = plan;
	before = tables;
	plan = (struct plan){ .control = -EBADF, .pages = -EBADF, .huge = -EBADF };
	file = page_source_file(first.pages);
	build(&file);
	assert_int_equal(plan.data_size, first.data_size);
	a = (struct stub_data *)before;
	b = (struct stub_data *)tables;
	assert_int_equal(a->pages_inode, b->pages_inode);
	assert_memory_equal(before, tables, plan.data_size);
	free(before);
	plan_done(&first);
}

/* a run that has a place is mapped from there alone: what lies beside it in the file is not its own */
static void places_are_kept(void **state)
{
	const struct page_source file = page_source_file(files.fds[0]);
	const struct stub_map *maps;

	(void)state;
	m->spaces[0].vmas[1].runs[0].offset = 77 * PAGE;
	build(&file);
	maps = (const struct stub_map *)(tables + process()->maps);
	assert_int_equal(process()->nmaps, 4);
	assert_int_equal(maps[1].file, STUB_FILE_NONE);
	assert_int_equal(maps[2].file, STUB_FILE_PAGES);
	assert_int_equal(maps[2].addr, HEAP + PAGE);
	assert_int_equal(maps[2].len, 2 * PAGE);
	assert_int_equal(maps[2].off, 77 * PAGE);
	assert_int_equal(maps[3].file, STUB_FILE_NONE);
}

static void a_page_file_without_a_place(void **state)
{
	const struct page_source file = page_source_file(files.fds[0]);
	const struct plan_options options = { 0 };
	struct error err = { 0 };

	(void)state;
	assert_int_equal(plan_build(m, &files, &file, &options, &plan, &err), -EBADMSG);
	assert_non_null(strstr(err.text, "does not tell where"));
	plan = (struct plan){ .control = -EBADF, .pages = -EBADF, .huge = -EBADF };
}

/* a stack is read into memory in one piece */
static void a_stack_in_pieces(void **state)
{
	const struct page_source file = page_source_file(files.fds[0]);
	const struct plan_options options = { 0 };
	struct model_vma *stack = add_vma(STACK, 20, PROT_READ | PROT_WRITE, MODEL_NONE);
	struct error err = { 0 };

	(void)state;
	stack->vmflags = VMF_GROWSDOWN;
	write_pages(stack, 4, 5);
	write_pages(stack, 15, 20);
	m->spaces[0].vmas[1].runs[0].offset = 0;
	stack->runs[0].offset = 10 * PAGE;
	stack->runs[1].offset = 11 * PAGE;
	assert_int_equal(plan_build(m, &files, &file, &options, &plan, &err), -EBADMSG);
	plan = (struct plan){ .control = -EBADF, .pages = -EBADF, .huge = -EBADF };
}

static void threads(void **state)
{
	struct model_process *p = &m->processes[0];
	const struct stub_thread *t;

	(void)state;
	p->threads = realloc(p->threads, 2 * sizeof(*p->threads));
	p->threads[1] = p->threads[0];
	p->threads[1].xstate = calloc(1, XSTATE);
	p->threads[1].tid = 4322;
	p->threads[1].tid_addr = HEAP + 8;
	p->threads[1].nice = 5;
	p->threads[1].sigmask = 1;
	p->threads[0].resume = MODEL_RESUME_MAIN;
	p->nthreads = 2;
	strcpy(p->threads[1].comm, "worker");
	build(&pattern);
	t = (const struct stub_thread *)(tables + process()->threads);
	assert_int_equal(process()->nthreads, 2);
	assert_int_equal(t[0].old_tid, 4321);
	assert_int_equal(t[0].resume, STUB_RESUME_MAIN);
	assert_int_equal(process()->ready_thread, 0);
	assert_int_equal(t[1].tid_addr, HEAP + 8);
	assert_int_equal(t[1].nice, 5);
	assert_int_equal(t[1].sched_flags, 2);
	assert_string_equal(t[1].comm, "worker");
	assert_int_equal(t[1].frame % 64, 0);
	assert_true(t[1].frame > t[0].frame && t[1].frame < plan.data_size);
}

static void descriptors_of_each_kind(void **state)
{
	static const struct model_option option = { .level = 1, .name = 9, .len = 4, .value = { 1 } };
	const struct stub_description *d;
	struct model_description *added;

	(void)state;
	add_fd(3, MODEL_FD_EVENTFD)->eventfd.count = 7;
	added = add_fd(4, MODEL_FD_TIMERFD);
	added->timerfd.clock = 1;
	added->timerfd.value_ns = 5;
	added->timerfd.interval_ns = 6;
	add_fd(5, MODEL_FD_SIGNALFD)->signalfd.mask = 0x42;
	added = add_fd(6, MODEL_FD_PATH);
	added->path.path = strdup("/etc/passwd");
	added->path.offset = 12;
	added = add_fd(7, MODEL_FD_SOCKET);
	added->socket.domain = 2;
	added->socket.type = 1;
	added->socket.protocol = 6;
	added->socket.options = malloc(sizeof(option));
	added->socket.options[0] = option;
	added->socket.noptions = 1;
	added = add_fd(8, MODEL_FD_TTY);
	added->outside.of = MODEL_DEV_TTY;
	add_fd(9, MODEL_FD_CALLER)->outside.of = 2;
	added = add_fd(10, MODEL_FD_SOCKETPAIR);
	added->pair.type = 1;
	added->pair.shutdown = 2;
	added->peer = 8;
	added->data = strdup("queued");
	added->data_len = 6;
	added = add_fd(11, MODEL_FD_SOCKETPAIR);
	added->peer = 7;
	add_fd(12, MODEL_FD_PIPE)->pipe.room = 4096;
	build(&pattern);
	d = (const struct stub_description *)(tables + head()->descriptions);
	assert_int_equal(head()->ndescriptions, 10);
	assert_int_equal(d[0].a, 7);
	assert_true(d[1].a == 1 && d[1].b == 5 && d[1].c == 6);
	assert_int_equal(d[2].a, 0x42);
	assert_string_equal(tables + d[3].data, "/etc/passwd");
	assert_int_equal(d[3].b, 12);
	assert_true(d[4].a == 2 && d[4].b == 1 && d[4].c == 6);
	assert_int_equal(d[4].data_len, sizeof(struct stub_option));
	assert_int_equal(((const struct stub_option *)(tables + d[4].data))->name, 9);
	assert_int_equal(d[5].a, UINT64_MAX);
	assert_int_equal(d[6].a, 2);
	assert_int_equal(d[7].peer, 8);
	assert_int_equal(d[7].b, 2);
	assert_memory_equal(tables + d[7].data, "queued", 6);
	assert_int_equal(d[9].b, 4096);
	for (uint32_t i = 0; i < head()->ndescriptions; i++)
		assert_int_equal(d[i].kind, m->descriptions[i].kind);
}

static void signals_and_timers(void **state)
{
	struct model_process *p = &m->processes[0];
	struct model_pending *pending = array_append(&p->pendings, &p->npendings, sizeof(*pending));
	struct model_timer *timer = array_append(&p->timers, &p->ntimers, sizeof(*timer));
	const struct stub_sigaction *actions;

	(void)state;
	m->handlers[0].actions[SIGUSR1 - 1].handler = 0x1234;
	m->handlers[0].actions[SIGHUP - 1].handler = 1; /* ignored, as the launcher has it */
	m->entry.ignored_signals = 1ull << (SIGHUP - 1);
	pending->thread = MODEL_NONE;
	pending->info[0] = SIGUSR2;
	timer->id = 3;
	timer->thread = 0;
	timer->value_ns = 99;
	p->itimers[0] = (struct model_itimer){ .which = 1, .value_us = 50 };
	p->nitimers = 1;
	build(&pattern);
	actions = (const struct stub_sigaction *)(tables + process()->sigactions);
	assert_int_equal(process()->nsigactions, 1);
	assert_int_equal(actions[0].signo, SIGUSR1);
	assert_int_equal(actions[0].handler, 0x1234);
	assert_int_equal(((const struct stub_pending *)(tables + process()->pendings))->tid_index,
			 UINT32_MAX);
	assert_int_equal(((const struct stub_timer *)(tables + process()->timers))->value_ns, 99);
	assert_int_equal(((const struct stub_itimer *)(tables + process()->itimers))->value_us, 50);
}

static void what_is_written_into_memory(void **state)
{
	struct model_space *s = &m->spaces[0];
	struct model_hook hook = {
		.addr = TEXT + 16, .kind = MODEL_HOOK_FINAL, .len = 16, .original = { 0xc3 }
	};
	struct model_range random = { HEAP + PAGE, 16 };
	const struct stub_patch *patch;
	const struct stub_hook *hooks;
	struct model_owner *owner = array_append(&s->owners, &s->nowners, sizeof(*owner));
	uint64_t *pid = array_append(&s->pids, &s->npids, sizeof(*pid));
	uint64_t *generation = array_append(&s->generations, &s->ngenerations, sizeof(*generation));
	uint64_t resume;

	(void)state;
	*owner = (struct model_owner){ HEAP + PAGE + 40, 0 };
	*pid = HEAP + PAGE + 48;
	*generation = HEAP + PAGE + 56;
	m->entry.hooks = &hook;
	m->entry.nhooks = 1;
	m->entry.randoms = &random;
	m->entry.nrandoms = 1;
	m->entry.leave = (struct model_leave){ .slot = HEAP + 2 * PAGE, .frame = HEAP + 3 * PAGE - 8 };
	build(&pattern);
	assert_int_equal(((const struct stub_owner *)(tables + process()->owners))->addr, HEAP + PAGE + 40);
	assert_int_equal(*(const uint64_t *)(tables + process()->pids), HEAP + PAGE + 48);
	assert_int_equal(*(const uint64_t *)(tables + process()->generations), HEAP + PAGE + 56);
	assert_int_equal(((const struct stub_random *)(tables + process()->randoms))->addr, HEAP + PAGE);
	hooks = (const struct stub_hook *)(tables + process()->hooks);
	assert_int_equal(hooks[0].kind, STUB_HOOK_FINAL);
	assert_int_equal(hooks[0].original[0], 0xc3);
	/* the way back is no part of the page: the stub writes it there */
	assert_int_equal(process()->npatches, 1);
	patch = (const struct stub_patch *)(tables + process()->patches);
	assert_int_equal(patch->addr, HEAP + 2 * PAGE);
	memcpy(&resume, tables + patch->data, sizeof(resume));
	assert_true(resume > plan.stub_base && resume < plan.stub_base + plan.text_size);
}

static void only_what_the_program_changed_is_set(void **state)
{
	struct model_process *p = &m->processes[0];
	const struct stub_rlimit *limits;

	(void)state;
	m->filesystems[0].umask = 077;
	free(m->filesystems[0].cwd);
	m->filesystems[0].cwd = strdup("/elsewhere");
	m->entry.has_start_rlimits = true;
	p->rlimits[7][0] = 50;
	p->rlimits[7][1] = 60;
	build(&pattern);
	assert_int_equal(process()->umask, 077);
	assert_string_equal(tables + process()->cwd, "/elsewhere");
	limits = (const struct stub_rlimit *)(tables + process()->rlimits);
	assert_int_equal(process()->nrlimits, 1);
	assert_int_equal(limits[0].resource, 7);
	assert_int_equal(limits[0].hard, 60);
}

/* an image may say anything */
static void a_thread_without_its_registers(void **state)
{
	const struct plan_options options = { 0 };
	struct error err = { 0 };

	(void)state;
	m->processes[0].threads[0].xstate_len = 8;
	assert_int_equal(plan_build(m, &files, &pattern, &options, &plan, &err), -EBADMSG);
	assert_non_null(strstr(err.text, "thread 4321"));
	plan = (struct plan){ .control = -EBADF, .pages = -EBADF, .huge = -EBADF };
}

static void no_room_for_the_stub(void **state)
{
	const struct plan_options options = { 0 };
	struct error err = { 0 };

	(void)state;
	add_vma(0x1000000000ull, (0x400000000000ull - 0x1000000000ull) / PAGE, PROT_NONE, MODEL_NONE);
	assert_int_equal(plan_build(m, &files, &pattern, &options, &plan, &err), -EOPNOTSUPP);
	assert_non_null(strstr(err.text, "4321 leaves no room"));
	plan = (struct plan){ .control = -EBADF, .pages = -EBADF, .huge = -EBADF };
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(memory_comes_from_its_places),
		T(a_page_file_gives_the_same_tables),
		T(places_are_kept),
		T(a_page_file_without_a_place),
		T(a_stack_in_pieces),
		T(threads),
		T(descriptors_of_each_kind),
		T(signals_and_timers),
		T(what_is_written_into_memory),
		T(only_what_the_program_changed_is_set),
		T(a_thread_without_its_registers),
		T(no_room_for_the_stub),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
