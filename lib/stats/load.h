/* How often each expert was chosen: the load table of moe-load(5), and the type that metrics and planners read. */
#ifndef MOE_STATS_LOAD_H
#define MOE_STATS_LOAD_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/file.h"
#include "base/str.h"
#include "route/route.h"

/* Sum of gates in units of 2^-40: integer, so that parts merge exactly in any order. */
struct moe_gate_sum {
	uint64_t lo, hi;   /* 128 bits */
};
#define MOE_GATE_MAX 0x1p40f   /* no gate of a router comes near; with it 2^48 gates fit a sum */
void moe_gate_sum_add(struct moe_gate_sum *sum, float gate);   /* gate in [0, MOE_GATE_MAX]: the caller checks */
void moe_gate_sum_set(struct moe_gate_sum *sum, double value);   /* rounded; value in [0, 2^53] */
void moe_gate_sum_merge(struct moe_gate_sum *into, const struct moe_gate_sum *from);   /* saturates */
double moe_gate_sum_value(const struct moe_gate_sum *sum);

/* Counts of a table are at most this, so that they are exact in doubles and in JSON. */
#define MOE_LOAD_COUNT_MAX (UINT64_C(1) << 53)

struct moe_load {
	int32_t n_layers, n_experts;
	int32_t *layers;               /* [n_layers] the model's indices, ascending */
	uint64_t *counts;              /* [n_layers][n_experts] */
	struct moe_gate_sum *weights;  /* [n_layers][n_experts] */
	uint64_t n_tokens;             /* 0 where the source did not say */
	char *model;                   /* "xxh3:...", else a name, or "" */
};

MOE_MUST_USE enum moe_status moe_load_init(struct moe_load *load, const int32_t *layers, int32_t n_layers,
                                           int32_t n_experts, struct moe_err *err);
void moe_load_free(struct moe_load *load);   /* leaves it zero */
/* A copy of `name` (NULL: "") takes the place of load->model; blanks and control characters, which a #key=value line
 * cannot hold, become '_'. */
MOE_MUST_USE enum moe_status moe_load_set_model(struct moe_load *load, const char *name, struct moe_err *err);
/* Row of a layer, by the model's own index, or -1. */
int32_t moe_load_find(const struct moe_load *load, int32_t layer);
/* The routing of one layer; weights NULL adds counts only. An id or gate out of range is MOE_EFORMAT and adds nothing
 * from there on. Two threads may add different layers at once. n_tokens is the caller's to count. */
MOE_MUST_USE enum moe_status moe_load_add(struct moe_load *load, const struct moe_routing *routing,
                                          struct moe_err *err);
/* Are both of one model, as far as they say: the same layers, experts and, where both have one, name? Else a sentence
 * naming both. Counts are not looked at. */
MOE_MUST_USE enum moe_status moe_load_alike(const struct moe_load *a, const struct moe_load *b, struct moe_err *err);
/* Shapes and, where both are known, models must agree; otherwise a sentence naming both, and `into` is as before. */
MOE_MUST_USE enum moe_status moe_load_merge(struct moe_load *into, const struct moe_load *from, struct moe_err *err);
/* *out = the given layers of `from` (ascending, all present). */
MOE_MUST_USE enum moe_status moe_load_pick(struct moe_load *out, const struct moe_load *from, const int32_t *layers,
                                           int32_t n_layers, struct moe_err *err);

/* What one load table holds: a load, or one for each label of its column `source`. */
struct moe_load_parts {
	size_t n;
	struct moe_load *loads;   /* [n] alike; n_tokens is 0 where n > 1 */
	char **sources;           /* [n] in order of their first row; NULL: no column `source`, and n is 1 */
	uint64_t n_tokens;        /* of all; 0 where the table does not say */
};

/* A matrix of importance (moe_load_imatrix_read), a dump of counts (moe_load_sglang_read), or a table with the columns
 * layer expert count weight and perhaps source; every (layer, expert) pair must be there once, of every source, else a
 * sentence with the line or the pair that is missing. count may be a decimal fraction only if it is whole. */
MOE_MUST_USE enum moe_status moe_load_parts_read(struct moe_load_parts *parts, const char *path, struct moe_err *err);
/* The same from memory; `name` is what messages call it. */
MOE_MUST_USE enum moe_status moe_load_parts_parse(struct moe_load_parts *parts, const char *text, size_t n,
                                                  const char *name, struct moe_err *err);
/* Is this a regular file that begins as GGUF does? */
bool moe_load_is_gguf(const char *path);
/* The counts of experts in a matrix of importance of llama.cpp, a GGUF file. n_tokens is not known, weights are 0. */
MOE_MUST_USE enum moe_status moe_load_imatrix_read(struct moe_load *load, const char *path, struct moe_err *err);
/* Is this a regular file that begins as a zip archive does, and so one of torch.save? */
bool moe_load_is_torch(const char *path);
/* What SGLang's recorder of expert distributions dumps. Layers without any choice are left out; n_tokens is not known,
 * weights are 0. */
MOE_MUST_USE enum moe_status moe_load_sglang_read(struct moe_load *load, const char *path, struct moe_err *err);
void moe_load_parts_free(struct moe_load_parts *parts);   /* leaves it zero */
/* One load: the table's, summed over its sources. */
MOE_MUST_USE enum moe_status moe_load_read(struct moe_load *load, const char *path, struct moe_err *err);
MOE_MUST_USE enum moe_status moe_load_parse(struct moe_load *load, const char *text, size_t n, const char *name,
                                            struct moe_err *err);
/* Appends the table, header line included, weights with enough digits to read back the same double. */
void moe_load_print(const struct moe_load *load, struct moe_buf *out);

#endif
