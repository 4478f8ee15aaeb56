/* SPDX-License-Identifier: MIT */
/*
 * language_python.c - CPython 3.9 and newer.
 *
 * In: at Py_RunMain the interpreter is initialised, and __main__ has not begun. The adaptor's source is put into memory of its own, and
 * PyRun_SimpleStringFlags() is called with it, to return to Py_RunMain again.
 *
 * Out, at a boundary: state = PyGILState_Ensure(); PyErr_Fetch(&t, &v, &tb); PyObject_IsTrue(leave); and, by the stub,
 * PyErr_Restore(t, v, tb); PyGILState_Release(state). The first works with and without the interpreter's lock, in any thread that
 * the interpreter knows; C code may be in a call with an exception pending. Each call returns to Py_RunMain's address, where a breakpoint
 * is and nothing else comes along.
 */
#include "warmd/build/language_python.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "engine/base/fd.h"
#include "engine/elf.h"
#include "warmd/build/builder_internal.h"
#include "warmd/build/observe.h"

extern const char blob_python_adaptor[], blob_python_adaptor_end[];

/* struct builder.language_data */
struct python {
	uint64_t run_main, run_string; /* functions of the interpreter */
	uint64_t code, code_len; /* the adaptor's source in the program, while it is being called */
	arch_regs saved; /* of the thread at Py_RunMain */
	uint64_t fetch, is_true; /* leave(): functions of the interpreter */
};

/* bytes as the inside of a Python literal in double quotes, text or bytes */
static void put_literal(FILE *f, const char *s, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		unsigned char c = (unsigned char)s[i];

		if (c == '\\' || c == '"')
			fprintf(f, "\\%c", c);
		else if (c < 32 || c > 126)
			fprintf(f, "\\x%02x", c);
		else
			fputc(c, f);
	}
}

char *language_python_code(int warm_fd, char *const *argv, size_t argc)
{
	char *code = NULL;
	size_t len = 0;
	FILE *f = open_memstream(&code, &len);

	if (!f)
		return NULL;
	fputs("exec(compile(\"", f);
	put_literal(f, blob_python_adaptor, (size_t)(blob_python_adaptor_end - blob_python_adaptor));
	fprintf(f,
		"\", '<warm>', 'exec'), {'__name__': 'warm_adaptor', 'WARM_FD': %d, 'WARM_FILL': True, 'WARM_ARGV': (",
		warm_fd);
	for (size_t i = 0; i < argc; i++) {
		fputs("b\"", f);
		put_literal(f, argv[i], strlen(argv[i]));
		fputs("\", ", f);
	}
	fputs(")})\n", f);
	if (fclose(f) != 0) {
		free(code);
		return NULL;
	}
	return code;
}

static bool is_cache(const char *path)
{
	static const char name[] = "/__pycache__";
	const char *p = strstr(path, name);

	return p && (p[sizeof(name) - 1] == '/' || p[sizeof(name) - 1] == '\0');
}

static bool makes_cache(const char *path, bool directory)
{
	static const char name[] = "/__pycache__";
	const char *dot = strrchr(path, '.');
	size_t len = strlen(path);

	if (directory)
		return len >= sizeof(name) - 1 && strcmp(path + len - (sizeof(name) - 1), name) == 0;
	/* importlib._bootstrap_external._write_atomic() makes NAME.pyc.NUMBER, and moves it to NAME.pyc */
	if (!is_cache(path) || !dot || dot - path < 4 || strncmp(dot - 4, ".pyc", 4) != 0)
		return false;
	return dot[1] && dot[1 + strspn(dot + 1, "0123456789")] == '\0';
}

/* pyenv's shims are shell scripts that find the version and execute it */
static bool is_launcher(const char *argument)
{
	return strstr(argument, "/.pyenv/shims/") || strstr(argument, "/pyenv/libexec/pyenv") ||
	       strstr(argument, "/.pyenv/libexec/pyenv");
}

/* older ones, and programs that embed it and never come to Py_RunMain (gdb, vim), have their main() */
static int detect(struct builder *b, bool asked, struct error *err)
{
	struct elf_query q[] = { { .name = "Py_RunMain" },
				 { .name = "PyRun_SimpleStringFlags" },
				 { .name = "PyObject_CallNoArgs" } /* 3.9 */,
				 { .name = "Py_BytesMain" },
				 { .name = "Py_Main" } };
	int r = elf_lookup(trace_root(b->trace), q, ARRAY_SIZE(q));
	struct python *p;

	if (r < 0)
		return error_errno(err, r, "reading the program's symbols");
	if (!q[0].addr || !q[1].addr)
		return 0;
	if (!asked && (!q[2].addr || !(q[0].in_exe || q[0].exe_wants || q[3].exe_wants || q[4].exe_wants)))
		return 0;
	p = calloc(1, sizeof(*p));
	if (!p)
		return error_set(err, ENOMEM, "no memory");
	p->run_main = q[0].addr;
	p->run_string = q[1].addr;
	b->language_data = p;
	return 1;
}

