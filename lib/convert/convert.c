/* Planning and running a conversion.
 *
 * Types. GGUF: norms, routers and their biases are F32; the rest as asked for, or as stored; rows that are not whole
 * blocks of the type fall back to bf16. Hugging Face: as asked for, except that a router's bias stays as it is unless
 * its role is named; otherwise as stored, where a type that only GGUF has becomes f32, and a type that was recorded
 * when the GGUF was made is restored if it holds the values exactly. */
#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "convert/gguf_meta.h"
#include "convert/job.h"
#include "convert/json_text.h"
#include "model/gguf_keys.h"

#define MAX_COMPANION_BYTES ((size_t)64 << 20)

/* ---- types ---- */

/* The type all of a seen tensor is stored in, as the destination may hold it, or NULL where its parts differ. */
static const struct moe_codec *stored_codec(const struct moe_view *view, const struct moe_seen *seen)
{
	const struct moe_codec *codec = NULL;
	int64_t n = seen->making == MOE_MADE_PARTS ? seen->n_segments : seen->making == MOE_MADE_JOINED ? 2 : 1;

	if (moe_spec_is_mx(seen->id.spec))
		return moe_codec_by_name("u8");
	for (int64_t i = 0; i < n; i++) {
		const struct moe_segment s = moe_seen_segment(view, seen, i);

		for (int32_t k = 0; k < s.n_parts; k++) {
			if (codec && s.parts[k].codec != codec)
				return NULL;
			codec = s.parts[k].codec;
		}
	}
	return view->naming != MOE_NAMING_HF && codec->joined ? moe_codec_by_name(codec->joined) : codec;
}

/* Are any of its numbers changed on the way? */
static bool is_edited(const struct moe_view *view, const struct moe_seen *seen)
{
	for (int64_t i = 0; view->surgery && i < seen->n_segments; i++)
		if (moe_seen_segment(view, seen, i).edited)
			return true;
	return false;
}

/* What a surgery makes anew is stored as the source's matrices are, where these are plain numbers. */
static const struct moe_codec *new_codec(const struct moe_convert *conv, const struct moe_seen *seen)
{
	struct moe_buf name = {0};
	struct moe_weight w;
	const bool found = moe_surgery_find(&conv->surgery, conv->src, conv->view.from, MOE_PART_EXPERT_DOWN,
	                                    seen->id.layer, 0, 0, &w, &name);

	moe_buf_free(&name);
	return found && w.codec->block_elems == 1 && !w.codec->scaled ? w.codec : moe_codec_by_name("bf16");
}

/* The dtype that was recorded for a tensor in Hugging Face names, or NULL. */
static const struct moe_codec *recorded_codec(const struct moe_convert *conv, const struct moe_seen *seen)
{
	const json_t *dtype = json_object_get(conv->recorded, seen->name);

	if (!dtype && seen->id.spec->hf)
		dtype = json_object_get(conv->recorded, seen->id.spec->hf);
	return json_is_string(dtype) ? moe_codec_by_safetensors(json_string_value(dtype)) : NULL;
}

static bool in_gguf(const struct moe_codec *codec) { return codec->gguf_id >= 0; }
static bool in_hf(const struct moe_codec *codec) { return codec->safetensors; }

/* A type whose blocks rows of this tensor are made of whole: *codec, or the one it falls back to. */
static void fall_back(struct moe_convert *conv, const struct moe_seen *seen, const struct moe_codec **codec)
{
	const struct moe_codec *asked = *codec;
	const long long row = seen->dims[seen->n_dims - 1];

	while (row % (*codec)->block_elems)
		*codec = moe_codec_by_name((*codec)->fallback ? (*codec)->fallback : "bf16");
	if (*codec == asked)
		return;
	moe_buf_addf(&conv->details, "%s: rows of %lld are not whole blocks of %s: stored as %s\n", seen->name, row,
	             asked->name, (*codec)->name);
	conv->n_fallback++;
}

static enum moe_status choose(struct moe_convert *conv, const struct moe_seen *seen, struct moe_choice *out,
                              struct moe_err *err)
{
	const struct moe_codec *f32 = moe_codec_by_name("f32");
	const struct moe_codec *stored = conv->view.surgery && moe_surgery_is_new(&conv->surgery, seen->id.spec)
	                                 ? new_codec(conv, seen) : stored_codec(&conv->view, seen);
	const bool edited = is_edited(&conv->view, seen);
	const bool to_gguf = conv->view.naming == MOE_NAMING_GGUF;
	const bool turned = moe_seen_segment(&conv->view, seen, 0).turned;
	const struct moe_codec *asked = NULL, *recorded = NULL;

