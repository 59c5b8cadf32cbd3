/* Does a model fit into the memory of a rank? Weights are counted tensor by tensor as a conversion would store them,
 * never read; experts go to the ranks that hold them where no plan says otherwise, the rest to all. */
#include <stdlib.h>
#include <string.h>

#include "convert/fits.h"
#include "forward/forward.h"
#include "model/names.h"
#include "model/stored.h"

#define MOST_BYTES (UINT64_C(1) << 62)
#define MOST_CTX (INT64_C(1) << 31)   /* any number of positions beyond this */
#define CHUNK 512                     /* tokens a pass of moe-run, if not told otherwise */

struct weights {
	const struct moe_config *config;
	const struct moe_ckpt *ckpt;
	const struct moe_fits_opts *opts;
	const char *where;
	struct moe_config scaled;      /* the config, with block scales where a rule asks for them */
	enum moe_naming from, to;
	uint64_t shared[MOE_N_ROLES];
	uint64_t *own[2];              /* [n_ranks] each: experts of the model, of MTP layers */
	struct moe_buf name;
};

static bool add(uint64_t *sum, uint64_t n)
{
	return !__builtin_add_overflow(*sum, n, sum) && *sum <= MOST_BYTES;
}

/* Bytes of experts [first, first + n) of a layer, each of n_bytes, to the ranks that hold them. */
static bool add_experts(struct weights *w, bool mtp, int64_t first, int64_t n, uint64_t n_bytes)
{
	const int64_t n_ranks = w->opts->n_ranks, n_experts = w->config->n_experts;

	for (int64_t e = first; e < first + n;) {
		const int64_t rank = ((e + 1) * n_ranks - 1) / n_experts, end = (rank + 1) * n_experts / n_ranks;
		const int64_t here = (end < first + n ? end : first + n) - e;
		uint64_t bytes;

		if (__builtin_mul_overflow((uint64_t)here, n_bytes, &bytes) || !add(&w->own[mtp][rank], bytes))
			return false;
		e += here;
	}
	return true;
}

static enum moe_status add_tensor(struct weights *w, const struct moe_tensor_id *id, bool stack, uint64_t n_bytes,
                                  struct moe_err *err)
{
	const int64_t n_experts = w->config->n_experts;
	const bool mtp = id->layer >= w->config->n_layers;
	bool good;

	if (mtp && w->opts->drop_mtp)
		return MOE_OK;
	if (!moe_spec_is_expert(id->spec))
		good = add(&w->shared[moe_id_role(w->config, id)], n_bytes);
	else if (stack)
		good = add_experts(w, mtp, 0, n_experts, n_bytes / (uint64_t)n_experts);
	else   /* expert -1: all of them, each of so many */
		good = add_experts(w, mtp, id->expert < 0 ? 0 : id->expert, id->expert < 0 ? n_experts : 1, n_bytes);
	return good ? MOE_OK : moe_err_set(err, MOE_EFORMAT, "%s: weights of more than 2^62 bytes", w->where);
}

/* ---- what is stored ---- */

static enum moe_status add_stored(struct weights *w, struct moe_err *err)
{
	enum moe_status st = MOE_OK;

	for (size_t i = 0; i < w->ckpt->n_tensors && !st; i++) {
		const struct moe_tensor *t = &w->ckpt->tensors[i];
		struct moe_tensor_id id;

		if (moe_names_parse(w->config, w->from, t->name, &id))   /* others are no part of the model */
			st = add_tensor(w, &id, id.expert < 0 && moe_spec_is_stack(id.spec, w->from), t->n_bytes, err);
	}
	return st;
}

/* ---- what would be stored ---- */

/* The type of the part in the source, as GGUF may hold it where it goes there; NULL: it is not in the source. */
static const struct moe_codec *source_codec(struct weights *w, const struct moe_tensor_spec *spec, int32_t layer)
{
	const enum moe_part others[] = {spec->part, MOE_PART_KV_B, MOE_PART_K_B};
	const bool kv = spec->part == MOE_PART_KV_B || spec->part == MOE_PART_K_B || spec->part == MOE_PART_V_B;
	const int32_t expert = moe_spec_is_expert(spec) ? 0 : -1;
	struct moe_weight found;

	for (size_t i = 0; i < (kv ? 3 : 1); i++)
		if (moe_stored_find(w->config, w->ckpt, w->from, others[i], layer, expert, &found, &w->name))
			return w->to != MOE_NAMING_HF && found.codec->joined ? moe_codec_by_name(found.codec->joined)
			                                                     : found.codec;
	return NULL;
}

