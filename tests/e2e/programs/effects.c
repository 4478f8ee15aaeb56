/* SPDX-License-Identifier: MIT */
/*
 * Effects in front of main(): each argument is one, made by a constructor, as a library would. main() prints what they
 * returned, and has one itself. The places are those of no_trace_world.py, in the environment.
 */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>

static char seen[4096];
static char path[4096], path2[4096];

static const char *env(const char *name)
{
	const char *value = getenv(name);

	return value ? value : "";
}

static const char *home(const char *name)
{
	snprintf(path, sizeof(path), "%s/%s", env("HOME"), name);
	return path;
}

static long append(const char *name)
{
	int fd = open(home(name), O_WRONLY | O_CREAT | O_APPEND, 0644);
	long n = write(fd, "c\n", 2);

	close(fd);
	return n;
}

static void *append_thread(void *name)
{
	append(name);
	return NULL;
}

static long job(void)
{
	char bytes[5] = "";
	int fd = open(env("JOBS"), O_RDONLY);
	long n = read(fd, bytes, 4);

	close(fd);
	return n + atoi(bytes + 1);
}

static long out(void)
{
	int fd = open(env("OUT"), O_WRONLY);
	long n = write(fd, "out\n", 4);

	close(fd);
	return n;
}

static long connect_tcp(void)
{
	struct sockaddr_in a = { .sin_family = AF_INET,
				 .sin_port = htons((uint16_t)atoi(env("PORT"))),
				 .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	return connect(fd, (struct sockaddr *)&a, sizeof(a));
}

static long bind_unix(void)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };

	snprintf(a.sun_path, sizeof(a.sun_path), "%s/c.sock", env("HOME"));
	return bind(socket(AF_UNIX, SOCK_STREAM, 0), (struct sockaddr *)&a, sizeof(a));
}

static long map(const char *name)
{
	int fd = open(home(name), O_RDWR);
	char *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	if (p == MAP_FAILED)
		return -1;
	p[1] = 'C';
	return 0;
}

static long get_lock(const char *name)
{
	struct flock l = { .l_type = F_WRLCK };

	return fcntl(open(home(name), O_RDWR), F_GETLK, &l) + l.l_type;
}

static long fork_append(const char *name)
{
	int status = 0;
	pid_t pid = fork();

	if (pid == 0)
		_exit((int)append(name));
	waitpid(pid, &status, 0);
	return WEXITSTATUS(status);
}

static long thread_append(const char *name)
{
	pthread_t t;

	return pthread_create(&t, NULL, append_thread, (void *)name) || pthread_join(t, NULL);
}

static long shm(void)
{
	int fd;

	snprintf(path, sizeof(path), "/%sc", env("TAG"));
	fd = shm_open(path, O_RDWR | O_CREAT, 0600);
	return ftruncate(fd, 100);
}

static long semaphore(void)
{
	snprintf(path, sizeof(path), "/%sd", env("TAG"));
	return sem_open(path, O_CREAT, 0600, 1) == SEM_FAILED;
}

static long temporary(void)
{
	snprintf(path, sizeof(path), "%s/rnd-XXXXXX", env("TMPDIR"));
	return mkstemp(path) < 0;
}

static long read_some(int fd)
{
	char bytes[3];

	return read(fd, bytes, sizeof(bytes));
}

/* by a call of the 32-bit ABI (syscall(2): int 0x80), whose pointers are low, and whose numbers are others */
static long foreign_unlink(const char *name)
{
	long r = -ENOSYS;
	char *low = mmap(NULL, sizeof(path), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT,
			 -1, 0);

	if (low == MAP_FAILED)
		return -1;
	strcpy(low, home(name));
#ifdef __x86_64__
	__asm__ volatile("int $0x80" : "=a"(r) : "a"(10L), "b"(low) : "memory", "r8", "r9", "r10", "r11");
#endif
	return r;
}

