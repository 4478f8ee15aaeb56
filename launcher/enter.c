/* SPDX-License-Identifier: MIT */
#include "launcher/enter.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/time.h>

#include "engine/base/runtime_dir.h"
#include "launcher/client.h"
#include "launcher/context.h"
#include "launcher/wire/context_json.h"
#include "launcher/words.h"

#define TEMPLATE_MS 5000 /* warmd has put it into the socket before it executed us */

static void take_template(const struct wire_run_reply *reply, const struct client_files *files,
			  struct become *program)
{
	program->control_fd = files->fd[0];
	program->pages_fd = files->fd[1];
	program->files = files->fd + 2;
	program->nfiles = files->count - 2;
	program->stub_base = reply->stub_base;
	program->text_size = reply->text_size;
	program->data_size = reply->data_size;
	program->args_base = reply->args_base;
	program->context_max = reply->context_max;
	program->generation = reply->generation;
	program->stdio_changed = reply->stdio_changed;
	program->exit_hooks = true;
	program->make_context = context_json;
}

int enter_template(const struct wire_run_reply *reply, const struct client_files *files,
		   struct become *program, struct error *err)
{
	struct wire_learn learn = {
		.header = { .magic = WIRE_MAGIC, .version = WIRE_VERSION_NUMBER, .type = WIRE_LEARN },
		.learn_key = reply->learn_key,
	};
	char socket_path[RUNTIME_PATH_MAX] = "";
	struct runtime_dir dir;
	int r;

	if ((reply->learn || program->skeleton_fd >= 0) && runtime_dir_find(&dir, NULL) == 0)
		(void)runtime_dir_path(&dir, WIRE_SOCKET, socket_path, sizeof(socket_path));
	take_template(reply, files, program);
	program->another_pid = program->skeleton_fd < 0;
	program->learn_socket = socket_path[0] ? socket_path : NULL;
	program->learn_prefix = &learn;
	program->learn_prefix_len = offsetof(struct wire_learn, count);
	program->learn_kinds = reply->learn;
	program->learn_size_at = offsetof(struct wire_header, size);
	r = become(program, err);
	for (unsigned int i = 0; i < files->count; i++)
		close(files->fd[i]);
	return r;
}

int skeleton_main(int argc, char **argv, char **envp)
{
	static const char *const no_cold[] = { NULL };
	const struct timeval forever = { 0, 0 };
	struct wire_run_reply reply;
	struct error err = { 0 };
	static struct client_files files;
	struct become b = { .argc = argc - 3, .argv = argv + 3, .envp = envp, .cold_words = no_cold };

	if (argc < 4)
		return EXIT_WARM;
	b.seccomp = prctl(PR_GET_SECCOMP, 0, 0, 0, 0) != 0;
	b.skeleton_fd = atoi(argv[2]);
	if (client_receive_run(b.skeleton_fd, &reply, TEMPLATE_MS, &files, &err) == 0 && files.count >= 2 &&
	    /* that bound was for the template; for orders it waits as long as it lives */
	    setsockopt(b.skeleton_fd, SOL_SOCKET, SO_RCVTIMEO, &forever, sizeof(forever)) == 0)
		enter_template(&reply, &files, &b, &err);
	/* warmd sees the end of file; the words are for whoever runs this by hand */
	say("skeleton: ", err.text, NULL);
	return EXIT_WARM;
}

/* the words are for people; whoever made this process learns by a packet that it will never be the program */
static int not_entered(int sock, const char *words)
{
	say("restore: ", words, NULL);
	send(sock, "", 1, MSG_NOSIGNAL);
	return EXIT_WARM;
}

int enter_main(int argc, char **argv, char **envp)
{
	static struct client_files files;
	static gid_t groups[65536]; /* NGROUPS_MAX */
	const char *failed[] = { "warm", "enter", ENTER_FAILED, argc > 2 ? argv[2] : NULL, NULL };
	struct wire_run run = { 0 };
	struct wire_run_reply reply;
	struct error err = { 0 };
	struct become b = { .argc = argc - 3, .argv = argv + 3, .envp = envp, .cold_words = failed };
	int sock;

	if (argc < 4)
		return EXIT_WARM;
	if (strcmp(argv[2], ENTER_FAILED) == 0)
		return not_entered(atoi(argv[3]), "the program's memory or descriptors could not be made");
	sock = atoi(argv[2]);
	if (client_receive_run(sock, &reply, TEMPLATE_MS, &files, &err) < 0)
		return not_entered(sock, err.text);
	if (files.count < 3 || context_process(&run, groups, sizeof(groups)) < 0)
		return not_entered(sock, "this process cannot be the program's");
	/* the last is this socket once more: in its place the stub closes the socket, when the program has memory and descriptors */
	close(files.fd[files.count - 1]);
	files.fd[files.count - 1] = sock;
	take_template(&reply, &files, &b);
	b.another_pid = true;
	b.skeleton_fd = -1;
	b.seccomp = run.seccomp != 0;
	b.ignored_signals = run.ignored_signals;
	b.blocked_signals = run.blocked_signals;
	become(&b, &err);
	return not_entered(sock, err.text);
}
