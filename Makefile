# moe-tools: five programs over one library. `make help` lists the targets.

VERSION := 0.1.0
PREFIX  ?= /usr/local
DESTDIR ?=
bindir   = $(PREFIX)/bin
mandir   = $(PREFIX)/share/man
sharedir = $(PREFIX)/share/moe-tools
docdir   = $(PREFIX)/share/doc/moe-tools
bashdir  = $(PREFIX)/share/bash-completion/completions
zshdir   = $(PREFIX)/share/zsh/site-functions
fishdir  = $(PREFIX)/share/fish/vendor_completions.d

# The order in which data flows: a folder includes itself and those before it, never a later one (tests/lint checks).
LIB_ORDER := base tensor device checkpoint text model route plan forward trace eval stats placement convert plot
# Plug-in folders: adding a member is adding a file.
KINDS := tensor/codec device/cpu/dot checkpoint/format model/family route/policy route/kernel forward/mixer trace/format \
         stats/metric placement/form placement/planner text/source text/model text/normalizer text/pretokenizer \
         text/decoder text/chat

BUILD    ?= build
CC       ?= cc
OPT      ?= -O3 -g
WARN     := -Wall -Wextra -Wpedantic -Wno-psabi
WERROR   ?=
SAN      ?=
CPPFLAGS += -D_GNU_SOURCE -DMOE_VERSION='"$(VERSION)"' -Ilib -I$(BUILD)/gen
CFLAGS   += -std=c17 $(OPT) $(WARN) $(WERROR) $(SAN) -ffp-contract=off -fno-math-errno -pthread
LDFLAGS  += $(SAN) -pthread

# All cores, unless the caller said how many.
ifeq (0,$(MAKELEVEL)$(findstring -j,$(MAKEFLAGS)))
MAKEFLAGS += -j$(shell nproc 2>/dev/null || echo 2)
endif

HASH := \#
# Text as one word of the shell, whatever is in it.
q     = '$(subst ','\'',$(1))'
# zlib unless libdeflate is there; DEFLATE=zlib forces the former.
HAVE_LIBDEFLATE := $(shell printf '$(HASH)include <libdeflate.h>\nint main(void){return 0;}\n' | \
                     $(CC) -x c - -o /dev/null -ldeflate 2>/dev/null && echo yes)
DEFLATE ?= $(if $(HAVE_LIBDEFLATE),libdeflate,zlib)
ifeq ($(DEFLATE),libdeflate)
CPPFLAGS += -DMOE_HAVE_LIBDEFLATE
DEFLATE_LIB := -ldeflate
endif
# SHA-256 only where there is libnettle; NETTLE=no builds without.
NETTLE ?= $(if $(shell printf '$(HASH)include <nettle/sha2.h>\nint main(void){return 0;}\n' | \
             $(CC) -x c - -o /dev/null -lnettle 2>/dev/null && echo yes),yes,no)
NETTLE_LIB := $(if $(filter yes,$(NETTLE)),-lnettle)
LIBS := -ljansson -lpcre2-8 -lutf8proc -lxxhash -lz $(DEFLATE_LIB) $(NETTLE_LIB) -lm

# What this machine offers beside the required libraries; CUDA=, NCCL= and MPI= override what is found.
found    = $(if $(shell { $(1); } >/dev/null 2>&1 && echo 1),yes,no)
CUDA    ?= $(call found,command -v nvcc || test -x /usr/local/cuda/bin/nvcc)
NCCL    ?= $(call found,printf '$(HASH)include <nccl.h>\n' | $(CC) -E -I/usr/local/cuda/include -x c -)
MPI     ?= $(call found,command -v mpicc)
RSVG ?= $(call found,command -v rsvg-convert)
FEATURES = cuda $(CUDA)  nccl $(NCCL)  mpi $(MPI)  rsvg $(RSVG)  deflate $(DEFLATE)  nettle $(NETTLE)

