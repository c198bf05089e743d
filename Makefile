# SPDX-License-Identifier: GPL-2.0-or-later
VERSION := 0.1.0
PREFIX  ?= /usr
DESTDIR ?=
SYSCONFDIR ?= /etc
STATIC  ?= 1
V       ?= 0
O       ?= $(if $(filter 1,$(STATIC)),build,build/shared)

ifeq ($(origin CC),default)
CC      := gcc
endif
CFLAGS  ?= -Os -g
WARN    := -Wall -Wextra -Wconversion -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wformat=2 -Wvla
HARDEN  := -D_FORTIFY_SOURCE=2 -fstack-protector-strong -fstack-clash-protection -fcf-protection
MODULES := libcryptsetup devmapper libcurl tss2-esys tss2-sys tss2-tctildr tss2-tcti-device tss2-tcti-swtpm tss2-rc \
           tss2-mu libcbor json-c openssl
# Of muctl alone, for unlock/verifier/.
CTL_MODULES := libmicrohttpd sqlite3 libpq
ifdef CI
WARN    += -Werror
endif

ifeq ($(STATIC),1)
PKG_CONFIG = PKG_CONFIG_LIBDIR=$(DEPS)/lib/pkgconfig pkg-config --static
LINK        = -static-pie -Wl,-z,pack-relative-relocs -Wl,-Map=$@.map
SBOM       := $(O)/measured-unlock.spdx.json
# No byte of a program depends on where it is built.
MAP         = -ffile-prefix-map=$(CURDIR)=. -ffile-prefix-map=$(DEPS)=deps
else
PKG_CONFIG = pkg-config
LINK       := -pie
endif

BUILDING := $(filter-out help clean uninstall setup deps check demo bench fmt fuzz fuzz-build fuzz-replay fuzz-coverage faults faults-program,$(or $(MAKECMDGOALS),all))
ifneq ($(BUILDING),)
ifeq ($(STATIC),1)
DEPS := $(shell CC='$(CC)' unlock/deps/build --print-prefix)
endif
ifeq ($(STATIC)$(wildcard $(DEPS)),1)
$(error The static libraries are not built: run 'make deps' first, or 'make STATIC=0')
endif
PKG_CFLAGS := $(shell $(PKG_CONFIG) --cflags $(MODULES) $(CTL_MODULES))
PKG_LIBS   := $(shell $(PKG_CONFIG) --libs $(MODULES))
CTL_LIBS   := $(shell $(PKG_CONFIG) --libs $(CTL_MODULES) $(MODULES))
endif

ALL_CFLAGS  = -std=gnu17 -fPIE -ffunction-sections -fdata-sections -fno-asynchronous-unwind-tables -pthread $(WARN) $(HARDEN) \
              $(MAP) -Iunlock -D_GNU_SOURCE -DMU_VERSION='"$(VERSION)"' $(PKG_CFLAGS) $(CFLAGS)
ALL_LDFLAGS = $(LINK) -pthread -Wl,--gc-sections -Wl,-z,relro,-z,now,-z,noexecstack $(LDFLAGS)

comma := ,
Q := $(if $(filter 1,$(V)),,@)
say = @$(if $(filter 1,$(V)),true,printf '  %-7s %s\n' $(1) $(2))