	if (conv->opts.types) {
		asked = moe_type_rules_find(conv->opts.types, seen->name);
		if (!asked)
			asked = conv->opts.types->role[moe_id_role(&conv->config, &seen->id)];
		if (!asked && (to_gguf || seen->id.spec->part != MOE_PART_ROUTER_BIAS))
			asked = conv->opts.types->rest;
	}
	if (!asked && conv->opts.dequantize && (!stored || moe_type_quantised(stored)))
		asked = moe_codec_by_name("bf16");
	*out = (struct moe_choice){0};
	if (to_gguf && seen->id.spec->gguf_f32) {
		out->codec = f32;
		return MOE_OK;
	}
	if (moe_spec_is_mx(seen->id.spec)) {
		if (asked)
			return moe_err_set(err, MOE_EUSAGE,
			                   "--type: %s is part of an MXFP4 matrix, which is copied, not "
			                   "converted",
			                   seen->name);
		if (edited)
			return moe_err_set(err, MOE_EUSAGE, "%s is part of an MXFP4 matrix, whose numbers are not "
			                   "changed: --dequantize first", seen->name);
		out->codec = stored;
		return MOE_OK;
	}
	if (asked && !(to_gguf ? in_gguf(asked) : in_hf(asked)))
		return moe_err_set(err, MOE_EUSAGE, "--type: %s cannot be stored in %s", asked->name,
		                   conv->opts.to->name);
	const bool may_scale = !to_gguf && moe_spec_scaled(&conv->config, seen->id.spec);
	const bool aligned = may_scale && moe_seen_aligned(&conv->view, seen);
	if (asked && asked->scaled && !aligned) {
		/* norms, routers, embeddings and the head stay as they are, as DeepSeek has it */
		asked = NULL;
		if (may_scale) {
			moe_buf_addf(&conv->details, "%s: put together of parts that are not whole scale blocks: "
			             "stored as %s\n", seen->name, stored && !stored->scaled ? stored->name : "bf16");
			conv->n_fallback++;
		}
	}
	out->codec = asked ? asked : stored;
	out->scaled = out->codec && out->codec->scaled && aligned;
	if (out->scaled) {
		moe_convert_choose_scales(conv, seen, out);
		return MOE_OK;
	}
	if (stored && stored->scaled) {
		conv->n_unscaled++;
		out->codec = asked ? asked : moe_codec_by_name("bf16");
		moe_buf_addf(&conv->details, "%s: %s with block scales, stored as %s\n", seen->name, stored->name,
		             out->codec->name);
	}
	if (!out->codec || (!asked && turned && stored->block_elems > 1) || (edited && !out->codec->encode) ||
	    !(to_gguf ? in_gguf(out->codec) : in_hf(out->codec))) {
		out->codec = f32;
		conv->n_widened++;
		moe_buf_addf(&conv->details, "%s: stored as f32\n", seen->name);
	}
	if (!asked && !to_gguf)
		recorded = recorded_codec(conv, seen);
	if (recorded && recorded != out->codec && recorded->encode && !recorded->scaled && recorded->is_float &&
	    recorded->block_elems == 1 && (stored == f32 || (recorded == f32 && stored && stored->block_elems == 1))) {
		out->codec = recorded;
		out->exact = !edited;
	}
	fall_back(conv, seen, &out->codec);
	out->kept = out->codec == stored;
	return MOE_OK;
}

/* llama.cpp's number for "mostly this type"; 0 is all f32. */
static int64_t file_type(const struct moe_convert *conv)
{
	static const int8_t types[][2] = {{0, 0}, {1, 1}, {2, 2}, {3, 3}, {6, 8}, {7, 9}, {8, 7}, {10, 10}, {11, 12},
	                                  {12, 15}, {13, 17}, {14, 18}, {20, 25}, {30, 32}, {39, 38}};
	double elems[64] = {0};
	int best = 0;

	for (size_t i = 0; i < conv->view.n; i++) {
		const int id = conv->choices[i].codec->gguf_id;
		if (id < 64 && !conv->view.seen[i].id.spec->gguf_f32)
			elems[id] += (double)conv->view.seen[i].n_elems;
	}
	for (int id = 1; id < 64; id++)
		if (elems[id] > elems[best])
			best = id;
	for (size_t i = 0; i < sizeof types / sizeof types[0]; i++)
		if (types[i][0] == best)
			return types[i][1];
	return 0;
}

