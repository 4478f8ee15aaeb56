# SPDX-License-Identifier: MIT
# benchmarks/rules.mk - what `make bench` and `make demo` measure with; included by the Makefile.
# All of it goes to build/bench/; nothing here needs the product to be built first but `bench`
# and `demo` themselves, whose prerequisites the Makefile adds.

BENCH_ARCH ?= $(shell uname -m)
BENCH_OUT ?= build/bench
BENCH_CC ?= gcc
BENCH_CXX ?= g++
BENCH_CFLAGS ?= -std=gnu11 -D_GNU_SOURCE -O2 -g -Wall -Wextra -Werror
BENCH_LIBS ?= 60

BENCH_SPAWN_SRC := benchmarks/spawn_bench.c $(wildcard benchmarks/spawn/*.c)
BENCH_SPAWN_OBJ := $(BENCH_SPAWN_SRC:benchmarks/%.c=$(BENCH_OUT)/obj/%.o)
BENCH_MANY_LIBS := $(BENCH_OUT)/many_libs/many_libs
BENCH_TOOLS := $(BENCH_OUT)/floor $(BENCH_OUT)/spawn_bench $(BENCH_MANY_LIBS)

.PHONY: bench-tools bench-run bench-breakdown demo-run

bench-tools: $(BENCH_TOOLS)

$(BENCH_OUT)/obj/%.o: benchmarks/%.c
	@mkdir -p $(@D)
	$(BENCH_CC) $(BENCH_CFLAGS) -Ibenchmarks -MMD -MP -c -o $@ $<

$(BENCH_OUT)/spawn_bench: $(BENCH_SPAWN_OBJ)
	$(BENCH_CC) $(BENCH_CFLAGS) -o $@ $^

# One page of code, one mapping: what the kernel does for any program at all.
$(BENCH_OUT)/floor: benchmarks/floor.c benchmarks/arch/$(BENCH_ARCH)/exit.h
	@mkdir -p $(@D)
	$(BENCH_CC) $(BENCH_CFLAGS) -Ibenchmarks/arch/$(BENCH_ARCH) -ffreestanding -fno-stack-protector \
		-fno-asynchronous-unwind-tables -fno-pie -no-pie -static -nostdlib -g0 \
		-Wl,--build-id=none -Wl,-z,noseparate-code -Wl,-z,noexecstack -o $@ $<

$(BENCH_MANY_LIBS): benchmarks/programs/many_libs/gen.sh
	CXX=$(BENCH_CXX) benchmarks/programs/many_libs/gen.sh $(@D) $(BENCH_LIBS)

bench-run: $(BENCH_TOOLS)
	/usr/bin/python3 benchmarks/run.py --out $(BENCH_OUT)

bench-breakdown: $(BENCH_TOOLS)
	benchmarks/breakdown.sh

demo-run:
	benchmarks/demo.sh

-include $(BENCH_SPAWN_OBJ:.o=.d)
