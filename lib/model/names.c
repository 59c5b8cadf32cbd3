/* Tensor names from the family's patterns, and back. */
#include <stdio.h>
#include <string.h>

#include "model/names.h"

const char *moe_role_name(enum moe_role role)
{
	static const char *const names[MOE_N_ROLES] = {"embed", "head", "attn", "dense", "exps", "shared", "router",
	                                               "norm", "mtp"};
	return names[role];
}

static const char *pattern_of(const struct moe_tensor_spec *spec, enum moe_naming naming)
{
	return naming == MOE_NAMING_HF ? spec->hf : spec->gguf;
}

static bool is_end(const struct moe_tensor_spec *spec) { return !spec->hf && !spec->gguf; }

bool moe_spec_is_expert(const struct moe_tensor_spec *spec)
{
	return spec->part >= MOE_PART_EXPERT_GATE && spec->part <= MOE_PART_EXPERT_DOWN_SCALES;
}

bool moe_spec_is_mx(const struct moe_tensor_spec *spec)
{
	return spec->mx_blocks ||
	       (spec->part >= MOE_PART_EXPERT_GATE_SCALES && spec->part <= MOE_PART_EXPERT_DOWN_SCALES);
}

bool moe_spec_scaled(const struct moe_config *c, const struct moe_tensor_spec *spec)
{
	const bool role = spec->role == MOE_ROLE_ATTN || spec->role == MOE_ROLE_DENSE || spec->role == MOE_ROLE_EXPS ||
	                  spec->role == MOE_ROLE_SHARED;

	return c->fp8_blocks && spec->hf && spec->n_dims == 2 && role && !spec->unscaled &&
	       spec->stack == MOE_STACK_NONE && spec->n_pieces == 0 && !spec->input_major && !moe_spec_is_mx(spec);
}

const struct moe_tensor *moe_names_scales(const struct moe_ckpt *ckpt, const struct moe_tensor *tensor)
{
	char name[256];
	const int n = snprintf(name, sizeof name, "%s" MOE_SCALES_SUFFIX, tensor->name);

	return n > 0 && (size_t)n < sizeof name ? moe_ckpt_find(ckpt, name) : NULL;
}

bool moe_names_stacked(const struct moe_config *c)
{
	for (const struct moe_tensor_spec *spec = c->family->tensors; !is_end(spec); spec++)
		if (spec->hf && moe_spec_is_stack(spec, MOE_NAMING_HF) && (!spec->present || spec->present(c)))
			return true;
	return false;
}

bool moe_spec_is_stack(const struct moe_tensor_spec *spec, enum moe_naming naming)
{
	const char *pattern = pattern_of(spec, naming);

	return moe_spec_is_expert(spec) && pattern && !strstr(pattern, "{e}");
}

bool moe_spec_in(const struct moe_tensor_spec *spec, enum moe_naming naming)
{
	if (naming == MOE_NAMING_HF)
		return spec->hf;
	return spec->gguf && spec->gguf_age != (naming == MOE_NAMING_GGUF ? MOE_GGUF_OLD : MOE_GGUF_NEW);
}

/* The name of a tensor of this spec that any checkpoint with such ones has; false: there is none. */
static bool first_name(const struct moe_config *c, const struct moe_tensor_spec *spec, struct moe_buf *name)
{
	struct moe_tensor_id id = { .spec = spec, .layer = -1, .expert = 0 };

	while (id.layer < c->n_layers + c->n_mtp_layers && !moe_spec_applies(c, spec, id.layer))
		id.layer++;
	name->n = 0;
	if (id.layer < c->n_layers + c->n_mtp_layers)
		moe_names_format(c, &id, MOE_NAMING_GGUF_OLD, name);
	return name->n > 0 && !name->failed;
}

enum moe_naming moe_names_form(const struct moe_config *c, const struct moe_ckpt *ckpt)
{
	enum moe_naming naming = ckpt->format->naming;
	struct moe_buf name = {0};

	for (const struct moe_tensor_spec *spec = c->family->tensors; !is_end(spec) && naming == MOE_NAMING_GGUF;
	     spec++)
		if (spec->gguf_age == MOE_GGUF_OLD && first_name(c, spec, &name) && moe_ckpt_find(ckpt, name.p))
			naming = MOE_NAMING_GGUF_OLD;
	moe_buf_free(&name);
	return naming;
}

