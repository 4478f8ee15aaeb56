/* SPDX-License-Identifier: MIT */
#include "engine/base/limits.h"

#include <sys/resource.h>

#define USUAL_STACK (8u << 20) /* include/uapi/linux/resource.h: _STK_LIM */
#define LIMITS	    16 /* RLIM_NLIMITS */

void limits_raise(void)
{
	for (int i = 0; i < LIMITS; i++) {
		struct rlimit r;
		rlim_t want;

		if (i == RLIMIT_CORE || getrlimit(i, &r) < 0)
			continue;
		want = r.rlim_max;
		if (i == RLIMIT_STACK && want > USUAL_STACK)
			want = r.rlim_cur > USUAL_STACK ? r.rlim_cur : USUAL_STACK;
		if (r.rlim_cur >= want)
			continue;
		r.rlim_cur = want;
		setrlimit(i, &r);
	}
}
