/* SPDX-License-Identifier: MIT */
/* ready_call.c - the readiness point `call`: the program writes READY=1 to the descriptor that WARM_FD names, and reads its launch from it (docs/adaptor.md) */
#include "warmd/build/ready.h"

const struct ready_point ready_call = { .word = "call", .asks = true };