TOOLS    := $(sort $(basename $(notdir $(wildcard cmd/moe-*.c))))
LIB_SRC  := $(sort $(foreach d,$(LIB_ORDER),$(shell find lib/$(d) -name '*.c' 2>/dev/null)))
# Storage types are compiled once more for each of these instruction sets, all names with the set's at the end;
# tensor.c chooses at run time.
ISAS     := $(if $(shell $(CC) -dM -E -x c /dev/null | grep -w __x86_64__),avx2)
ISA_SRC  := $(wildcard lib/tensor/codec/*.c) lib/tensor/kquant.c lib/tensor/subblocks.c
ISA_OBJ  := $(foreach i,$(ISAS),$(ISA_SRC:lib/tensor/%.c=$(BUILD)/lib/tensor/$(i)/%.o))
ISA_NAME := $(patsubst lib/tensor/codec/%.c,moe_codec_%,$(wildcard lib/tensor/codec/*.c)) \
            moe_kquant_affine moe_kquant_symmetric moe_subblocks_affine moe_subblocks_symmetric
CPPFLAGS += $(ISAS:%=-DMOE_ISA_%)
LIB_OBJ  := $(LIB_SRC:%.c=$(BUILD)/%.o) $(ISA_OBJ)
TOOL_BIN := $(TOOLS:%=$(BUILD)/bin/%)
PAGES    := $(patsubst %,$(BUILD)/%,$(sort $(wildcard man/*.[157])))
GEN      := $(foreach k,$(KINDS),$(BUILD)/gen/gen/$(subst /,_,$(k)).h)
UNIT     := $(patsubst tests/%.c,$(BUILD)/tests/%,$(wildcard tests/unit/test_*.c tests/parity/test_*.c \
              tests/fuzz/fuzz_*.c))

ifeq ($(V),)
say = @echo '  $(1) $@';
endif

.SECONDARY:
.DEFAULT_GOAL := all
.DELETE_ON_ERROR:
.PHONY: all tests help deps deps-all check demo lint bench fuzz coverage completions install uninstall dist clean FORCE
FORCE:

all: $(TOOL_BIN) $(PAGES)
	@echo '$(FEATURES)'

help:
	@echo 'make               build the programs into $(BUILD)/bin'
	@echo 'make demo          the whole pipeline once on a sample model (installs what is missing first)'
	@echo 'make check         all tests (installs what is missing first); tests/run PART runs a part'
	@echo 'make deps          install the required Debian packages that are missing; deps-all: those of .ci/run too'
	@echo 'make install       into PREFIX=$(PREFIX) below DESTDIR; make uninstall takes it away again'
	@echo 'make lint          layout, headers, registries, pages, scripts'
	@echo 'make bench         seconds and rates of each program on a sample model, and of the policies'
	@echo 'make fuzz          libFuzzer on every parser, FUZZ_SECONDS=60 each; needs clang'
	@echo 'make coverage      lines reached by the tests, per file, with gcov'
	@echo 'make completions   write completions/, and the list of families in man/, from the tables of the programs'
	@echo 'make dist          $(BUILD)/moe-tools-$(VERSION).tar.xz'
	@echo 'make clean         remove $(BUILD)'
	@echo 'variables: CC OPT WERROR=-Werror SAN=-fsanitize=address BUILD=DIR DEFLATE=zlib NETTLE=no PREFIX DESTDIR V=1'
	@echo '$(FEATURES)'

# ---- compiling -------------------------------------------------------------------------------------------------------

tests: $(UNIT) $(BUILD)/tests/bench/checkpoint
	@:

# A file that holds the given text, touched only when the text changes: what depends on it is built again then.
define stamp_rule
$(BUILD)/$(1): FORCE
	@mkdir -p $$(@D)
	@printf '%s\n' $$(call q,$(2)) > $$@.new
	@if cmp -s $$@.new $$@; then rm $$@.new; else mv $$@.new $$@; fi
endef
$(eval $(call stamp_rule,stamp/compile,$$(CC) $$(CPPFLAGS) $$(CFLAGS)))
$(eval $(call stamp_rule,stamp/link,$$(CC) $$(LDFLAGS) $$(LIBS)))
$(eval $(call stamp_rule,stamp/sources,$$(LIB_SRC)))
$(eval $(call stamp_rule,stamp/share,$$(sharedir)))

# One table per plug-in folder: a line X(member) per file, sorted; touched only when the listing changes.
define kind_rule
$(BUILD)/gen/gen/$(subst /,_,$(1)).h: FORCE
	@mkdir -p $$(@D)
	@for f in $$(sort $$(wildcard lib/$(1)/*.c)); do n=$$$${f##*/}; echo "X($$$${n%.c})"; done > $$@.new
	@if cmp -s $$@.new $$@; then rm $$@.new; else mv $$@.new $$@; fi
endef
$(foreach k,$(KINDS),$(eval $(call kind_rule,$(k))))

# Looked for before anything is compiled, so that what is missing is said once and in words.
HEADERS := stdlib.h jansson.h pcre2.h utf8proc.h xxhash.h zlib.h
$(BUILD)/stamp/headers: $(BUILD)/stamp/compile
	@missing=; for h in $(HEADERS); do \
	  printf '$(HASH)define PCRE2_CODE_UNIT_WIDTH 8\n$(HASH)include <%s>\n' $$h | \
	    $(CC) $(CPPFLAGS) -E -x c -o /dev/null - 2>/dev/null || missing="$$missing $$h"; done; \
	if test -n "$$missing"; then \
	  echo "$(firstword $(CC)) does not find$$missing: 'make deps' installs what is missing" >&2; exit 1; fi
	@touch $@

