/* Binding: every weight of a config found in a checkpoint, checked, and given its place. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/model.h"
#include "model/names.h"
#include "model/stored.h"

struct binder {
	const struct moe_config *config;
	const struct moe_ckpt *ckpt;
	const char *where;          /* what messages call the config */
	struct moe_model *model;    /* NULL: checking only */
	bool presence;              /* looking for what is missing, whatever its shape */
	size_t n_used;
	enum moe_naming naming;
	struct moe_buf name;
};

static enum moe_status missing(const struct binder *b, const struct moe_tensor_id *id, struct moe_err *err)
{
	const struct moe_config *c = b->config;
	const int64_t n = moe_names_count(c, b->naming);
	char hint[160] = "";

	if (b->ckpt->n_tensors == 0)
		return moe_err_set(err, MOE_EFORMAT, "%s: there are no tensors, only a config; expected %lld",
		                   b->ckpt->path, (long long)n);
	if (id->layer >= c->n_layers)
		snprintf(hint, sizeof hint, "; layer %d is a multi-token-prediction layer: without it, "
		         "num_nextn_predict_layers must be 0", id->layer);
	return moe_err_set(err, MOE_EFORMAT, "%s: tensor '%s' is missing: %s says %d experts in %d layers (%lld "
	                   "tensors), the "
	                   "checkpoint holds %zu tensors%s", b->ckpt->path, b->name.p, b->where, c->n_experts,
	                   c->n_layers + c->n_mtp_layers, (long long)n, b->ckpt->n_tensors, hint);
}

static enum moe_status check_tensor(const struct binder *b, const struct moe_tensor_spec *spec,
                                    const struct moe_tensor *t, const int64_t *dims, int32_t n_dims,
                                    struct moe_err *err)
{
	char want[24 * MOE_MAX_DIMS], have[24 * MOE_MAX_DIMS];
	const char *file = moe_ckpt_file(b->ckpt, t);
	bool same = t->n_dims == n_dims, turned = same && n_dims >= 2;

	for (int32_t i = 0; i < n_dims && same; i++)
		same = t->dims[i] == dims[i];
	if (!same) {
		for (int32_t i = 0; i < n_dims && turned; i++)
			turned = t->dims[i] == dims[i < n_dims - 2 ? i : 2 * n_dims - 3 - i];
		return moe_err_set(err, MOE_EFORMAT, "%s: tensor '%s': expected shape %s, found %s%s", file, t->name,
		                   moe_dims_text(want, dims, n_dims), moe_dims_text(have, t->dims, t->n_dims),
		                   turned ? " (transposed)" : "");
	}
	if (moe_spec_is_mx(spec))
		return !strcmp(t->codec->name, "u8") ? MOE_OK :
		       moe_err_set(err, MOE_EFORMAT, "%s: tensor '%s': expected a part of an MXFP4 matrix of type u8, "
		                   "found %s", file, t->name, t->codec->name);
	if (t->codec->scaled && !moe_spec_scaled(b->config, spec))
		return moe_err_set(err, MOE_EFORMAT, "%s: tensor '%s': expected numbers without block scales, found "
		                   "type %s", file, t->name, t->codec->name);
	if (!t->codec->is_float)
		return moe_err_set(err, MOE_EFORMAT, "%s: tensor '%s': expected real numbers, found type %s", file,
		                   t->name, t->codec->name);
	return MOE_OK;
}

/* The scales of a matrix that needs them: there, one f32 or E8M0 for each block. */
static enum moe_status check_scales(const struct binder *b, const struct moe_tensor *t, struct moe_err *err)
{
	const struct moe_tensor *scales = moe_names_scales(b->ckpt, t);
	char want[24 * MOE_MAX_DIMS], have[24 * MOE_MAX_DIMS];
	int64_t dims[2];

