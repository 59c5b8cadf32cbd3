/* What the surgeries share: each decides what new experts are made of, and what the config says then. */
#ifndef MOE_CONVERT_SURGERY_KINDS_H
#define MOE_CONVERT_SURGERY_KINDS_H

#include "base/table.h"
#include "convert/surgery.h"

/* What a surgery works on. */
struct moe_operation {
	struct moe_surgery *s;
	const struct moe_surgery_opts *opts;
	const struct moe_ckpt *src;
	const struct moe_config *config;   /* what json says before */
	json_t *json;
	struct moe_buf *notes;
};

MOE_MUST_USE enum moe_status moe_surgery_segment(const struct moe_operation *op, struct moe_err *err);
MOE_MUST_USE enum moe_status moe_surgery_keep(const struct moe_operation *op, struct moe_err *err);
MOE_MUST_USE enum moe_status moe_surgery_drop(const struct moe_operation *op, struct moe_err *err);
MOE_MUST_USE enum moe_status moe_surgery_order(const struct moe_operation *op, struct moe_err *err);
MOE_MUST_USE enum moe_status moe_surgery_merge(const struct moe_operation *op, struct moe_err *err);
MOE_MUST_USE enum moe_status moe_surgery_upcycle(const struct moe_operation *op, struct moe_err *err);

/* Room for one term for each of n_experts new experts of every layer, expert 0 whole; first[] is set. */
MOE_MUST_USE enum moe_status moe_surgery_alloc(const struct moe_operation *op, int32_t n_experts, struct moe_err *err);
/* The only term of an expert. */
struct moe_term *moe_surgery_term(const struct moe_surgery *s, int32_t layer, int32_t expert);
/* Says that a softmax over fewer experts weighs them otherwise, where that is so. */
void moe_surgery_say_fewer(const struct moe_operation *op);

/* Experts of a group of the router, all of them where it has none. */
int32_t moe_surgery_group_size(const struct moe_config *config);

/* Sets the first of these keys (ends with NULL) that is there, in the config, its text_config or ffn_config; takes
 * value. False: none is. */
bool moe_surgery_set(json_t *json, const char *const *keys, json_t *value);
/* The keys that configs have for the number of experts. */
extern const char *const moe_surgery_expert_keys[];

/* A table of layers and experts. */
struct moe_expert_list {
	const char *path;
	int32_t *rank;     /* [n_layers][n_experts] which row of its layer names it, from 1; 0: none does */
	int32_t *n;        /* [n_layers] rows */
};
MOE_MUST_USE enum moe_status moe_expert_list_read(struct moe_expert_list *list, const char *path,
                                                  const struct moe_config *config, struct moe_err *err);
void moe_expert_list_free(struct moe_expert_list *list);
/* Row i's layer, which must have experts. */
MOE_MUST_USE enum moe_status moe_expert_list_layer(const struct moe_table *table, int64_t i, int column,
                                                   const struct moe_config *config, int64_t *layer,
                                                   struct moe_err *err);

#endif
