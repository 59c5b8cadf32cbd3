/* Forms of GGUF that are read and never written: kv_b in one piece, beside its halves in some; experts apart, or with
 * gate and up in one tensor. */
#include "../tap.h"
#include "../ckpt.h"

#include "base/pool.h"
#include "convert/check.h"
#include "convert/view.h"

/* Gate over up of every expert in one tensor: appends what stands for `seen`, the stack of gates. */
static enum moe_status write_merged(struct moe_ckpt_out *out, const struct moe_ckpt *src, const struct moe_seen *seen,
                                    struct moe_err *err)
{
	static const char *const halves[] = {"gate", "up"};
	const size_t n = (size_t)seen->dims[1] * (size_t)seen->dims[2];
	float *values = malloc(n * sizeof *values);
	enum moe_status st = values ? MOE_OK : MOE_EIO;

	for (int64_t i = 0; i < 2 * seen->dims[0] && !st; i++) {
		char name[256];

		snprintf(name, sizeof name, "model.layers.%d.mlp.experts.%d.%s_proj.weight", seen->id.layer,
		         (int)(i / 2), halves[i % 2]);
		const struct moe_tensor *t = moe_ckpt_find(src, name);
		if (!t)
			st = moe_err_set(err, MOE_EFORMAT, "no %s", name);
		else
			t->codec->decode(t->data, values, n);
		if (!st)
			st = moe_ckpt_out_write(out, values, n * sizeof *values, err);
	}
	free(values);
	return st;
}

/* Every tensor of the source under its old name, or (merged) its new one but for experts; and one of the name `extra`
 * (NULL: none) that newer files have. */
static enum moe_status write_old(const struct moe_ckpt *src, const struct moe_config *config, const char *path,
                                 const char *extra, bool merged, struct moe_err *err)
{
	const int64_t extra_dims[] = {4, 32};
	const float zeros[128] = {0};
	struct moe_ckpt_out *out = NULL;
	struct moe_tile_buf buf = {0};
	struct moe_view view;
	json_t *keys = json_pack("{s:{s:s, s:s}}", "general.architecture", "type", "string", "value",
	                         config->family->gguf_arch);
	const struct moe_ckpt_out_opts opts = { .format = moe_format_by_name("gguf"), .path = path, .metadata = keys,
		.flags = MOE_OUT_FORCE, .n_companions = src->n_companions, .companions = src->companions };
	enum moe_status st = moe_view_make(&view, src, config, merged ? MOE_NAMING_GGUF : MOE_NAMING_GGUF_OLD, err);

	if (!st)
		st = moe_ckpt_out_open(&out, &opts, err);
	for (size_t i = 0; i < view.n && !st; i++) {
		const struct moe_seen *seen = &view.seen[i];
		const int64_t both[] = {seen->dims[0], 2 * seen->dims[1], seen->dims[2]};
		char name[64];

		snprintf(name, sizeof name, "blk.%d.ffn_gate_up_exps.weight", seen->id.layer);
		const enum moe_part part = seen->id.spec->part;

		if (!merged || (part != MOE_PART_EXPERT_GATE && part != MOE_PART_EXPERT_UP))
			st = moe_ckpt_out_declare(out, seen->name, moe_codec_by_name("f32"), seen->dims, seen->n_dims,
			                          err);
		else if (part == MOE_PART_EXPERT_GATE)
			st = moe_ckpt_out_declare(out, name, moe_codec_by_name("f32"), both, 3, err);
	}
	if (!st && extra)
		st = moe_ckpt_out_declare(out, extra, moe_codec_by_name("f32"), extra_dims, 2, err);
	if (!st)
		st = moe_ckpt_out_begin(out, err);
	for (size_t i = 0; i < view.n && !st; i++) {
		struct moe_tile_walk walk = { .view = &view, .seen = &view.seen[i] };
		struct moe_tile tile;
		const enum moe_part part = view.seen[i].id.spec->part;

		if (merged && part == MOE_PART_EXPERT_GATE)
			st = write_merged(out, src, &view.seen[i], err);
		if (merged && (part == MOE_PART_EXPERT_GATE || part == MOE_PART_EXPERT_UP))
			continue;
		while (!st && moe_tile_next(&walk, &tile)) {
			const uint8_t *bytes;
			size_t n_bytes;

			st = moe_tile_encode(&tile, moe_codec_by_name("f32"), &buf, &bytes, &n_bytes, NULL, err);
			if (!st)
				st = moe_ckpt_out_write(out, bytes, n_bytes, err);
		}
	}
	if (!st && extra)
		st = moe_ckpt_out_write(out, zeros, sizeof zeros, err);
	if (!st)
		st = moe_ckpt_out_commit(out, err);
	moe_tile_buf_free(&buf);
	moe_view_free(&view);
	json_decref(keys);
	return st;
}