	if (!scales)
		return moe_err_set(err, MOE_EFORMAT, "%s: tensor '%s" MOE_SCALES_SUFFIX "' is missing: '%s' is %s, "
		                   "which needs it", b->ckpt->path, t->name, t->name, t->codec->name);
	for (int i = 0; i < 2; i++)
		dims[i] = (t->dims[i] + MOE_SCALE_BLOCK - 1) / MOE_SCALE_BLOCK;
	if (scales->n_dims != 2 || scales->dims[0] != dims[0] || scales->dims[1] != dims[1])
		return moe_err_set(err, MOE_EFORMAT, "%s: tensor '%s': expected shape %s, a scale for each %dx%d "
		                   "block of '%s', found %s", moe_ckpt_file(b->ckpt, scales), scales->name,
		                   moe_dims_text(want, dims, 2), MOE_SCALE_BLOCK, MOE_SCALE_BLOCK, t->name,
		                   moe_dims_text(have, scales->dims, scales->n_dims));
	if (strcmp(scales->codec->name, "f32") && strcmp(scales->codec->name, "f8_e8m0"))
		return moe_err_set(err, MOE_EFORMAT, "%s: tensor '%s': expected block scales of type f32 or f8_e8m0, "
		                   "found %s", moe_ckpt_file(b->ckpt, scales), scales->name, scales->codec->name);
	return MOE_OK;
}

static struct moe_weight *expert_list(struct moe_layer *layer, enum moe_part part)
{
	switch (part) {
	case MOE_PART_EXPERT_GATE:
	case MOE_PART_EXPERT_GATE_SCALES: return layer->expert_gate;
	case MOE_PART_EXPERT_UP:
	case MOE_PART_EXPERT_UP_SCALES: return layer->expert_up;
	case MOE_PART_EXPERT_GATE_BIAS: return layer->expert_gate_bias;
	case MOE_PART_EXPERT_UP_BIAS: return layer->expert_up_bias;
	case MOE_PART_EXPERT_DOWN_BIAS: return layer->expert_down_bias;
	default: return layer->expert_down;
	}
}

static struct moe_weight *top_weight(struct moe_model *m, enum moe_part part)
{
	switch (part) {
	case MOE_PART_EMBED: return &m->embed;
	case MOE_PART_HEAD: return &m->head;
	case MOE_PART_HEAD_BIAS: return &m->head_bias;
	case MOE_PART_ENCODER_NORM: return &m->encoder_norm;
	case MOE_PART_FINAL_NORM_BIAS: return &m->final_norm_bias;
	default: return &m->final_norm;
	}
}

/* Gives the pieces of a matrix their places: expert -1 for what is no expert's. */
static void place_pieces(struct binder *b, const struct moe_tensor_id *id, int32_t expert, const struct moe_weight *w)
{
	struct moe_layer *layer = &b->model->layers[id->layer];

	for (int32_t i = 0; i < (id->spec->n_pieces ? id->spec->n_pieces : 1); i++) {
		const enum moe_part part = id->spec->n_pieces ? id->spec->pieces[i].part : id->spec->part;
		const struct moe_weight rows = moe_stored_piece(b->config, id->spec, w, i);
		struct moe_weight *list = expert < 0 ? NULL : expert_list(layer, part);
		struct moe_weight *to = list ? &list[expert] : &layer->part[part];

		/* the codes come before their exponents */
		if (moe_spec_is_mx(id->spec) && !id->spec->mx_blocks)
			to->scales = rows.data;
		else
			*to = rows;
	}
}

static void place(struct binder *b, const struct moe_tensor_id *id, const struct moe_tensor *t)
{
	struct moe_model *m = b->model;
	const bool stack = moe_spec_is_stack(id->spec, b->naming);

	if (id->spec->made)
		return;
	for (int32_t e = 0; e < (stack ? b->config->n_experts : 1); e++) {
		const struct moe_weight w = moe_stored_weight(b->config, b->ckpt, b->naming, id->spec, t, e);

		if (id->layer < 0)
			*top_weight(m, id->spec->part) = w;
		else
			place_pieces(b, id, stack ? e : id->expert, &w);
	}
}

/* Called for every expected tensor, first to check, then to place. */
static enum moe_status visit(void *arg, const struct moe_tensor_id *id, const int64_t *dims, int32_t n_dims,
                             struct moe_err *err)
{
	struct binder *b = arg;
	enum moe_status st;