/* A pattern that fits no tensor is a slip. */
static enum moe_status check_patterns(const struct moe_convert *conv, struct moe_err *err)
{
	const struct moe_type_rules *rules = conv->opts.types;

	for (size_t k = 0; rules && k < rules->n_patterns; k++) {
		const struct moe_type_pattern *p = &rules->patterns[k];
		bool used = false;

		for (size_t i = 0; i < conv->view.n && !used; i++)
			used = !fnmatch(p->name, conv->view.seen[i].name, 0);
		if (!used)
			return moe_err_set(err, MOE_EUSAGE, "%s: line %lld: no tensor of %s is called '%s'",
			                   rules->map, p->line, conv->opts.dst, p->name);
	}
	return MOE_OK;
}

/* ---- what goes beside the tensors ---- */

/* Name or pattern -> dtype: a pattern has that of the first tensor it fits, others are named. */
static enum moe_status record_dtypes(struct moe_convert *conv, struct moe_err *err)
{
	const struct moe_ckpt *src = conv->src;
	json_t *record = json_object();
	enum moe_status st = MOE_OK;
	bool ok = record;

	for (size_t i = 0; ok && i < src->n_tensors; i++) {
		const struct moe_tensor *t = &src->tensors[i];
		struct moe_tensor_id id;

		if (t->codec->scaled || !moe_names_parse(&conv->own, MOE_NAMING_HF, t->name, &id) || id.scales)
			continue;
		const json_t *first = json_object_get(record, id.spec->hf);
		if (!first)
			ok = !json_object_set_new(record, id.spec->hf, json_string(t->codec->safetensors));
		else if (strcmp(json_string_value(first), t->codec->safetensors))
			ok = !json_object_set_new(record, t->name, json_string(t->codec->safetensors));
	}
	char *dump = ok ? json_dumps(record, JSON_COMPACT) : NULL;
	if (!dump || !moe_gguf_put(conv->metadata, NULL, MOE_KEY_HF_DTYPES, "string", json_string(dump)))
		st = moe_err_nomem(err, 64, "recorded types");
	free(dump);
	json_decref(record);
	return st;
}

static enum moe_status read_record(struct moe_convert *conv, struct moe_err *err)
{
	const json_t *text = conv->src->format->naming == MOE_NAMING_GGUF ?
	                     moe_gguf_key(conv->src->metadata, NULL, MOE_KEY_HF_DTYPES) : NULL;

	return json_is_string(text) ? moe_json_parse(&conv->recorded, json_string_value(text), json_string_length(text),
	                                             MOE_KEY_HF_DTYPES, err) : MOE_OK;
}

static bool is_utf8(const uint8_t *p, size_t n)
{
	json_t *text = json_stringn((const char *)p, n);

	json_decref(text);
	return text;
}

static enum moe_status collect_companions(struct moe_convert *conv, struct moe_err *err)
{
	const struct moe_ckpt *src = conv->src;
	const bool to_gguf = conv->view.naming == MOE_NAMING_GGUF;
	bool has_config = false;

	conv->companions = calloc((size_t)src->n_companions + 1, sizeof *conv->companions);
	if (!conv->companions)
		return moe_err_nomem(err, sizeof *conv->companions, "companion files");
	if (conv->json_made || conv->json_changed) {
		moe_json_text(&conv->config_text, conv->json, 0);
		moe_buf_addc(&conv->config_text, '\n');
		if (moe_buf_check(&conv->config_text, err))
			return MOE_EIO;
	}
	for (int32_t i = 0; i < src->n_companions; i++) {
		struct moe_companion file = src->companions[i];

		if (!strcmp(file.name, "config.json")) {
			has_config = true;
			if (conv->json_changed)
				file.data = (const uint8_t *)conv->config_text.p, file.n_bytes = conv->config_text.n;
		}
		if (to_gguf && (file.n_bytes > MAX_COMPANION_BYTES || !is_utf8(file.data, file.n_bytes))) {
			moe_buf_addf(&conv->notes,
			             "%s is not text of at most 64 MiB: it is not kept in the GGUF file\n", file.name);
			continue;
		}
		conv->companions[conv->n_companions++] = file;
	}
	if (!has_config && !to_gguf)
		conv->companions[conv->n_companions++] = (struct moe_companion){ "config.json",
			(const uint8_t *)conv->config_text.p, conv->config_text.n };
	if (!to_gguf && !moe_ckpt_companion(src, "tokenizer.json"))
		moe_buf_adds(&conv->notes, "the source has no tokenizer.json: none is written\n");
	return MOE_OK;
}