$(BUILD)/%.o: %.c $(BUILD)/stamp/compile | $(GEN) $(BUILD)/stamp/headers
	@mkdir -p $(@D)
	$(call say,CC  )$(CC) $(CPPFLAGS) $(CFLAGS) -MMD -MP -c -o $@ $<

define isa_rule
$(BUILD)/lib/tensor/$(1)/%.o: lib/tensor/%.c $(BUILD)/stamp/compile | $(GEN) $(BUILD)/stamp/headers
	@mkdir -p $$(@D)
	$$(call say,CC  )$$(CC) $$(CPPFLAGS) $$(foreach n,$$(ISA_NAME),-D$$(n)=$$(n)_$(1)) $$(CFLAGS) -m$(1) -MMD -MP -c -o $$@ $$<
endef
$(foreach i,$(ISAS),$(eval $(call isa_rule,$(i))))

# The only place where a path of the installation enters a program; private, or its stamps would inherit it.
$(BUILD)/cmd/tool_model.o: private CPPFLAGS += -DMOE_SHARE_DIR='"$(sharedir)"'
$(BUILD)/cmd/tool_model.o: $(BUILD)/stamp/share
# And what only one file asks for.
$(BUILD)/lib/base/sha256.o: private CPPFLAGS += $(if $(filter yes,$(NETTLE)),-DMOE_HAVE_NETTLE)
$(BUILD)/lib/base/sha256.o: $(BUILD)/stamp/link

$(BUILD)/libmoe.a: $(LIB_OBJ) $(BUILD)/stamp/sources
	@rm -f $@
	$(call say,AR  )$(AR) qcs $@ $(LIB_OBJ)

# A program is cmd/NAME.c and, where that grew too long, the files of cmd/NAME/.
TOOL_OBJ := $(patsubst %,$(BUILD)/cmd/%.o,tool tool_files tool_model)
TOOL_SRC := $(wildcard cmd/moe-*.c cmd/moe-*/*.c)
$(TOOL_SRC:%.c=$(BUILD)/%.o): private CPPFLAGS += -Icmd

define tool_rule
$(BUILD)/bin/$(1): $(patsubst %.c,$(BUILD)/%.o,cmd/$(1).c $(wildcard cmd/$(1)/*.c)) $(TOOL_OBJ) $(BUILD)/libmoe.a \
                   $(BUILD)/stamp/link
	@mkdir -p $$(@D)
	$$(call say,LINK)$$(CC) $$(LDFLAGS) -o $$@ $$(filter %.o %.a,$$^) $$(LIBS)
endef
$(foreach t,$(TOOLS),$(eval $(call tool_rule,$(t))))

# Pages as they are installed: with the families that are there.
$(BUILD)/man/%: man/% man/generate $(BUILD)/bin/moe-convert
	@mkdir -p $(@D)
	$(call say,PAGE)BIN=$(BUILD)/bin man/generate $< > $@

$(BUILD)/tests/%: $(BUILD)/tests/%.o $(BUILD)/libmoe.a $(BUILD)/stamp/link
	$(call say,LINK)$(CC) $(LDFLAGS) -o $@ $(filter %.o %.a,$^) $(LIBS)

-include $(LIB_OBJ:.o=.d) $(TOOL_OBJ:.o=.d) $(TOOL_SRC:%.c=$(BUILD)/%.d) $(UNIT:=.d) $(BUILD)/tests/rate_route.d $(BUILD)/tests/bench/checkpoint.d

# ---- the two commands of the README, and what they need --------------------------------------------------------------

# Packages may arrive during `deps`, so the rest runs in a make of its own that looks for libraries again.
demo:
	@.ci/deps
	@$(MAKE) --no-print-directory all
	@BIN=$(call q,$(abspath $(BUILD))/bin) share/pipelines/demo.sh $(BUILD)/demo

check:
	@.ci/deps
	@$(MAKE) --no-print-directory all tests
	@BUILD=$(BUILD) tests/run

deps:
	@.ci/deps

deps-all:
	@.ci/deps --all

lint: all tests
	@BUILD=$(BUILD) tests/run lint

bench: all $(BUILD)/tests/rate_route $(BUILD)/tests/bench/checkpoint
	@BIN=$(call q,$(abspath $(BUILD))/bin) tests/bench/programs.sh
	@BUILD=$(call q,$(abspath $(BUILD))) RUNS=1 tests/bench/convert.sh
	@$(BUILD)/tests/rate_route

FUZZ_SECONDS ?= 60
fuzz:
	@$(MAKE) --no-print-directory BUILD=build-fuzz CC=clang-14 SAN='-fsanitize=address,undefined,fuzzer-no-link' \
	  build-fuzz/libmoe.a
	@set -e; for f in tests/fuzz/fuzz_*.c; do n=$${f##*/fuzz_}; n=$${n%.c}; mkdir -p build-fuzz/corpus/$$n; \
	  clang-14 -g -D_GNU_SOURCE -DMOE_FUZZER -Ilib -Ibuild-fuzz/gen -fsanitize=address,undefined,fuzzer \
	    -o build-fuzz/fuzz_$$n $$f build-fuzz/libmoe.a $(LIBS); echo "$$n"; \
	  build-fuzz/fuzz_$$n -max_total_time=$(FUZZ_SECONDS) -rss_limit_mb=4096 -print_final_stats=0 \
	    build-fuzz/corpus/$$n $$(ls -d tests/fuzz/corpus/$$n 2>/dev/null); done

