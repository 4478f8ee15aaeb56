/* SPDX-License-Identifier: MIT */
/*
 * fd.h - descriptors and memory that clean up after themselves.
 *
 * -EBADF means "no descriptor". Ownership is handed on with TAKE_FD() and
 * TAKE_PTR(); what a function still owns at its end is released by _cleanup_.
 */
#ifndef WARM_ENGINE_BASE_FD_H
#define WARM_ENGINE_BASE_FD_H

#include <dirent.h>
#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <sys/types.h>

/** fd_close() - close @fd if it is one, keep errno. Return: -EBADF, to assign. */
int fd_close(int fd);

static inline void fd_closep(int *fd)
{
	*fd = fd_close(*fd);
}

static inline void freep(void *p)
{
	free(*(void **)p);
}

static inline void fclosep(FILE **f)
{
	if (*f)
		fclose(*f);
}

#define _cleanup_(f)	 __attribute__((cleanup(f)))
#define _cleanup_close_	 _cleanup_(fd_closep)
#define _cleanup_free_	 _cleanup_(freep)
#define _cleanup_fclose_ _cleanup_(fclosep)

#define TAKE_FD(fd)                                                                                          \
	({                                                                                                   \
		int *_p = &(fd);                                                                             \
		int _fd = *_p;                                                                               \
		*_p = -EBADF;                                                                                \
		_fd;                                                                                         \
	})
#define TAKE_PTR(ptr)                                                                                        \
	({                                                                                                   \
		__typeof__(ptr) *_p = &(ptr);                                                                \
		__typeof__(ptr) _v = *_p;                                                                    \
		*_p = NULL;                                                                                  \
		_v;                                                                                          \
	})

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

/** read_full(), write_full() - all of @len bytes, through EINTR. Return: 0, or a negative errno (-ENODATA: end of file). */
int read_full(int fd, void *buf, size_t len);
int write_full(int fd, const void *buf, size_t len);
int pread_full(int fd, void *buf, size_t len, off_t off);
int pwrite_full(int fd, const void *buf, size_t len, off_t off);

/**
 * read_file() - the whole of a file that may not know its size (/proc)
 * @ret_buf: malloc'd, NUL-terminated; the caller frees. Set on success only.
 * @ret_len: bytes without the NUL; may be NULL
 */
int read_file(const char *path, char **ret_buf, size_t *ret_len);
int read_fd(int fd, char **ret_buf, size_t *ret_len);

/**
 * fd_names() - a stream of a directory's names: readdir(3)
 * @fd: open on it; it stays the caller's, and keeps its own position
 * Return: for closedir(3); NULL with errno set
 */
DIR *fd_names(int fd);

#endif
