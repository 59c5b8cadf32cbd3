/* Old files of GGUF, which are read and never written: kv_b in one piece, beside its halves in some; experts apart. */
#include "../tap.h"
#include "../ckpt.h"

#include "base/pool.h"
#include "convert/check.h"
#include "convert/view.h"

/* Every tensor of the source under its old name, and one of the name `extra` (NULL: none) that newer files have. */
static enum moe_status write_old(const struct moe_ckpt *src, const struct moe_config *config, const char *path,
                                 const char *extra, struct moe_err *err)
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
	enum moe_status st = moe_view_make(&view, src, config, MOE_NAMING_GGUF_OLD, err);

	if (!st)
		st = moe_ckpt_out_open(&out, &opts, err);
	for (size_t i = 0; i < view.n && !st; i++)
		st = moe_ckpt_out_declare(out, view.seen[i].name, moe_codec_by_name("f32"), view.seen[i].dims,
		                          view.seen[i].n_dims, err);
	if (!st && extra)
		st = moe_ckpt_out_declare(out, extra, moe_codec_by_name("f32"), extra_dims, 2, err);
	if (!st)
		st = moe_ckpt_out_begin(out, err);
	for (size_t i = 0; i < view.n && !st; i++) {
		struct moe_tile_walk walk = { .view = &view, .seen = &view.seen[i] };
		struct moe_tile tile;

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

static void reads(const char *name, const char *extra, const char *old_name)
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
		st = write_old(src, &config, path, extra, &err);
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
	reads("deepseek_v2_lite", NULL, "blk.0.attn_kv_b.weight");
	reads("deepseek_v2_lite", "blk.0.attn_k_b.weight", "blk.0.attn_kv_b.weight");
	reads("deepseek_v3", NULL, "blk.2.attn_kv_b.weight");
	reads("mixtral", NULL, "blk.1.ffn_gate.3.weight");
	reads("mixtral", "blk.0.ffn_gate_exps.weight", "blk.1.ffn_down.7.weight");
	return done();
}