	b->name.n = 0;
	moe_names_format(b->config, id, b->naming, &b->name);
	st = moe_buf_check(&b->name, err);
	if (st)
		return st;
	const struct moe_tensor *t = moe_ckpt_find(b->ckpt, b->name.p);
	if (!t)
		return id->spec->made ? MOE_OK : missing(b, id, err);
	if (b->presence)
		return MOE_OK;
	if (b->model) {
		place(b, id, t);
		return MOE_OK;
	}
	b->n_used += t->codec->scaled ? 2 : 1;
	if (b->naming == MOE_NAMING_HF && id->spec->input_major && t->codec->block_elems > 1)
		return moe_err_set(err, MOE_EFORMAT, "%s: tensor '%s': expected numbers without blocks, as this "
		                   "matrix is stored by its inputs, found %s", moe_ckpt_file(b->ckpt, t), t->name,
		                   t->codec->name);
	st = check_tensor(b, id->spec, t, dims, n_dims, err);
	return st || !t->codec->scaled ? st : check_scales(b, t, err);
}

/* A second copy of the embedding must be one: then it does not matter which of the two is read. */
static enum moe_status check_copy(struct binder *b, const struct moe_tensor *t, struct moe_err *err)
{
	const struct moe_tensor_spec *spec = b->config->family->tensors;
	const struct moe_tensor *of;
	bool same;

	while (spec->part != MOE_PART_EMBED)
		spec++;
	b->name.n = 0;
	moe_names_format(b->config, &(struct moe_tensor_id){ .spec = spec, .layer = -1, .expert = -1 },
	                 b->naming, &b->name);
	of = b->name.failed ? NULL : moe_ckpt_find(b->ckpt, b->name.p);
	same = of && of->data && t->data && t->codec == of->codec && t->n_dims == of->n_dims &&
	       t->n_bytes == of->n_bytes;
	for (int32_t i = 0; same && i < t->n_dims; i++)
		same = t->dims[i] == of->dims[i];
	if (same && !memcmp(t->data, of->data, t->n_bytes))
		return MOE_OK;
	return moe_err_set(err, MOE_EFORMAT, "%s: tensor '%s': expected a copy of '%s' (%s: tie_word_embeddings %s), "
	                   "found other %s", moe_ckpt_file(b->ckpt, t), t->name, b->name.p, b->where,
	                   b->config->tie_embeddings ? "true" : "false", same ? "numbers" : "types or shapes");
}

/* All expected tensors are there; names the first that is not one of them. Old GGUF files may hold what newer ones do
 * beside it. */
static enum moe_status no_others(struct binder *b, struct moe_err *err)
{
	const enum moe_naming naming = b->naming;

	for (size_t i = 0; i < b->ckpt->n_tensors; i++) {
		const struct moe_tensor *t = &b->ckpt->tensors[i];
		struct moe_tensor_id id;
		const bool known = moe_names_parse(b->config, naming, t->name, &id) &&
		                   (naming == MOE_NAMING_GGUF_OLD || moe_spec_in(id.spec, naming));

		if (known && id.scales) {
			b->name.n = 0;
			moe_names_format(b->config, &id, naming, &b->name);
			const struct moe_tensor *of = b->name.failed ? NULL : moe_ckpt_find(b->ckpt, b->name.p);
			if (of && !of->codec->scaled)
				return moe_err_set(err, MOE_EFORMAT, "%s: tensor '%s' scales '%s', which is of type "
				                   "%s and needs no scales", moe_ckpt_file(b->ckpt, t), t->name,
				                   of->name, of->codec->name);
		}
		if (!known && moe_names_copies(b->config, naming, t->name)) {
			enum moe_status st = check_copy(b, t, err);
			if (st)
				return st;
			continue;
		}
		if (!known && moe_names_skipped(b->config, naming, t->name))
			continue;
		if (!known)
			return moe_err_set(err, MOE_EFORMAT, "%s: tensor '%s' is none of the %zu that %s calls for "
			                   "(%s, %d layers, "
			                   "%d experts)", moe_ckpt_file(b->ckpt, t), t->name, b->n_used, b->where,
			                   b->config->family->name, b->config->n_layers + b->config->n_mtp_layers,
			                   b->config->n_experts);
	}
	return MOE_OK;
}

