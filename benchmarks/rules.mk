# SPDX-License-Identifier: MIT
# benchmarks/rules.mk - what `make bench` and `make demo` measure with; included by the Makefile.
# All of it goes to build/bench/; nothing here needs the product to be built first but clone_bench and stamp, which
# are linked with libwarm, and `bench` and `demo` themselves, whose prerequisites the Makefile adds.

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

BENCH_CLONE_SRC := benchmarks/clone_bench.c $(addprefix benchmarks/clones/,config.c entry.c life.c) \
	$(addprefix benchmarks/spawn/,stats.c machine.c report.c config.c words.c)
BENCH_CLONE_OBJ := $(BENCH_CLONE_SRC:benchmarks/%.c=$(BENCH_OUT)/obj/%.o)
BENCH_CLONE_TOOLS := $(addprefix $(BENCH_OUT)/,clone_bench empty stamp gap fork_probe.so floor spawn_bench)

# the product's own relay, as the host's compiler makes it
BENCH_KEY_OBJ := $(addprefix $(BENCH_OUT)/obj/,keystroke_bench.o $(addprefix spawn/,stats.o machine.o report.o config.o words.o))
BENCH_KEY_PRODUCT := $(patsubst %.c,$(B)/obj/%.o,$(wildcard pty/*.c engine/base/*.c))

.PHONY: bench-kept bench-keystroke bench-tools bench-run bench-launches bench-clones bench-breakdown demo-run

bench-tools: $(BENCH_TOOLS) $(BENCH_CLONE_TOOLS)

$(BENCH_OUT)/obj/%.o: benchmarks/%.c
	@mkdir -p $(@D)
	$(BENCH_CC) $(BENCH_CFLAGS) -Ibenchmarks -Ilauncher -MMD -MP -c -o $@ $<

$(BENCH_OUT)/spawn_bench: $(BENCH_SPAWN_OBJ)
	$(BENCH_CC) $(BENCH_CFLAGS) -o $@ $^

# One page of code, one mapping: what the kernel does for any program at all.
BENCH_EMPTY_FLAGS := $(BENCH_CFLAGS) -Ibenchmarks/arch/$(BENCH_ARCH) -ffreestanding -fno-stack-protector \
	-fno-asynchronous-unwind-tables -fno-pie -no-pie -static -nostdlib -g0 \
	-Wl,--build-id=none -Wl,-z,noseparate-code -Wl,-z,noexecstack
$(BENCH_OUT)/floor: benchmarks/floor.c benchmarks/arch/$(BENCH_ARCH)/exit.h
	@mkdir -p $(@D)
	$(BENCH_CC) $(BENCH_EMPTY_FLAGS) -o $@ $<
$(BENCH_OUT)/empty: benchmarks/clones/empty.c benchmarks/arch/$(BENCH_ARCH)/call.h
	@mkdir -p $(@D)
	$(BENCH_CC) $(BENCH_EMPTY_FLAGS) -o $@ $<

$(BENCH_OUT)/clone_bench: $(BENCH_CLONE_OBJ) $(B)/libwarm.a
	$(BENCH_CC) $(BENCH_CFLAGS) -o $@ $^ -pthread
$(BENCH_OUT)/obj/keystroke_bench.o: BENCH_CFLAGS += -I.
$(BENCH_OUT)/keystroke_bench: $(BENCH_KEY_OBJ) $(BENCH_KEY_PRODUCT)
	$(BENCH_CC) $(BENCH_CFLAGS) -o $@ $^ -lutil
$(BENCH_OUT)/stamp: benchmarks/programs/stamp.c $(B)/libwarm.a launcher/warm.h
	@mkdir -p $(@D)
	$(BENCH_CC) $(BENCH_CFLAGS) -Ilauncher -o $@ $< $(B)/libwarm.a -pthread
$(BENCH_OUT)/gap: benchmarks/programs/gap.c
	@mkdir -p $(@D)
	$(BENCH_CC) $(BENCH_CFLAGS) -o $@ $<
$(BENCH_OUT)/fork_probe.so: benchmarks/clones/fork_probe.c
	@mkdir -p $(@D)
	$(BENCH_CC) $(BENCH_CFLAGS) -fPIC -shared -o $@ $<

$(BENCH_MANY_LIBS): benchmarks/programs/many_libs/gen.sh
	CXX=$(BENCH_CXX) benchmarks/programs/many_libs/gen.sh $(@D) $(BENCH_LIBS)

# both are run, whatever the first says
bench-run:
	status=0; $(MAKE) bench-launches || status=$$?; $(MAKE) bench-clones || status=$$?; exit $$status

bench-launches: $(BENCH_TOOLS)
	/usr/bin/python3 benchmarks/run.py --warm $(B)/warm --out $(BENCH_OUT)

bench-clones: $(BENCH_CLONE_TOOLS)
	/usr/bin/python3 benchmarks/clones.py --warm $(B)/warm --out $(BENCH_OUT)

bench-kept: $(BENCH_TOOLS)
	/usr/bin/python3 benchmarks/kept.py --warm $(B)/warm --out $(BENCH_OUT)

bench-keystroke: $(BENCH_OUT)/keystroke_bench
	$< -j $(BENCH_OUT)/keystroke.json

bench-breakdown: $(BENCH_TOOLS)
	benchmarks/breakdown.sh

demo-run:
	benchmarks/demo.sh

-include $(BENCH_SPAWN_OBJ:.o=.d) $(BENCH_CLONE_OBJ:.o=.d) $(BENCH_KEY_OBJ:.o=.d)