static long unlink_by_root(const char *name)
{
	return unlink(strcat(strcpy(path2, "/proc/self/root"), home(name)));
}

static long with_name(const char *what, const char *name)
{
	struct stat st;

	if (!strcmp(what, "append"))
		return append(name);
	if (!strcmp(what, "truncate"))
		return open(home(name), O_WRONLY | O_TRUNC) < 0;
	if (!strcmp(what, "excl"))
		return open(home(name), O_WRONLY | O_CREAT | O_EXCL, 0600) < 0;
	if (!strcmp(what, "mkdir"))
		return mkdir(home(name), 0700);
	if (!strcmp(what, "rmdir"))
		return rmdir(home(name));
	if (!strcmp(what, "rename"))
		return rename(home(name), strcat(strcpy(path2, env("HOME")), "/renamed"));
	if (!strcmp(what, "link"))
		return link(home(name), strcat(strcpy(path2, env("HOME")), "/linked"));
	if (!strcmp(what, "unlink"))
		return unlink(home(name));
	if (!strcmp(what, "foreign"))
		return foreign_unlink(name);
	if (!strcmp(what, "root"))
		return unlink_by_root(name);
	if (!strcmp(what, "chmod"))
		return chmod(home(name), 0600);
	if (!strcmp(what, "flock"))
		return flock(open(home(name), O_RDONLY), LOCK_EX | LOCK_NB);
	if (!strcmp(what, "getlk"))
		return get_lock(name);
	if (!strcmp(what, "mkfifo"))
		return mkfifo(home(name), 0600);
	if (!strcmp(what, "map"))
		return map(name);
	if (!strcmp(what, "fork"))
		return fork_append(name);
	if (!strcmp(what, "thread"))
		return thread_append(name);
	if (!strcmp(what, "system"))
		return system(name);
	if (!strcmp(what, "read"))
		return read_some(open(home(name), O_RDONLY));
	if (!strcmp(what, "stat"))
		return stat(home(name), &st);
	return -99;
}

static long without_name(const char *what)
{
	pid_t helper = atoi(env("HELPER"));

	if (!strcmp(what, "job"))
		return job();
	if (!strcmp(what, "out"))
		return out();
	if (!strcmp(what, "connect"))
		return connect_tcp();
	if (!strcmp(what, "kill0"))
		return kill(helper, 0);
	if (!strcmp(what, "kill"))
		return kill(helper, SIGUSR1);
	if (!strcmp(what, "sem"))
		return semaphore();
	if (!strcmp(what, "shm"))
		return shm();
	if (!strcmp(what, "print"))
		return printf("printed in front of main\n");
	if (!strcmp(what, "stdin"))
		return read_some(0);
	if (!strcmp(what, "mkstemp"))
		return temporary();
	if (!strcmp(what, "tmpfile"))
		return !tmpfile();
	if (!strcmp(what, "bind"))
		return bind_unix();
	if (!strcmp(what, "setpgid"))
		return setpgid(0, 0) < 0 ? errno : 0;
	if (!strcmp(what, "exit"))
		exit(3);
	if (!strcmp(what, "abort"))
		abort();
	if (!strcmp(what, "kill9"))
		kill(getpid(), SIGKILL);
	return -99;
}

static void __attribute__((constructor)) lead(int argc, char **argv)
{
	size_t n = 0;

	for (int i = 1; i < argc; i++) {
		char what[64], *colon;
		long r;

		snprintf(what, sizeof(what), "%s", argv[i]);
		colon = strchr(what, ':');
		if (colon)
			*colon = '\0';
		r = colon ? with_name(what, strchr(argv[i], ':') + 1) : without_name(what);
		n += (size_t)snprintf(seen + n, sizeof(seen) - n, "%s %ld\n", what, r);
	}
}

int main(void)
{
	char rest[64] = "";
	ssize_t n = read(0, rest, sizeof(rest) - 1);

	printf("%srest %zd %s", seen, n, rest);
	append("log.txt");
	return 5;
}
