/* A model: its numbers, and views of its weights by the part they play. `model` never computes.
 *
 * Formulas and names: DeepSeek-V2 and V3 reports and the published configurations. */
#ifndef MOE_MODEL_MODEL_H
#define MOE_MODEL_MODEL_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/err.h"
#include "checkpoint/checkpoint.h"
#include "tensor/tensor.h"

/* What mixes tokens in a layer, and what follows it. Members of forward/mixer carry the names. */
enum moe_ffn_kind { MOE_FFN_DENSE, MOE_FFN_MOE };

/* Rotary embedding with context scaling (linear; Llama 3's; YaRN as DeepSeek uses it). */
struct moe_rope {
	int32_t n_dims;          /* rotated width */
	double share;            /* of a head that is rotated, where the config does not say; 0: all of it, always */
	bool interleaved;        /* pairs (2i, 2i+1); otherwise (i, i + n_dims/2) */
	double theta;
	/* Does a config of this family know LongRoPE, and a base stretched by alpha? Elsewhere the same words mean
	 * other formulas. */
	bool may_lengthen, may_stretch;
	double linear;           /* inverse frequencies are divided by it; 0: not */
	bool llama3;             /* long waves slowed by factor: low_freq_factor, high_freq_factor */
	double low_freq_factor, high_freq_factor;
	bool yarn;
	double factor, beta_fast, beta_slow, mscale, mscale_all_dim;
	int32_t original_positions;
	bool untruncated;        /* YaRN's ramp may begin and end between two dimensions */
	double attention_factor; /* on cos and sin, instead of what mscale and mscale_all_dim say; 0: not set */
	/* LongRoPE: inverse frequency i is divided by factors[long][i], and cos and sin are multiplied by
	 * magnitudes[long]; long is 1 where sequences may be longer than original_positions. NULL: not */
	double *factors;         /* [2][n_dims / 2], malloc'd; moe_config_free */
	double magnitudes[2];
};

/* Which policy a layer's router runs by default, and its parameters. */
struct moe_router_spec {
	const char *policy;      /* a member of route/policy; "" in models without experts */
	int32_t top_k;
	int32_t n_groups, top_groups;
	double scale;            /* routed_scaling_factor */
	bool normalize;          /* divide the chosen weights by their sum */
	double eps, p_norm;      /* sparsemixer's and dbrx's own */
	bool bias;               /* a correction bias joins the choice, not the weights */
	bool scales_input;       /* the weight multiplies what its expert reads, not what it gives */
	int64_t capacity;        /* tokens of a sequence that an expert takes in a layer, the first ones; those that
	                          * choose it later weigh 0; 0: no limit */
};

/* Normalisation of queries and keys before rotation. */
enum moe_qk_norm {
	MOE_QK_NORM_NONE,
	MOE_QK_NORM_HEAD,    /* each head over its own numbers, weight [head_dim] */
	MOE_QK_NORM_WHOLE,   /* all heads together, weight [heads head_dim] */
	MOE_QK_NORM_PLAIN,   /* each head over its own numbers, without weights, and only where it is rotated */
};

/* Does latent attention read only the positions that a lightning indexer chose (DeepSeek-V3.2)? */
enum moe_indexer {
	MOE_INDEXER_NONE,
	MOE_INDEXER_OWN,     /* the layer's own weights choose */
	MOE_INDEXER_SHARED,  /* it reads what the last layer with its own chose */
};

struct moe_layer_kind {
	const char *mixer;       /* "mla", ... a member of forward/mixer */
	enum moe_ffn_kind ffn;
	int64_t cache_elems;     /* numbers cached per token */
	int64_t window;          /* a position sees the last `window` positions, itself included; 0: all before it */
	int64_t attention_chunk; /* a position sees those of its own chunk of so many only; 0: all before it */
	bool temperature;        /* queries grow with their position: moe_config.temperature */
	bool no_rope;            /* queries and keys are not rotated */
	enum moe_indexer indexer;
	bool encoder;            /* part of the encoder: every position sees all others */
	bool cross;              /* attends to the encoder's output too, behind its self-attention */
	bool mtp;                /* a multi-token-prediction layer behind the ordinary ones */
};

struct moe_family;

