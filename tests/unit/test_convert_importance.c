/* Weights of columns from a table of importance: the rule for experts that saw few tokens, and what the weights are
 * for: a conversion that is guided has less weighted error in every tensor than one that is not. */
#include <math.h>
#include <unistd.h>

#include "../tap.h"
#include "base/bytes.h"
#include "base/pool.h"
#include "convert/convert.h"
#include "convert/importance.h"
#include "eval/importance.h"
#include "forward/forward.h"

static char dir[] = "/tmp/test_convert_importance.XXXXXX";

enum { EXPERTS = 4, COLS = 8, LEAST = 40 };
static const float counts[EXPERTS] = {100, 10, 0, 4};

static float sum_at(int e, int c) { return counts[e] * (float)(1 + e + (c * (e + 2)) % 5); }

/* A table of one stack of experts and one matrix; old: in the older format, which holds means times calls. */
static bool write_table(const char *path, bool old)
{
	static const char *const names[] = {"blk.0.ffn_up_exps.weight", "blk.0.attn_q.weight"};
	const int n[] = {EXPERTS, 1};
	struct moe_ckpt_out *out = NULL;
	const struct moe_ckpt_out_opts opts = { .format = moe_format_by_name("gguf"), .path = path };
	const struct moe_codec *f32 = moe_codec_by_name("f32");
	FILE *file = old ? fopen(path, "wb") : NULL;
	uint8_t word[4];
	bool fine = old ? file != NULL : !moe_ckpt_out_open(&out, &opts, NULL);

	for (int t = 0; t < 2 && fine && !old; t++) {
		char name[64];
		snprintf(name, sizeof name, "%s.in_sum2", names[t]);
		fine = !moe_ckpt_out_declare(out, name, f32, (const int64_t[]){n[t], COLS}, 2, NULL);
		snprintf(name, sizeof name, "%s.counts", names[t]);
		fine = fine && !moe_ckpt_out_declare(out, name, f32, (const int64_t[]){n[t], 1}, 2, NULL);
	}
	if (fine && !old)
		fine = !moe_ckpt_out_begin(out, NULL);
	for (int t = 0; t < 2 && fine; t++) {
		const int32_t head[] = {2, (int32_t)strlen(names[t]), 3, n[t] * COLS};
		if (old) {
			fwrite(head, 4, t == 0 ? 2 : 0, file);
			if (t == 1)
				fwrite(head + 1, 4, 1, file);
			fputs(names[t], file);
			fwrite(head + 2, 4, 2, file);
		}
		for (int i = 0; i < n[t] * COLS; i++) {
			const int e = i / COLS;
			const float sum = sum_at(e, i % COLS);
			moe_store_u32(word, moe_f32_bits(!old ? sum : counts[e] > 0 ? 3 * sum / counts[e] : 3));
			if (old)
				fwrite(word, 4, 1, file);
			else
				fine = fine && !moe_ckpt_out_write(out, word, 4, NULL);
		}
		for (int e = 0; e < n[t] && !old; e++) {
			moe_store_u32(word, moe_f32_bits(counts[e]));
			fine = fine && !moe_ckpt_out_write(out, word, 4, NULL);
		}
	}
	if (old)
		return !fclose(file);
	return fine && !moe_ckpt_out_commit(out, NULL);
}

/* What the header says, step by step. */
static void expected(int e, double *w)
{
	double pooled[COLS], tokens = 0, mean = 0;

	for (int c = 0; c < COLS; c++)
		pooled[c] = 0;
	for (int k = 0; k < EXPERTS; k++) {
		tokens += (double)counts[k];
		for (int c = 0; c < COLS; c++)
			pooled[c] += (double)sum_at(k, c);
	}
	const double own = fmin((double)counts[e] / LEAST, 1);
	for (int c = 0; c < COLS; c++) {
		w[c] = (1 - own) * pooled[c] / tokens;
		w[c] += counts[e] > 0 ? own * (double)sum_at(e, c) / (double)counts[e] : 0;
		mean += w[c] / COLS;
	}
	for (int c = 0; c < COLS; c++)
		w[c] /= mean;
}

