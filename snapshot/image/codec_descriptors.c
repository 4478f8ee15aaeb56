/* SPDX-License-Identifier: MIT */
/* codec_descriptors.c - open file descriptions of each kind, tables of descriptors, epolls */
#include "snapshot/image/image_codec.h"

#include <string.h>

#include "engine/base/fd.h"

#define DESCRIPTION_NUMBERS(_) _(flags) _(owner) _(owner_signo) _(peer)
#define PIPE_NUMBERS(_)	       _(room) _(inode)
#define PAIR_NUMBERS(_)	       _(type) _(shutdown) _(inode) _(peer_inode)
#define SOCKET_NUMBERS(_)      _(domain) _(type) _(protocol)
#define OPTION_NUMBERS(_)      _(level) _(name)
#define EVENTFD_NUMBERS(_)     _(count) _(semaphore)
#define TIMERFD_NUMBERS(_)     _(clock) _(value_ns) _(interval_ns)
#define SIGNALFD_NUMBERS(_)    _(mask)
#define PATH_NUMBERS(_)	       _(offset) _(dev) _(ino)
#define OUTSIDE_NUMBERS(_)     _(of)
#define NO_NUMBERS(_)
#define FD_NUMBERS(_)	 _(fd) _(description) _(cloexec)
#define EPOLL_NUMBERS(_) _(description) _(fd_table) _(fd) _(target) _(events) _(data)

/* a kind: which member of the model's union it has, which message, and both ways between the two */
struct kind {
	Image__Description__KindCase message_case;
	const ProtobufCMessageDescriptor *type;
	void (*put)(struct arena *arena, const struct model_description *from, void *message);
	void (*take)(struct decoder *d, const void *message, struct model_description *to);
};

/* put_NAME() and take_NAME() of a kind that is numbers, and of what else PUT_MORE and TAKE_MORE say */
#define KIND(name, member, Message, NUMBERS, PUT_MORE, TAKE_MORE)                                            \
	static void put_##name(struct arena *arena, const struct model_description *description,             \
			       void *message)                                                                \
	{                                                                                                    \
		const __typeof__(description->member) *from = &description->member;                          \
		Image__##Message *to = message;                                                              \
                                                                                                             \
		(void)arena, (void)from, (void)to;                                                           \
		NUMBERS(PUT)                                                                                 \
		PUT_MORE;                                                                                    \
	}                                                                                                    \
	static void take_##name(struct decoder *d, const void *message,                                      \
				struct model_description *description)                                       \
	{                                                                                                    \
		const Image__##Message *from = message;                                                      \
		__typeof__(description->member) *to = &description->member;                                  \
                                                                                                             \
		(void)d, (void)from, (void)to;                                                               \
		NUMBERS(TAKE)                                                                                \
		TAKE_MORE;                                                                                   \
	}

static void put_options(struct arena *arena, const struct model_option *options, size_t n,
			Image__FdSocket *to)
{
	PUT_LIST(arena, to, options, n, socket_option);
	for (size_t i = 0; i < to->n_options; i++) {
		const struct model_option *from = &options[i];

		to->options[i]->level = from->level;
		to->options[i]->name = from->name;
		to->options[i]->value = codec_put_bytes(from->value, from->len);
	}
}

static void take_option(struct decoder *d, const Image__SocketOption *from, struct model_option *to)
{
	OPTION_NUMBERS(TAKE)
	if (from->value.len > sizeof(to->value)) {
		decoder_bad(d, "the value of a socket's option is too long");
		return;
	}
	to->len = (uint32_t)from->value.len;
	if (to->len)
		memcpy(to->value, from->value.data, to->len);
}

static struct model_option *take_options(struct decoder *d, const Image__FdSocket *from, size_t *ret_n)
{
	struct model_option *options = codec_take_list(d, from->n_options, sizeof(*options), ret_n);

	for (size_t i = 0; i < *ret_n; i++)
		take_option(d, from->options[i], &options[i]);
	return options;
}

#define PATH_WORDS "the path of a descriptor"

KIND(pipe, pipe, FdPipe, PIPE_NUMBERS, , )
KIND(pair, pair, FdPair, PAIR_NUMBERS, , )
KIND(socket, socket, FdSocket, SOCKET_NUMBERS, put_options(arena, from->options, from->noptions, to),
     to->options = take_options(d, from, &to->noptions))
KIND(eventfd, eventfd, FdEventfd, EVENTFD_NUMBERS, , )
KIND(epoll, eventfd, FdEpoll, NO_NUMBERS, , )
KIND(timerfd, timerfd, FdTimerfd, TIMERFD_NUMBERS, , )
KIND(signalfd, signalfd, FdSignalfd, SIGNALFD_NUMBERS, , )
KIND(path, path, FdPath, PATH_NUMBERS, to->path = codec_put_text(from->path),
     to->path = codec_take_text_there(d, from->path, PATH_WORDS))
KIND(outside, outside, FdOutside, OUTSIDE_NUMBERS, to->path = codec_put_text(from->path),
     to->path = codec_take_text(d, from->path, PATH_WORDS))