/* The type that the config says; NULL: it does not. */
static const struct moe_codec *config_codec(const struct weights *w, const struct moe_tensor_spec *spec)
{
	const struct moe_config *c = w->config;

	if (c->mxfp4_experts && moe_spec_is_expert(spec) && spec->n_dims > 1)
		return moe_codec_by_name("mxfp4");
	if (moe_spec_scaled(c, spec))
		return moe_codec_by_name("f8_e4m3");
	if (spec->f32)
		return moe_codec_by_name("f32");
	return c->dtype_bytes == 4 ? moe_codec_by_name("f32") : c->dtype_bytes == 2 ? moe_codec_by_name("bf16") : NULL;
}

/* What a rule asks for, or NULL. */
static const struct moe_codec *asked_codec(const struct weights *w, const struct moe_tensor_spec *spec, int32_t layer)
{
	const struct moe_tensor_id id = { .spec = spec, .layer = layer, .expert = -1 };
	const struct moe_type_rules *rules = w->opts->types;
	const struct moe_codec *asked = rules ? rules->role[moe_id_role(w->config, &id)] : NULL;

	if (rules && !asked && (w->to != MOE_NAMING_HF || spec->part != MOE_PART_ROUTER_BIAS))
		asked = rules->rest;
	/* what has no scales stays as it is, as in a conversion */
	return asked && asked->scaled && !moe_spec_scaled(&w->scaled, spec) ? NULL : asked;
}

/* The type a tensor of the destination has; its rows are whole blocks. */
static enum moe_status choose(struct weights *w, const struct moe_tensor_spec *spec, int32_t layer, int64_t row,
                              const struct moe_codec **codec, struct moe_err *err)
{
	const bool to_hf = w->to == MOE_NAMING_HF, tensors = w->ckpt && w->ckpt->n_tensors;
	const struct moe_codec *asked = asked_codec(w, spec, layer), *chosen = asked;

	if (!to_hf && spec->gguf_f32)
		chosen = moe_codec_by_name("f32");
	else if (to_hf && moe_spec_is_mx(spec))
		chosen = moe_codec_by_name("u8");
	else if (!chosen)
		chosen = tensors ? source_codec(w, spec, layer) : config_codec(w, spec);
	if (asked && to_hf && moe_spec_is_mx(spec))
		return moe_err_set(err, MOE_EUSAGE, "--type: the experts of %s are MXFP4 matrices, which safetensors "
		                   "hold as they are: say --to gguf", w->where);
	if (!chosen && !tensors)
		return moe_err_set(err, MOE_EUSAGE, "%s does not say what types its weights have: say --type",
		                   w->where);
	if (!chosen || (!asked && chosen->scaled && !(to_hf && moe_spec_scaled(&w->scaled, spec))))
		chosen = moe_codec_by_name("bf16");
	if (!(to_hf ? chosen->safetensors != NULL : chosen->gguf_id >= 0)) {
		if (asked)
			return moe_err_set(err, MOE_EUSAGE, "--type: %s cannot be stored in %s", asked->name,
			                   to_hf ? "safetensors" : "gguf");
		chosen = moe_codec_by_name("f32");
	}
	while (row % chosen->block_elems)
		chosen = moe_codec_by_name(chosen->fallback ? chosen->fallback : "bf16");
	*codec = chosen;
	return MOE_OK;
}

static uint64_t blocks_of(int64_t n) { return ((uint64_t)n + MOE_SCALE_BLOCK - 1) / MOE_SCALE_BLOCK; }

static enum moe_status add_spec(struct weights *w, const struct moe_tensor_spec *spec, int32_t layer,
                                struct moe_err *err)
{
	const struct moe_tensor_id id = { .spec = spec, .layer = layer, .expert = -1 };
	const bool stack = moe_spec_is_stack(spec, w->to);
	const struct moe_codec *codec = NULL;
	int64_t dims[MOE_MAX_DIMS];
	const int32_t n_dims = moe_spec_dims(w->config, spec, w->to, dims);
	uint64_t scales = 0;
	size_t n_bytes;
	enum moe_status st = choose(w, spec, layer, dims[n_dims - 1], &codec, err);

	if (st)
		return st;
	if (codec->scaled)
		scales = blocks_of(dims[0]) * blocks_of(dims[1]) * sizeof(float);
	if (!moe_dims_bytes(codec, dims, n_dims, &n_bytes) || n_bytes > MOST_BYTES || scales > MOST_BYTES)
		return moe_err_set(err, MOE_EFORMAT, "%s: weights of more than 2^62 bytes", w->where);
	return add_tensor(w, &id, stack, n_bytes + scales, err);
}

static enum moe_status add_all(struct weights *w, struct moe_err *err)
{
	const struct moe_config *c = w->config;
	enum moe_status st = MOE_OK;

