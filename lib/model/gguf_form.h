/* GGUF keys of families with grouped-query attention, and what other readers of their architectures take for granted.
 * Only model/family/ includes this. */
#ifndef MOE_MODEL_GGUF_FORM_H
#define MOE_MODEL_GGUF_FORM_H

#include "model/gguf_keys.h"
#include "model/model.h"

/* What llama.cpp's graph of an architecture computes, as far as a config may ask for something else. */
struct moe_gguf_form {
	bool leading_dense;      /* layers without experts may come first; otherwise all have them, or none has */
	bool steps;              /* every n-th layer has experts, n in a key */
	bool windows;            /* of single layers */
	bool freqs;              /* reads divisors of frequencies (rope_freqs) */
	bool head;               /* needs a head of its own */
	bool square;             /* heads times their width must be the width of the model */
	enum { MOE_GGUF_KEY_SAYS, MOE_GGUF_ALWAYS, MOE_GGUF_NEVER } normalizes;   /* the weights of the chosen */
	bool clips;              /* clamps q, k, v */
};
/* Why the config does not fit (moe_family.gguf_obstacle), or NULL. */
const char *moe_gguf_misfit(const struct moe_config *config, const struct moe_gguf_form *form);

/* Config keys that most of these families spell alike, and their GGUF twins: the first rows of moe_family.keys. */
#define MOE_GQA_KEYS \
	{"vocab_size", "vocab_size", "u32"}, \
	{"max_position_embeddings", "context_length", "u32"}, \
	{"hidden_size", "embedding_length", "u32"}, \
	{"num_attention_heads", "attention.head_count", "u32"}, \
	{"num_experts_per_tok", "expert_used_count", "u32"}, \
	{"rms_norm_eps", "attention.layer_norm_rms_epsilon", "f32"}
#define MOE_GQA_KEYS_END {NULL, NULL, NULL}

/* moe_family.gguf_extra: every key, from the config. Those of the table are written over. */
MOE_MUST_USE enum moe_status moe_gqa_gguf_extra(const struct moe_config *config, json_t *keys, struct moe_err *err);
/* moe_family.hf_extra: layers, key-value heads, the width of a head, rotation. */
MOE_MUST_USE enum moe_status moe_gqa_hf_extra(json_t *config, const json_t *keys, struct moe_err *err);

/* How many layers without experts come first, n_layers where none has any. */
int32_t moe_gguf_first_moe(const struct moe_config *config);
/* Stores a value under a key of config.json; false when out of memory. The value is stolen. */
bool moe_hf_put(json_t *config, const char *key, json_t *value);

#endif
