/* Files of other tools, damaged: every bit of them turned over, cut behind every byte, and shapes that claim what is
 * not there. Each is refused with a sentence or gives choices that can be; archives notice by their checksums. */
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "../tap.h"
#include "base/bytes.h"
#include "base/file.h"
#include "trace/npy.h"
#include "trace/zip.h"

#if defined __has_feature
#if __has_feature(address_sanitizer)
#define __SANITIZE_ADDRESS__ 1
#endif
#endif
#ifdef __SANITIZE_ADDRESS__
static const bool has_address_sanitizer = true;
#else
static const bool has_address_sanitizer = false;
#endif

#define FOLDER "tests/golden/traces/"

/* What was delivered, as a sum that changes with every number in it. */
struct seen {
	int32_t n_layers, top_k, n_experts;
	int64_t n_bad, n_choices;
	uint64_t sum;
};

static enum moe_status begin(void *arg, const struct moe_trace_header *header, struct moe_err *err)
{
	struct seen *seen = arg;
	(void)err;
	seen->n_layers = header->n_layers;
	seen->top_k = header->top_k;
	seen->n_experts = header->n_experts;
	return MOE_OK;
}

static void stir(struct seen *seen, uint64_t value) { seen->sum = (seen->sum ^ value) * 1099511628211u + 1; }

static enum moe_status take(void *arg, const struct moe_trace_run *run, struct moe_err *err)
{
	struct seen *seen = arg;
	(void)err;
	stir(seen, (uint64_t)run->seq);
	stir(seen, (uint64_t)run->pos);
	for (int64_t t = 0; t < run->n_tokens; t++)
		stir(seen, (uint64_t)(run->tokens[t] + 1));
	for (int32_t l = 0; l < seen->n_layers; l++) {
		const struct moe_routing *r = &run->layers[l];
		stir(seen, (uint64_t)r->layer);
		for (int64_t i = 0; i < r->n_tokens * r->top_k; i++) {
			seen->n_bad += r->ids[i] < -1 || r->ids[i] >= seen->n_experts;
			seen->n_bad += r->weights && (!(r->weights[i] >= 0) || !isfinite(r->weights[i]));
			seen->n_choices++;
			stir(seen, (uint64_t)(r->ids[i] + 1));
			stir(seen, r->weights ? moe_f32_bits(r->weights[i]) : 0);
		}
	}
	return MOE_OK;
}

static enum moe_status import(const char *format, const char *path, struct seen *seen, struct moe_err *err)
{
	int64_t n_dropped = 0;
	char copy[256], *files[] = { copy };
	const struct moe_import_sink sink = { seen, begin, take };
	const struct moe_import_opts opts = { .n_experts = strcmp(format, "logits") == 0 ? 0 : 64, .layer = -1,
		                              .n_dropped = &n_dropped };
	snprintf(copy, sizeof copy, "%s", path);
	*seen = (struct seen) {0};
	*err = (struct moe_err) {0};
	return moe_import_by_name(format)->run(files, 1, &opts, &sink, err);
}

static enum moe_status import_bytes(const char *format, const char *bytes, size_t n, struct seen *seen,
                                    struct moe_err *err)
{
	char path[64];
	int fd = memfd_create("import", MFD_CLOEXEC);
	if (fd < 0 || write(fd, bytes, n) != (ssize_t)n)
		exit(1);
	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	enum moe_status status = import(format, path, seen, err);
	close(fd);
	return status;
}

