/* SPDX-License-Identifier: MIT */
/*
 * inject.c - a stand-in for warmd: gets the Python adaptor into an unchanged
 * command and answers its read with a launch context, in the same process.
 *
 *   inject [-o REPORT] [-e NAME=VALUE]... [-u NAME]... [-a ARG]... [-n KEEP]
 *          [-s MASK] [-t TID] [-r] [-E FILE] [-S] [-L NR] ADAPTOR CMD [ARG...]
 *
 * The context is the command's own argv and environment, with -e set, -u unset,
 * argv cut after its first KEEP words and each -a appended. -s is the stdio
 * mask, -t the new id of another thread, -r lets the adaptor send RANDOM
 * lines (which this program only reports), -E is the launch's whole environment,
 * -S starts the command on pipes and gives it our descriptors 0 to 2 with the
 * context. -L ends the leading part at the main thread's first system call NR, as warmd does in front of
 * an effect: by PyObject_IsTrue() of the object that the LEAVE line names. REPORT takes the pid and the lines of
 * the protocol. Ends as the command ends. x86-64 only: a test, not the product.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#define WARM_FD	  100
#define OLD_STDIO 200 /* where our descriptors 0 to 2 wait in the child */
#define MAX_WORDS 4096

static pid_t child;

static void die(const char *what)
{
	fprintf(stderr, "inject: %s: %s\n", what, strerror(errno));
	if (child > 0)
		kill(child, SIGKILL);
	exit(125);
}

/* run until the next SIGTRAP; other signals are passed on */
static void run_to_trap(void)
{
	int status, sig = 0;

	for (;;) {
		if (ptrace(PTRACE_CONT, child, 0, sig) < 0)
			die("PTRACE_CONT");
		if (waitpid(child, &status, 0) < 0 || !WIFSTOPPED(status)) {
			child = -1;
			errno = 0;
			die("the command ended before Py_RunMain");
		}
		if (WSTOPSIG(status) == SIGTRAP)
			return;
		sig = WSTOPSIG(status);
	}
}

static void poke(unsigned long addr, const void *data, size_t len)
{
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/mem", child);
	fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0 || pwrite(fd, data, len, addr) != (ssize_t)len)
		die("writing memory");
	close(fd);
}

static void peek(unsigned long addr, void *data, size_t len)
{
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/mem", child);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || pread(fd, data, len, addr) != (ssize_t)len)
		die("reading memory");
	close(fd);
}

static unsigned long entry_point(void)
{
	unsigned long aux[2];
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/auxv", child);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	while (fd >= 0 && read(fd, aux, sizeof(aux)) == sizeof(aux)) {
		if (aux[0] == AT_ENTRY) {
			close(fd);
			return aux[1];
		}
	}
	die("no AT_ENTRY");
	return 0;
}

