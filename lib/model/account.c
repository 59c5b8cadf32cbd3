/* Parameters, operations and cache of a model, by arithmetic on its config: nothing is enumerated over experts.
 *
 * N_mm: elements of the matrices one token is multiplied with, head included, input embedding not. Forward operations
 * of a token: 2 N_mm. The papers' figure for 4096 tokens: s (6 N_mm + 12 L d s) with s = 4096, without the router; the
 * second term is for layers that read everything. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "model/account.h"
#include "model/names.h"

__extension__ typedef __int128 wide;

struct sums {
	wide total, mtp_unique, mtp_stored, activated, n_tensors, n_bytes, matrices, routers;
	wide by_role[MOE_N_ROLES];
};

static void add_spec(struct sums *s, const struct moe_config *c, const struct moe_tensor_spec *spec, int32_t layer)
{
	const bool expert = moe_spec_is_expert(spec);
	const struct moe_tensor_id id = { .spec = spec, .layer = layer, .expert = -1 };
	const bool scaled = moe_spec_scaled(c, spec);
	wide one = 1, blocks = scaled;

	for (int32_t i = 0; i < spec->n_dims; i++) {
		one *= moe_dim_of(c, spec->dims[i]);
		blocks *= (moe_dim_of(c, spec->dims[i]) + MOE_SCALE_BLOCK - 1) / MOE_SCALE_BLOCK;
	}
	const wide copies = expert ? c->n_experts : 1, stored = copies * one;
	const wide used = expert ? one * c->router.top_k : one;

	const wide n_stored = spec->stack == MOE_STACK_NONE ? copies : 1;
	s->n_tensors += scaled ? 2 * n_stored : n_stored;
	/* MXFP4: the exponents are no parameters, but they take a byte each */
	if (moe_spec_is_mx(spec)) {
		s->n_bytes += spec->mx_blocks ? stored / 2 : stored;
		if (!spec->mx_blocks)
			return;
	} else {
		s->n_bytes += stored * (scaled ? 1 : spec->f32 ? 4 : c->dtype_bytes) + copies * blocks * 4;
	}
	s->by_role[moe_id_role(c, &id)] += stored;
	if (layer >= c->n_layers) {
		s->mtp_stored += stored;
		if (spec->part != MOE_PART_MTP_EMBED && spec->part != MOE_PART_MTP_HEAD)
			s->mtp_unique += stored;
		return;
	}
	s->total += stored;
	s->activated += used;
	/* a correction bias of shape [1, E] is no matrix, and biases on scores are looked up */
	if (spec->n_dims > 1 && spec->part != MOE_PART_ROUTER_BIAS && spec->part != MOE_PART_RELATIVE_BIAS &&
	    (spec->part != MOE_PART_EMBED || c->tie_embeddings))
		s->matrices += used;
	if (spec->n_dims > 1 && spec->part == MOE_PART_ROUTER)
		s->routers += used;
}

static wide gcd(wide a, wide b)
{
	while (b) {
		wide t = a % b;
		a = b;
		b = t;
	}
	return a;
}

/* Positions that each of s tokens reads in a layer, as the papers count: all s, not only those before it, unless the
 * layer has a window, chunks or an indexer. */
static double positions_read(const struct moe_config *c, int32_t layer, double s)
{
	const struct moe_layer_kind *kind = &c->layers[layer];

	if (kind->window > 0)
		s = fmin(s, (double)kind->window);
	if (kind->attention_chunk > 0)
		s = fmin(s, (double)kind->attention_chunk);
	return kind->indexer != MOE_INDEXER_NONE ? fmin(s, c->index_top_k) : s;
}

/* Products of a pair of query and key, summed over the layers and the keys each token meets in a sequence of s: scores
 * and values, and where there are more positions than an indexer keeps its own scores, of n_heads dot products and
 * their weighted sum. */
static double attention_products(const struct moe_config *c, double s)
{
	const double pair = (double)c->n_heads * (c->head_dim + (c->v_head_dim ? c->v_head_dim : c->head_dim));
	const double index = (double)c->index_n_heads * (c->index_head_dim + 1.0);
	double sum = 0;

	for (int32_t l = 0; l < c->n_layers; l++) {
		sum += pair * positions_read(c, l, s);
		if (c->layers[l].indexer == MOE_INDEXER_OWN && s > c->index_top_k)
			sum += index * s;
	}
	return sum;
}