/* sealed: checksums, or lengths that must agree, leave no room for other numbers. */
static void damage(const char *format, const char *name, bool sealed)
{
	char path[256];
	struct moe_buf file = {0};
	struct moe_err err = {0};
	struct seen whole, seen;
	int64_t n_silent = 0, n_wrong = 0, n_changed = 0, n_taken = 0, n_cuts = 0;
	snprintf(path, sizeof path, FOLDER "%s", name);
	if (!ok(!moe_read_all(path, 0, &file, &err) && !import(format, path, &whole, &err) && whole.n_choices > 0,
	        "%s: %s", name, err.text))
		return;
	for (size_t i = 0; i < 8 * file.n; i++) {
		file.p[i / 8] = (char)(file.p[i / 8] ^ 1 << i % 8);
		const enum moe_status status = import_bytes(format, file.p, file.n, &seen, &err);
		file.p[i / 8] = (char)(file.p[i / 8] ^ 1 << i % 8);
		n_silent += status && !err.text[0];
		n_wrong += seen.n_bad > 0;
		n_taken += !status;
		n_changed += !status && seen.sum != whole.sum;
	}
	ok(n_silent == 0 && n_wrong == 0, "%s: %zu flips: each refused by a sentence, or its choices can be", name,
	   8 * file.n);
	ok(!sealed || n_changed == 0, "%s: of %zu flips %lld are taken, and %lld change a number", name, 8 * file.n,
	   (long long)n_taken, (long long)n_changed);
	n_silent = n_wrong = 0;
	for (size_t n = 0; n < file.n; n++) {
		const enum moe_status status = import_bytes(format, file.p, n, &seen, &err);
		n_silent += status && !err.text[0];
		n_wrong += seen.n_bad > 0;
		n_cuts += status != MOE_OK;
	}
	ok(n_silent == 0 && n_wrong == 0 && (!sealed || n_cuts == (int64_t)file.n), "%s: %lld of %zu cuts are refused",
	   name, (long long)n_cuts, file.n);
	moe_buf_free(&file);
}

/* Shapes that claim more than there is must not be believed: memory is limited while they are read. */
static void test_claims(void)
{
	static const struct {
		const char *descr, *shape;
	} claims[] = {
		{ "<i4", "(1000000000000, 58, 8)" }, { "<i4", "(4611686018427387904, 4, 1)" }, { "<i4", "(0, 5, 5)" },
		{ "<i4", "(1, 1000000000, 1)" },     { "<i4", "(999999999999999999, 0, 7)" },  { "<i4", "()" },
		{ "<i4", "(0, 0, 0)" },              { "<i4", "(2, 2, 2, 2)" },                { "<f4", "(2, 2, 2)" },
		{ "|b1", "(2, 2, 2)" },              { "<c8", "(2, 2, 2)" },                   { "|O", "(2, 2, 2)" },
		{ ">i4", "(2, 2, 2)" },              { "<i4", "(2, 2, -2)" },                  { "<i4", "(8,)" },
		{ "<i4", "(2, 2, 3)" },              { "<i4", "(2, 2, 1)" },
	};
	struct rlimit before;
	/* The address sanitizer itself maps terabytes: under it only the sentences are looked at. */
	const bool limits = !has_address_sanitizer && getrlimit(RLIMIT_AS, &before) == 0 &&
	                    setrlimit(RLIMIT_AS, &(struct rlimit){ 1u << 30, before.rlim_max }) == 0;
	for (size_t i = 0; i < sizeof claims / sizeof *claims; i++) {
		struct seen seen;
		struct moe_err err = {0};
		char file[MOE_NPY_HEADER + 32] = {0};
		memset(file, ' ', MOE_NPY_HEADER);
		memcpy(file, "\x93NUMPY\x01\x00", 8);
		moe_store_u16((uint8_t *)file + 8, MOE_NPY_HEADER - 10);
		int n = snprintf(file + 10, MOE_NPY_HEADER - 10, "{'descr': '%s', 'fortran_order': %s, 'shape': %s}",
		                 claims[i].descr, i % 2 ? "True" : "False", claims[i].shape);
		file[10 + n] = ' ';
		const enum moe_status status = import_bytes("npy", file, sizeof file, &seen, &err);
		ok(status == MOE_EFORMAT && err.text[0], "%s %s: %s", claims[i].descr, claims[i].shape, err.text);
	}
	if (limits)
		setrlimit(RLIMIT_AS, &before);
}

int main(void)
{
	if (access(FOLDER "two.npz", R_OK)) {
		const char *top = getenv("TOP");
		if (!top || chdir(top))
			return 1;
	}
	damage("npy", "one-int32.npy", false);
	damage("npy", "fortran.npy", false);
	damage("npz", "two.npz", true);
	damage("npz", "deflated/two.npz", true);
	damage("safetensors", "two.safetensors", false);
	damage("pt", "plain.pt", true);
	damage("pt", "two.pt", true);
	damage("csv", "two.csv", false);
	damage("jsonl", "two.jsonl", false);
	damage("megatron", "router_trace_rank0.jsonl", false);
	damage("logits", "logits-float32.npy", false);
	test_claims();
	return done();
}
