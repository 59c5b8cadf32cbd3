/* What a rank needs to run a model: its weights, the cache of a sequence, buffers; from a config alone, or from what is
 * stored. */
#ifndef MOE_CONVERT_FITS_H
#define MOE_CONVERT_FITS_H

#include <jansson.h>

#include "base/str.h"
#include "checkpoint/checkpoint.h"
#include "convert/convert.h"
#include "model/model.h"

/* How keys and values are kept. */
enum moe_kv_type { MOE_KV_BF16, MOE_KV_F32, MOE_KV_Q8_0 };

struct moe_fits_opts {
	uint64_t limit;                      /* bytes that a rank has */
	int64_t n_ctx;                       /* positions of a sequence; 0: all that the model has */
	int32_t n_ranks;                     /* among which experts are divided, as moe_plan_complete does */
	enum moe_kv_type kv;
	const struct moe_type_rules *types;  /* NULL: as stored, or as the config says */
	const struct moe_format *to;         /* that holds these types; NULL: GGUF where only that can */
	bool drop_mtp;
};

/* Bytes of the rank that needs most. */
struct moe_fits {
	uint64_t role[MOE_N_ROLES];   /* weights; experts are this rank's own, all else is on every rank */
	uint64_t cache;               /* windows and chunks count as many positions as they hold */
	uint64_t buffers;             /* of a session of moe-run on passes of 512 tokens, its cache apart */
	uint64_t total;
	int64_t n_ctx;
	int64_t longest;              /* the most positions that fit; 0: none does, INT64_MAX: any number */
	bool fits;
};

/* ckpt NULL, or without tensors: what the config says. `where` is for messages. */
MOE_MUST_USE enum moe_status moe_fits_of(struct moe_fits *out, const struct moe_config *config,
                                         const struct moe_ckpt *ckpt, const struct moe_fits_opts *opts,
                                         const char *where, struct moe_err *err);
/* As an object (a new reference, or NULL), and as rows `part bytes` behind lines that say what was asked. */
json_t *moe_fits_json(const struct moe_fits *fits, const struct moe_fits_opts *opts);
void moe_fits_rows(struct moe_buf *out, const struct moe_fits *fits, const struct moe_fits_opts *opts);

#endif
