# SPDX-License-Identifier: MIT
# Fuzzing, included by the top-level Makefile.
#
#   make fuzz-replay       the corpus once, with the usual compiler (part of make test)
#   make fuzz              clang's libFuzzer with ASan and UBSan, FUZZ_SECONDS each, from the corpus
#   make fuzz-corpus       write the seeds anew
#
# No target can start a build: tests/fuzz/no_build.c stands in for warmd/build_*.c.

FUZZ_TARGETS := wire adaptor deps image
FUZZ_SECONDS ?= 60
FUZZ_CC ?= clang
FUZZ_SAN := -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer
FUZZ_DAEMON_OBJ := $(filter-out $(B)/obj/warmd/worker.o $(B)/obj/warmd/build_process.o $(B)/obj/warmd/build_queue.o,$(OBJ_daemon))
FUZZ_LIBS := $(filter-out daemon,$(LAYER_warmd))
FUZZ_GEN_OBJ := $(B)/gen/stub.o $(B)/gen/adaptor.o
# the same sources by another compiler
FUZZ_CLANG_OBJ := $(patsubst $(B)/%,$(B)/fuzz/%,$(filter-out $(FUZZ_GEN_OBJ),$(FUZZ_DAEMON_OBJ) $(foreach l,$(FUZZ_LIBS),$(OBJ_$(l)))))

$(B)/tests/replay_%: $(B)/obj/tests/fuzz/fuzz_%.o $(B)/obj/tests/fuzz/replay_main.o $(B)/obj/tests/fuzz/no_build.o $(FUZZ_DAEMON_OBJ) $(call libs,$(FUZZ_LIBS))
	@mkdir -p $(@D)
	$(CC) $(SANFLAGS) -o $@ $^ $(HOST_LIBS)

fuzz-replay: $(FUZZ_TARGETS:%=$(B)/tests/replay_%)
	set -e; for t in $(FUZZ_TARGETS); do timeout 60 $(B)/tests/replay_$$t tests/fuzz/corpus/$$t; done

$(B)/fuzz/obj/%.o: %.c | $(PROTO_H)
	@mkdir -p $(@D)
	$(FUZZ_CC) $(CPPFLAGS) $(CFLAGS) $(PKG_CFLAGS) -Wno-error -w -fPIC $(FUZZ_SAN) -fsanitize=fuzzer-no-link -Iengine/arch/$(ARCH) -MMD -MP -c $< -o $@

$(B)/fuzz/gen/%.o: $(B)/gen/%.c | $(PROTO_H)
	@mkdir -p $(@D)
	$(FUZZ_CC) $(CPPFLAGS) $(CFLAGS) -w -fPIC $(FUZZ_SAN) -fsanitize=fuzzer-no-link -c $< -o $@

$(B)/fuzz/fuzz_%: $(B)/fuzz/obj/tests/fuzz/fuzz_%.o $(B)/fuzz/obj/tests/fuzz/no_build.o $(FUZZ_CLANG_OBJ) $(FUZZ_GEN_OBJ)
	@mkdir -p $(@D)
	$(FUZZ_CC) $(FUZZ_SAN) -fsanitize=fuzzer -o $@ $^ $(HOST_LIBS)

fuzz: $(FUZZ_TARGETS:%=$(B)/fuzz/fuzz_%)
	set -e; for t in $(FUZZ_TARGETS); do mkdir -p $(B)/fuzz/found/$$t; \
		$(B)/fuzz/fuzz_$$t -max_total_time=$(FUZZ_SECONDS) -timeout=10 -rss_limit_mb=2048 -max_len=8192 -print_final_stats=1 \
			-artifact_prefix=$(B)/fuzz/crash-$$t- $(B)/fuzz/found/$$t tests/fuzz/corpus/$$t; done

fuzz-corpus:
	python3 tests/fuzz/make_corpus.py tests/fuzz/corpus

.PHONY: fuzz fuzz-replay fuzz-corpus
