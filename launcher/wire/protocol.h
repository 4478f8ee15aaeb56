/* SPDX-License-Identifier: MIT */
/*
 * protocol.h - the wire between warm, libwarm and warmd: SOCK_SEQPACKET on
 * $WARM_RUNTIME_DIR/warmd.sock, one message a packet.
 *
 * Every message starts with struct wire_header. Messages on the latency path
 * (run) are fixed-layout structs followed by bytes, little-endian, host
 * alignment (both ends are on one machine). All others carry a protobuf of
 * launcher/wire/control.proto (WIRE_CONTROL, WIRE_CONTROL_REPLY).
 *
 * Rules for a receiver: header.size equals the packet's length; magic first,
 * then version: a server answers any other version with WIRE_VERSION (a bare
 * header that carries its own version) and closes. Counts and offsets are
 * checked against size before use. Descriptors are received with
 * MSG_CMSG_CLOEXEC; a launch brings one, a basket (engine/base/basket.h) with the
 * caller's: if the client has taken those back, the launch is not wanted any more, and is not
 * answered. MSG_CTRUNC or MSG_TRUNC ends the connection. A malformed
 * message ends that connection and nothing else.
 */
#ifndef WARM_LAUNCHER_WIRE_PROTOCOL_H
#define WARM_LAUNCHER_WIRE_PROTOCOL_H

#include <stdint.h>

#include "engine/base/scheduling.h"

/* in the runtime directory */
#define WIRE_SOCKET  "warmd.sock"
#define WIRE_LOCK    "warmd.lock"
#define WIRE_METRICS "metrics.sock" /* not this protocol: HTTP, warmd/metrics_http.h */

/*
 * What the environment passes to a started warmd. WARMD_READY_FD=N: warmd
 * writes exactly one byte there once it listens, or more than one byte: the
 * words of its failure (one line, one write), and closes it. It closes it in silence when
 * another warmd holds the lock, and the client then waits for that one.
 */
#define WIRE_READY_ENV "WARMD_READY_FD"

#define WIRE_MAGIC	    0x4d524157u /* "WARM" */
#define WIRE_VERSION_NUMBER 4
#define WIRE_MAX_SIZE	    (128u * 1024) /* bytes of one message */
#define WIRE_MAX_FDS	    253 /* SCM_MAX_FD */
#define WIRE_RLIMITS	    16
#define WIRE_TERMIOS_MAX    60
#define WIRE_TERMIOS_SIZE   36 /* of TCGETS, on all architectures but MIPS, PowerPC and SPARC */

enum wire_type {
	WIRE_VERSION = 1, /* server: I speak header.version; then it closes */
	WIRE_RUN, /* client: struct wire_run; carries descriptors with WIRE_RUN_POOL only */
	WIRE_RUN_REPLY, /* server: struct wire_run_reply + descriptors */
	WIRE_CONTROL, /* client: header + ControlRequest */
	WIRE_CONTROL_REPLY, /* server: header + ControlReply */
	WIRE_LEARN, /* a clone at its exit: struct wire_learn; no answer */
	WIRE_LAUNCH, /* client: struct wire_run, of a template by its name; answered by WIRE_RUN_REPLY */
	WIRE_EXITED, /* server: struct wire_exited, once for each clone that the connection launched or is attached to */
	WIRE_ATTACH, /* client: struct wire_attach; answered by WIRE_ATTACHED */
	WIRE_ATTACHED, /* server: struct wire_attached + descriptors */
	WIRE_DETACH, /* client: struct wire_detach; no answer */
	WIRE_MODEL, /* server: struct wire_model + descriptors, to clients that take leases */
	WIRE_LEASE, /* server: struct wire_lease + descriptors */
	WIRE_COMMAND, /* server: struct wire_command, behind an answer that says so */
	WIRE_TAKEN, /* client: struct wire_taken; no answer, but WIRE_EXITED later */
	WIRE_LOOK, /* client: a bare header: I shall ask for something, look at my rights meanwhile; no answer */
};

struct wire_header {
	uint32_t magic;
	uint16_t version;
	uint16_t type;
	uint32_t size; /* of the whole message, header included */
	uint32_t reserved; /* 0 */
};