void moe_combinations_text(int32_t n, int32_t k, char text[48])
{
	wide value = 1;
	bool exact = true;

	if (k > n - k)
		k = n - k;
	for (int32_t i = 1; i <= k && exact; i++) {
		/* value * m / i stays whole; dividing first keeps it in range as long as the result is */
		wide m = (wide)n - k + i, divisor = i, g = gcd(value, divisor);
		value /= g;
		divisor /= g;
		m /= divisor;
		exact = !__builtin_mul_overflow(value, m, &value);
	}
	if (exact) {
		char digits[48];
		size_t at = sizeof digits;

		digits[--at] = '\0';
		do {
			digits[--at] = (char)('0' + (int)(value % 10));
			value /= 10;
		} while (value);
		memcpy(text, digits + at, sizeof digits - at);
		return;
	}
	int sign;
	const double log10_value = (lgamma_r(n + 1.0, &sign) - lgamma_r(k + 1.0, &sign) -
	                            lgamma_r((double)n - k + 1.0, &sign)) / log(10);
	const double whole = floor(log10_value);
	snprintf(text, 48, "%.3fe+%.0f", pow(10, log10_value - whole), whole);
}

static bool narrow(wide value, int64_t *out)
{
	*out = (int64_t)value;
	return value <= INT64_MAX;
}

enum moe_status moe_account_of(const struct moe_config *c, struct moe_account *out, struct moe_err *err)
{
	struct sums s = {0};
	bool fits = true;

	memset(out, 0, sizeof *out);
	for (int32_t layer = -1; layer < c->n_layers + c->n_mtp_layers; layer++)
		for (const struct moe_tensor_spec *spec = c->family->tensors; spec->hf || spec->gguf; spec++)
			if (spec->hf && moe_spec_applies(c, spec, layer))
				add_spec(&s, c, spec, layer);

	fits = narrow(s.total, &out->total) && fits;
	fits = narrow(s.mtp_unique, &out->mtp_unique) && fits;
	fits = narrow(s.mtp_stored, &out->mtp_stored) && fits;
	fits = narrow(s.total + s.mtp_stored, &(int64_t){0}) && fits;
	fits = narrow(s.activated, &out->activated) && fits;
	fits = narrow(s.n_tensors, &out->n_tensors) && fits;
	for (int role = 0; role < MOE_N_ROLES; role++)
		fits = narrow(s.by_role[role], &out->by_role[role]) && fits;
	if (!fits)
		return moe_err_set(err, MOE_EFORMAT, "a model of more than 2^63 parameters: %d layers of %d experts "
		                   "of width %d", c->n_layers, c->n_experts, c->moe_intermediate_size);
	if (c->dtype_bytes == 0 || !narrow(s.n_bytes, &out->n_bytes))
		out->n_bytes = 0;
	/* tied: the one matrix is the head, and counts as embedding only where both are left out */
	const int64_t embed = (int64_t)c->vocab_size * c->hidden_size;
	out->activated_no_embed = out->activated - (c->tie_embeddings ? 0 : embed);
	out->activated_no_both = out->activated_no_embed - embed;
	/* N_mm: matrices of the main model that a token meets, the head included, input embedding and router not. Keys
	 * are head_dim wide and values v_head_dim (head_dim where that is all there is): for plain attention with
	 * H head_dim = d the second term is the 12 L d s of DeepSeekMoE's table. */
	const double n_mm = (double)(s.matrices - s.routers);
	out->flops_token = 2.0 * n_mm;
	out->flops_4k = 4096.0 * (6.0 * n_mm + 6.0 * attention_products(c, 4096.0));
	/* what an encoder's layers keep is for their own pass */
	for (int32_t l = c->n_encoder_layers; l < c->n_layers; l++)
		out->cache_elems_token += c->layers[l].cache_elems;
	moe_combinations_text(c->n_experts, c->router.top_k, out->combinations);
	return MOE_OK;
}