static enum moe_status check_all(struct binder *b, struct moe_err *err)
{
	const struct moe_ckpt *ckpt = b->ckpt;
	enum moe_status st;

	for (size_t i = 0; i < ckpt->n_tensors && !b->config->fp8_blocks; i++)
		if (ckpt->tensors[i].codec->scaled)
			return moe_err_set(err, MOE_EFORMAT, "%s: tensor '%s' is %s, but no quantization_config "
			                   "of %s speaks of block scales", moe_ckpt_file(ckpt, &ckpt->tensors[i]),
			                   ckpt->tensors[i].name, ckpt->tensors[i].codec->name, b->where);
	b->naming = moe_names_form(b->config, ckpt);
	/* too few tensors: the first missing one says more than the first shape that differs, and comes within
	 * n_tensors + 1 steps whatever the config's numbers are */
	b->presence = moe_names_count(b->config, b->naming) > (int64_t)ckpt->n_tensors;
	st = b->presence ? moe_names_each(b->config, b->naming, visit, b, err) : MOE_OK;
	b->presence = false;
	if (!st)
		st = moe_names_each(b->config, b->naming, visit, b, err);
	return st || b->n_used == ckpt->n_tensors ? st : no_others(b, err);
}

enum moe_status moe_model_check(const struct moe_config *config, const struct moe_ckpt *ckpt, const char *where,
                                struct moe_err *err)
{
	struct binder b = { .config = config, .ckpt = ckpt, .where = where };
	enum moe_status st = check_all(&b, err);

	moe_buf_free(&b.name);
	return st;
}

static enum moe_status alloc_layers(struct moe_model *m, struct moe_err *err)
{
	const struct moe_config *c = &m->config;
	bool biased = false;
	const size_t n = (size_t)c->n_layers + (size_t)c->n_mtp_layers;

	for (const struct moe_tensor_spec *spec = c->family->tensors; spec->hf || spec->gguf; spec++)
		biased = biased || spec->part == MOE_PART_EXPERT_DOWN_BIAS;
	m->layers = MOE_NEW(&m->arena, struct moe_layer, n);
	if (!m->layers)
		return moe_err_nomem(err, n * sizeof *m->layers, "layers");
	for (size_t l = 0; l < n; l++) {
		struct moe_layer *layer = &m->layers[l];

		if (c->layers[l].ffn != MOE_FFN_MOE)
			continue;
		layer->expert_gate = MOE_NEW(&m->arena, struct moe_weight, (size_t)c->n_experts);
		layer->expert_up = MOE_NEW(&m->arena, struct moe_weight, (size_t)c->n_experts);
		layer->expert_down = MOE_NEW(&m->arena, struct moe_weight, (size_t)c->n_experts);
		layer->expert_gate_bias = biased ? MOE_NEW(&m->arena, struct moe_weight, (size_t)c->n_experts) : NULL;
		layer->expert_up_bias = biased ? MOE_NEW(&m->arena, struct moe_weight, (size_t)c->n_experts) : NULL;
		layer->expert_down_bias = biased ? MOE_NEW(&m->arena, struct moe_weight, (size_t)c->n_experts) : NULL;
		if (!layer->expert_gate || !layer->expert_up || !layer->expert_down ||
		    (biased && (!layer->expert_gate_bias || !layer->expert_up_bias || !layer->expert_down_bias)))
			return moe_err_nomem(err, (biased ? 6 : 3) * (size_t)c->n_experts * sizeof *layer->expert_gate,
			                     "expert lists");
	}
	return MOE_OK;
}

/* One stack decoded to f32, malloc'd. */
static float *decoded(const struct moe_weight *w, size_t n)
{
	float *values = malloc(n * sizeof *values);

	if (values)
		w->codec->decode(w->data, values, n);
	return values;
}

