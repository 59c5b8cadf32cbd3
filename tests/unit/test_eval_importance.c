/* The table of importance that a run writes, against one computed elsewhere (tests/golden/importance), and the same
 * bytes however the sequences are cut and on however many threads. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../tap.h"
#include "base/str.h"
#include "checkpoint/imatrix.h"
#include "eval/importance.h"
#include "forward/forward.h"

#define MODEL "tests/golden/models/deepseek_v2_lite"
#define GOLDEN "tests/golden/importance/deepseek_v2_lite.gguf"

static enum moe_status on_logits(void *arg, int64_t pos, int64_t n_tokens, const float *logits, struct moe_err *err)
{
	(void)arg, (void)pos, (void)n_tokens, (void)logits, (void)err;
	return MOE_OK;
}

/* The golden ids as sequences. */
static bool read_ids(struct moe_sequences *seqs, struct moe_err *err)
{
	struct moe_ckpt *golden = NULL;
	if (moe_ckpt_open(&golden, MODEL "/golden.safetensors", NULL, err))
		return false;
	const struct moe_tensor *t = moe_ckpt_find(golden, "input_ids");
	const int64_t n = t->dims[1];
	int32_t *ids = calloc((size_t)n, sizeof *ids);
	bool fine = true;
	for (int64_t s = 0; s < t->dims[0]; s++) {
		for (int64_t i = 0; i < n; i++)
			ids[i] = (int32_t)t->data[8 * (s * n + i)];   /* below 128, little-endian */
		fine = fine && !moe_sequences_add(seqs, "golden", ids, n, n, err);
	}
	free(ids);
	moe_ckpt_close(golden);
	return fine;
}

static bool write_table(const struct moe_sequences *seqs, int n_threads, int32_t chunk, const char *path,
                        struct moe_err *err)
{
	struct moe_ckpt *ckpt = NULL;
	struct moe_model *model = NULL;
	struct moe_pool *pool = NULL;
	struct moe_device *device = NULL;
	struct moe_session *session = NULL;
	struct moe_importance *importance = NULL;
	const struct moe_session_opts opts = { .n_ctx = 64, .chunk = chunk, .hooks.logits = on_logits };
	enum moe_status status = moe_ckpt_open(&ckpt, MODEL, NULL, err);

	if (!status)
		status = moe_model_bind(&model, ckpt, err);
	if (!status)
		status = moe_pool_new(&pool, n_threads, err);
	if (!status)
		status = moe_device_open(&device, "cpu", pool, err);
	if (!status)
		status = moe_importance_new(&importance, model, false, err);
	if (!status)
		status = moe_session_open(&session, model, device, &opts, err);
	if (!status)
		device->listener = moe_importance_listener(importance);
	for (int64_t i = 0; i < seqs->n && !status; i++) {
		moe_session_reset(session, seqs->items[i].n_tokens);
		status = moe_session_feed(session, seqs->items[i].tokens, seqs->items[i].n_tokens, false,
		                          MOE_LOGITS_ALL, err);
	}
	if (!status)
		status = moe_importance_write(importance, path, MOE_OUT_FORCE, seqs, NULL, err);
	moe_session_close(session);
	moe_importance_free(importance);
	moe_device_close(device);
	moe_pool_free(pool);
	moe_model_free(model);
	moe_ckpt_close(ckpt);
	return !status;
}

static bool same_bytes(const char *a, const char *b)
{
	struct moe_buf x = { 0 }, y = { 0 };
	const bool same = !moe_read_all(a, 0, &x, NULL) && !moe_read_all(b, 0, &y, NULL) && x.n == y.n && x.n > 0 &&
	                  memcmp(x.p, y.p, x.n) == 0;
	moe_buf_free(&x);
	moe_buf_free(&y);
	return same;
}

/* Entry for entry: equal counts, sums within f32 arithmetic of a forward pass. */
static void compare(const struct moe_imatrix *ours, const struct moe_imatrix *golden)
{
	for (size_t k = 0; k < golden->n; k++) {
		const struct moe_imatrix_entry *want = &golden->entries[k], *got = moe_imatrix_find(ours, want->name);
		double error = 0, largest = 0;
		bool counts = got && got->n_counts == want->n_counts && got->n_values == want->n_values;

		for (int64_t i = 0; counts && i < want->n_counts; i++) {
			int64_t a = -1, b = -2;
			counts = !moe_imatrix_count(ours, got, i, &a, NULL) &&
			         !moe_imatrix_count(golden, want, i, &b, NULL) && a == b;
		}
		ok(counts, "%s: shapes and counts", want->name);
		for (int64_t i = 0; counts && i < want->n_values; i++) {
			float a = NAN, b = NAN;
			if (moe_imatrix_values(ours, got, i, 1, &a, NULL) ||
			    moe_imatrix_values(golden, want, i, 1, &b, NULL))
				error = INFINITY;
			error = fmax(error, fabs((double)a - (double)b));
			largest = fmax(largest, (double)b);
		}
		ok(counts && largest > 0 && error <= 2e-5 * largest, "%s: sums within %.1e of the largest", want->name,
		   error / largest);
	}
}

int main(void)
{
	char dir[] = "/tmp/test_eval_importance.XXXXXX", whole[64], cut[64];
	struct moe_sequences seqs = { 0 };
	struct moe_imatrix ours = { 0 }, golden = { 0 };
	struct moe_err err = { 0 };

	if (!mkdtemp(dir) || chdir(getenv("MOE_TOP") ? getenv("MOE_TOP") : "."))
		return 1;
	snprintf(whole, sizeof whole, "%s/whole.gguf", dir);
	snprintf(cut, sizeof cut, "%s/cut.gguf", dir);
	ok(read_ids(&seqs, &err) && seqs.n == 2, "golden ids %s", err.text);
	ok(write_table(&seqs, 1, 64, whole, &err), "a table is written %s", err.text);
	ok(write_table(&seqs, 3, 5, cut, &err), "on three threads, five tokens a pass %s", err.text);
	ok(same_bytes(whole, cut), "and is the same");
	ok(!moe_imatrix_open(&ours, whole, NULL, &err), "it opens %s", err.text);
	ok(!moe_imatrix_open(&golden, GOLDEN, NULL, &err), "the golden one opens %s", err.text);
	ok(ours.n == golden.n && golden.n == 33, "%zu entries, as many as there", ours.n);
	compare(&ours, &golden);
	moe_imatrix_close(&ours);
	moe_imatrix_close(&golden);
	moe_sequences_free(&seqs);
	unlink(whole);
	unlink(cut);
	rmdir(dir);
	return done();
}