/* what a standard descriptor is, as far as programs tell them apart */
enum wire_stdio {
	WIRE_STDIO_CLOSED,
	WIRE_STDIO_TTY,
	WIRE_STDIO_PIPE, /* pipe or FIFO */
	WIRE_STDIO_FILE, /* regular file */
	WIRE_STDIO_SOCKET,
	WIRE_STDIO_NULL, /* a character device that is no terminal */
	WIRE_STDIO_OTHER,
};

enum wire_run_flags {
	WIRE_RUN_NO_BUILD = 1 << 0, /* do not start a build when nothing serves */
	WIRE_RUN_BUILD =
		1 << 1, /* `warm build`: answer when the template is ready or refused; no descriptors */
	WIRE_RUN_EXPLAIN = 1 << 2, /* only say what would happen */
	WIRE_RUN_REBUILD = 1 << 3, /* with BUILD: even if a template serves */
	/*
	 * Run: launched by warmd when it can be (fork or parked). The packet carries the caller's
	 * descriptors, in the order of the numbers in inherited_fds, then its directory (O_PATH).
	 * Launches carry the same.
	 */
	WIRE_RUN_POOL = 1 << 4,
	WIRE_LAUNCH_DETACH = 1 << 5, /* the clone outlives the connection; else it gets SIGHUP */
	WIRE_LAUNCH_APPEND = 1 << 6, /* argv follows the template's own; argc may be 0 */
	WIRE_LAUNCH_ENV = 1 << 7, /* envp counts; else the template's */
	WIRE_LAUNCH_CGROUP = 1 << 8, /* the last descriptor is a cgroup's directory: the clone starts in it */
	/*
	 * The client relays a terminal (pty/pty.h): descriptors that are the caller's terminal become the
	 * clone's own. termios, rows and columns are the caller's terminal's.
	 */
	WIRE_LAUNCH_TERMINAL = 1 << 9,
	WIRE_LAUNCH_BACKGROUND = 1 << 10, /* with TERMINAL: the clone starts in its terminal's background */
	WIRE_LAUNCH_COLD =
		1 << 11, /* launch: the client runs the template's command itself where no clone can be had */
	/*
	 * With BUILD. OUT: one string more, behind the environment: the absolute path of an image to be written; the answer comes
	 * when it is there. LOAD: argv[0] is the absolute path of an image, and its template is loaded instead of built.
	 */
	WIRE_RUN_OUT = 1 << 12,
	WIRE_RUN_LOAD = 1 << 13,
};

/*
 * A program's whole context. Strings follow the struct, each ended by NUL:
 * name ("" for none), ready ("auto" for none), cwd, argv[argc], envp[envc], with WIRE_RUN_OUT a path.
 */
struct wire_run {
	struct wire_header header;
	uint32_t flags; /* enum wire_run_flags */
	uint32_t argc; /* >= 1 */
	uint32_t envc;
	uint32_t strings_size; /* bytes after this struct */
	uint32_t umask;
	uint32_t no_new_privs;
	uint32_t seccomp; /* prctl(PR_GET_SECCOMP), 0 if unknown */
	uint32_t personality;
	uint64_t ignored_signals; /* bit n-1: signal n is SIG_IGN */
	uint64_t blocked_signals;
	uint64_t capabilities; /* effective set */
	struct scheduling scheduling;
	uint64_t rlimits[WIRE_RLIMITS][2]; /* soft, hard */
	uint32_t stdio[3]; /* enum wire_stdio */
	uint32_t stdio_blksize[3]; /* st_blksize, 0 when closed */
	uint16_t rows, columns; /* of the first of stdin, stdout, stderr that is a terminal; else 0 */
	uint32_t ngroups_hash; /* FNV-1a 32 of the supplementary groups */
	uint64_t inherited_fds[4]; /* descriptors 0..255 that are open in the caller, a bit each */
	uint32_t
		tag; /* launches: comes back in the reply; run without POOL: PID of the program, if another process asks; else 0 */
	int32_t nice;
	uint32_t pool; /* build: clones to be kept parked; 0: what the configuration says */
	uint32_t leases; /* launch: 1: the client takes leases */
	uint64_t
		stdio_offset_nonzero; /* bit n: descriptor n is a regular file whose offset or O_APPEND end is not 0 */
	uint32_t termios_size; /* bytes of termios; 0: no standard descriptor is a terminal */
	uint8_t termios[WIRE_TERMIOS_MAX]; /* the kernel's struct termios (TCGETS) of the first that is one */
};