/* k_b [H][c][n] and v_b [H][v][c] become kv_b [H][n + v][c], in elements of `size` bytes. */
static void join_kv_b(const struct moe_config *c, const uint8_t *k, const uint8_t *v, uint8_t *out, size_t size)
{
	const size_t n_k = (size_t)c->qk_nope_head_dim, n_v = (size_t)c->v_head_dim, rank = (size_t)c->kv_lora_rank;

	for (int32_t h = 0; h < c->n_heads; h++) {
		for (size_t i = 0; i < n_k; i++)
			for (size_t j = 0; j < rank; j++)
				memcpy(out + (i * rank + j) * size, k + (j * n_k + i) * size, size);
		memcpy(out + n_k * rank * size, v, n_v * rank * size);
		k += rank * n_k * size;
		v += n_v * rank * size;
		out += (n_k + n_v) * rank * size;
	}
}

static enum moe_status make_kv_b(struct moe_model *m, struct moe_layer *layer, struct moe_err *err)
{
	const struct moe_config *c = &m->config;
	struct moe_weight *k = &layer->part[MOE_PART_K_B], *v = &layer->part[MOE_PART_V_B];
	struct moe_weight *kv = &layer->part[MOE_PART_KV_B];
	const bool as_stored = k->codec == v->codec && k->codec->block_elems == 1;
	const size_t n_k = (size_t)moe_dim_of(c, MOE_DIM_HEADS) * (size_t)c->qk_nope_head_dim * (size_t)c->kv_lora_rank;
	const size_t n_v = (size_t)moe_dim_of(c, MOE_DIM_HEADS) * (size_t)c->v_head_dim * (size_t)c->kv_lora_rank;
	const size_t size = as_stored ? k->codec->block_bytes : sizeof(float);
	uint8_t *out = moe_arena_alloc(&m->arena, n_k + n_v, size);
	enum moe_status st = MOE_OK;

	if (!out)
		return moe_err_nomem(err, (n_k + n_v) * size, "kv_b");
	if (as_stored) {
		join_kv_b(c, k->data, v->data, out, size);
	} else {
		float *kf = decoded(k, n_k), *vf = decoded(v, n_v);
		if (kf && vf)
			join_kv_b(c, (const uint8_t *)kf, (const uint8_t *)vf, out, size);
		else
			st = moe_err_nomem(err, (n_k + n_v) * sizeof(float), "kv_b");
		free(kf);
		free(vf);
	}
	*kv = (struct moe_weight){ .codec = as_stored ? k->codec : moe_codec_by_name("f32"), .data = out,
	                           .rows = moe_dim_of(c, MOE_DIM_KV_B), .cols = c->kv_lora_rank };
	*k = *v = (struct moe_weight){0};
	return st;
}

enum moe_status moe_model_bind(struct moe_model **out, const struct moe_ckpt *ckpt, struct moe_err *err)
{
	struct moe_model *m = calloc(1, sizeof *m);
	struct binder b = { .ckpt = ckpt };
	json_t *json = NULL;
	char where[1024];
	enum moe_status st;

	if (!m)
		return moe_err_nomem(err, sizeof *m, "model");
	m->ckpt = ckpt;
	b.config = &m->config;
	b.where = where;
	st = moe_ckpt_check_whole(ckpt, false, err);
	if (!st)
		st = moe_config_json_of(&json, ckpt, NULL, where, err);
	if (st)
		goto out;
	st = moe_config_parse(&m->config, json, where, err);
	if (st)
		goto out;
	st = check_all(&b, err);
	if (st)
		goto out;
	st = alloc_layers(m, err);
	if (st)
		goto out;
	b.model = m;
	m->paired = moe_stored_paired(&m->config, b.naming, MOE_PART_Q);
	st = moe_names_each(&m->config, b.naming, visit, &b, err);
	if (m->config.tie_embeddings)
		m->head = m->embed;
	for (int32_t l = 0; !st && l < m->config.n_layers + m->config.n_mtp_layers; l++)
		if (m->layers[l].part[MOE_PART_K_B].data)
			st = make_kv_b(m, &m->layers[l], err);
out:
	json_decref(json);
	moe_buf_free(&b.name);
	if (st)
		moe_model_free(m);
	else
		*out = m;
	return st;
}

void moe_model_free(struct moe_model *model)
{
	if (!model)
		return;
	moe_config_free(&model->config);
	moe_arena_free(&model->arena);
	free(model);
}
