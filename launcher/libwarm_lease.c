/* SPDX-License-Identifier: MIT */
/* libwarm_lease.c - launches that do not wait for warmd: libwarm_lease.h */
#include "launcher/libwarm_lease.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "engine/base/clock.h"
#include "engine/base/fd.h"
#include "engine/stub/order.h"
#include "launcher/libwarm_model.h"

#define TAKEN_WORDS 128 /* bytes of arguments that warmd is told, for `warm explain` */
#define TAKEN_ARGS  16
#define MODELS_MAX  16 /* as LEASES_MAX in warmd/pool/lease.c */

struct leases {
	struct launch_model *models;
	int inotify; /* warmd's; to be asked for its unread bytes */
	bool mounts_changed; /* what warmd sent before it answered a launch behind this one is not used: */
	uint32_t before; /* the last tag before the change was seen */
	const struct wire_drain *drain;
};

/* --- what came -------------------------------------------------------------------------- */

static void lease_close(struct launch_model *m)
{
	m->channel = fd_close(m->channel);
	m->pidfd = fd_close(m->pidfd);
	m->clone = 0;
}

/* warmd need not wait for it. When there is no room it learns of it by the launches that come its way */
static void give_back(const struct libwarm_connection *conn, struct launch_model *m)
{
	struct wire_taken t = { .header = { .magic = WIRE_MAGIC,
					    .version = WIRE_VERSION_NUMBER,
					    .type = WIRE_TAKEN,
					    .size = sizeof(t) },
				.clone = m->clone };

	if (!m->clone)
		return;
	lease_close(m);
	(void)!send(conn->fd, &t, sizeof(t), MSG_DONTWAIT | MSG_NOSIGNAL);
}

static void model_remove(struct libwarm_connection *conn, struct launch_model *m)
{
	struct launch_model **at = &conn->leases->models;

	give_back(conn, m);
	while (*at != m)
		at = &(*at)->next;
	*at = m->next;
	free(m);
}

void lease_drop_all(struct libwarm_connection *conn)
{
	struct leases *s = conn->leases;

	if (!s)
		return;
	while (s->models) {
		lease_close(s->models);
		model_remove(conn, s->models);
	}
	fd_close(s->inotify);
	munmap((void *)s->drain, sizeof(*s->drain));
	free(s);
	conn->leases = NULL;
}

/* where the program has closed 0, 1 or 2, it must not find these. Return: false: closed, as there is no room */
static bool move_up(const struct warm *w, struct packet *p)
{
	bool right = p->nfds == 2;

	for (size_t i = 0; i < p->nfds && right; i++) {
		if (p->fds[i] <= 2) {
			int up = fcntl(p->fds[i], F_DUPFD_CLOEXEC, 3);

			close(p->fds[i]);
			p->fds[i] = up;
		}
		right = p->fds[i] >= 0 && p->fds[i] < w->fd_budget;
	}
	if (right)
		return true;
	for (size_t i = 0; i < p->nfds; i++)
		fd_close(p->fds[i]);
	p->nfds = 0;
	return false;
}

/* @p: inotify instance and struct wire_drain, which are the same each time */
static bool open_leases(struct libwarm_connection *conn, struct packet *p)
{
	struct leases *s = calloc(1, sizeof(*s));
	void *at = MAP_FAILED;

	if (s)
		at = mmap(NULL, sizeof(*s->drain), PROT_READ, MAP_SHARED, p->fds[1], 0);
	if (at == MAP_FAILED) {
		free(s);
		return false;
	}
	s->inotify = p->fds[0];
	s->drain = at;
	conn->leases = s;
	p->fds[0] = -EBADF;
	return true;
}

/* the newest comes first; one of the same name goes, and of too many the oldest */
static void model_enter(struct libwarm_connection *conn, struct launch_model *m)
{
	unsigned int n = 1;

	for (struct launch_model *old = conn->leases->models; old; old = old->next) {
		if (strcmp(old->name, m->name) == 0 || ++n > MODELS_MAX) {
			model_remove(conn, old);
			break;
		}
	}
	m->next = conn->leases->models;
	conn->leases->models = m;
}

