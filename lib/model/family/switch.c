/* Switch Transformers: T5's encoder and decoder, with experts in some layers of both.
 *
 * Self-attention without rotation or scale, a learned bias by distance (of each stack's first layer) on its scores; the
 * decoder attends to the encoder's output besides. Networks are down(relu(up x)). Router: softmax, the best expert with
 * its probability; an expert takes expert_capacity tokens of a sequence, the others pass it by. Layers with experts:
 * l % step == 1 in each stack (all where step is 1), step = layers / sparse layers; the *_sparse_step keys say nothing.
 * With tied embeddings the logits are divided by sqrt(d_model). */
#include <math.h>
#include <stdlib.h>

#include "base/json.h"
#include "model/gguf_form.h"
#include "model/gqa.h"

static const char *const architectures[] = {"SwitchTransformersForConditionalGeneration", NULL};
static const char *const model_types[] = {"switch_transformers", NULL};
static const char *const copies[] = {"encoder.embed_tokens.weight", "decoder.embed_tokens.weight", NULL};

static const struct moe_number numbers[] = {
	MOE_NUMBER("vocab_size", vocab_size, 1, INT32_MAX),
	MOE_NUMBER("d_model", hidden_size, 1, INT32_MAX / 2),
	MOE_NUMBER("d_ff", intermediate_size, 1, INT32_MAX),
	MOE_NUMBER("d_kv", head_dim, 1, 1 << 20),
	MOE_NUMBER("num_heads", n_heads, 1, 1 << 20),
	MOE_NUMBER("num_layers", n_encoder_layers, 1, 50000),
	MOE_NUMBER("decoder_start_token_id", decoder_start_id, 0, INT32_MAX),
	MOE_NUMBER("num_experts", n_experts, 1, INT32_MAX),
	MOE_NUMBER("relative_attention_num_buckets", relative_buckets, 4, 1 << 20),
	MOE_NUMBER("relative_attention_max_distance", relative_distance, 3, INT32_MAX),
	{NULL, 0, 0, 0},
};

/* A key that may only have one value. */
static enum moe_status expect_bool(const json_t *json, const char *key, bool expected, const char *where,
                                   struct moe_err *err)
{
	bool found = expected;
	enum moe_status st = moe_json_bool(json, key, where, &found, err);

	return st || found == expected ? st
	       : moe_err_set(err, MOE_EFORMAT, "%s: %s: expected %s, found %s", where, key, expected ? "true" : "false",
	                     found ? "true" : "false");
}

static enum moe_status check_variant(const struct moe_config *c, const json_t *json, const char *where,
                                     struct moe_err *err)
{
	static const char *const relu[] = {"relu", NULL}, *const f32[] = {"float32", NULL};
	const char *word;
	enum moe_status st = expect_bool(json, "is_encoder_decoder", true, where, err);

	if (!st)
		st = expect_bool(json, "is_gated_act", false, where, err);
	if (!st)
		st = expect_bool(json, "router_bias", false, where, err);
	if (!st)
		st = expect_bool(json, "router_ignore_padding_tokens", false, where, err);
	if (!st)
		st = moe_parse_word(json, "dense_act_fn", where, relu, "relu", &word, err);
	if (!st)
		st = moe_parse_word(json, "feed_forward_proj", where, relu, "relu", &word, err);
	if (!st)
		st = moe_parse_word(json, "router_dtype", where, f32, "float32", &word, err);
	if (!st && c->decoder_start_id >= c->vocab_size)
		st = moe_err_set(err, MOE_EFORMAT, "%s: decoder_start_token_id: expected less than the vocab_size of "
		                 "%d, found %d", where, c->vocab_size, c->decoder_start_id);
	if (!st && c->relative_buckets % 4)
		st = moe_err_set(err, MOE_EFORMAT, "%s: relative_attention_num_buckets: expected a multiple of 4, "
		                 "found %d", where, c->relative_buckets);
	if (!st && c->relative_distance <= c->relative_buckets / 2)
		st = moe_err_set(err, MOE_EFORMAT, "%s: relative_attention_max_distance: expected more than half of "
		                 "the %d buckets, found %d", where, c->relative_buckets, c->relative_distance);
	return st;
}

