/* SPDX-License-Identifier: MIT */
/*
 * basket.h - descriptors that go by message, and can be taken back as long as the receiver has not taken them.
 *
 * What sendmsg(2) has put on a socket stays open until the other end reads it or goes: when that one is stopped, or hangs,
 * nobody reads the end of file of a pipe that lies there. So they lie in a socket pair of their own, whose one end goes by
 * message, and is kept by the sender too. Either of the two takes them out, and the kernel sees to it that only one does.
 */
#ifndef WARM_ENGINE_BASE_BASKET_H
#define WARM_ENGINE_BASE_BASKET_H

#include <stdbool.h>

#include "engine/base/packet.h"

/** basket_fill() - @n descriptors, which stay the caller's. Return: a descriptor to be sent, or a negative errno (packet_send()) */
int basket_fill(const int *fds, size_t n);

/**
 * basket_take() - what @basket holds; it stays open
 * Return: 0 with *ret; -ECANCELED: they were taken back; another negative errno: it is no basket
 */
int basket_take(int basket, struct packet *ret);

/** basket_take_back() - Return: true: nobody took them, and nobody can any more; false: they were taken */
bool basket_take_back(int basket);

#endif