	for (int32_t layer = -1; layer < c->n_layers + c->n_mtp_layers && !st; layer++)
		for (const struct moe_tensor_spec *spec = c->family->tensors; (spec->hf || spec->gguf) && !st; spec++)
			if (moe_spec_in(spec, w->to) && moe_spec_applies(c, spec, layer))
				st = add_spec(w, spec, layer, err);
	return st;
}

/* The container that the types asked for belong in. */
static enum moe_naming naming_of(const struct moe_fits_opts *opts, enum moe_naming from)
{
	const struct moe_type_rules *rules = opts->types;

	if (opts->to)
		return opts->to->naming;
	for (int role = 0; rules && role <= MOE_N_ROLES; role++) {
		const struct moe_codec *codec = role < MOE_N_ROLES ? rules->role[role] : rules->rest;

		if (codec && !codec->safetensors)
			return MOE_NAMING_GGUF;
		if (codec && codec->gguf_id < 0)
			return MOE_NAMING_HF;
	}
	return from;
}

static enum moe_status weigh(struct weights *w, struct moe_fits *out, struct moe_err *err)
{
	const bool tensors = w->ckpt && w->ckpt->n_tensors;
	const size_t n_ranks = (size_t)w->opts->n_ranks;
	size_t most = 0;
	enum moe_status st = MOE_OK;

	w->from = tensors ? moe_names_form(w->config, w->ckpt) : MOE_NAMING_HF;
	w->to = naming_of(w->opts, w->from == MOE_NAMING_HF ? MOE_NAMING_HF : MOE_NAMING_GGUF);
	w->scaled = *w->config;
	w->scaled.fp8_blocks = w->config->fp8_blocks || (w->opts->types && moe_type_rules_scaled(w->opts->types));
	if (w->scaled.fp8_blocks && w->config->mxfp4_experts)
		return moe_err_set(err, MOE_EUSAGE, "--type: block scales do not go with the MXFP4 experts of %s",
		                   w->where);
	for (int i = 0; i < 2; i++)
		if (!(w->own[i] = calloc(n_ranks, sizeof *w->own[i])))
			return moe_err_nomem(err, n_ranks * sizeof *w->own[i], "the ranks");
	st = tensors && !w->opts->types && !w->opts->to ? add_stored(w, err) : add_all(w, err);
	for (size_t r = 1; r < n_ranks; r++)
		if (w->own[0][r] + w->own[1][r] > w->own[0][most] + w->own[1][most])
			most = r;
	memcpy(out->role, w->shared, sizeof out->role);
	out->role[MOE_ROLE_EXPS] += w->own[0][most];
	out->role[MOE_ROLE_MTP] += w->own[1][most];
	return st;
}

/* ---- what a sequence takes ---- */

/* Bytes of so many numbers, whole blocks of 32. */
static uint64_t kv_bytes(enum moe_kv_type kv, uint64_t n)
{
	return kv == MOE_KV_F32 ? 4 * n : kv == MOE_KV_BF16 ? 2 * n : (n + 31) / 32 * 34;
}

/* Everything beside the weights; false: more than MOST_BYTES. The encoder's own layers are buffers of its pass; its
 * output stays cached for the decoder's, as many positions as the decoder has. */
static bool sequence(const struct moe_config *c, const struct moe_fits_opts *opts, int64_t n_ctx, struct moe_fits *out)
{
	const struct moe_session_opts session = { .n_ctx = n_ctx, .n_encoder_ctx = c->n_encoder_layers ? n_ctx : 0,
	                                          .chunk = n_ctx < CHUNK ? (int32_t)n_ctx : CHUNK };
	uint64_t kept = 0, held = 0;

	for (int32_t l = c->n_encoder_layers; l < c->n_layers; l++) {
		const struct moe_layer_kind *kind = &c->layers[l];
		const uint64_t n = (uint64_t)kind->cache_elems, cross = kind->cross ? n : 0;
		int64_t reads = n_ctx;

		if (n > 1 << 28)
			return false;
		if (kind->window > 0 && kind->window < reads)
			reads = kind->window;
		if (kind->attention_chunk > 0 && kind->attention_chunk < reads)
			reads = kind->attention_chunk;
		if (!add(&kept, kv_bytes(opts->kv, (uint64_t)reads * n)) ||
		    !add(&kept, kv_bytes(opts->kv, (uint64_t)n_ctx * cross)) ||
		    !add(&held, (uint64_t)n_ctx * (n + cross) * sizeof(float)))
			return false;
	}
	out->cache = kept;
	/* a session keeps every position as f32, whatever the windows */
	out->buffers = moe_session_bytes(c, &session) - held;
	return out->buffers <= MOST_BYTES;
}