#define ROW(CASE, type, name)                                                                                \
	{                                                                                                    \
		IMAGE__DESCRIPTION__KIND_##CASE, &image__##type##__descriptor, put_##name, take_##name       \
	}

static const struct kind kinds[] = {
	[MODEL_FD_PIPE] = ROW(PIPE, fd_pipe, pipe),
	[MODEL_FD_SOCKETPAIR] = ROW(PAIR, fd_pair, pair),
	[MODEL_FD_SOCKET] = ROW(SOCKET, fd_socket, socket),
	[MODEL_FD_EVENTFD] = ROW(EVENTFD, fd_eventfd, eventfd),
	[MODEL_FD_EPOLL] = ROW(EPOLL, fd_epoll, epoll),
	[MODEL_FD_TIMERFD] = ROW(TIMERFD, fd_timerfd, timerfd),
	[MODEL_FD_SIGNALFD] = ROW(SIGNALFD, fd_signalfd, signalfd),
	[MODEL_FD_PATH] = ROW(PATH, fd_path, path),
	[MODEL_FD_TTY] = ROW(TERMINAL, fd_outside, outside),
	[MODEL_FD_CALLER] = ROW(CALLER, fd_outside, outside),
};
_Static_assert(ARRAY_SIZE(kinds) == MODEL_FD_KINDS, "a message for each kind of description");

static void put_description(struct arena *arena, const struct model_description *from, Image__Description *to)
{
	const struct kind *kind = &kinds[from->kind];
	void *message = codec_put_one(arena, kind->type);

	DESCRIPTION_NUMBERS(PUT)
	to->data = codec_put_bytes(from->data, from->data_len);
	to->kind_case = kind->message_case;
	/* all members of the union are pointers to a message */
	memcpy(&to->pipe, &message, sizeof(message));
	if (message)
		kind->put(arena, from, message);
}

static void take_description(struct decoder *d, const Image__Description *from, struct model_description *to)
{
	DESCRIPTION_NUMBERS(TAKE)
	to->data = codec_take_bytes(d, from->data, &to->data_len);
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		if (kinds[i].message_case != from->kind_case)
			continue;
		to->kind = (enum model_fd_kind)i;
		if (from->pipe)
			kinds[i].take(d, from->pipe, to);
		return;
	}
	decoder_bad(d, "a descriptor of no known kind");
}

static void put_fd(const struct model_fd *from, Image__Fd *to)
{
	FD_NUMBERS(PUT)
}

static void take_fd(struct decoder *d, const Image__Fd *from, struct model_fd *to)
{
	FD_NUMBERS(TAKE)
}

static void put_table(struct arena *arena, const struct model_fd_table *from, Image__FdTable *to)
{
	PUT_LIST(arena, to, fds, from->nfds, fd);
	for (size_t i = 0; i < to->n_fds; i++)
		put_fd(&from->fds[i], to->fds[i]);
}

static void take_table(struct decoder *d, const Image__FdTable *from, struct model_fd_table *to)
{
	to->fds = codec_take_list(d, from->n_fds, sizeof(*to->fds), &to->nfds);
	for (size_t i = 0; i < to->nfds; i++)
		take_fd(d, from->fds[i], &to->fds[i]);
}

static void put_epoll_target(const struct model_epoll *from, Image__Epoll *to)
{
	EPOLL_NUMBERS(PUT)
}

static void take_epoll_target(struct decoder *d, const Image__Epoll *from, struct model_epoll *to)
{
	EPOLL_NUMBERS(TAKE)
}

void codec_put_descriptors(struct arena *arena, const struct model *from, Image__Model *to)
{
	PUT_LIST(arena, to, descriptions, from->ndescriptions, description);
	for (size_t i = 0; i < to->n_descriptions; i++)
		put_description(arena, &from->descriptions[i], to->descriptions[i]);
	PUT_LIST(arena, to, fd_tables, from->nfd_tables, fd_table);
	for (size_t i = 0; i < to->n_fd_tables; i++)
		put_table(arena, &from->fd_tables[i], to->fd_tables[i]);
	PUT_LIST(arena, to, epolls, from->nepolls, epoll);
	for (size_t i = 0; i < to->n_epolls; i++)
		put_epoll_target(&from->epolls[i], to->epolls[i]);
}

void codec_take_descriptors(struct decoder *d, const Image__Model *from, struct model *to)
{
	to->descriptions = codec_take_list(d, from->n_descriptions, sizeof(*to->descriptions),
					   &to->ndescriptions);
	for (size_t i = 0; i < to->ndescriptions; i++)
		take_description(d, from->descriptions[i], &to->descriptions[i]);
	to->fd_tables = codec_take_list(d, from->n_fd_tables, sizeof(*to->fd_tables), &to->nfd_tables);
	for (size_t i = 0; i < to->nfd_tables; i++)
		take_table(d, from->fd_tables[i], &to->fd_tables[i]);
	to->epolls = codec_take_list(d, from->n_epolls, sizeof(*to->epolls), &to->nepolls);
	for (size_t i = 0; i < to->nepolls; i++)
		take_epoll_target(d, from->epolls[i], &to->epolls[i]);
}