enum wire_status {
	WIRE_WARM, /* descriptors follow: become it */
	WIRE_COLD_NONE, /* no template yet; a build was started unless NO_BUILD */
	WIRE_COLD_BUILDING, /* one is being built */
	WIRE_COLD_STALE, /* one was there, its inputs changed */
	WIRE_COLD_REFUSED, /* this program cannot be a template: reason */
	WIRE_COLD_MISMATCH, /* templates exist, none for this context: reason */
	WIRE_COLD_BUDGET, /* memory budget */
	WIRE_COLD_ERROR, /* warmd failed: reason */
	WIRE_COLD_DISABLED, /* configuration says so */
	WIRE_COLD_WAITS, /* none, and no build for a while: they failed, or brought nothing: reason */
	WIRE_COLD_RIGHTS, /* the caller has not the rights that warmd has, or others: reason. Nothing is built */
	WIRE_LAUNCHED, /* by fork or parked: pid, way; a pidfd follows. WIRE_EXITED tells of its end */
	/* decided by the client itself, for statistics and -v */
	WIRE_COLD_NO_DAEMON,
	WIRE_COLD_TIMEOUT,
	WIRE_COLD_VERSION,
	WIRE_COLD_FAILED, /* become failed before anything was lost */
	WIRE_STATUS_COUNT,
};

/** wire_status_name() - one word, as statistics and --json have it: "warm", "none", "no_daemon"; "unknown" beyond the last */
const char *wire_status_name(uint32_t status);

/*
 * Descriptors, in this order: control (stub, plan and frames), pages, then
 * nfds - 2 files that the plan refers to by index. If there are more than
 * WIRE_MAX_FDS, further packets follow, each a bare header with descriptors.
 */
struct wire_run_reply {
	struct wire_header header;
	uint32_t status; /* enum wire_status */
	uint32_t nfds; /* over all packets */
	uint64_t stub_base; /* address where control[0, text_size) is mapped read+exec */
	uint64_t text_size;
	uint64_t data_size; /* control[text_size, +data_size) is mapped private read+write behind it */
	uint64_t args_base; /* address of the launch context area */
	uint64_t context_max; /* bytes of context that the program can take; 0: through a descriptor */
	uint64_t template_id;
	uint64_t generation;
	uint64_t learn_key; /* of the template, for struct wire_learn */
	uint32_t stdio_changed; /* bit n: descriptor n is of another kind than in the build */
	uint32_t learn; /* bit n: a clone of enum wire_learn_kind n shall tell its pages, at its exit */
	uint32_t tag, pid, way; /* WIRE_LAUNCHED; way: enum wire_way */
	uint32_t terminal; /* WIRE_LAUNCHED: WIRE_TERMINAL_FDS follow the pidfd */
	uint32_t
		command; /* not WIRE_LAUNCHED, and WIRE_LAUNCH_COLD: size of the struct wire_command that follows; 0: none */
	uint32_t reserved;
	char reason[256]; /* words for -v, "" when warm */
};

/* the template's own, as it was built. Strings follow: the program's file, argv[argc], each ended by NUL */
struct wire_command {
	struct wire_header header;
	uint32_t argc; /* >= 1 */
	uint32_t reserved;
};

enum wire_way { WIRE_WAY_BECOME, WIRE_WAY_FORK, WIRE_WAY_PARKED, WIRE_WAY_COUNT };

struct wire_exited {
	struct wire_header header;
	uint32_t pid;
	int32_t wstatus; /* as wait(2) has it */
	uint32_t tag, reserved;
};

/*
 * Descriptors of a clone's terminal, in this order. Whoever writes to it has all of them; a viewer has no
 * MASTER and no SESSION, a wire_attached without a writer says so in its nfds.
 */
