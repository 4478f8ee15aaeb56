/* SPDX-License-Identifier: MIT */
/*
 * rights.c - a program with two threads, of which one may have given up rights, launches by libwarm:
 * rights HOW WHO TEMPLATE. HOW: what the second thread gives up; WHO launches: "first" or "second".
 *
 * WHO may also be "opened" or "used": there is one thread, which gives up its rights once it has opened a handle, or has launched by it.
 */
#define _GNU_SOURCE
#include <grp.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <warm.h>

static const char *how, *name;
static pthread_barrier_t barrier;
static struct warm *w;
static int keep; /* the handle */

/* the system calls of one thread: the C library's setgid() and such tell all others */
static int give_up(void)
{
	struct sock_filter allow = { 6, 0, 0, SECCOMP_RET_ALLOW };
	struct sock_fprog filter = { 1, &allow };
	struct {
		unsigned int version;
		int pid;
	} head = { 0x20080522, 0 };
	unsigned int none[6] = { 0 };

	if (strcmp(how, "nothing") == 0)
		return 0;
	if (strcmp(how, "no_new_privs") == 0)
		return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	if (strcmp(how, "seccomp") == 0) {
		prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
		return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter);
	}
	if (strcmp(how, "gid") == 0)
		return (int)syscall(SYS_setresgid, 4242, 4242, 4242);
	if (strcmp(how, "groups") == 0)
		return (int)syscall(SYS_setgroups, 1, &(gid_t){ 4242 });
	if (strcmp(how, "capabilities") == 0)
		return (int)syscall(SYS_capset, &head, none);
	if (strcmp(how, "bounding_set") == 0)
		return prctl(PR_CAPBSET_DROP, 0, 0, 0, 0);
	if (strcmp(how, "network") == 0)
		return unshare(CLONE_NEWNET);
	if (strcmp(how, "root") == 0)
		return unshare(CLONE_FS) < 0 ? -1 : chroot("/proc");
	return -1;
}

static void launch(void)
{
	struct warm_launch_options o = { .size = sizeof(o), .template_name = name, .fds = { -1, 1, 2 } };
	int wstatus = -1, r;
	pid_t pid;

	r = w ? 0 : warm_open(&w, NULL);
	if (r < 0) {
		printf("open %d %s\n", r, warm_error(NULL));
		return;
	}
	r = warm_launch(w, &o, &pid, NULL);
	if (r < 0)
		printf("launch %d %s\n", r, warm_error(w));
	else if (warm_wait(w, pid, &wstatus) == 0)
		printf("ended %d\n", wstatus);
	if (!keep)
		warm_close(w);
}

static void *second(void *who)
{
	/* the way to the daemon is not there afterwards */
	if (strcmp(how, "root") == 0 && warm_open(&w, NULL) < 0)
		printf("open %s\n", warm_error(NULL));
	if (give_up() < 0) {
		printf("not possible\n");
		fflush(stdout);
		_exit(77);
	}
	pthread_barrier_wait(&barrier);
	if (strcmp(who, "second") == 0)
		launch();
	pthread_barrier_wait(&barrier);
	return NULL;
}

/* Return: an exit status */
static int alone(int used)
{
	keep = 1;
	if (warm_open(&w, NULL) < 0)
		return 2;
	if (used)
		launch();
	fflush(stdout);
	if (give_up() < 0)
		return 77;
	launch();
	warm_close(w);
	return 0;
}

int main(int argc, char **argv)
{
	pthread_t thread;

	if (argc != 4)
		return 2;
	how = argv[1];
	name = argv[3];
	if (strcmp(argv[2], "opened") == 0 || strcmp(argv[2], "used") == 0)
		return alone(strcmp(argv[2], "used") == 0);
	pthread_barrier_init(&barrier, NULL, 2);
	if (pthread_create(&thread, NULL, second, argv[2]))
		return 2;
	pthread_barrier_wait(&barrier);
	if (strcmp(argv[2], "first") == 0)
		launch();
	pthread_barrier_wait(&barrier);
	pthread_join(thread, NULL);
	return 0;
}