/* The first layer of the stack that a spec belongs to: what its {l} counts from. */
static int32_t first_layer(const struct moe_config *c, const struct moe_tensor_spec *spec)
{
	return spec->side == MOE_IN_DECODER ? c->n_encoder_layers : 0;
}

bool moe_spec_applies(const struct moe_config *c, const struct moe_tensor_spec *spec, int32_t layer)
{
	if (layer < -1 || layer >= c->n_layers + c->n_mtp_layers || (spec->present && !spec->present(c)))
		return false;
	if (layer < 0 || spec->where == MOE_AT_TOP)
		return layer < 0 && spec->where == MOE_AT_TOP;
	if (spec->side != MOE_IN_ANY && (spec->side == MOE_IN_ENCODER) != c->layers[layer].encoder)
		return false;
	if (spec->first_only && layer != first_layer(c, spec))
		return false;
	switch (spec->where) {
	case MOE_AT_DENSE: return c->layers[layer].ffn == MOE_FFN_DENSE;
	case MOE_AT_MOE: return c->layers[layer].ffn == MOE_FFN_MOE;
	case MOE_AT_MTP: return c->layers[layer].mtp;
	case MOE_AT_INDEXER: return c->layers[layer].indexer == MOE_INDEXER_OWN;
	default: return true;
	}
}

/* A decimal number without sign or leading zeros, within int32; moves *at behind it. */
static bool take_number(const char **at, int32_t *out)
{
	const char *p = *at;
	int64_t v = 0;

	if (*p < '0' || *p > '9' || (*p == '0' && p[1] >= '0' && p[1] <= '9'))
		return false;
	for (; *p >= '0' && *p <= '9'; p++) {
		v = v * 10 + (*p - '0');
		if (v > INT32_MAX)
			return false;
	}
	*at = p;
	*out = (int32_t)v;
	return true;
}

static const char *prefix_of(const struct moe_config *c, enum moe_naming naming)
{
	return naming == MOE_NAMING_HF && c->hf_prefix ? c->hf_prefix : "";
}

/* Fits the name to a pattern; what is left of it behind the pattern, or NULL. */
static const char *match(const char *pattern, const char *name, int32_t *layer, int32_t *expert)
{
	*layer = *expert = -1;
	while (*pattern) {
		if (pattern[0] == '{') {
			if (!take_number(&name, pattern[1] == 'l' ? layer : expert))
				return NULL;
			pattern += 3;
		} else if (*pattern++ != *name++) {
			return NULL;
		}
	}
	return name;
}

bool moe_names_parse(const struct moe_config *c, enum moe_naming naming, const char *name, struct moe_tensor_id *id)
{
	const char *prefix = prefix_of(c, naming);

	if (strncmp(name, prefix, strlen(prefix)))
		return false;
	name += strlen(prefix);
	for (const struct moe_tensor_spec *spec = c->family->tensors; !is_end(spec); spec++) {
		const char *pattern = pattern_of(spec, naming);
		const char *rest = pattern ? match(pattern, name, &id->layer, &id->expert) : NULL;

		if (!rest)
			continue;
		id->scales = naming == MOE_NAMING_HF && moe_spec_scaled(c, spec) && !strcmp(rest, MOE_SCALES_SUFFIX);
		if (*rest && !id->scales)
			continue;
		if (id->layer >= 0 && __builtin_add_overflow(id->layer, first_layer(c, spec), &id->layer))
			continue;
		if (moe_spec_applies(c, spec, id->layer) && id->expert < c->n_experts) {
			id->spec = spec;
			return true;
		}
	}
	return false;
}

bool moe_names_copies(const struct moe_config *c, enum moe_naming naming, const char *name)
{
	const char *const *copy = naming == MOE_NAMING_HF ? c->family->copies : NULL;
	const char *prefix = prefix_of(c, naming);

	if (strncmp(name, prefix, strlen(prefix)))
		return false;
	name += strlen(prefix);
	for (; copy && *copy; copy++)
		if (!strcmp(name, *copy))
			return true;
	for (const struct moe_tensor_spec *spec = c->family->tensors; c->tie_embeddings && !is_end(spec); spec++)
		if (spec->part == MOE_PART_HEAD && pattern_of(spec, naming) && !strcmp(name, pattern_of(spec, naming)))
			return true;
	return false;
}

