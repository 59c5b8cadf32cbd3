/* A conversion: what every tensor of the destination is made of and stored as, decided before a byte is written; then
 * one streaming pass over them. */
#ifndef MOE_CONVERT_CONVERT_H
#define MOE_CONVERT_CONVERT_H

#include "base/pool.h"
#include "checkpoint/checkpoint.h"
#include "checkpoint/write.h"
#include "model/model.h"

/* Storage types by role; NULL: as stored. */
struct moe_type_rules {
	const struct moe_codec *role[MOE_N_ROLES];
	const struct moe_codec *rest;       /* of "*" */
	struct moe_type_pattern *patterns;  /* [n_patterns], malloc'd; the first that fits counts, before roles */
	size_t n_patterns;
	const char *map;                    /* the file that the patterns are from, borrowed; for messages */
};
struct moe_type_pattern {
	char *name;                         /* as the shell's file names; malloc'd */
	const struct moe_codec *codec;
	long long line;                     /* of the file, for messages */
};
void moe_type_rules_free(struct moe_type_rules *rules);
/* Can --type ask for it? */
bool moe_type_writable(const struct moe_codec *codec);
/* Does a rule ask for a type whose numbers need block scales? */
bool moe_type_rules_scaled(const struct moe_type_rules *rules);
/* Do its numbers share scales, or have fewer than 16 bits? */
bool moe_type_quantised(const struct moe_codec *codec);
/* A type of that kind that a rule asks for, or NULL. */
const struct moe_codec *moe_type_rules_quantised(const struct moe_type_rules *rules);
/* "bf16", or "exps=q8_0,attn=bf16,*=f16". Unknown roles and types, and a role given twice, are MOE_EUSAGE. */
MOE_MUST_USE enum moe_status moe_type_rules_parse(struct moe_type_rules *rules, const char *text, struct moe_err *err);
/* Adds those of a table with the columns pattern and type; path must outlive the rules. */
MOE_MUST_USE enum moe_status moe_type_rules_map(struct moe_type_rules *rules, const char *path, struct moe_err *err);
/* What the patterns say of a name of the destination, or NULL. */
const struct moe_codec *moe_type_rules_find(const struct moe_type_rules *rules, const char *name);

/* What is done to experts, one of these at a time; tables have the columns layer and expert where nothing is said. */
struct moe_surgery_opts {
	int32_t segment;            /* parts to cut every expert into; 0: none is cut */
	const char *keep, *drop;    /* those to keep, or not to */
	const char *order;          /* the new order of a layer's experts */
	const char *merge;          /* weighted averages: layer, new, old, weight */
	int32_t upcycle;            /* experts to make of a dense network; 0: none */
	int32_t upcycle_top_k;      /* chosen of these; 0: two */
	bool upcycle_shared;        /* the network stays as a shared expert, and those begin with nothing to say */
	double upcycle_noise;       /* standard deviation of what is added to their weights */
	int64_t seed;
};

/* How safetensors hold experts: as the family is published, or as asked. */
enum moe_experts_layout { MOE_EXPERTS_ANY, MOE_EXPERTS_SPLIT, MOE_EXPERTS_STACKED };

/* How block scales are stored: as they are, as f32, as f32 that are powers of two, as powers of two in a byte each. */
enum moe_scales_form { MOE_SCALES_ANY, MOE_SCALES_F32, MOE_SCALES_POW2, MOE_SCALES_E8M0 };

struct moe_convert_opts {
	const struct moe_format *to;
	const char *dst;
	const struct moe_type_rules *types;   /* NULL: everything as stored */
	uint64_t shard_bytes;                 /* safetensors; 0: one file */
	int32_t n_ranks;                      /* that a format of ranks' files is for, at least 1 */
	unsigned flags;                       /* MOE_OUT_FORCE */
	bool drop_mtp;
	bool dequantize;                      /* types of fewer than 16 bits become bf16, but for rules */
	enum moe_experts_layout experts;
	enum moe_scales_form scales;
	struct moe_surgery_opts surgery;
	const char *imatrix;                  /* a table of importance; NULL: every number matters the same */
	int64_t imatrix_tokens;               /* an expert that saw fewer takes weights from the others */
	bool resume;                          /* go on with what is there, and leave what a later run goes on with */
	struct moe_watch *watch;
};

struct moe_convert;

/* Reads nothing of the tensors but their headers. src and what opts points to must outlive it. */
MOE_MUST_USE enum moe_status moe_convert_plan(struct moe_convert **out, const struct moe_ckpt *src,
                                              const struct moe_convert_opts *opts, struct moe_err *err);
/* What the user should know of the plan: sentences, one a line; `details`: those of interest with -v. Views. */
const char *moe_convert_notes(const struct moe_convert *conv, bool details);
size_t moe_convert_tensors(const struct moe_convert *conv);
/* Bytes the destination takes, headers and companions included. */
uint64_t moe_convert_bytes(const struct moe_convert *conv);
/* Calls fn for every file of the destination; name "" is the destination itself. */
MOE_MUST_USE enum moe_status moe_convert_files(const struct moe_convert *conv,
                                               void (*fn)(void *arg, const char *name, uint64_t n_bytes), void *arg,
                                               struct moe_err *err);
/* Memory of its own that moe_convert_run takes with so many threads, mappings apart. */
uint64_t moe_convert_memory(const struct moe_convert *conv, int n_threads);
/* After moe_convert_run: had an earlier run finished it all, and how many of the files' tensors had it written? */
bool moe_convert_complete(const struct moe_convert *conv);
size_t moe_convert_kept(const struct moe_convert *conv);
/* Writes. progress (may be NULL) hears of bytes written, from one thread at a time. */
MOE_MUST_USE enum moe_status moe_convert_run(struct moe_convert *conv, struct moe_pool *pool,
                                             void (*progress)(void *arg, size_t n_bytes), void *arg,
                                             struct moe_err *err);
void moe_convert_free(struct moe_convert *conv);   /* NULL is fine */

#endif