static enum moe_status make_metadata(struct moe_convert *conv, struct moe_err *err)
{
	const bool from_hf = conv->src->format->naming == MOE_NAMING_HF;
	enum moe_status st;

	if (conv->opts.to->rank_name)
		return MOE_OK;
	if (conv->view.naming == MOE_NAMING_HF) {
		conv->metadata = from_hf && conv->src->metadata ? json_incref(conv->src->metadata)
		                                                : json_pack("{s:s}", "format", "pt");
		return conv->metadata ? MOE_OK : moe_err_nomem(err, 64, "metadata");
	}
	st = moe_gguf_meta(&conv->metadata, conv->src, &conv->config, conv->json, file_type(conv), &conv->notes, err);
	return st || !from_hf ? st : record_dtypes(conv, err);
}

static void add_notes(struct moe_convert *conv)
{
	const struct moe_ckpt *src = conv->src;
	size_t n_skipped = 0;
	char arch[64];

	for (size_t i = 0; i < src->n_tensors; i++)
		if (moe_names_skipped(&conv->own, src->format->naming, src->tensors[i].name)) {
			n_skipped++;
			moe_buf_addf(&conv->details, "%s: left out\n", src->tensors[i].name);
		}
	if (n_skipped)
		moe_buf_addf(&conv->notes, "%zu tensors that are copies or not of the text model are left out (-v "
		             "names them)\n", n_skipped);
	if (conv->n_fallback)
		moe_buf_addf(&conv->notes, "%zu tensors have rows that are not whole blocks of the type asked for: "
		             "stored otherwise (-v says how)\n", conv->n_fallback);
	if (conv->n_widened)
		moe_buf_addf(&conv->notes, "%zu tensors are of types that %s cannot hold as they are: stored as f32 "
		             "(-v names them)\n", conv->n_widened, conv->opts.to->name);
	if (conv->n_unscaled)
		moe_buf_addf(&conv->notes, "%zu tensors with block scales are stored as the values they stand for, in "
		             "a type without scales (-v names them)\n", conv->n_unscaled);
	if (conv->view.naming != MOE_NAMING_GGUF)
		return;
	if (conv->config.n_mtp_layers)
		moe_buf_addf(&conv->notes, "%d multi-token-prediction layer%s kept from blk.%d on; llama.cpp's loader "
		             "of %s may want files without: --drop-mtp\n", conv->config.n_mtp_layers,
		             conv->config.n_mtp_layers > 1 ? "s are" : " is", conv->config.n_layers,
		             moe_gguf_arch(&conv->config, arch));
	if (!conv->config.family->gguf_arch)
		moe_buf_addf(&conv->notes, "architecture %s: llama.cpp has none for the family %s, only these tools "
		             "read the file\n", moe_gguf_arch(&conv->config, arch), conv->config.family->name);
	else if (moe_gguf_obstacle(&conv->config))
		moe_buf_addf(&conv->notes, "architecture %s: llama.cpp's %s %s, only these tools read the file\n",
		             moe_gguf_arch(&conv->config, arch), conv->config.family->gguf_arch,
		             moe_gguf_obstacle(&conv->config));
	else if (moe_gguf_limit(&conv->config))
		moe_buf_addf(&conv->notes, "architecture %s: llama.cpp %s, and not this one\n",
		             conv->config.family->gguf_arch, moe_gguf_limit(&conv->config));
	else if (moe_gguf_remark(&conv->config))
		moe_buf_addf(&conv->notes, "architecture %s: llama.cpp %s: its answers are not quite those of the "
		             "model\n", conv->config.family->gguf_arch, moe_gguf_remark(&conv->config));
}

/* ---- planning ---- */

enum moe_status moe_convert_name(const struct moe_convert *conv, const char *published, struct moe_buf *name,
                                 struct moe_err *err)
{
	enum moe_cut cut;

	if (!conv->opts.to->rank_name)
		moe_buf_adds(name, published);
	else if (!conv->opts.to->rank_name(published, name, &cut))
		return moe_err_set(err, MOE_EUSAGE, "%s: the %s layout has no name for tensor '%s'", conv->opts.dst,
		                   conv->opts.to->name, published);
	return moe_buf_check(name, err);
}