int lease_model(struct warm *w, struct libwarm_connection *conn, const void *packet, struct packet *p,
		bool fds_lost)
{
	struct launch_model *m;

	/* its leases will be given back */
	if (fds_lost || w->mounts_fd < 0 || !move_up(w, p))
		return 0;
	m = malloc(sizeof(*m) + p->len);
	if (!m)
		return 0;
	*m = (struct launch_model){ .number = ((const struct wire_model *)packet)->model,
				    .channel = -EBADF,
				    .pidfd = -EBADF };
	memcpy(m->bytes, packet, p->len);
	if (!libwarm_model_take_apart(m, p->len)) {
		free(m);
		return -EBADMSG;
	}
	if (conn->lost || (!conn->leases && !open_leases(conn, p)) || conn->leases->mounts_changed)
		free(m);
	else
		model_enter(conn, m);
	return 0;
}

int lease_granted(struct warm *w, struct libwarm_connection *conn, const void *packet, struct packet *p,
		  bool fds_lost)
{
	const struct wire_lease *l = packet;
	struct launch_model *m = conn->leases ? conn->leases->models : NULL;
	struct launch_model unknown = { .channel = -EBADF, .pidfd = -EBADF, .clone = l->clone };

	if (!l->clone || l->pid == 0 || l->pid > INT32_MAX || (!fds_lost && p->nfds != 2))
		return -EBADMSG;
	while (m && m->number != l->model)
		m = m->next;
	if (fds_lost || conn->lost || !m || conn->leases->mounts_changed || !move_up(w, p)) {
		give_back(conn, &unknown);
		return 0;
	}
	give_back(conn, m);
	m->clone = l->clone;
	m->generation = l->generation;
	m->learn = l->learn;
	m->pid = (pid_t)l->pid;
	m->channel = p->fds[0];
	m->pidfd = p->fds[1];
	p->nfds = 0;
	return 0;
}

void lease_answered(struct libwarm_connection *conn, uint32_t tag)
{
	struct leases *s = conn->leases;

	if (s && s->mounts_changed && (int32_t)(tag - s->before) > 0)
		s->mounts_changed = false;
}

bool lease_wanted(struct warm *w)
{
	if (w->asked_before && w->mounts_fd == -EBADF) {
		int fd = open("/proc/self/mountinfo", O_RDONLY | O_CLOEXEC);

		if (fd >= 0 && fd <= 2) {
			w->mounts_fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
			close(fd);
		} else {
			w->mounts_fd = fd;
		}
		if (w->mounts_fd < 0)
			w->mounts_fd = -ENOENT; /* not tried again */
	}
	w->asked_before = true;
	return w->mounts_fd >= 0;
}

/* --- is the template still good? ---------------------------------------------------------------- */

/*
 * What happened before this launch: an event of it is unread, or was read, and then warmd is still about it
 * (watch_drain()), or has revoked the lease by now. The table of mounts has no queue: each open file tells of a change
 * once, and so nothing is left of the leases when it did, and none is taken that was granted before warmd knew.
 */
static bool fresh(struct warm *w, struct libwarm_connection *conn)
{
	struct pollfd p[2] = { { .fd = conn->fd }, { .fd = w->mounts_fd, .events = POLLPRI } };
	struct leases *s = conn->leases;
	int unread;

	if (poll(p, 2, 0) < 0)
		return false;
	if (p[1].revents & (POLLPRI | POLLERR)) {
		while (s->models)
			model_remove(conn, s->models);
		s->mounts_changed = true;
		s->before = w->next_tag;
	}
	if (p[0].revents || p[1].revents)
		return false;
	if (ioctl(s->inotify, FIONREAD, &unread) < 0 || unread)
		return false;
	return !__atomic_load_n(&s->drain->busy, __ATOMIC_SEQ_CST);
}

/* --- the launch ------------------------------------------------------------------------------------ */

struct leased_order {
	struct stub_order head;
	struct iovec pieces[4]; /* the head, arguments that are always there, arguments, environment */
};