struct moe_config {
	const struct moe_family *family;
	char architecture[96];
	int32_t vocab_size, hidden_size, n_layers, n_mtp_layers;   /* n_layers without MTP */
	int32_t n_encoder_layers;   /* the first of n_layers, the decoder's follow; 0: there is no encoder */
	int32_t n_heads, n_kv_heads, head_dim;
	int32_t q_lora_rank, kv_lora_rank, qk_nope_head_dim, qk_rope_head_dim, v_head_dim;   /* q_lora_rank 0: none */
	/* of the indexer; index_top_k positions are read, where there are more. 0: no layer has one */
	int32_t index_n_heads, index_head_dim, index_top_k;
	bool index_interleaved;  /* its rotation pairs (2i, 2i+1), whatever the attention's does */
	int32_t intermediate_size, moe_intermediate_size;
	int32_t n_experts, n_shared_experts;
	int32_t
	    shared_intermediate_size; /* of all shared experts together; 0: n_shared_experts moe_intermediate_size */
	bool shared_gate;        /* the shared experts' output is multiplied by sigmoid(w x) */
	bool qkv_bias, o_bias, head_bias;
	bool layer_norm;         /* block and final norms remove the mean (LayerNorm), and may have biases */
	enum moe_qk_norm qk_norm;
	bool qk_norm_late;       /* behind the rotation, not before it */
	/* queries at position p times 1 + temperature ln(1 + floor((p + 1) / temperature_floor)) */
	double temperature, temperature_floor;
	/* T5's bias on the scores of self-attention, by the bucket of the distance; 0: none. In buckets, positions. */
	int32_t relative_buckets, relative_distance;
	double attention_scale;  /* of the scores; 0: 1 / sqrt(head_dim) */
	double embedding_scale, residual_scale;   /* on embeddings, and on what a branch adds to the residual; 0: 1 */
	double logits_divisor;   /* 0: 1 */
	bool mxfp4_experts;      /* the experts' matrices are stored as MXFP4 */
	double swiglu_limit, swiglu_alpha;   /* of the experts' clamped SwiGLU (device/device.h); limit 0: plain */
	double clip_qkv;         /* queries, keys and values are clamped to +- this; 0: not */
	int64_t max_positions;
	double rms_eps;          /* of the block norms */
	double mla_norm_eps;     /* of q_a and kv_a norms: 1e-6 whatever the config says */
	bool tie_embeddings;
	struct moe_rope rope;
	struct moe_router_spec router;
	bool fp8_blocks;         /* matrices are stored as f8_e4m3 with a scale per block of MOE_SCALE_BLOCK squared */
	bool fp8_powers;         /* whose scales are powers of two (scale_fmt "ue8m0") */
	int32_t dtype_bytes;     /* of a stored number, where nothing else is said; 0: the config does not say */
	int32_t bos_id;          /* -1: none */
	int32_t decoder_start_id;   /* with an encoder: what the decoder is given before its own first token */
	int32_t n_eos;
	int32_t eos_ids[16];
	const char *hf_prefix;   /* before every tensor name of a Hugging Face checkpoint; NULL: nothing */
	struct moe_layer_kind *layers;   /* [n_layers + n_mtp_layers], malloc'd; moe_config_free */
};

/* An inverse frequency as Llama 3's scaling changes it, and what it divides that of dimension pair i by. */
float moe_rope_slowed(const struct moe_rope *rope, float inv);
float moe_rope_divisor(const struct moe_rope *rope, int32_t i);

/* Numbers that share an exponent in MXFP4. */
#define MOE_MX_BLOCK 32

/* The sizes a weight's dims are made of. */
enum moe_dim {
	MOE_DIM_1, MOE_DIM_VOCAB, MOE_DIM_HIDDEN, MOE_DIM_2HIDDEN, MOE_DIM_Q_LORA, MOE_DIM_Q /* H (nope + rope) */,
	MOE_DIM_KV_A /* kv_lora + rope */, MOE_DIM_KV_LORA, MOE_DIM_KV_B /* H (nope + v) */, MOE_DIM_HEADS,
	MOE_DIM_NOPE,
	MOE_DIM_V, MOE_DIM_O /* H v */, MOE_DIM_HEAD /* head_dim */, MOE_DIM_Q_ALL /* H head_dim */,
	MOE_DIM_KV_ALL /* Hkv head_dim */, MOE_DIM_QKV /* (H + 2 Hkv) head_dim */, MOE_DIM_FFN, MOE_DIM_EXPERT_FFN,
	MOE_DIM_2EXPERT_FFN, MOE_DIM_SHARED_FFN, MOE_DIM_EXPERTS,
	MOE_DIM_INDEX_HEADS, MOE_DIM_INDEX_HEAD, MOE_DIM_INDEX_Q /* index_n_heads index_head_dim */,
	MOE_DIM_HIDDEN_MX, MOE_DIM_EXPERT_FFN_MX,   /* in blocks of MOE_MX_BLOCK */
	MOE_DIM_BUCKETS,         /* relative_buckets */
	MOE_DIM_ROPE_HALF,       /* rope.n_dims / 2 */
};
int64_t moe_dim_of(const struct moe_config *config, enum moe_dim dim);