static bool fits_with(const struct moe_config *c, const struct moe_fits_opts *opts, uint64_t weights, int64_t n_ctx)
{
	struct moe_fits some;

	return sequence(c, opts, n_ctx, &some) && weights + some.cache + some.buffers <= opts->limit;
}

/* The most positions that fit beside the weights. */
static int64_t longest_of(const struct moe_config *c, const struct moe_fits_opts *opts, uint64_t weights)
{
	int64_t low = 0, high = MOST_CTX;

	if (fits_with(c, opts, weights, high))
		return INT64_MAX;
	while (high - low > 1) {
		const int64_t middle = low + (high - low) / 2;

		if (fits_with(c, opts, weights, middle))
			low = middle;
		else
			high = middle;
	}
	return low;
}

enum moe_status moe_fits_of(struct moe_fits *out, const struct moe_config *config, const struct moe_ckpt *ckpt,
                            const struct moe_fits_opts *opts, const char *where, struct moe_err *err)
{
	struct weights w = { .config = config, .ckpt = ckpt, .opts = opts, .where = where };
	uint64_t weights = 0;
	enum moe_status st;

	*out = (struct moe_fits){ .n_ctx = opts->n_ctx ? opts->n_ctx : config->max_positions };
	if (!opts->n_ctx && config->max_positions >= INT32_MAX)
		return moe_err_set(err, MOE_EUSAGE, "%s takes any number of positions: say how many with --ctx", where);
	st = weigh(&w, out, err);
	free(w.own[0]);
	free(w.own[1]);
	moe_buf_free(&w.name);
	for (int role = 0; role < MOE_N_ROLES && !st; role++)
		if (!add(&weights, out->role[role]))
			st = moe_err_set(err, MOE_EFORMAT, "%s: weights of more than 2^62 bytes", where);
	if (!st && !sequence(config, opts, out->n_ctx, out))
		st = moe_err_set(err, MOE_EFORMAT, "%s: %lld positions take more than 2^62 bytes", where,
		                 (long long)out->n_ctx);
	if (st)
		return st;
	out->total = weights + out->cache + out->buffers;
	out->fits = out->total <= opts->limit;
	out->longest = longest_of(config, opts, weights);
	return MOE_OK;
}

/* ---- reports ---- */

static const char *kv_name(enum moe_kv_type kv)
{
	return kv == MOE_KV_F32 ? "f32" : kv == MOE_KV_BF16 ? "bf16" : "q8_0";
}

json_t *moe_fits_json(const struct moe_fits *f, const struct moe_fits_opts *opts)
{
	json_t *bytes = json_object();
	bool ok = bytes;

	for (int role = 0; role < MOE_N_ROLES && ok; role++)
		ok = !json_object_set_new(bytes, moe_role_name((enum moe_role)role),
		                          json_integer((json_int_t)f->role[role]));
	ok = ok && !json_object_set_new(bytes, "cache", json_integer((json_int_t)f->cache)) &&
	     !json_object_set_new(bytes, "buffers", json_integer((json_int_t)f->buffers));
	json_t *longest = f->longest == INT64_MAX ? json_null() : json_integer((json_int_t)f->longest);
	return json_pack("{s:I,s:I,s:i,s:s,s:o*,s:I,s:b,s:o*}", "limit",
	                 (json_int_t)(opts->limit < MOST_BYTES ? opts->limit : MOST_BYTES), "ctx", (json_int_t)f->n_ctx,
	                 "ranks", (int)opts->n_ranks, "kv", kv_name(opts->kv), "bytes", ok ? bytes : NULL, "total",
	                 (json_int_t)f->total, "fits", (int)f->fits, "longest_ctx", longest);
}

void moe_fits_rows(struct moe_buf *out, const struct moe_fits *f, const struct moe_fits_opts *opts)
{
	moe_buf_addf(out, "#limit=%llu #ctx=%lld #ranks=%d #kv=%s #longest_ctx=", (unsigned long long)opts->limit,
	             (long long)f->n_ctx, opts->n_ranks, kv_name(opts->kv));
	if (f->longest == INT64_MAX)
		moe_buf_adds(out, "any\npart\tbytes\n");
	else
		moe_buf_addf(out, "%lld\npart\tbytes\n", (long long)f->longest);
	for (int role = 0; role < MOE_N_ROLES; role++)
		moe_buf_addf(out, "%s\t%llu\n", moe_role_name((enum moe_role)role), (unsigned long long)f->role[role]);
	moe_buf_addf(out, "cache\t%llu\nbuffers\t%llu\ntotal\t%llu\n", (unsigned long long)f->cache,
	             (unsigned long long)f->buffers, (unsigned long long)f->total);
}
