/* SPDX-License-Identifier: MIT */
/* proc_path.h - files of proc(5) that are about one process */
#ifndef WARM_ENGINE_BASE_PROC_PATH_H
#define WARM_ENGINE_BASE_PROC_PATH_H

#include <sys/types.h>

struct proc_path {
	char text[64];
};

/**
 * proc_path() - "/proc/PID/..."
 * @format: what follows "/proc/PID/", as printf(3) has it: "status", "fd/%d", "task/%d/comm". Only numbers and short
 *          names fit
 *
 * Return: the path; "" if it was too long, which no file is called. Its text lasts to the end of the expression:
 *         open(proc_path(pid, "fd/%d", fd).text, O_RDONLY)
 */
struct proc_path proc_path(pid_t pid, const char *format, ...) __attribute__((format(printf, 2, 3)));

/**
 * proc_open() - open such a file
 * @flags: for open(2); O_CLOEXEC is added
 * Return: a descriptor, or a negative errno: -ENOENT when there is no such process, thread or file
 */
int proc_open(pid_t pid, int flags, const char *format, ...) __attribute__((format(printf, 3, 4)));

#endif