/* The n layers from `first` on: one of the two stacks. */
static enum moe_status place_stack(struct moe_config *c, const json_t *json, const char *where, int32_t first,
                                   int32_t n, const char *sparse_key, struct moe_err *err)
{
	const bool encoder = first == 0;
	int32_t n_sparse = 3;
	enum moe_status st = moe_json_i32(json, sparse_key, where, 1, INT32_MAX, &n_sparse, err);

	if (!st && n_sparse > n)
		st = moe_err_set(err, MOE_EFORMAT, "%s: %s: expected at most the %d layers of the %s, found %d", where,
		                 sparse_key, n, encoder ? "encoder" : "decoder", n_sparse);
	for (int32_t l = 0; !st && l < n; l++) {
		const int32_t step = n / n_sparse;
		c->layers[first + l] = (struct moe_layer_kind){
			.mixer = "gqa", .ffn = step == 1 || l % step == 1 ? MOE_FFN_MOE : MOE_FFN_DENSE,
			.no_rope = true, .encoder = encoder,
			.cross = !encoder, .cache_elems = 2 * (int64_t)c->n_kv_heads * c->head_dim,
		};
	}
	return st;
}

static enum moe_status parse_numbers(struct moe_config *c, const json_t *json, const char *where, int32_t *n_decoder,
                                     struct moe_err *err)
{
	enum moe_status st = moe_parse_numbers(c, json, where, numbers, err);

	*n_decoder = c->n_encoder_layers;
	if (!st)
		st = moe_json_i32(json, "num_decoder_layers", where, 1, 50000, n_decoder, err);
	if (!st)
		st = moe_json_i64(json, "expert_capacity", where, 1, INT32_MAX, &c->router.capacity, err);
	if (!st)
		st = moe_json_f64(json, "layer_norm_epsilon", where, &c->rms_eps, err);
	if (!st)
		st = moe_parse_range(c->rms_eps, 0, 1, where, "layer_norm_epsilon", err);
	if (!st)
		st = moe_json_bool(json, "tie_word_embeddings", where, &c->tie_embeddings, err);
	return st ? st : moe_parse_ids(c, json, where, err);
}

static enum moe_status parse(struct moe_config *c, const json_t *json, const char *where, struct moe_err *err)
{
	int32_t n_decoder;
	enum moe_status st;

	c->vocab_size = 32128;
	c->hidden_size = 768;
	c->intermediate_size = 2048;
	c->head_dim = 64;
	c->n_heads = 12;
	c->n_encoder_layers = 12;
	c->n_experts = 8;
	c->relative_buckets = 32;
	c->relative_distance = 128;
	c->max_positions = INT32_MAX;   /* distances beyond the last bucket are all alike */
	c->rms_eps = 1e-6;
	c->attention_scale = 1;
	c->tie_embeddings = true;
	c->bos_id = -1;
	c->n_eos = 1;
	c->eos_ids[0] = 1;
	c->router = (struct moe_router_spec){ .policy = "switch", .top_k = 1, .n_groups = 1, .top_groups = 1,
		                              .scale = 1, .capacity = 64 };
	st = parse_numbers(c, json, where, &n_decoder, err);
	if (!st)
		st = check_variant(c, json, where, err);
	if (st)
		return st;
	c->n_kv_heads = c->n_heads;
	c->moe_intermediate_size = c->intermediate_size;
	c->logits_divisor = c->tie_embeddings ? sqrt((double)c->hidden_size) : 0;
	c->n_layers = c->n_encoder_layers + n_decoder;
	c->layers = calloc((size_t)c->n_layers, sizeof *c->layers);
	if (!c->layers)
		return moe_err_nomem(err, (size_t)c->n_layers * sizeof *c->layers, "layers");
	st = place_stack(c, json, where, 0, c->n_encoder_layers, "num_sparse_encoder_layers", err);
	return st ? st : place_stack(c, json, where, c->n_encoder_layers, n_decoder, "num_sparse_decoder_layers", err);
}