/* Hashes of the values of all tensors under Hugging Face names, one after the other. */
static char *hashes(const struct moe_ckpt *ckpt, size_t *n)
{
	struct moe_config config;
	struct moe_view view = {0};
	struct moe_pool *pool = NULL;
	struct moe_err err = {0};
	struct moe_tensor_hash *each = NULL;
	char *text = NULL;

	*n = 0;
	if (moe_config_of(&config, ckpt, &err) || moe_model_check(&config, ckpt, "config", &err) ||
	    moe_view_make(&view, ckpt, &config, MOE_NAMING_HF, &err) || moe_pool_new(&pool, 1, &err)) {
		printf("# %s\n", err.text);
		return NULL;
	}
	each = calloc(view.n, sizeof *each);
	text = calloc(view.n, sizeof each->decoded);
	if (each && text && !moe_check_hash(&view, 0, view.n, pool, false, each, &err))
		for (*n = 0; *n < view.n; ++*n)
			memcpy(text + *n * sizeof each->decoded, each[*n].decoded, sizeof each->decoded);
	free(each);
	moe_pool_free(pool);
	moe_view_free(&view);
	moe_config_free(&config);
	return text;
}

static void reads(const char *name, const char *extra, bool merged, const char *old_name)
{
	char source[512], path[512], *dir = make_dir();
	struct moe_ckpt *src = NULL, *old = NULL;
	struct moe_config config = {0};
	struct moe_model *model = NULL;
	struct moe_err err = {0};
	size_t n_want = 0, n_found = 0;
	char *want = NULL, *found = NULL;

	snprintf(source, sizeof source, "tests/golden/models/%s", name);
	snprintf(path, sizeof path, "%.400s/old.gguf", dir);
	enum moe_status st = moe_ckpt_open(&src, source, NULL, &err);
	if (!st)
		st = moe_config_of(&config, src, &err);
	if (!st)
		st = write_old(src, &config, path, extra, merged, &err);
	if (!st)
		st = moe_ckpt_open(&old, path, NULL, &err);
	if (!ok(!st, "%s: an old file%s", name, extra ? ", with more" : ""))
		printf("# %s\n", err.text);
	if (!st) {
		ok(moe_ckpt_find(old, old_name), "%s: it holds %s", name, old_name);
		want = hashes(src, &n_want);
		found = hashes(old, &n_found);
		ok(want && found && n_want == n_found && !memcmp(want, found, n_want * 33),
		   "%s: %zu tensors of the same values", name, n_want);
		st = moe_model_bind(&model, old, &err);
		if (!ok(!st, "%s: it can be run", name))
			printf("# %s\n", err.text);
		moe_model_free(model);
	}
	free(want);
	free(found);
	moe_config_free(&config);
	moe_ckpt_close(old);
	moe_ckpt_close(src);
	remove_dir(dir);
	free(dir);
}

int main(void)
{
	reads("deepseek_v2_lite", NULL, false, "blk.0.attn_kv_b.weight");
	reads("deepseek_v2_lite", "blk.0.attn_k_b.weight", false, "blk.0.attn_kv_b.weight");
	reads("deepseek_v3", NULL, false, "blk.2.attn_kv_b.weight");
	reads("mixtral", NULL, false, "blk.1.ffn_gate.3.weight");
	reads("mixtral", "blk.0.ffn_gate_exps.weight", false, "blk.1.ffn_down.7.weight");
	/* newer ones with gate and up of all experts in one tensor */
	reads("deepseek_v2_lite", NULL, true, "blk.1.ffn_gate_exps.weight");
	reads("qwen3_moe", NULL, true, "blk.1.ffn_up_exps.weight");
	return done();
}