/* Return: false: too large, or warmd learns from such launches */
static bool fill_order(struct leased_order *order, const struct launch_model *m, const struct wire_run *run,
		       const struct launch_strings *s)
{
	struct stub_order *o = &order->head;
	struct iovec *pieces = order->pieces;
	const char *end = s->envp, *first = libwarm_model_skip(s->argv, end, m->head->argv_from);
	bool own = run->flags & WIRE_LAUNCH_ENV;

	*o = *m->order;
	pieces[0] = (struct iovec){ o, sizeof(*o) };
	pieces[1] = (struct iovec){ (void *)m->fixed, m->head->fixed_size };
	pieces[2] = (struct iovec){ (void *)first, (size_t)(end - first) };
	pieces[3] = (struct iovec){ (void *)m->env, m->head->env_size };
	if (own) {
		pieces[3] = (struct iovec){ (void *)s->envp, s->envp_size };
		o->envc = run->envc;
		o->env_size = s->envp_size;
	}
	o->argc = m->head->fixed_argc + run->argc - m->head->argv_from;
	o->argv_size = (uint32_t)(pieces[1].iov_len + pieces[2].iov_len);
	if (!o->argc || (uint64_t)o->argv_size + o->env_size > m->head->strings_room)
		return false;
	o->size = (uint32_t)(sizeof(*o) + o->argv_size + o->env_size);
	o->generation = m->generation;
	if (s->argv_size != m->argv_size || memcmp(s->argv, m->argv, s->argv_size) != 0)
		o->stdio &= ~STUB_SAME_ARGUMENTS;
	if (own && (s->envp_size != m->envp_size || memcmp(s->envp, m->envp, s->envp_size) != 0))
		o->stdio &= ~STUB_SAME_ENVIRONMENT;
	return !(m->learn >> stub_learn_kind(o->stdio) & 1);
}

/* warmd's exit notices, `warm ps` and the next lease hang on it. It is behind the order: the clone is on its way by now */
static void tell(struct warm *w, struct libwarm_connection *conn, struct wire_taken *t,
		 const struct wire_run *run, const struct launch_strings *s)
{
	char words[TAKEN_WORDS];
	struct iovec pieces[] = { { t, sizeof(*t) }, { words, 0 } };
	const char *p = s->argv;
	int r;

	for (t->argc = 0; t->argc < run->argc && t->argc < TAKEN_ARGS; t->argc++) {
		size_t n = strlen(p) + 1;

		if (n > sizeof(words) - pieces[1].iov_len)
			break;
		memcpy(words + pieces[1].iov_len, p, n);
		pieces[1].iov_len += n;
		p += n;
	}
	t->header = (struct wire_header){ .magic = WIRE_MAGIC,
					  .version = WIRE_VERSION_NUMBER,
					  .type = WIRE_TAKEN,
					  .size = (uint32_t)(sizeof(*t) + pieces[1].iov_len) };
	r = packet_send(conn->fd, pieces, 2, NULL, 0, MSG_DONTWAIT);
	if (r == 0)
		return;
	conn->refs++;
	pthread_mutex_unlock(&w->lock);
	if (r == -EAGAIN)
		r = packet_send(conn->fd, pieces, 2, NULL, 0, 0);
	/* without it warmd would not tell of the end: then the pidfd does. Whoever reads notices */
	if (r < 0)
		shutdown(conn->fd, SHUT_RDWR);
	pthread_mutex_lock(&w->lock);
	libwarm_connection_put(conn);
}

struct libwarm_clone *lease_launch(struct warm *w, const struct wire_run *run, const int *fds, size_t nfds,
				   int *ret_pidfd)
{
	struct libwarm_connection *conn = w->connection;
	struct launch_model *m = conn && conn->leases ? conn->leases->models : NULL;
	struct wire_taken t = { .start_ns = clock_ns(CLOCK_MONOTONIC) };
	struct launch_strings s;
	struct leased_order order;
	struct libwarm_clone *cl;
	int channel;

	while (m && strcmp(m->name, (const char *)(run + 1)) != 0)
		m = m->next;
	if (!m || !m->clone)
		return NULL;
	libwarm_find_strings(run, &s);
	if (!libwarm_model_is_like(m, run, &s) || !fill_order(&order, m, run, &s) || !fresh(w, conn))
		return NULL;
	cl = libwarm_clone_new(w, NULL);
	if (!cl)
		return NULL;
	libwarm_clone_unlink_asked(w, cl);
	if (packet_send(m->channel, order.pieces, ARRAY_SIZE(order.pieces), fds, nfds, MSG_DONTWAIT) < 0) {
		/* revoked, or the clone is dead: nobody has the order */
		libwarm_clone_free(w, cl);
		give_back(conn, m);
		return NULL;
	}
	t.order_ns = clock_ns(CLOCK_MONOTONIC);
	t.clone = m->clone;
	t.tag = cl->tag;
	cl->state = CLONE_RUNNING;
	cl->pid = m->pid;
	libwarm_clone_enter(w, cl);
	*ret_pidfd = m->pidfd;
	channel = m->channel;
	m->clone = 0;
	m->channel = m->pidfd = -EBADF;
	tell(w, conn, &t, run, &s);
	close(channel);
	return cl;
}