/* The part a tensor plays. */
enum moe_part {
	MOE_PART_EMBED, MOE_PART_HEAD, MOE_PART_FINAL_NORM,
	MOE_PART_ATTN_NORM, MOE_PART_FFN_NORM,
	MOE_PART_Q, MOE_PART_Q_A, MOE_PART_Q_A_NORM, MOE_PART_Q_B, MOE_PART_KV_A, MOE_PART_KV_A_NORM, MOE_PART_KV_B,
	MOE_PART_K_B, MOE_PART_V_B, MOE_PART_O,
	MOE_PART_INDEX_Q, MOE_PART_INDEX_K, MOE_PART_INDEX_K_NORM, MOE_PART_INDEX_K_NORM_BIAS, MOE_PART_INDEX_WEIGHTS,
	MOE_PART_K, MOE_PART_V, MOE_PART_Q_BIAS, MOE_PART_K_BIAS, MOE_PART_V_BIAS, MOE_PART_Q_NORM, MOE_PART_K_NORM,
	MOE_PART_O_BIAS, MOE_PART_SINKS,             /* sinks: a logit per head that takes part in its softmax */
	MOE_PART_RELATIVE_BIAS,                      /* of the first layer of a stack, for all of them */
	MOE_PART_CROSS_NORM, MOE_PART_CROSS_Q, MOE_PART_CROSS_K, MOE_PART_CROSS_V, MOE_PART_CROSS_O,
	MOE_PART_ENCODER_NORM,                       /* behind the encoder's last layer */
	MOE_PART_ATTN_NORM_BIAS, MOE_PART_FFN_NORM_BIAS, MOE_PART_FINAL_NORM_BIAS, MOE_PART_HEAD_BIAS,
	MOE_PART_GATE, MOE_PART_UP, MOE_PART_DOWN,                              /* dense FFN */
	MOE_PART_ROUTER, MOE_PART_ROUTER_BIAS,
	MOE_PART_ROUTER_LOGIT_BIAS,                  /* added to the logits, so it joins choice and weights */
	MOE_PART_EXPERT_GATE, MOE_PART_EXPERT_UP, MOE_PART_EXPERT_DOWN,
	MOE_PART_EXPERT_GATE_BIAS, MOE_PART_EXPERT_UP_BIAS, MOE_PART_EXPERT_DOWN_BIAS,
	MOE_PART_EXPERT_GATE_SCALES, MOE_PART_EXPERT_UP_SCALES, MOE_PART_EXPERT_DOWN_SCALES,   /* of mx_blocks */
	MOE_PART_SHARED_GATE, MOE_PART_SHARED_UP, MOE_PART_SHARED_DOWN, MOE_PART_SHARED_MIX,
	MOE_PART_ROPE_FREQS, MOE_PART_ROPE_LONG, MOE_PART_ROPE_SHORT,   /* the rotation's scaling, said in GGUF alone */
	MOE_PART_MTP_EMBED, MOE_PART_MTP_ENORM, MOE_PART_MTP_HNORM, MOE_PART_MTP_EH_PROJ, MOE_PART_MTP_NORM,
	MOE_PART_MTP_HEAD, MOE_N_PARTS,
};

/* The roles that --type rules, reports and accounting speak of. */
enum moe_role {
	MOE_ROLE_EMBED, MOE_ROLE_HEAD, MOE_ROLE_ATTN, MOE_ROLE_DENSE, MOE_ROLE_EXPS, MOE_ROLE_SHARED, MOE_ROLE_ROUTER,
	MOE_ROLE_NORM, MOE_ROLE_MTP, MOE_N_ROLES,
};
const char *moe_role_name(enum moe_role role);   /* embed head attn dense exps shared router norm mtp */

/* Where a spec applies. */
enum moe_where { MOE_AT_TOP, MOE_AT_EVERY, MOE_AT_DENSE, MOE_AT_MOE, MOE_AT_MTP,
	MOE_AT_INDEXER /* layers with an indexer of their own */ };

/* In which of an encoder-decoder's two stacks: {l} then counts from the first layer of that one. */
enum moe_side { MOE_IN_ANY, MOE_IN_ENCODER, MOE_IN_DECODER };