/* the call has returned: the thread is at Py_RunMain again */
static int injected(struct builder *b, struct tracee *t, struct error *err)
{
	struct python *p = b->language_data;
	arch_regs regs;
	int64_t ret;
	int r = arch_get_regs(t->tid, &regs);

	if (r == 0)
		r = arch_set_regs(t->tid, &p->saved);
	if (r < 0)
		return error_errno(err, r, "returning from the adaptor");
	if ((int)arch_result(&regs) != 0)
		return error_set(err, EOPNOTSUPP, "the Python adaptor failed to start (see 'warm doctor')");
	r = trace_syscall(b->trace, t, &ret, err, SYS_munmap, p->code, p->code_len, 0, 0, 0, 0);
	return r < 0 ? r : builder_entered(b, err);
}

/* at Py_RunMain */
static int inject(struct builder *b, struct tracee *t, struct error *err)
{
	struct python *p = b->language_data;
	_cleanup_free_ char *code = NULL;
	uint64_t slot;
	int64_t at;
	int r = builder_read_cmdline(b, err);

	if (r < 0)
		return r;
	code = language_python_code(b->child.warm_fd, b->cmdline_argv, b->cmdline_argc);
	if (!code)
		return error_set(err, ENOMEM, "no memory for the adaptor");
	p->code_len = strlen(code) + 1;
	r = trace_syscall(b->trace, t, &at, err, SYS_mmap, 0, p->code_len, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS, (uint64_t)-1, 0);
	if (r == 0 && at < 0)
		r = error_errno(err, (int)at, "making room for the adaptor");
	if (r < 0)
		return r;
	p->code = (uint64_t)at;
	r = trace_write(t->tid, p->code, code, p->code_len);
	if (r == 0)
		r = arch_get_regs(t->tid, &p->saved);
	if (r < 0)
		return error_errno(err, r, "writing the adaptor");
	b->next = injected;
	return builder_call(b, t,
			    &(struct builder_call){ .function = p->run_string,
						    .args = { p->code },
						    .returns_to = p->run_main },
			    &slot, err);
}

static int enter(struct builder *b, struct error *err)
{
	const struct python *p = b->language_data;

	return builder_go_to(b, p->run_main, inject, err);
}

/* call @fn below the frame and the exception, to return to a breakpoint at Py_RunMain, where @next goes on */
static int call_below(struct builder *b, struct tracee *t, uint64_t fn, const uint64_t args[3],
		      builder_step *next, struct error *err)
{
	const struct python *p = b->language_data;
	int r = builder_call(b, t,
			     &(struct builder_call){ .function = fn,
						     .args = { args[0], args[1], args[2] },
						     .stack = b->leave.exception,
						     .returns_to = p->run_main },
			     &b->leave.slot, err);

	return r < 0 ? r : builder_go_to(b, p->run_main, next, err);
}

/* the adaptor has returned from where it should have taken its leave: to the read of the readiness descriptor */
static int left(struct builder *b, struct tracee *t, struct error *err)
{
	int r = builder_drain(b, err);

	(void)t;
	return r < 0 ? r
		     : error_set(err, EOPNOTSUPP, "the Python adaptor could not stop where the program %s",
				 b->boundary);
}

/* PyErr_Fetch() has returned */
static int fetched(struct builder *b, struct tracee *t, struct error *err)
{
	const struct python *p = b->language_data;

	return call_below(b, t, p->is_true, (const uint64_t[3]){ b->lines.leave }, left, err);
}

/* PyGILState_Ensure() has returned */
static int ensured(struct builder *b, struct tracee *t, struct error *err)
{
	const struct python *p = b->language_data;
	uint64_t exception = b->leave.exception;
	arch_regs regs;
	int r = arch_get_regs(t->tid, &regs);

	if (r < 0)
		return error_errno(err, r, "reading the program's registers");
	b->leave.release_argument = (uint32_t)arch_result(&regs);
	return call_below(b, t, p->fetch, (const uint64_t[3]){ exception, exception + 8, exception + 16 },
			  fetched, err);
}

static int leave(struct builder *b, struct tracee *t, struct error *err)
{
	struct elf_query q[] = { { .name = "PyGILState_Ensure" },
				 { .name = "PyErr_Fetch" },
				 { .name = "PyObject_IsTrue" },
				 { .name = "PyErr_Restore" },
				 { .name = "PyGILState_Release" } };
	struct python *p = b->language_data;
	int r = elf_lookup(trace_root(b->trace), q, ARRAY_SIZE(q));

	for (size_t i = 0; i < ARRAY_SIZE(q); i++)
		if (r < 0 || !q[i].addr || !b->lines.leave)
			return error_set(err, EOPNOTSUPP, "%s before its readiness point", b->boundary);
	p->fetch = q[1].addr;
	p->is_true = q[2].addr;
	b->leave.restore = q[3].addr;
	b->leave.release = q[4].addr;
	r = builder_leave_frame(b, t, err);
	if (r < 0)
		return r;
	b->leave.exception = b->leave.frame - 64;
	return call_below(b, t, q[0].addr, (const uint64_t[3]){ 0 }, ensured, err);
}

const struct language language_python = {
	.title = "Python",
	.needs = "CPython 3.9 or newer",
	.lacks = "Py_RunMain",
	.module_names = ".py .pyc .so .pth .egg-link .zip .egg .dist-info .egg-info !__pycache__ !.",
	.streams_at_start = true,
	.is_cache = is_cache,
	.makes_cache = makes_cache,
	.is_launcher = is_launcher,
	.detect = detect,
	.enter = enter,
	.leave = leave,
};