coverage:
	@$(MAKE) --no-print-directory BUILD=build-cov OPT='-O0 -g' SAN=--coverage all tests
	@BUILD=build-cov tests/run unit cli pipe fuzz || true
	@find build-cov/lib build-cov/cmd -name '*.gcda' | while read -r f; do gcov -n "$$f"; done 2>/dev/null | \
	  awk -F"'" '/^File .(lib|cmd)/ { f = $$2 } /^Lines executed/ && f { sub(/Lines executed:/, ""); print f "\t" $$0; f = "" }' | sort

completions: all
	@BIN=$(BUILD)/bin completions/generate completions
	@for p in man/*.[157]; do cmp -s $(BUILD)/$$p $$p || cp $(BUILD)/$$p $$p || exit 1; done

# ---- installing ------------------------------------------------------------------------------------------------------

SHARE_DIRS := models text eval pipelines topologies
SHARE_FILES = $(patsubst share/%,%,$(sort $(shell find $(SHARE_DIRS:%=share/%) -type f 2>/dev/null)))
MAN_PAGES   = $(notdir $(PAGES))
SECTIONS   := 1 5 7
# A folder of the installation below DESTDIR, as a word of the shell.
at          = $(call q,$(DESTDIR)$(1))

install: all
	install -d $(call at,$(bindir)) $(foreach s,$(SECTIONS),$(call at,$(mandir)/man$(s))) $(call at,$(bashdir)) \
	  $(call at,$(zshdir)) $(call at,$(fishdir)) $(call at,$(docdir))
	install -m 755 $(TOOL_BIN) $(call at,$(bindir))
	for s in $(SECTIONS); do install -m 644 $(BUILD)/man/*.$$s $(call at,$(mandir))/man$$s || exit 1; done
	for t in $(TOOLS); do install -m 644 completions/moe.bash $(call at,$(bashdir))/$$t && \
	  install -m 644 completions/moe.fish $(call at,$(fishdir))/$$t.fish || exit 1; done
	install -m 644 completions/_moe $(call at,$(zshdir))
	install -m 644 README.md LICENSE $(call at,$(docdir))
	@for f in $(SHARE_FILES); do m=644; test -x share/$$f && m=755; \
	  install -D -m $$m share/$$f $(call at,$(sharedir))/$$f || exit 1; done; echo 'share ->' $(call at,$(sharedir))

uninstall:
	for t in $(TOOLS); do rm -f $(call at,$(bindir))/$$t $(call at,$(bashdir))/$$t $(call at,$(fishdir))/$$t.fish; done
	for p in $(MAN_PAGES); do rm -f $(call at,$(mandir))/man$${p$(HASH)$(HASH)*.}/$$p; done
	rm -f $(call at,$(zshdir)/_moe) $(call at,$(docdir)/README.md) $(call at,$(docdir)/LICENSE)
	@for f in $(SHARE_FILES); do rm -f $(call at,$(sharedir))/$$f; done
	@for d in $(call at,$(sharedir)) $(call at,$(docdir)); do \
	  test ! -d "$$d" || find "$$d" -depth -type d -empty -delete; done

# Of the commit where this is a git checkout, else of the files that are here; either way the same names.
DIST := $(BUILD)/moe-tools-$(VERSION)
dist:
	@mkdir -p $(BUILD)
	@for p in man/*.[157]; do mandoc -T lint -W warning "$$p" || exit 1; done
	@if test ! -e .git; then \
	  tar -cf $(DIST).tar --exclude='./build' --exclude='./build-*' --sort=name --owner=0 --group=0 --numeric-owner \
	    --transform='s,^\.,moe-tools-$(VERSION),' .; \
	elif test -n "$$(git status --porcelain)"; then echo 'dist: there are uncommitted changes' >&2; exit 1; \
	else git archive --prefix=moe-tools-$(VERSION)/ -o $(DIST).tar HEAD; fi
	@xz -6 < $(DIST).tar > $(DIST).tar.xz.new
	@rm $(DIST).tar
	@mv $(DIST).tar.xz.new $(DIST).tar.xz
	@ls -l $(DIST).tar.xz

clean:
	rm -rf $(BUILD)