/* How all experts of a layer share one tensor of a Hugging Face checkpoint. */
enum moe_stack {
	MOE_STACK_NONE,          /* each has its own */
	MOE_STACK_OUTER,         /* [experts, rows, cols] */
	MOE_STACK_ROWS,          /* [experts rows, cols] */
};

/* GGUF has changed how it holds some matrices (kv_b, experts). Files hold all of them in one way or all in the other;
 * the old one is read, never written. */
enum moe_gguf_age { MOE_GGUF_ANY, MOE_GGUF_NEW, MOE_GGUF_OLD };

/* Rows of a tensor that holds several matrices, one behind the other. */
struct moe_piece {
	enum moe_part part;
	enum moe_dim rows;
};

/* One kind of tensor of a family. Patterns hold {l} and {e}; where a spec has both, hf and gguf name the same values.
 * What the two hold in different ways are specs of one naming each, which meet in their parts. kv_b is one matrix in
 * Hugging Face files and two stacks, k_b (transposed per head) and v_b, in GGUF. */
struct moe_tensor_spec {
	enum moe_part part;
	enum moe_role role;
	enum moe_where where;
	const char *hf;          /* NULL: not in Hugging Face checkpoints */
	const char *gguf;        /* NULL: not in GGUF */
	enum moe_dim dims[3];    /* of one expert for expert tensors; HF order */
	int32_t n_dims;
	enum moe_stack stack;    /* the pattern then has no {e}; dims are still those of one expert */
	bool input_major;        /* a matrix is stored [in, out]; dims are still [out, in] */
	bool mx_blocks;          /* stored as MXFP4: U8 [.., cols / MOE_MX_BLOCK, MOE_MX_BLOCK / 2]; the exponents, U8
	                          * [.., cols / MOE_MX_BLOCK], are a spec of their own that comes behind */
	int32_t n_pieces;        /* 0: `part` is all there is */
	bool pieces_alternate;   /* row by row, as many of each, instead of one behind the other */
	struct moe_piece pieces[3];   /* the first is `part`; their rows make dims[0] */
	bool (*present)(const struct moe_config *config);   /* NULL: always */
	enum moe_side side;
	bool first_only;         /* only in the first layer of its stack */
	bool gguf_f32;           /* stored as F32 in GGUF whatever is asked for (norms, routers, biases) */
	bool f32;                /* stored as F32 in Hugging Face checkpoints too (correction biases) */
	bool unscaled;           /* never f8_e4m3, where matrices of its role are */
	enum moe_gguf_age gguf_age;
	bool made;               /* in GGUF alone, made from the config; files need not have it, and what they have is
	                          * not read */
};

/* A key of config.json and its GGUF twin ("{arch}." is put before it). */
struct moe_key {
	const char *hf;
	const char *gguf;
	const char *type;        /* "u32", "f32", "bool", "string" */
};

/* A model family: everything that is particular to it. Members: model/family/. */
struct moe_family {
	const char *name;                 /* "deepseek_v3" */
	const char *help;                 /* the models it covers */
	const char *traits;               /* what is particular about them, in a line; both for lists and pages */
	const char *const *architectures; /* NULL-terminated: "DeepseekV3ForCausalLM" */
	const char *const *model_types;   /* NULL-terminated: "deepseek_v3", "kimi_k2" */
	const char *quant_method;         /* of quantization_config, beside "fp8", that parse reads; NULL: none */
	const char *gguf_arch;            /* "deepseek2"; NULL: of our own making, see moe_gguf_arch */
	/* Does this GGUF (general.architecture equals gguf_arch; its keys as in moe_ckpt.metadata) belong to this
	 * family? NULL: yes. */
	bool (*gguf_is_ours)(const json_t *keys);
	/* Why other readers of gguf_arch would not run a model of this config right, as the end of a sentence that
	 * begins with them ("has no ..."); NULL where they do. NULL: they do. */
	const char *(*gguf_obstacle)(const struct moe_config *config);
	/* Where they do not run it as it is, and files under gguf_arch are of use all the same: what they do, in such
	 * words; NULL: nothing. NULL: nothing. */
	const char *(*gguf_remark)(const struct moe_config *config);
	/* Where they take files under gguf_arch that are right for others only: which, in such words; NULL as above. */
	const char *(*gguf_limit)(const struct moe_config *config);
	/* GGUF holds the query and key rows of each head in pairs: row 2i is row i of the head here, row 2i + 1 row i +
	 * half of it, so that readers rotate neighbours. */
	bool gguf_paired;
	/* Fills config from config.json; `where` names it in messages. Everything is checked. */
	MOE_MUST_USE enum moe_status (*parse)(struct moe_config *config, const json_t *json, const char *where,
	                                      struct moe_err *err);
	const struct moe_tensor_spec *tensors;   /* ends with hf == gguf == NULL */
	const struct moe_key *keys;              /* ends with hf NULL */
	/* What the names of tensors outside the model begin with: they are left alone. A {l} stands for a layer behind
	 * the model's last. NULL-terminated; NULL: none. */
	const char *const *skipped;
	/* Other names that checkpoints may hold the embedding under, beside its own; NULL-terminated; NULL: none. The
	 * head of a model with tied embeddings is one in every family. */
	const char *const *copies;
	/* GGUF keys that no config key gives, added to the object; NULL: none. */
	MOE_MUST_USE enum moe_status (*gguf_extra)(const struct moe_config *config, json_t *keys, struct moe_err *err);
	/* Config keys that cannot be copied one by one from GGUF keys, added to the object; NULL: none. */
	MOE_MUST_USE enum moe_status (*hf_extra)(json_t *config, const json_t *keys, struct moe_err *err);
};