LIB_SRC  := $(wildcard $(addprefix unlock/,$(addsuffix /*.c,base tpm measure attest release volume)))
BOOT_SRC := $(wildcard unlock/boot/*.c)
VERIFIER_SRC := $(wildcard unlock/verifier/*.c)
CTL_SRC  := $(wildcard unlock/ctl/*.c)
UNIT_SRC := $(wildcard tests/unit/test_*.c)
UNIT_LIB := $(filter-out $(UNIT_SRC),$(wildcard tests/unit/*.c))
object    = $(patsubst %.c,$(O)/%.o,$(1))
UNIT     := $(patsubst tests/unit/%.c,$(O)/unit/%,$(UNIT_SRC))

all: $(O)/measured-unlock $(O)/muctl $(SBOM)

help:
	@echo 'make              both programs, static, in build/ (after make deps)'
	@echo 'make STATIC=0     the same against the distribution'"'"'s shared libraries, in build/shared/'
	@echo 'make demo         a guest that unlocks, and two that refuse     (installs what it needs)'
	@echo 'make check        every test                                   (installs what it needs)'
	@echo 'make bench        speed and size against the usual pipeline'
	@echo 'make deps         the static libraries, from source packages'
	@echo 'make unit         the unit tests alone;  make integration, make vm, make faults'
	@echo 'make fuzz         FUZZ_TIME=60 FUZZ=TARGET; see tests/fuzz/README.md'
	@echo 'make install      DESTDIR= PREFIX=/usr;  make uninstall'
	@echo 'make deb rpm      packages of the static programs, in build/'
	@echo 'V=1 shows the commands.'

$(O)/measured-unlock: $(call object,$(BOOT_SRC)) $(O)/libmu.a
$(O)/muctl: $(call object,$(CTL_SRC)) $(O)/libverifier.a $(O)/libmu.a
$(O)/muctl: private PKG_LIBS := $(CTL_LIBS)
$(O)/measured-unlock $(O)/muctl:
	$(call say,LD,$@)
	$(Q)$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS) -o $@.debug $^ $(PKG_LIBS)
	$(Q)strip -R .comment -o $@ $@.debug

$(O)/measured-unlock.spdx.json: $(O)/measured-unlock $(O)/muctl unlock/deps/sbom
	$(call say,SBOM,$@)
	$(Q)unlock/deps/sbom $(VERSION) $(DEPS) $(O)/measured-unlock $(O)/muctl >$@.part
	$(Q)mv $@.part $@

$(O)/libmu.a: $(call object,$(LIB_SRC))
$(O)/libverifier.a: $(call object,$(VERIFIER_SRC))
$(O)/libmu.a $(O)/libverifier.a:
	$(call say,AR,$@)
	$(Q)rm -f $@ && ar rcs $@ $^

$(O)/%.o: %.c $(O)/flags
	$(call say,CC,$@)
	$(Q)mkdir -p $(dir $@)
	$(Q)$(CC) $(ALL_CFLAGS) $(INCLUDE) -MMD -MP -c -o $@ $<

# Objects are made again when the compiler or its flags change.
$(O)/flags: FORCE
	@mkdir -p $(O)
	@echo '$(subst ','\'',$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS) $(CTL_LIBS))' | cmp -s - $@ || \
	    echo '$(subst ','\'',$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS) $(CTL_LIBS))' > $@

$(O)/unit/%: $(O)/tests/unit/%.o $(call object,$(UNIT_LIB)) $(O)/libverifier.a $(O)/libmu.a
	$(call say,LD,$@)
	$(Q)mkdir -p $(dir $@)
	$(Q)$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS) -o $@ $^ -lcmocka $(CTL_LIBS)
$(O)/tests/unit/%.o: INCLUDE := -Itests/unit

-include $(patsubst %.o,%.d,$(call object,$(LIB_SRC) $(VERIFIER_SRC) $(BOOT_SRC) $(CTL_SRC) $(UNIT_SRC) $(UNIT_LIB)))

units: $(UNIT)

$(O)/%.tidy: %.c .clang-tidy $(wildcard unlock/*/*.h) $(O)/flags
	$(call say,TIDY,$<)
	$(Q)mkdir -p $(dir $@)
	$(Q)clang-tidy --quiet $< -- $(ALL_CFLAGS) -DMU_ANALYZE 2>$@.log || { cat $@.log >&2; exit 1; }
	$(Q)touch $@
tidy: $(patsubst %.c,$(O)/%.tidy,$(LIB_SRC) $(VERIFIER_SRC) $(BOOT_SRC) $(CTL_SRC))

# Drives the providers for tests/integration/test_release.py.
$(O)/integration/release_driver: $(O)/tests/integration/release_driver.o $(O)/libmu.a
	$(call say,LD,$@)
	$(Q)mkdir -p $(dir $@)
	$(Q)$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS) -o $@ $^ $(PKG_LIBS)

# Makes and opens tokens, for tests/integration/test_token.py.
$(O)/integration/token_driver: $(O)/tests/integration/token_driver.o $(O)/libmu.a
	$(call say,LD,$@)
	$(Q)mkdir -p $(dir $@)
	$(Q)$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS) -o $@ $^ $(PKG_LIBS)

# Records in a store as a verifier would, for tests/integration/test_watch.py.
$(O)/integration/store_driver: $(O)/tests/integration/store_driver.o $(O)/libverifier.a $(O)/libmu.a
	$(call say,LD,$@)
	$(Q)mkdir -p $(dir $@)
	$(Q)$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS) -o $@ $^ $(CTL_LIBS)

# The real objects without some of the defences, for tests/integration/test_attacks.py.
WEAKENED := $(shell sed -n -e 's/^WRAP.\([a-z_]*\),.*/\1/p' -e 's/^[a-z_ ]*[ *]__wrap_\([a-z_]*\).*;/\1/p' tests/attacks/weak.c)
$(O)/attacks/weak: $(O)/tests/attacks/weak.o $(call object,$(BOOT_SRC)) $(O)/libmu.a
	$(call say,LD,$@)
	$(Q)mkdir -p $(dir $@)
	$(Q)$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS) $(addprefix -Wl$(comma)--wrap=,$(sort $(WEAKENED))) -o $@ $^ $(PKG_LIBS)