bool moe_names_skipped(const struct moe_config *c, enum moe_naming naming, const char *name)
{
	const char *const *begin = naming == MOE_NAMING_HF ? c->family->skipped : NULL;

	for (; begin && *begin; begin++) {
		int32_t layer, expert;

		if (match(*begin, name, &layer, &expert) && (layer < 0 || layer >= c->n_layers + c->n_mtp_layers))
			return true;
	}
	return moe_names_copies(c, naming, name);
}

void moe_names_format(const struct moe_config *c, const struct moe_tensor_id *id, enum moe_naming naming,
                      struct moe_buf *out)
{
	const char *p = pattern_of(id->spec, naming);

	moe_buf_adds(out, prefix_of(c, naming));
	while (*p) {
		const char *brace = strchr(p, '{');
		if (!brace) {
			moe_buf_adds(out, p);
			return;
		}
		moe_buf_add(out, p, (size_t)(brace - p));
		moe_buf_addf(out, "%d", brace[1] == 'l' ? id->layer - first_layer(c, id->spec) : id->expert);
		p = brace + 3;
	}
}

int32_t moe_spec_dims(const struct moe_config *c, const struct moe_tensor_spec *spec, enum moe_naming naming,
                      int64_t dims[MOE_MAX_DIMS])
{
	const bool rows = naming == MOE_NAMING_HF && spec->stack == MOE_STACK_ROWS;
	int32_t n = 0;

	if (moe_spec_is_stack(spec, naming) && !rows)
		dims[n++] = c->n_experts;
	for (int32_t i = 0; i < spec->n_dims; i++)
		dims[n++] = moe_dim_of(c, spec->dims[i]);
	if (naming == MOE_NAMING_HF && spec->input_major) {
		const int64_t out = dims[n - 2];
		dims[n - 2] = dims[n - 1];
		dims[n - 1] = out;
	}
	if (naming == MOE_NAMING_HF && spec->mx_blocks) {
		dims[n - 1] /= MOE_MX_BLOCK;
		dims[n++] = MOE_MX_BLOCK / 2;
	}
	/* no tensor has as many rows as that */
	if (rows && __builtin_mul_overflow(dims[0], c->n_experts, &dims[0]))
		dims[0] = INT64_MAX;
	return n;
}

static bool expected(const struct moe_config *c, const struct moe_tensor_spec *spec, enum moe_naming naming,
                     int32_t layer)
{
	return moe_spec_in(spec, naming) && moe_spec_applies(c, spec, layer);
}

enum moe_status moe_names_each(const struct moe_config *c, enum moe_naming naming,
	enum moe_status (*fn)(void *arg, const struct moe_tensor_id *id, const int64_t *dims, int32_t n_dims,
	                      struct moe_err *err),
	void *arg, struct moe_err *err)
{
	int64_t dims[MOE_MAX_DIMS];

	for (int32_t layer = -1; layer < c->n_layers + c->n_mtp_layers; layer++)
		for (const struct moe_tensor_spec *spec = c->family->tensors; !is_end(spec); spec++) {
			if (!expected(c, spec, naming, layer))
				continue;
			const bool each = moe_spec_is_expert(spec) && !moe_spec_is_stack(spec, naming);
			const int32_t n_dims = moe_spec_dims(c, spec, naming, dims);
			struct moe_tensor_id id = { .spec = spec, .layer = layer, .expert = each ? 0 : -1 };
			do {
				enum moe_status st = fn(arg, &id, dims, n_dims, err);
				if (st)
					return st;
			} while (each && ++id.expert < c->n_experts);
		}
	return MOE_OK;
}

int64_t moe_names_count(const struct moe_config *c, enum moe_naming naming)
{
	int64_t n = 0;

	for (int32_t layer = -1; layer < c->n_layers + c->n_mtp_layers; layer++)
		for (const struct moe_tensor_spec *spec = c->family->tensors; !is_end(spec); spec++) {
			int64_t m = moe_spec_is_expert(spec) && !moe_spec_is_stack(spec, naming) ? c->n_experts : 1;
			m *= naming == MOE_NAMING_HF && moe_spec_scaled(c, spec) ? 2 : 1;
			if (expected(c, spec, naming, layer) && __builtin_add_overflow(n, m, &n))
				return INT64_MAX;
		}
	return n;
}

enum moe_role moe_id_role(const struct moe_config *c, const struct moe_tensor_id *id)
{
	return id->layer >= c->n_layers ? MOE_ROLE_MTP : id->spec->role;
}