static void check_rule(void)
{
	char path[64];
	struct moe_imatrix im;
	struct moe_weigher weigher = {0};
	struct moe_err err = {0};
	const struct moe_seen seen = { .name = "up", .n_dims = 3, .dims = {EXPERTS, 6, COLS} };
	double worst = 0, w[COLS];

	snprintf(path, sizeof path, "%s/rule.gguf", dir);
	ok(write_table(path, false) && !moe_imatrix_open(&im, path, NULL, &err), "a table %s", err.text);
	const struct moe_imatrix_entry *entry = moe_imatrix_find(&im, "blk.0.ffn_up_exps.weight");
	ok(entry && !moe_importance_check(&im, entry, &seen, &err), "fits its tensor %s", err.text);
	for (int e = 0; e < EXPERTS; e++) {
		ok(!moe_importance_weights(&weigher, &im, entry, &seen, e, LEAST, &err), "weights of expert %d", e);
		expected(e, w);
		for (int c = 0; c < COLS; c++)
			worst = fmax(worst, fabs((double)weigher.weights[c] - w[c]));
	}
	ok(worst < 1e-6, "all as the rule has them (%.1e)", worst);
	const struct moe_seen wide = { .name = "up", .n_dims = 3, .dims = {EXPERTS, 6, COLS + 1} };
	const struct moe_seen many = { .name = "up", .n_dims = 3, .dims = {EXPERTS + 1, 6, COLS} };
	ok(moe_importance_check(&im, entry, &wide, &err) == MOE_EFORMAT, "other columns: %s", err.text);
	ok(moe_importance_check(&im, entry, &many, &err) == MOE_EFORMAT, "other experts: %s", err.text);
	moe_imatrix_close(&im);
	moe_weigher_free(&weigher);
	unlink(path);

	err = (struct moe_err){0};
	snprintf(path, sizeof path, "%s/rule.dat", dir);
	ok(write_table(path, true) && !moe_imatrix_open(&im, path, NULL, &err), "an older table %s", err.text);
	entry = moe_imatrix_find(&im, "blk.0.ffn_up_exps.weight");
	ok(entry && entry->n_counts == 0 && !moe_importance_check(&im, entry, &seen, &err), "fits too %s", err.text);
	ok(!moe_importance_weights(&weigher, &im, entry, &seen, 1, LEAST, &err) &&
	   fabsf(weigher.weights[2] * sum_at(1, 0) - weigher.weights[0] * sum_at(1, 2)) < 1e-4f,
	   "in which an expert's weights are its own, however few tokens it saw");
	ok(!moe_importance_weights(&weigher, &im, entry, &seen, 2, LEAST, &err) && weigher.weights[0] == 1 &&
	   weigher.weights[COLS - 1] == 1, "or all alike, where it saw none");
	moe_imatrix_close(&im);
	moe_weigher_free(&weigher);
	unlink(path);
}

/* ---- a model ---- */

static enum moe_status on_logits(void *arg, int64_t pos, int64_t n_tokens, const float *logits, struct moe_err *err)
{
	(void)arg, (void)pos, (void)n_tokens, (void)logits, (void)err;
	return MOE_OK;
}

static enum moe_status gather(const struct moe_ckpt *ckpt, struct moe_pool *pool, const char *path,
                              struct moe_err *err)
{
	enum { N = 96 };
	struct moe_model *model = NULL;
	struct moe_device *device = NULL;
	struct moe_session *session = NULL;
	struct moe_importance *importance = NULL;
	struct moe_sequences seqs = {0};
	const struct moe_session_opts opts = { .n_ctx = N, .chunk = N, .hooks.logits = on_logits };
	int32_t ids[N];

	for (int32_t i = 0; i < N; i++)
		ids[i] = 5 + 7 * i % 300;
	enum moe_status st = moe_model_bind(&model, ckpt, err);
	if (!st)
		st = moe_sequences_add(&seqs, "ids", ids, N, N, err);
	if (!st)
		st = moe_device_open(&device, "cpu", pool, err);
	if (!st)
		st = moe_importance_new(&importance, model, false, err);
	if (!st)
		st = moe_session_open(&session, model, device, &opts, err);
	if (!st) {
		device->listener = moe_importance_listener(importance);
		moe_session_reset(session, N);
		st = moe_session_feed(session, ids, N, false, MOE_LOGITS_ALL, err);
	}
	if (!st)
		st = moe_importance_write(importance, path, MOE_OUT_FORCE, &seqs, NULL, err);
	moe_session_close(session);
	moe_importance_free(importance);
	moe_device_close(device);
	moe_sequences_free(&seqs);
	moe_model_free(model);
	return st;
}

static enum moe_status convert(const struct moe_ckpt *src, struct moe_pool *pool, const char *type,
                               const char *imatrix, const char *dst, struct moe_err *err)
{
	struct moe_type_rules rules = {0};
	struct moe_convert *conv = NULL;
	const struct moe_convert_opts opts = { .to = moe_format_by_name("gguf"), .dst = dst, .types = &rules,
		                               .flags = MOE_OUT_FORCE, .imatrix = imatrix };
	enum moe_status st = moe_type_rules_parse(&rules, type, err);

	if (!st)
		st = moe_convert_plan(&conv, src, &opts, err);
	if (!st)
		st = moe_convert_run(conv, pool, NULL, NULL, err);
	moe_convert_free(conv);
	moe_type_rules_free(&rules);
	return st;
}

