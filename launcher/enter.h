/* SPDX-License-Identifier: MIT */
/* enter.h - from warmd's answer to becoming what it describes. Static launcher only: no malloc, no stdio. */
#ifndef WARM_LAUNCHER_ENTER_H
#define WARM_LAUNCHER_ENTER_H

#include "engine/become.h"
#include "launcher/client.h"
#include "launcher/wire/protocol.h"

/**
 * enter_template() - become the program, or its skeleton
 * @reply: of status WIRE_WARM
 * @files: the descriptors that came with it, at least 2
 * @program: argc, argv, envp, cold_words, skeleton_fd are set; the rest is filled in here
 *
 * Return: a negative errno with *err set and the descriptors closed: nothing else has changed.
 */
int enter_template(const struct wire_run_reply *reply, const struct client_files *files,
		   struct become *program, struct error *err);

/**
 * skeleton_main() - `warm skeleton FD CMD [ARG...]`, which only warmd executes
 *
 * A socket to warmd is at FD: the template comes in there as the answer to a run
 * message does, then orders (engine/stub/order.h).
 */
int skeleton_main(int argc, char **argv, char **envp);

#define ENTER_FAILED "failed"

/**
 * enter_main() - `warm enter FD CMD [ARG...]`, which only `warm restore` executes: become the program
 *
 * A socket is at FD: the template comes in there as the answer to a run message does. CMD and ARG are the program's
 * arguments, the environment is the program's. When the program has its memory and its descriptors the socket is closed.
 * If that fails, one packet goes there, and the words to standard error. `warm enter failed FD ...` is what the stub executes
 * for that, when this process is no launcher any more.
 */
int enter_main(int argc, char **argv, char **envp);

#endif