enum wire_terminal_fd {
	WIRE_TERMINAL_RING, /* memfd: pty/ring.h */
	WIRE_TERMINAL_WAKE, /* eventfd that is written to when the ring has more */
	WIRE_TERMINAL_MASTER, /* of the pty; O_NONBLOCK */
	WIRE_TERMINAL_SESSION, /* struct stub_session, both ways (engine/stub/order.h) */
	WIRE_TERMINAL_FDS,
};

enum wire_attach_flags {
	WIRE_ATTACH_VIEW = 1 << 0, /* to read only, even if nobody writes */
	WIRE_ATTACH_RECORD = 1 << 1, /* `warm logs`: for the ring alone; one that has ended will do */
};

struct wire_attach {
	struct wire_header header;
	uint32_t pid, flags; /* enum wire_attach_flags */
};

struct wire_attached {
	struct wire_header header;
	int32_t error; /* 0; or an errno: reason */
	uint32_t nfds; /* pidfd, then WIRE_TERMINAL_FDS or the first two of them; RECORD: the ring and WAKE */
	uint32_t pid;
	uint32_t writer; /* PID of the client that writes; 0: this one, or nobody */
	int32_t ended; /* RECORD: it has ended */
	uint32_t reserved;
	char reason[256];
};

/* the client leaves, and its clone is to live on; its connection is closed next */
struct wire_detach {
	struct wire_header header;
	uint32_t pid, reserved;
};

/*
 * Leases: parked clones that the client launches itself (warmd/pool/lease.h). A model is a launch that warmd made for
 * this connection, and what makes others like it. Behind the struct, in this order: the struct wire_run of the launch;
 * the struct stub_order that its clone got (engine/stub/order.h), order_size bytes; strings: those of the wire_run;
 * fixed_argc arguments that come first in the order, fixed_size bytes; the environment of the order, env_size bytes,
 * when it is not the launch's own; names of variables that count, names_size bytes.
 *
 * Descriptors: warmd's inotify instance, to be asked for its unread bytes and nothing else; struct wire_drain, to be mapped.
 */
#define WIRE_MODEL_MAX (32u * 1024)

struct wire_model {
	struct wire_header header;
	uint64_t model; /* its number */
	uint32_t order_size;
	uint32_t
		argv_same; /* so many leading arguments are those of the model; UINT32_MAX: all, and no more */
	uint32_t argv_from; /* the order has the fixed arguments and those from this one on */
	uint32_t fixed_argc, fixed_size;
	uint32_t environment_all; /* all variables count */
	uint32_t env_size, names_size;
	uint32_t strings_room; /* arguments and environment of an order, at most */
	uint32_t reserved;
	uint64_t facts
		[3]; /* of the machine: what fact_value() has to be, 0: whatever it is (engine/base/facts.h) */
};

struct wire_drain {
	uint32_t busy; /* warmd is taking in events */
};

/* descriptors: the clone's order channel, its pidfd. A model's earlier lease is not used any more */
struct wire_lease {
	struct wire_header header;
	uint64_t model, clone; /* clone: its number, for WIRE_TAKEN */
	uint64_t generation; /* for the order */
	uint32_t pid;
	uint32_t
		learn; /* bit n: launches of enum wire_learn_kind n go through warmd, which learns from them */
};

/* the clone has its order. Behind it arguments, or the first of them, each ended by NUL */
struct wire_taken {
	struct wire_header header;
	uint64_t clone;
	uint64_t start_ns, order_ns; /* CLOCK_MONOTONIC: the call; the order was sent */
	uint32_t tag; /* 0: it has none, and will not get one from this client */
	uint32_t argc;
};

/* pages that a clone of a template wrote, in order of address */
#define WIRE_LEARN_RANGES 2048

struct wire_range {
	uint64_t addr, len; /* bytes */
};

/* taking on another environment than the build's writes other pages than going on with it */
enum wire_learn_kind {
	WIRE_LEARN_SAME, /* environment and argv are the build's */
	WIRE_LEARN_ARGUMENTS, /* argv differs */
	WIRE_LEARN_ENVIRONMENT, /* the environment does, argv may */
	WIRE_LEARN_KINDS,
};

struct wire_learn {
	struct wire_header header;
	uint64_t
		learn_key; /* a clone has ended by the time warmd could look at its rights: it says what only clones were told */
	uint32_t count, kind; /* enum wire_learn_kind */
	struct wire_range ranges[];
};

#endif