static enum moe_status declare_all(struct moe_convert *conv, struct moe_err *err)
{
	char recipe[33];
	const struct moe_ckpt_out_opts opts = {
		.format = conv->opts.to, .path = conv->opts.dst, .flags = conv->opts.flags,
		.shard_bytes = conv->opts.shard_bytes, .metadata = conv->metadata, .n_companions = conv->n_companions,
		.companions = conv->companions, .recipe = conv->opts.resume ? recipe : NULL, .watch = conv->opts.watch,
		.n_ranks = conv->opts.to->rank_name ? conv->opts.n_ranks : 0,
	};
	struct moe_buf name = {0};
	enum moe_status st = conv->opts.resume ? moe_convert_recipe(conv, recipe, err) : MOE_OK;

	if (!st)
		st = moe_ckpt_out_open(&conv->out, &opts, err);

	for (size_t i = 0; !st && i < conv->view.n; i++) {
		const struct moe_seen *seen = &conv->view.seen[i];

		if (i > 0 && conv->choices[i].rank != conv->choices[i - 1].rank)
			moe_ckpt_out_next_rank(conv->out);
		name.n = 0;
		st = moe_convert_name(conv, seen->name, &name, err);
		if (!st)
			st = moe_ckpt_out_declare(conv->out, name.p, conv->choices[i].codec, seen->dims, seen->n_dims,
			                          err);
		if (!st && conv->choices[i].scaled)
			st = moe_convert_declare_scales(conv, seen, conv->choices[i].e8m0, err);
	}
	moe_buf_free(&name);
	conv->total = st ? 0 : moe_ckpt_out_total(conv->out);
	return st;
}

enum moe_status moe_convert_plan(struct moe_convert **out, const struct moe_ckpt *src,
                                 const struct moe_convert_opts *opts, struct moe_err *err)
{
	struct moe_convert *conv = calloc(1, sizeof *conv);
	enum moe_status st;

	if (!conv)
		return moe_err_nomem(err, sizeof *conv, "a conversion");
	conv->src = src;
	conv->opts = *opts;
	st = moe_convert_take_config(conv, err);
	if (!st)
		st = read_record(conv, err);
	if (!st)
		st = moe_view_make_anew(&conv->view, conv->src, &conv->own, &conv->config,
		                        conv->surgery.first ? &conv->surgery : NULL, opts->to->naming, err);
	if (!st)
		st = moe_convert_lay_out(conv, err);
	if (!st && !(conv->choices = calloc(conv->view.n, sizeof *conv->choices)))
		st = moe_err_nomem(err, conv->view.n * sizeof *conv->choices, "storage types");
	if (!st)
		st = check_patterns(conv, err);
	for (size_t i = 0; !st && i < conv->view.n; i++)
		st = choose(conv, &conv->view.seen[i], &conv->choices[i], err);
	if (!st)
		st = moe_convert_settle_scales(conv, err);
	if (!st && opts->to->rank_name)
		st = moe_convert_cut_ranks(conv, err);
	if (!st)
		st = make_metadata(conv, err);
	if (!st)
		st = moe_convert_weigh(conv, err);
	if (!st)
		st = collect_companions(conv, err);
	if (!st)
		st = declare_all(conv, err);
	if (!st) {
		add_notes(conv);
		st = moe_buf_check(&conv->notes, err);
	}
	if (st)
		moe_convert_free(conv);
	else
		*out = conv;
	return st;
}

void moe_convert_free(struct moe_convert *conv)
{
	if (!conv)
		return;
	moe_ckpt_out_abort(conv->out);
	moe_view_free(&conv->view);
	moe_surgery_free(&conv->surgery);
	moe_config_free(&conv->config);
	moe_config_free(&conv->own);
	moe_imatrix_close(&conv->imatrix);
	json_decref(conv->json);
	json_decref(conv->recorded);
	json_decref(conv->metadata);
	free(conv->choices);
	free(conv->companions);
	moe_buf_free(&conv->config_text);
	moe_buf_free(&conv->notes);
	moe_buf_free(&conv->details);
	free(conv);
}

const char *moe_convert_notes(const struct moe_convert *conv, bool details)
{
	const struct moe_buf *buf = details ? &conv->details : &conv->notes;
	return buf->p ? buf->p : "";
}

bool moe_convert_complete(const struct moe_convert *conv) { return conv->complete; }

size_t moe_convert_kept(const struct moe_convert *conv) { return conv->n_kept; }

size_t moe_convert_tensors(const struct moe_convert *conv) { return conv->view.n; }

uint64_t moe_convert_bytes(const struct moe_convert *conv) { return conv->total; }

enum moe_status moe_convert_files(const struct moe_convert *conv,
                                  void (*fn)(void *arg, const char *name, uint64_t n_bytes), void *arg,
                                  struct moe_err *err)
{
	return moe_ckpt_out_files(conv->out, fn, arg, err);
}
