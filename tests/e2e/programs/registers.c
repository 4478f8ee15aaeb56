/* SPDX-License-Identifier: MIT */
/*
 * registers.c - values that only registers hold over the readiness point: general, vector
 * and mask registers, rounding modes, segment bases. The write and the read of the
 * readiness protocol are made by hand, because the C library may use any vector register.
 */
#include "program.h"

#include <asm/prctl.h>
#include <cpuid.h>
#include <linux/futex.h>
#include <pthread.h>

static int fd = -1;

struct file {
	uint8_t zmm[32][64];
	uint64_t k[8], general[4];
	uint32_t mxcsr;
	uint16_t fcw;
} __attribute__((aligned(64)));

static void say_bytes(const char *what, int i, const uint8_t *p, size_t n)
{
	uint32_t sum = 0;

	for (size_t j = 0; j < n; j++)
		sum = sum * 31 + p[j];
	printf("%s%d: %02x%02x..%02x %08x\n", what, i, p[0], p[1], p[n - 1], sum);
}

static void fill(struct file *in)
{
	uint8_t *p = (uint8_t *)in->zmm;

	for (size_t i = 0; i < sizeof(in->zmm); i++)
		p[i] = (uint8_t)(i * 7 + i / 64 + 1);
	for (int i = 0; i < 8; i++)
		in->k[i] = 0x0123456789abcdefull * (unsigned int)(i + 1);
}

static char word[] = "READY=1\n", buffer[1 << 16];

/*
 * With fd < 0 (cold) nothing is called: the registers only go in and out. LOAD and STORE are lists of
 * instructions that use %[in] and %[out].
 */
#define OVER_READY(load, store, in, out, ...)                                                                \
	__asm__ volatile(load "cmpl $0, %[fd]\n\t"                                                           \
			      "jl 1f\n\t"                                                                    \
			      "mov $1, %%eax\n\t"                                                            \
			      "mov %[fd], %%edi\n\t"                                                         \
			      "lea %[word], %%rsi\n\t"                                                       \
			      "mov $8, %%edx\n\t"                                                            \
			      "syscall\n\t"                                                                  \
			      "xor %%eax, %%eax\n\t"                                                         \
			      "mov %[fd], %%edi\n\t"                                                         \
			      "lea %[buffer], %%rsi\n\t"                                                     \
			      "mov $65536, %%edx\n\t"                                                        \
			      "syscall\n\t"                                                                  \
			      "1:\n\t" store                                                                 \
			 : [word] "+m"(word), [buffer] "+m"(buffer)                                          \
			 : [fd] "m"(fd), [i] "r"(in), [o] "r"(out)                                           \
			 : "rax", "rdi", "rsi", "rdx", "rcx", "r11", "memory", __VA_ARGS__)

#define X16(m)	   m(0) m(1) m(2) m(3) m(4) m(5) m(6) m(7) m(8) m(9) m(10) m(11) m(12) m(13) m(14) m(15)
#define Y16(m)	   m(16) m(17) m(18) m(19) m(20) m(21) m(22) m(23) m(24) m(25) m(26) m(27) m(28) m(29) m(30) m(31)
#define LOAD_X(n)  "movups " #n "*64(%[i]), %%xmm" #n "\n\t"
#define STORE_X(n) "movups %%xmm" #n ", " #n "*64(%[o])\n\t"
#define LOAD_Y(n)  "vmovdqu " #n "*64(%[i]), %%ymm" #n "\n\t"
#define STORE_Y(n) "vmovdqu %%ymm" #n ", " #n "*64(%[o])\n\t"
#define LOAD_Z(n)  "vmovdqu64 " #n "*64(%[i]), %%zmm" #n "\n\t"
#define STORE_Z(n) "vmovdqu64 %%zmm" #n ", " #n "*64(%[o])\n\t"
#define LOAD_K(n)  "kmovq 2048+8*" #n "(%[i]), %%k" #n "\n\t"
#define STORE_K(n) "kmovq %%k" #n ", 2048+8*" #n "(%[o])\n\t"
#define K8(m)	   m(0) m(1) m(2) m(3) m(4) m(5) m(6) m(7)
#define CLOBBER16                                                                                            \
	"xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11",    \
		"xmm12", "xmm13", "xmm14", "xmm15"

static struct file in, out;

static void case_sse(void)
{
	fill(&in);
	OVER_READY(X16(LOAD_X), X16(STORE_X), &in, &out, CLOBBER16);
	for (int i = 0; i < 16; i++)
		say_bytes("xmm", i, out.zmm[i], 16);
	SAY("all as before", ({
		    int same = 1;
		    for (int i = 0; i < 16; i++)
			    same &= memcmp(in.zmm[i], out.zmm[i], 16) == 0;
		    same;
	    }));
}

__attribute__((target("avx2"))) static void case_avx(void)
{
	int same = 1;

	fill(&in);
	OVER_READY(X16(LOAD_Y), X16(STORE_Y), &in, &out, CLOBBER16);
	for (int i = 0; i < 16; i++) {
		say_bytes("ymm", i, out.zmm[i], 32);
		same &= memcmp(in.zmm[i], out.zmm[i], 32) == 0;
	}
	SAY("all as before", same);
}