drivers: $(O)/integration/release_driver $(O)/integration/token_driver $(O)/integration/store_driver $(O)/attacks/weak

# tests/fuzz/README.md. One build serves fuzzing, replaying and measuring: clang, sanitizers, coverage.
FUZZ_SRC   := $(wildcard tests/fuzz/fuzz_*.c)
FUZZ_LIB   := $(filter-out $(FUZZ_SRC),$(wildcard tests/fuzz/*.c)) tests/unit/fake_tcti.c
FUZZERS    := $(patsubst tests/fuzz/%.c,$(O)/%,$(FUZZ_SRC))
SANITIZE   := address,undefined
FUZZ_TIME  ?= 60
fuzz-make   = +$(Q)$(MAKE) --no-print-directory STATIC=0 O=build/fuzz CC=clang HARDEN= fuzzers \
              CFLAGS='-O1 -g -fno-omit-frame-pointer -fsanitize=fuzzer-no-link,$(SANITIZE) -fno-sanitize-recover=all \
              -fprofile-instr-generate -fcoverage-mapping' LDFLAGS='-fsanitize=fuzzer,$(SANITIZE) -Wl,--no-gc-sections'

$(O)/libfuzz.a: $(call object,$(FUZZ_LIB))
	$(call say,AR,$@)
	$(Q)rm -f $@ && ar rcs $@ $^
$(O)/fuzz_%: $(O)/tests/fuzz/fuzz_%.o $(O)/libfuzz.a $(O)/libverifier.a $(O)/libmu.a
	$(call say,LD,$@)
	$(Q)$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS) $(WRAP) -o $@ $(filter %.o,$^) $(filter %.a,$^) $(CTL_LIBS)
$(O)/fuzz_initramfs: $(O)/unlock/ctl/initramfs.o
$(O)/tests/fuzz/%.o: INCLUDE := -Itests/unit -Itests/fuzz
# What waits between attempts returns at once; answers come from the input.
$(O)/fuzz_kms $(O)/fuzz_imds $(O)/fuzz_vault: WRAP := -Wl,--wrap=http_perform,--wrap=backoff_sleep
$(O)/fuzz_tpm $(O)/fuzz_nsm: WRAP := -Wl,--wrap=backoff_sleep,--wrap=pause_ms,--wrap=log_line
-include $(patsubst %.o,%.d,$(call object,$(FUZZ_SRC) $(FUZZ_LIB)))
.PHONY: fuzzers fuzz fuzz-build fuzz-replay fuzz-coverage
fuzzers: $(FUZZERS)

fuzz-build:
	$(fuzz-make)

fuzz: fuzz-build
	$(Q)FUZZ_TIME=$(FUZZ_TIME) tests/fuzz/run $(FUZZ)

fuzz-replay: fuzz-build
	$(Q)tests/run fuzz

fuzz-coverage: fuzz-build
	$(Q)tests/fuzz/replay --write

# The boot program of which any one library call can be made to fail: test_faults.py. Its own tree of objects, since
# the way to a call is told by frame pointers.
FAULTS_ARGS := STATIC=0 O=build/faults HARDEN= CFLAGS='-O1 -g -fno-inline -fno-omit-frame-pointer -fno-optimize-sibling-calls -DMU_UNFILTERED'
faults-program:
	$(Q)$(MAKE) --no-print-directory $(FAULTS_ARGS) build/faults/faults
ifeq ($(O),build/faults)
FAULTS_SRC := $(wildcard tests/faults/*.c)
$(O)/wrap.args: $(O)/measured-unlock tests/faults/generate tests/faults/table $(FAULTS_SRC)
	$(call say,GEN,$(O)/wrap.S)
	$(Q)tests/faults/generate $(O)/measured-unlock.debug tests/faults/table $(O)
$(call object,$(FAULTS_SRC)): $(O)/wrap.args
$(call object,$(FAULTS_SRC)): INCLUDE := -I$(O) -mgeneral-regs-only
-include $(patsubst %.o,%.d,$(call object,$(FAULTS_SRC)))
$(O)/faults: $(call object,$(FAULTS_SRC)) $(call object,$(BOOT_SRC)) $(O)/libmu.a $(O)/wrap.args
	$(call say,LD,$@)
	$(Q)$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS) @$(O)/wrap.args -o $@ $(O)/wrap.S $(filter-out %.args,$^) $(PKG_LIBS) -ldl
endif

setup:
	$(Q)tests/setup

deps:
	$(Q)CC='$(CC)' unlock/deps/build

check: setup deps
	$(Q)$(MAKE) --no-print-directory all drivers
	$(Q)$(MAKE) --no-print-directory STATIC=0 all units
	$(Q)$(MAKE) --no-print-directory faults-program
	$(fuzz-make)
	$(Q)tests/run

unit integration vm:
	$(Q)$(MAKE) --no-print-directory all drivers
	$(Q)$(MAKE) --no-print-directory STATIC=0 units
	$(Q)$(MAKE) --no-print-directory faults-program
	$(Q)tests/run $@

faults: faults-program
	$(Q)$(MAKE) --no-print-directory STATIC=0 all
	$(Q)MU_BUILD=$(CURDIR)/build/shared /usr/bin/python3 -m pytest -q -n 2 -p no:cacheprovider tests/integration/test_faults.py

demo: setup deps
	$(Q)$(MAKE) --no-print-directory all
	$(Q)vm-tests/demo

bench: setup deps
	$(Q)$(MAKE) --no-print-directory all
	$(Q)tests/bench/run

# DESTDIR may be a guest's root, so nothing here asks this machine where things belong.
DRACUT_DIR := $(DESTDIR)$(PREFIX)/lib/dracut/modules.d/55measured-unlock
HOOKS      := $(wildcard hook/*)
MAN        := $(wildcard docs/*.[1-8])
UNITS      := $(wildcard unlock/packaging/systemd/*)
UNIT_DIR   := $(DESTDIR)$(PREFIX)/lib/systemd/system

install: all
	$(call say,INSTALL,$(or $(DESTDIR),/))
	$(Q)install -D -m 755 $(O)/measured-unlock $(DESTDIR)$(PREFIX)/lib/measured-unlock/measured-unlock
	$(Q)install -D -m 755 $(O)/muctl $(DESTDIR)$(PREFIX)/bin/muctl
	$(Q)install -d $(DRACUT_DIR) $(DESTDIR)$(SYSCONFDIR)/measured-unlock
	$(Q)install -m 755 dracut-module/module-setup.sh $(filter-out %.sh,$(HOOKS)) $(DRACUT_DIR)
	$(Q)install -m 644 $(filter %.sh,$(HOOKS)) $(wildcard $(addprefix dracut-module/*.,service conf network)) $(DRACUT_DIR)
	$(Q)install -D -m 644 dracut-module/amazon-roots.pem $(DESTDIR)$(PREFIX)/share/measured-unlock/amazon-roots.pem
	$(if $(SBOM),$(Q)install -D -m 644 $(SBOM) $(DESTDIR)$(PREFIX)/share/doc/measured-unlock/$(notdir $(SBOM)))
	$(Q)install -d $(UNIT_DIR)
	$(Q)install -m 644 $(UNITS) $(UNIT_DIR)
	$(Q)install -D -m 644 docs/completion.bash $(DESTDIR)$(PREFIX)/share/bash-completion/completions/muctl
	$(Q)$(foreach page,$(MAN),install -D -m 644 $(page) \
	    $(DESTDIR)$(PREFIX)/share/man/man$(subst .,,$(suffix $(page)))/$(notdir $(page)) &&) true

uninstall:
	$(call say,REMOVE,$(or $(DESTDIR),/))
	$(Q)rm -rf $(DRACUT_DIR) $(addprefix $(DESTDIR)$(PREFIX)/,lib/measured-unlock share/measured-unlock share/doc/measured-unlock)
	$(Q)rm -f $(DESTDIR)$(PREFIX)/bin/muctl $(DESTDIR)$(PREFIX)/share/bash-completion/completions/muctl \
	    $(addprefix $(UNIT_DIR)/,$(notdir $(UNITS))) \
	    $(foreach page,$(MAN),$(DESTDIR)$(PREFIX)/share/man/man$(subst .,,$(suffix $(page)))/$(notdir $(page)))

# Packages are of the static programs: what they need is in them.
deb rpm: all
	$(if $(filter 1,$(STATIC)),,$(error A package holds the static programs: run 'make $@' without STATIC=0))
	$(Q)rm -rf $(O)/package/$@*
	$(Q)$(MAKE) --no-print-directory install DESTDIR='$(abspath $(O))/package/$@' PREFIX=/usr SYSCONFDIR=/etc
	$(Q)cp $(DEPS)/versions $(O)/package/$@.versions
	$(Q)unlock/packaging/build $@ '$(abspath $(O))/package/$@' '$(abspath $(O))' $(VERSION)

fmt:
	$(Q)clang-format -i unlock/*/*.[ch] tests/unit/*.[ch] tests/fuzz/*.[ch]

clean:
	$(Q)rm -rf build

FORCE:
.PHONY: all help units tidy drivers setup deps check unit integration vm faults faults-program demo bench fmt clean install uninstall deb rpm FORCE
.SECONDARY:
