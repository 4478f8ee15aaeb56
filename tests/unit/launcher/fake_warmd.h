/* SPDX-License-Identifier: MIT */
/*
 * fake_warmd.h - a warmd that does what a test's script says: a process of its own on the socket of
 * a directory of its own. Scripts use must() instead of cmocka's assertions; fake_end() tells how it went.
 */
#ifndef WARM_TESTS_FAKE_WARMD_H
#define WARM_TESTS_FAKE_WARMD_H

#include <stdbool.h>
#include <sys/types.h>

#include "engine/base/packet.h"
#include "launcher/libwarm.h"
#include "launcher/wire/protocol.h"

struct asked { /* a launch, as it came */
	union {
		struct wire_run run;
		uint64_t bytes[WIRE_MAX_SIZE / 8];
	};
	const char *name, *ready, *cwd, *argv[64], *envp[64]; /* NULL-terminated */
	struct packet packet;
};

/* --- the test's side --- */

/**
 * fake_open(), fake_close() - the directory, WARM_RUNTIME_DIR and a socket that listens
 * Return: 0 or -1; closing fails as well when a descriptor was left open in between
 */
int fake_open(void);
int fake_close(void);
/** w, setup(), teardown() - the test's handle, closed at its end, and fake_open(), fake_close() */
extern struct warm *w;
int setup(void **state);
int teardown(void **state);
/** options() - of a launch of that template, with /dev/null for standard descriptors */
struct warm_launch_options options(const char *name);
/** fake_path() - of the socket */
const char *fake_path(void);
/** fake_start() - a process that runs @script and ends well if it returns */
void fake_start(void (*script)(void));
/** fake_end() - wait for it; the test fails if it did */
void fake_end(void);

/* --- the script's side --- */

#define must(cond)                                                                                           \
	do {                                                                                                 \
		if (!(cond))                                                                                 \
			fake_failed(#cond, __FILE__, __LINE__);                                              \
	} while (0)
void fake_failed(const char *what, const char *file, int line) __attribute__((noreturn));

/** fake_accept() - the next connection */
int fake_accept(void);
/** fake_await() - until something can be read from @conn, which stays there */
void fake_await(int conn);
/** fake_take() - the next launch, taken apart; the same memory each time. Its descriptors are closed by the next */
struct asked *fake_take(int conn);
/** fake_ended() - has the client closed its end? Waits */
bool fake_ended(int conn);
void fake_send(int conn, const void *packet, size_t size, const int *fds, size_t nfds);
/** fake_reply() - the reply to be sent, with @status */
struct wire_run_reply fake_reply(uint32_t tag, uint32_t status);
void fake_refuse(int conn, uint32_t tag, uint32_t status, const char *reason);
/** fake_launched() - launched as @pid; 0: this process */
void fake_launched(int conn, uint32_t tag, pid_t pid);
/** fake_made_up() - launched with a PID that may be nobody's; its pidfd is another's */
void fake_made_up(int conn, uint32_t tag, pid_t pid);
void fake_exited(int conn, uint32_t tag, pid_t pid, int wstatus);
/** fake_clone() - a process that waits for a signal, and outlives the fake */
pid_t fake_clone(void);

#endif