__attribute__((target("avx512f,avx512bw"))) static void case_avx512(void)
{
	fill(&in);
	OVER_READY(X16(LOAD_Z) Y16(LOAD_Z) K8(LOAD_K), X16(STORE_Z) Y16(STORE_Z) K8(STORE_K), &in, &out,
		   CLOBBER16, "xmm16", "xmm17", "xmm18", "xmm19", "xmm20", "xmm21", "xmm22", "xmm23", "xmm24",
		   "xmm25", "xmm26", "xmm27", "xmm28", "xmm29", "xmm30", "xmm31", "k1", "k2", "k3", "k4",
		   "k5", "k6", "k7");
	for (int i = 0; i < 32; i++)
		say_bytes("zmm", i, out.zmm[i], 64);
	for (int i = 0; i < 8; i++)
		printf("k%d: %016lx\n", i, out.k[i]);
	SAY("all as before",
	    memcmp(in.zmm, out.zmm, sizeof(in.zmm)) == 0 && memcmp(in.k, out.k, sizeof(in.k)) == 0);
}

static void case_control(void)
{
	uint32_t mxcsr = 0x7f80 | 0x8000, mxcsr_out = 0; /* toward zero, flush to zero */
	uint16_t fcw = 0x0e7f, fcw_out = 0; /* up, double precision */
	double third = 1;
	long double kept = 0;

	__asm__ volatile("fninit\n\tfldcw %0\n\tldmxcsr %1\n\tfldpi" : : "m"(fcw), "m"(mxcsr));
	OVER_READY("", "", &in, &out, "cc");
	__asm__ volatile("fstpt %0\n\tfnstcw %1\n\tstmxcsr %2" : "=m"(kept), "=m"(fcw_out), "=m"(mxcsr_out));
	__asm__ volatile("divsd %1, %0" : "+x"(third) : "x"(3.0));
	printf("x87 control %04x mxcsr %08x st0 %.18Lf third %a\n", fcw_out, mxcsr_out & ~0x3fu, kept, third);
}

static void case_general(void)
{
	uint64_t got[4], flags;

	__asm__ volatile("mov $0x1111111122222222, %%r12\n\t"
			 "mov $0x3333333344444444, %%r13\n\t"
			 "mov $0x5555555566666666, %%r14\n\t"
			 "mov $0x7777777788888888, %%r15\n\t"
			 "std\n\t"
			 :
			 :
			 : "r12", "r13", "r14", "r15");
	OVER_READY("", "", &in, &out, "cc", "r12", "r13", "r14", "r15");
	__asm__ volatile("pushf\n\tpop %0\n\tcld" : "=r"(flags));
	__asm__ volatile("mov %%r12, 0(%0)\n\tmov %%r13, 8(%0)\n\tmov %%r14, 16(%0)\n\tmov %%r15, 24(%0)"
			 :
			 : "r"(got)
			 : "memory");
	printf("%lx %lx %lx %lx direction %lu\n", got[0], got[1], got[2], got[3], flags >> 10 & 1);
}

static __thread int tls = 5;
static char there[64] = "gs points here";

static void case_segments(void)
{
	uint64_t gs = 0;
	char byte;

	MUST(syscall(SYS_arch_prctl, ARCH_SET_GS, there));
	tls = 1234;
	ready();
	syscall(SYS_arch_prctl, ARCH_GET_GS, &gs);
	__asm__ volatile("mov %%gs:3, %0" : "=r"(byte));
	printf("gs base %s, gs:3 is '%c', tls %d\n", gs == (uint64_t)there ? "kept" : "lost", byte, tls);
}

/* a thread other than the one at the readiness point, in a futex wait with its registers full */
static uint32_t futex_word;
static pid_t holder_tid;

__attribute__((target("avx2"))) static void *holder(void *arg)
{
	fill(&in);
	__atomic_store_n(&holder_tid, gettid(), __ATOMIC_RELEASE);
	__asm__ volatile(X16(LOAD_Y) "mov %[nr], %%eax\n\t"
				     "mov %[word], %%rdi\n\t"
				     "mov $128, %%esi\n\t" /* FUTEX_WAIT_PRIVATE */
				     "xor %%edx, %%edx\n\t"
				     "xor %%r10d, %%r10d\n\t"
				     "syscall\n\t" X16(STORE_Y)
			 :
			 : [i] "r"(&in), [o] "r"(&out), [nr] "i"(SYS_futex), [word] "r"(&futex_word)
			 : "rax", "rdi", "rsi", "rdx", "r10", "rcx", "r11", "memory", CLOBBER16);
	return arg;
}

static void case_thread(void)
{
	pthread_t t;
	int same = 1;

	pthread_create(&t, NULL, holder, NULL);
	while (!__atomic_load_n(&holder_tid, __ATOMIC_ACQUIRE))
		sched_yield();
	wait_asleep(holder_tid);
	ready();
	__atomic_store_n(&futex_word, 1, __ATOMIC_SEQ_CST);
	syscall(SYS_futex, &futex_word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
	pthread_join(t, NULL);
	for (int i = 0; i < 16; i++)
		same &= memcmp(in.zmm[i], out.zmm[i], 32) == 0;
	SAY("all as before", same);
}

int main(int argc, char **argv)
{
	static const struct test_case cases[] = {
		{ "sse", case_sse },	     { "avx", case_avx },	  { "avx512", case_avx512 },
		{ "control", case_control }, { "general", case_general }, { "segments", case_segments },
		{ "thread", case_thread },
	};

	if (getenv("WARM_FD"))
		fd = atoi(getenv("WARM_FD"));
	return RUN_CASE(cases);
}