/* The architecture that GGUF files of this config name, before which their keys have it: gguf_arch, or "moe-" and the
 * family's name where nothing else runs it. text holds it where that is so. */
const char *moe_gguf_arch(const struct moe_config *config, char text[64]);
/* What the family's gguf_obstacle says of it, its gguf_remark, and its gguf_limit; NULL: nothing. */
const char *moe_gguf_obstacle(const struct moe_config *config);
const char *moe_gguf_remark(const struct moe_config *config);
const char *moe_gguf_limit(const struct moe_config *config);

const struct moe_family *moe_family_at(size_t i);   /* NULL past the end */

/* Finds the family of a config.json object and parses it. */
MOE_MUST_USE enum moe_status moe_config_parse(struct moe_config *config, const json_t *json, const char *where,
                                              struct moe_err *err);
/* From a checkpoint: its config.json, or its GGUF keys. */
MOE_MUST_USE enum moe_status moe_config_of(struct moe_config *config, const struct moe_ckpt *ckpt, struct moe_err *err);
void moe_config_free(struct moe_config *config);
/* The config.json object of a checkpoint (a new reference): the file, the copy a GGUF carries, or one made from GGUF
 * keys (*made is then true). `where` (at least 1024 bytes) gets the name messages should call it; NULL: not wanted. */
MOE_MUST_USE enum moe_status moe_config_json_of(json_t **out, const struct moe_ckpt *ckpt, bool *made, char *where,
                                                struct moe_err *err);

struct moe_layer {
	/* By part; experts are below. MOE_PART_KV_B is always there for mla: from GGUF's k_b and v_b it is put together
	 * in the arena (their type if it has no blocks and both agree, else f32), and K_B, V_B stay empty. */
	struct moe_weight part[MOE_N_PARTS];
	/* [n_experts] each, NULL in layers without a router */
	struct moe_weight *expert_gate, *expert_up, *expert_down;
	/* [n_experts] each a vector [rows, 1]; NULL where experts have no biases */
	struct moe_weight *expert_gate_bias, *expert_up_bias, *expert_down_bias;
};

struct moe_model {
	struct moe_config config;
	const struct moe_ckpt *ckpt;    /* borrowed: must outlive the model */
	struct moe_arena arena;
	struct moe_weight embed, head, final_norm;
	struct moe_weight head_bias, final_norm_bias;   /* data NULL: none */
	struct moe_weight encoder_norm;                 /* data NULL: there is no encoder */
	struct moe_layer *layers;       /* [n_layers + n_mtp_layers] */
	bool paired;                    /* rows of queries and keys, and their biases, lie as in gguf_paired */
};

/* Checks presence, dtype and shape of every tensor a model of this config needs, and that there are no others, whatever
 * the naming; nothing of the size of the config's numbers is allocated. `where` names the config in messages. */
MOE_MUST_USE enum moe_status moe_model_check(const struct moe_config *config, const struct moe_ckpt *ckpt,
                                             const char *where, struct moe_err *err);
/* Binds every weight, checking presence, dtype and shape; the first thing wrong is an error naming file, tensor,
 * expected and found. Tensors the family does not know are an error too. */
MOE_MUST_USE enum moe_status moe_model_bind(struct moe_model **out, const struct moe_ckpt *ckpt, struct moe_err *err);
void moe_model_free(struct moe_model *model);

#endif