/* Sum of weight times squared error of a stack of experts. */
static double error_of(const struct moe_tensor *got, const struct moe_tensor *want, const struct moe_imatrix *im,
                       const struct moe_imatrix_entry *entry)
{
	const int64_t cols = got->dims[2], rows = got->dims[1];
	float *a = malloc((size_t)cols * 4), *b = malloc((size_t)cols * 4), *w = malloc((size_t)cols * 4);
	double sum = 0;

	for (int64_t e = 0; e < got->dims[0]; e++) {
		int64_t tokens = 0;
		const bool fine = !moe_imatrix_values(im, entry, e * cols, cols, w, NULL) &&
		                  !moe_imatrix_count(im, entry, e, &tokens, NULL);
		for (int64_t r = 0; r < rows && fine && tokens > 0; r++) {
			const size_t row = (size_t)(e * rows + r), n = (size_t)cols;
			got->codec->decode(got->data + row * n / got->codec->block_elems * got->codec->block_bytes, a,
			                   n);
			want->codec->decode(want->data + row * n * 4, b, n);
			for (size_t c = 0; c < n; c++)
				sum += (double)w[c] / (double)tokens * ((double)a[c] - b[c]) * ((double)a[c] - b[c]);
		}
		sum += fine ? 0 : INFINITY;
	}
	free(a);
	free(b);
	free(w);
	return sum;
}

/* Every stack of experts of the three files. */
static void compare(const char *type, const struct moe_ckpt *plain, const struct moe_ckpt *guided,
                    const struct moe_ckpt *exact, const struct moe_imatrix *im)
{
	int n = 0, n_better = 0;
	double largest = 0, product = 0;

	for (size_t i = 0; i < guided->n_tensors; i++) {
		const struct moe_tensor *t = &guided->tensors[i], *was = moe_ckpt_find(plain, t->name);
		const struct moe_tensor *want = moe_ckpt_find(exact, t->name);
		const struct moe_imatrix_entry *entry = moe_imatrix_find(im, t->name);

		if (!entry || strcmp(t->codec->name, type) || t->n_dims != 3)
			continue;
		const double ratio = error_of(t, want, im, entry) / error_of(was, want, im, entry);
		n++;
		n_better += ratio < 1;
		largest = fmax(largest, ratio);
		product += log(ratio);
	}
	ok(n >= 4 && n_better == n, "%s: less weighted error in %d of %d stacks: %.4f of what it was, %.4f at most",
	   type, n_better, n, exp(product / n), largest);
}

static void check_model(const char *top)
{
	static const char *const types[] = {"q2_k", "q3_k", "q4_k", "iq4_nl"};
	char model[1024], table[64], paths[3][64];
	struct moe_ckpt *src = NULL, *out[3] = {0};
	struct moe_pool *pool = NULL;
	struct moe_imatrix im = {0};
	struct moe_err err = {0};

	snprintf(model, sizeof model, "%s/share/models/tiny-v2", top);
	snprintf(table, sizeof table, "%s/table.gguf", dir);
	for (int i = 0; i < 3; i++)
		snprintf(paths[i], sizeof paths[i], "%s/%d.gguf", dir, i);
	ok(!moe_pool_new(&pool, 2, &err) && !moe_ckpt_open(&src, model, NULL, &err), "a model %s", err.text);
	ok(!gather(src, pool, table, &err) && !moe_imatrix_open(&im, table, NULL, &err), "its table %s", err.text);
	ok(!convert(src, pool, "f32", NULL, paths[2], &err) && !moe_ckpt_open(&out[2], paths[2], NULL, &err),
	   "as it is %s", err.text);
	for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
		char rule[32];
		snprintf(rule, sizeof rule, "exps=%s", types[i]);
		const bool fine = !convert(src, pool, rule, NULL, paths[0], &err) &&
		                  !convert(src, pool, rule, table, paths[1], &err) &&
		                  !moe_ckpt_open(&out[0], paths[0], NULL, &err) &&
		                  !moe_ckpt_open(&out[1], paths[1], NULL, &err);
		ok(fine, "%s, without weights and with %s", types[i], err.text);
		if (fine)
			compare(types[i], out[0], out[1], out[2], &im);
		for (int k = 0; k < 2; k++) {
			moe_ckpt_close(out[k]);
			out[k] = NULL;
		}
	}
	moe_imatrix_close(&im);
	moe_ckpt_close(out[2]);
	moe_ckpt_close(src);
	moe_pool_free(pool);
	unlink(table);
	for (int i = 0; i < 3; i++)
		unlink(paths[i]);
}

int main(void)
{
	if (!mkdtemp(dir))
		return 1;
	check_rule();
	check_model(getenv("MOE_TOP") ? getenv("MOE_TOP") : ".");
	rmdir(dir);
	return done();
}