#define ENC "encoder.block.{l}.layer."
#define DEC "decoder.block.{l}.layer."
#define ROW(side_, part_, role_, where_, hf_, gguf_, n, d0, d1) \
	{ .side = MOE_IN_##side_, .part = MOE_PART_##part_, .role = MOE_ROLE_##role_, .where = MOE_AT_##where_, \
	  .hf = hf_, .gguf = gguf_ ".weight", .n_dims = n, .dims = {MOE_DIM_##d0, MOE_DIM_##d1}, \
	  .gguf_f32 = (n) == 1 || MOE_PART_##part_ == MOE_PART_ROUTER }
/* p: the stack's prefix up to the number of a part; g: that of GGUF, T5's there */
#define ATTENTION(stack_, p, g) \
	ROW(stack_, ATTN_NORM, NORM, EVERY, p "0.layer_norm.weight", g "attn_norm", 1, HIDDEN, 1), \
	ROW(stack_, Q, ATTN, EVERY, p "0.SelfAttention.q.weight", g "attn_q", 2, Q_ALL, HIDDEN), \
	ROW(stack_, K, ATTN, EVERY, p "0.SelfAttention.k.weight", g "attn_k", 2, KV_ALL, HIDDEN), \
	ROW(stack_, V, ATTN, EVERY, p "0.SelfAttention.v.weight", g "attn_v", 2, KV_ALL, HIDDEN), \
	ROW(stack_, O, ATTN, EVERY, p "0.SelfAttention.o.weight", g "attn_o", 2, HIDDEN, Q_ALL), \
	{ .side = MOE_IN_##stack_, .part = MOE_PART_RELATIVE_BIAS, .role = MOE_ROLE_ATTN, .where = MOE_AT_EVERY, \
	  .hf = p "0.SelfAttention.relative_attention_bias.weight", .gguf = g "attn_rel_b.weight", \
	  .n_dims = 2, \
	  .dims = {MOE_DIM_BUCKETS, MOE_DIM_HEADS}, .first_only = true }
/* p: as far as the part of the network */
#define NETWORKS(stack_, p, g) \
	ROW(stack_, FFN_NORM, NORM, EVERY, p "layer_norm.weight", g "ffn_norm", 1, HIDDEN, 1), \
	ROW(stack_, UP, DENSE, DENSE, p "mlp.wi.weight", g "ffn_up", 2, FFN, HIDDEN), \
	ROW(stack_, DOWN, DENSE, DENSE, p "mlp.wo.weight", g "ffn_down", 2, HIDDEN, FFN), \
	ROW(stack_, ROUTER, ROUTER, MOE, p "mlp.router.classifier.weight", g "ffn_gate_inp", 2, EXPERTS, HIDDEN), \
	ROW(stack_, EXPERT_UP, EXPS, MOE, p "mlp.experts.expert_{e}.wi.weight", g "ffn_up_exps", 2, EXPERT_FFN, \
	    HIDDEN), \
	ROW(stack_, EXPERT_DOWN, EXPS, MOE, p "mlp.experts.expert_{e}.wo.weight", g "ffn_down_exps", 2, HIDDEN, \
	    EXPERT_FFN)

static const struct moe_tensor_spec tensors[] = {
	MOE_MAT(EMBED, EMBED, TOP, "shared.weight", "token_embd.weight", VOCAB, HIDDEN, NULL),
	MOE_VEC(ENCODER_NORM, NORM, TOP, "encoder.final_layer_norm.weight", "enc.output_norm.weight", HIDDEN, NULL),
	MOE_VEC(FINAL_NORM, NORM, TOP, "decoder.final_layer_norm.weight", "dec.output_norm.weight", HIDDEN, NULL),
	MOE_MAT(HEAD, HEAD, TOP, "lm_head.weight", "output.weight", VOCAB, HIDDEN, moe_gqa_has_head),
	ATTENTION(ENCODER, ENC, "enc.blk.{l}."),
	NETWORKS(ENCODER, ENC "1.", "enc.blk.{l}."),
	ATTENTION(DECODER, DEC, "dec.blk.{l}."),
	ROW(DECODER, CROSS_NORM, NORM, EVERY, DEC "1.layer_norm.weight",
	    "dec.blk.{l}.cross_attn_norm", 1, HIDDEN, 1),
	ROW(DECODER, CROSS_Q, ATTN, EVERY, DEC "1.EncDecAttention.q.weight",
	    "dec.blk.{l}.cross_attn_q", 2, Q_ALL, HIDDEN),
	ROW(DECODER, CROSS_K, ATTN, EVERY, DEC "1.EncDecAttention.k.weight",
	    "dec.blk.{l}.cross_attn_k", 2, KV_ALL, HIDDEN),
	ROW(DECODER, CROSS_V, ATTN, EVERY, DEC "1.EncDecAttention.v.weight",
	    "dec.blk.{l}.cross_attn_v", 2, KV_ALL, HIDDEN),
	ROW(DECODER, CROSS_O, ATTN, EVERY, DEC "1.EncDecAttention.o.weight",
	    "dec.blk.{l}.cross_attn_o", 2, HIDDEN, Q_ALL),
	NETWORKS(DECODER, DEC "2.", "dec.blk.{l}."),
	MOE_ROWS_END,
};

static enum moe_status gguf_extra(const struct moe_config *c, json_t *keys, struct moe_err *err)
{
	char own[64];

	if (!moe_gguf_put(keys, moe_gguf_arch(c, own), "decoder_block_count", "u32",
	                  json_integer(c->n_layers - c->n_encoder_layers)))
		return moe_err_nomem(err, 64, "GGUF keys");
	return moe_gqa_gguf_extra(c, keys, err);
}

const struct moe_family moe_family_switch = {
	.name = "switch",
	.help = "Switch Transformers Base-8 to C-2048",
	.traits = "encoder and decoder, one expert per token, with capacity",
	.architectures = architectures,
	.model_types = model_types,
	.parse = parse,
	.tensors = tensors,
	.gguf_extra = gguf_extra,
	.copies = copies,
};