/* a symbol's value from .dynsym of a file, plus its first segment's p_vaddr taken off; 0 if not there */
static unsigned long file_symbol(const char *file, const char *name)
{
	unsigned long value = 0;
	struct stat st;
	int fd = open(file, O_RDONLY | O_CLOEXEC);
	char *map;

	if (fd < 0 || fstat(fd, &st) < 0)
		return 0;
	map = mmap(NULL, st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	close(fd);
	if (map == MAP_FAILED)
		return 0;
	if (st.st_size < (off_t)sizeof(Elf64_Ehdr) || memcmp(map, ELFMAG, SELFMAG)) {
		munmap(map, st.st_size);
		return 0;
	}
	const Elf64_Ehdr *eh = (void *)map;
	const Elf64_Shdr *sh = (void *)(map + eh->e_shoff);
	const Elf64_Phdr *ph = (void *)(map + eh->e_phoff);
	unsigned long first = 0;
	for (int i = 0; i < eh->e_phnum; i++) {
		if (ph[i].p_type == PT_LOAD) {
			first = ph[i].p_vaddr & ~0xfffUL;
			break;
		}
	}
	for (int i = 0; i < eh->e_shnum && !value; i++) {
		if (sh[i].sh_type != SHT_DYNSYM)
			continue;
		const Elf64_Sym *sym = (void *)(map + sh[i].sh_offset);
		const char *str = map + sh[sh[i].sh_link].sh_offset;
		for (size_t n = 0; n < sh[i].sh_size / sizeof(*sym); n++)
			if (sym[n].st_shndx && !strcmp(str + sym[n].st_name, name))
				value = sym[n].st_value - first;
	}
	munmap(map, st.st_size);
	return value;
}

static unsigned long remote_symbol(const char *name)
{
	char path[64], line[4096], file[4096], last[4096] = "";
	unsigned long found = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/maps", child);
	f = fopen(path, "re");
	while (f && !found && fgets(line, sizeof(line), f)) {
		unsigned long start;

		if (sscanf(line, "%lx-%*x %*s %*s %*s %*s %4095[^\n]", &start, file) != 2 || file[0] != '/' ||
		    !strcmp(file, last))
			continue;
		strcpy(last, file);
		unsigned long value = file_symbol(file, name);
		if (value)
			found = start + value;
	}
	if (f)
		fclose(f);
	if (!found)
		die(name);
	return found;
}

static void run_to(unsigned long addr)
{
	unsigned char saved, trap = 0xcc;
	struct user_regs_struct regs;

	peek(addr, &saved, 1);
	poke(addr, &trap, 1);
	run_to_trap();
	poke(addr, &saved, 1);
	ptrace(PTRACE_GETREGS, child, 0, &regs);
	regs.rip = addr;
	ptrace(PTRACE_SETREGS, child, 0, &regs);
}

/* PyRun_SimpleStringFlags(text, NULL) in the child, which stands at `at` */
static void run_python(unsigned long at, const char *text)
{
	static const unsigned char code[] = { 0x0f, 0x05, 0xcc }; /* syscall; int3 */
	unsigned long run = remote_symbol("PyRun_SimpleStringFlags"), back = at + 2;
	struct user_regs_struct saved, regs;
	unsigned char old[sizeof(code)];
	size_t len = strlen(text) + 1;

	ptrace(PTRACE_GETREGS, child, 0, &saved);
	peek(at, old, sizeof(old));
	poke(at, code, sizeof(code));

	regs = saved;
	regs.rax = 9; /* mmap */
	regs.rdi = 0;
	regs.rsi = len;
	regs.rdx = PROT_READ | PROT_WRITE;
	regs.r10 = MAP_PRIVATE | MAP_ANONYMOUS;
	regs.r8 = -1;
	regs.r9 = 0;
	ptrace(PTRACE_SETREGS, child, 0, &regs);
	run_to_trap();
	ptrace(PTRACE_GETREGS, child, 0, &regs);
	unsigned long memory = regs.rax;
	poke(memory, text, len);

	regs = saved;
	regs.rsp = ((regs.rsp - 1024) & ~15UL) - 8;
	poke(regs.rsp, &back, sizeof(back));
	regs.rip = run;
	regs.rdi = memory;
	regs.rsi = 0;
	regs.orig_rax = -1;
	ptrace(PTRACE_SETREGS, child, 0, &regs);
	run_to_trap();
	ptrace(PTRACE_GETREGS, child, 0, &regs);
	if ((int)regs.rax != 0)
		fprintf(stderr, "inject: the adaptor raised\n");

	poke(at, old, sizeof(old));
	ptrace(PTRACE_SETREGS, child, 0, &saved);
}

/* exec(compile('...', '<warm>', 'exec'), {...}) with the file as a literal, all but plain characters escaped */
static char *adaptor_text(const char *file, char **argv, int fill)
{
	char *text, *p;
	struct stat st;
	int fd = open(file, O_RDONLY | O_CLOEXEC), c;
	FILE *in, *out;
	size_t len;

	if (fd < 0 || fstat(fd, &st) < 0)
		die(file);
	in = fdopen(fd, "r");
	out = open_memstream(&text, &len);
	fputs("exec(compile(b'", out);
	while ((c = getc(in)) != EOF)
		fprintf(out, c >= ' ' && c < 127 && c != '\'' && c != '\\' ? "%c" : "\\x%02x", c);
	fprintf(out,
		"', '<warm>', 'exec', 0, True), {'__name__': 'warm_adaptor', 'WARM_FD': %d, "
		"'WARM_FILL': %s, 'WARM_ARGV': (",
		WARM_FD, fill ? "True" : "False");
	for (; *argv; argv++) {
		fputs("b'", out);
		for (p = *argv; *p; p++)
			fprintf(out, "\\x%02x", (unsigned char)*p);
		fputs("',", out);
	}
	fputs(")})\n", out);
	fclose(in);
	fclose(out);
	return text;
}

/* the process's own argv: that of a #! line is longer than the command */
static char **process_argv(void)
{
	static char text[1 << 17], *words[MAX_WORDS];
	char path[64];
	ssize_t len;
	int fd, n = 0;

	snprintf(path, sizeof(path), "/proc/%d/cmdline", child);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	len = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
	if (len < 0)
		die(path);
	close(fd);
	for (char *p = text; p < text + len && n < MAX_WORDS - 1; p += strlen(p) + 1)
		words[n++] = p;
	return words;
}

/* function(a, b, c) in the child, which is stopped with `base`; it returns to a trap at `back` */
static unsigned long call(const struct user_regs_struct *base, unsigned long back, const char *function,
			  unsigned long a, unsigned long b, unsigned long c)
{
	struct user_regs_struct regs = *base;

	regs.rsp = ((regs.rsp - 4096) & ~15UL) - 8;
	poke(regs.rsp, &back, sizeof(back));
	regs.rip = remote_symbol(function);
	regs.rdi = a;
	regs.rsi = b;
	regs.rdx = c;
	regs.orig_rax = -1;
	ptrace(PTRACE_SETREGS, child, 0, &regs);
	run_to_trap();
	ptrace(PTRACE_GETREGS, child, 0, &regs);
	return regs.rax;
}

/* run the main thread to the entry of its first system call `nr`, and undo that call; 0: it ended before */
static int run_to_syscall(long nr, struct user_regs_struct *ret_regs)
{
	int status, sig = 0, entry = 0;

	ptrace(PTRACE_SETOPTIONS, child, 0, PTRACE_O_TRACESYSGOOD);
	for (;;) {
		ptrace(PTRACE_SYSCALL, child, 0, sig);
		if (waitpid(child, &status, __WALL) < 0 || !WIFSTOPPED(status))
			return 0;
		sig = 0;
		if (WSTOPSIG(status) != (SIGTRAP | 0x80)) {
			sig = WSTOPSIG(status) == SIGTRAP ? 0 : WSTOPSIG(status);
			continue;
		}
		entry = !entry;
		ptrace(PTRACE_GETREGS, child, 0, ret_regs);
		if (entry && (long)ret_regs->orig_rax == nr)
			break;
	}
	struct user_regs_struct none = *ret_regs;
	none.orig_rax = -1;
	ptrace(PTRACE_SETREGS, child, 0, &none);
	ptrace(PTRACE_SYSCALL, child, 0, 0);
	waitpid(child, &status, __WALL);
	return 1;
}

/* what warmd does in front of an effect; `at` is code that the child runs no more */
static void leave_early(unsigned long at, long nr, unsigned long object)
{
	struct user_regs_struct regs, back;
	unsigned char trap = 0xcc;
	unsigned long state, error[3], where;

	if (!run_to_syscall(nr, &regs))
		exit(125);
	poke(at, &trap, 1);
	back = regs;
	where = ((regs.rsp - 1024) & ~15UL);
	state = call(&regs, at, "PyGILState_Ensure", 0, 0, 0);
	call(&regs, at, "PyErr_Fetch", where, where + 8, where + 16);
	peek(where, error, sizeof(error));
	call(&regs, at, "PyObject_IsTrue", object, 0, 0);
	call(&regs, at, "PyErr_Restore", error[0], error[1], error[2]);
	call(&regs, at, "PyGILState_Release", state, 0, 0);
	back.rip -= 2; /* the syscall instruction again */
	back.rax = nr;
	back.orig_rax = -1;
	ptrace(PTRACE_SETREGS, child, 0, &back);
}

struct launch {
	char *set[MAX_WORDS], *append[MAX_WORDS], *unset[MAX_WORDS];
	int nset, nappend, nunset, keep;
	unsigned mask, tid;
	const char *env_file;
	int on_pipes;
};

/* the command blocks in its read: let it dup2(OLD_STDIO + n, n) there, and then read again */
static void give_descriptors(void)
{
	struct user_regs_struct saved, regs;
	int status;

	if (ptrace(PTRACE_SEIZE, child, 0, 0) < 0 || ptrace(PTRACE_INTERRUPT, child, 0, 0) < 0 ||
	    waitpid(child, &status, 0) < 0)
		die("seizing");
	ptrace(PTRACE_GETREGS, child, 0, &saved);
	/* stopped behind the syscall instruction: those two bytes serve for ours */
	for (int i = 0; i < 3; i++) {
		regs = saved;
		regs.rip -= 2;
		regs.rax = 33; /* dup2 */
		regs.orig_rax = -1;
		regs.rdi = OLD_STDIO + i;
		regs.rsi = i;
		ptrace(PTRACE_SETREGS, child, 0, &regs);
		for (int stops = 0; stops < 2; stops++) { /* entry and exit */
			ptrace(PTRACE_SYSCALL, child, 0, 0);
			waitpid(child, &status, 0);
		}
	}
	ptrace(PTRACE_SETREGS, child, 0, &saved); /* the kernel restarts the read */
	ptrace(PTRACE_DETACH, child, 0, 0);
}

static int is_variable(const char *entry, const char *name)
{
	size_t n = strcspn(name, "=");

	return !strncmp(entry, name, n) && entry[n] == '=';
}

/* returns the number of NULs copied */
static unsigned copy_file(const char *path, FILE *out)
{
	FILE *in = fopen(path, "re");
	unsigned n = 0;
	int c;

	if (!in)
		die(path);
	while ((c = getc(in)) != EOF) {
		putc(c, out);
		n += c == 0;
	}
	fclose(in);
	return n;
}

static unsigned other_thread(void)
{
	char path[64];
	struct dirent *entry;
	unsigned found = 0;

	snprintf(path, sizeof(path), "/proc/%d/task", child);
	DIR *dir = opendir(path);
	while (dir && (entry = readdir(dir)))
		if (atoi(entry->d_name) > child)
			found = atoi(entry->d_name);
	if (dir)
		closedir(dir);
	return found;
}

static void answer(int fd, const struct launch *l, char **argv, char **envp)
{
	unsigned head[8] = { 0x58544357, 0, 0, 0, 1, l->mask, 7, 0 }, pair[4] = { child, child };
	char *text;
	size_t len;
	FILE *out = open_memstream(&text, &len);

	pair[2] = other_thread();
	pair[3] = l->tid;
	head[4] = pair[2] ? 2 : 1;
	fwrite(head, sizeof(head), 1, out);
	fwrite(pair, 8, head[4], out);
	for (int i = 0; argv[i] && i < l->keep; i++, head[2]++)
		fwrite(argv[i], strlen(argv[i]) + 1, 1, out);
	for (int i = 0; i < l->nappend; i++, head[2]++)
		fwrite(l->append[i], strlen(l->append[i]) + 1, 1, out);
	if (l->env_file)
		head[3] = copy_file(l->env_file, out);
	for (; !l->env_file && *envp; envp++) {
		const char *value = *envp;
		int skip = 0;

		for (int i = 0; i < l->nunset; i++)
			skip |= is_variable(*envp, l->unset[i]);
		for (int i = 0; i < l->nset; i++)
			if (is_variable(*envp, l->set[i]))
				value = l->set[i];
		if (skip)
			continue;
		fwrite(value, strlen(value) + 1, 1, out);
		head[3]++;
	}
	for (int i = 0; i < l->nset; i++) {
		char *name = strndup(l->set[i], strcspn(l->set[i], "="));

		if (!getenv(name)) {
			fwrite(l->set[i], strlen(l->set[i]) + 1, 1, out);
			head[3]++;
		}
		free(name);
	}
	fclose(out);
	head[1] = len;
	/* as warmd's stub says where nothing differs; with -s the adaptor has to see for itself */
	if (!l->mask && !l->nset && !l->nunset && !l->nappend && !l->env_file && l->keep == MAX_WORDS)
		head[5] |= 3 << 8;
	memcpy(text, head, sizeof(head));
	if (write(fd, text, len) != (ssize_t)len)
		die("answering");
}

int main(int argc, char **argv, char **envp)
{
	struct launch launch = { .keep = MAX_WORDS };
	int pair[2], status, opt, fill = 0;
	FILE *report = NULL, *lines;
	char *line = NULL;
	size_t size = 0;
	long leave = -1;
	pid_t leaver = 0;

	while ((opt = getopt(argc, argv, "+o:e:u:a:n:s:t:rE:SL:")) != -1) {
		switch (opt) {
		case 'o':
			report = fopen(optarg, "we");
			break;
		case 'e':
			launch.set[launch.nset++] = optarg;
			break;
		case 'u':
			launch.unset[launch.nunset++] = optarg;
			break;
		case 'a':
			launch.append[launch.nappend++] = optarg;
			break;
		case 'n':
			launch.keep = atoi(optarg);
			break;
		case 's':
			launch.mask = atoi(optarg);
			break;
		case 't':
			launch.tid = atoi(optarg);
			break;
		case 'r':
			fill = 1;
			break;
		case 'E':
			launch.env_file = optarg;
			break;
		case 'L':
			leave = atol(optarg);
			break;
		case 'S':
			launch.on_pipes = 1;
			break;
		default:
			return 125;
		}
	}
	if (argc - optind < 2)
		return 125;
	const char *adaptor = argv[optind];
	argv += optind + 1;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		die("socketpair");
	child = fork();
	if (child == 0) {
		dup2(pair[1], WARM_FD);
		for (int i = 0; launch.on_pipes && i < 3; i++) {
			int ends[2];

			if (dup2(i, OLD_STDIO + i) < 0 || pipe(ends) < 0)
				_exit(126);
			/* the other end stays open, so that nothing ends or breaks */
			dup2(ends[i != 0], i);
			close(ends[i != 0]);
		}
		ptrace(PTRACE_TRACEME, 0, 0, 0);
		execvp(argv[0], argv);
		_exit(127);
	}
	close(pair[1]);
	if (waitpid(child, &status, 0) < 0 || !WIFSTOPPED(status))
		die("exec");
	run_to(entry_point());
	argv = process_argv();
	unsigned long at = remote_symbol("Py_RunMain");
	run_to(at);
	run_python(at, adaptor_text(adaptor, argv, fill));
	if (report)
		fprintf(report, "PID=%d\n", child);
	lines = fdopen(pair[0], "r");
	if (leave >= 0) {
		unsigned long object = 0;

		if (getline(&line, &size, lines) < 0 || sscanf(line, "LEAVE=%lx", &object) != 1)
			die("no LEAVE line");
		if (report)
			fflush(report);
		/* the lines are read and answered by another process while this one traces */
		leaver = fork();
		if (leaver) {
			leave_early(at, leave, object);
			report = NULL;
		}
	}
	if (leaver || leave < 0)
		ptrace(PTRACE_DETACH, child, 0, 0);
	while (!leaver && getline(&line, &size, lines) > 0) {
		if (report)
			fputs(line, report);
		if (!strcmp(line, "READY=1\n")) {
			if (report)
				fflush(report);
			if (launch.on_pipes)
				give_descriptors();
			answer(pair[0], &launch, argv, envp);
			break;
		}
	}
	if (report)
		fclose(report);
	if (leave >= 0 && !leaver)
		_exit(0);
	close(pair[0]);
	if (leaver)
		waitpid(leaver, &status, 0);
	/* the terminal's and the test's signals are for the command */
	signal(SIGINT, SIG_IGN);
	if (waitpid(child, &status, 0) < 0)
		die("wait");
	if (WIFSIGNALED(status)) {
		signal(WTERMSIG(status), SIG_DFL);
		raise(WTERMSIG(status));
	}
	return WEXITSTATUS(status);
}
