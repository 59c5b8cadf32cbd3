/* Sequences that grow past the length that short rotation factors are for (PhiMoE's LongRoPE): the logits behind every
 * token against those that another implementation computed from a pass of that length (tests/golden/README.md), and the
 * same bits as such a pass here, in whatever pieces the tokens come; who listens hears of every token once. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "../tap.h"
#include "forward/forward.h"

enum { ORIGINAL = 12, N_TOK = 24, N_GIVEN = 8 };

__attribute__((noreturn)) static void bail(const char *text)
{
	printf("Bail out! %s\n", text);
	exit(1);
}

struct heard {
	int64_t n_routed, n_rows;
	float *rows;   /* [N_TOK][vocab] */
	int32_t vocab;
};

static enum moe_status on_routing(void *arg, const struct moe_routing *routing, int64_t pos, struct moe_err *err)
{
	(void)pos;
	(void)err;
	struct heard *heard = arg;
	heard->n_routed += routing->n_tokens;
	return MOE_OK;
}

static enum moe_status on_logits(void *arg, int64_t pos, int64_t n, const float *logits, struct moe_err *err)
{
	(void)err;
	struct heard *heard = arg;
	memcpy(heard->rows + pos * heard->vocab, logits, (size_t)(n * heard->vocab) * sizeof *logits);
	heard->n_rows += n;
	return MOE_OK;
}

/* Feeds n tokens, the first n_given in one call and the others in calls of `step`; rows for all into heard. */
static void feed(const struct moe_model *model, struct moe_device *device, const struct moe_session_opts *more,
                 const int32_t *ids, int64_t declared, int64_t n_given, int64_t step, int64_t n, struct heard *heard)
{
	struct moe_session_opts opts = *more;
	struct moe_session *session = NULL;
	struct moe_err err = { 0 };
	opts.n_ctx = N_TOK;
	opts.chunk = opts.chunk ? opts.chunk : 512;
	opts.hooks = (struct moe_hooks){ .arg = heard, .routing = on_routing, .logits = on_logits };
	heard->n_routed = heard->n_rows = 0;
	if (moe_session_open(&session, model, device, &opts, &err))
		bail(err.text);
	moe_session_reset(session, declared);
	for (int64_t t = 0; t < n;) {
		const int64_t now = t ? step : n_given;
		if (moe_session_feed(session, ids + t, now < n - t ? now : n - t, t > 0, MOE_LOGITS_ALL, &err))
			bail(err.text);
		t = moe_session_pos(session);
	}
	moe_session_close(session);
}

static void check_sequence(const struct moe_model *model, struct moe_device *device,
                           const struct moe_session_opts *opts, const char *what, const int32_t *ids,
                           const float *golden)
{
	const int32_t vocab = model->config.vocab_size, n_layers = model->config.n_layers;
	float *rows[3];
	for (int i = 0; i < 3; i++)
		rows[i] = calloc((size_t)N_TOK * (size_t)vocab, sizeof *rows[i]);
	struct heard whole = { .rows = rows[0], .vocab = vocab }, grown = { .rows = rows[1], .vocab = vocab },
		     other = { .rows = rows[2], .vocab = vocab };
	const size_t row = (size_t)vocab * sizeof(float);
	int n_unlike = 0;
	double error = 0, largest = 0;
	feed(model, device, opts, ids, N_GIVEN, N_GIVEN, 1, N_TOK, &grown);
	for (int64_t n = N_GIVEN; n <= N_TOK; n++) {
		feed(model, device, opts, ids, n, n, 1, n, &whole);
		n_unlike += memcmp(whole.rows + (n - 1) * vocab, grown.rows + (n - 1) * vocab, row) != 0;
	}
	is_i64(n_unlike, 0, "%s: token by token, the last logits are those of a pass of that length", what);
	for (int64_t i = 0; golden && i < (int64_t)N_TOK * vocab; i++) {
		largest = fmax(largest, fabs(golden[i]));
		if (i >= (int64_t)(N_GIVEN - 1) * vocab)
			error = fmax(error, fabs(golden[i] - grown.rows[i]));
	}
	if (golden)
		ok(error <= 2e-5 * largest, "%s: within 2e-5 of the largest (%.2g)", what, error / largest);
	ok(grown.n_routed == (int64_t)N_TOK * n_layers && grown.n_rows == N_TOK, "%s: each token is heard once", what);
	feed(model, device, opts, ids, N_TOK, N_TOK, 1, N_TOK, &whole);
	feed(model, device, opts, ids, N_TOK, 5, 3, N_TOK, &other);
	ok(memcmp(whole.rows, other.rows, N_TOK * row) == 0, "%s: in pieces of a length that is known", what);
	feed(model, device, opts, ids, 0, 5, 4, N_TOK, &other);
	ok(memcmp(whole.rows + (N_TOK - 1) * vocab, other.rows + (N_TOK - 1) * vocab, row) == 0,
	   "%s: in pieces of a length that is not", what);
	for (int i = 0; i < 3; i++)
		free(rows[i]);
}

int main(void)
{
	const char *top = getenv("MOE_TOP") ? getenv("MOE_TOP") : ".";
	char path[4096];
	struct moe_err err = { 0 };
	struct moe_pool *pool = NULL;
	struct moe_device *device = NULL;
	struct moe_ckpt *ckpt = NULL, *golden = NULL;
	struct moe_model *model = NULL;
	snprintf(path, sizeof path, "%s/tests/golden/models/phimoe", top);
	if (moe_pool_new(&pool, 2, &err) || moe_device_open(&device, "cpu", pool, &err) ||
	    moe_ckpt_open(&ckpt, path, NULL, &err) || moe_model_bind(&model, ckpt, &err))
		bail(err.text);
	snprintf(path, sizeof path, "%s/tests/golden/models/phimoe/longrope.safetensors", top);
	if (moe_ckpt_open(&golden, path, NULL, &err))
		bail(err.text);
	const struct moe_tensor *input = moe_ckpt_find(golden, "input_ids"),
				*last = moe_ckpt_find(golden, "last_logits");
	const int64_t n_row = (int64_t)N_TOK * model->config.vocab_size;
	float *rows = calloc((size_t)(input->dims[0] * n_row), sizeof *rows);
	last->codec->decode(last->data, rows, (size_t)(input->dims[0] * n_row));
	model->config.rope.original_positions = ORIGINAL;
	const struct moe_session_opts plain = { 0 }, small = { .chunk = 3 },
		queues = { .ablation.capacity.choices = 3 }, masked = { .ablation.mask_top = 0.25 };
	for (int64_t seq = 0; seq < input->dims[0]; seq++) {
		int32_t ids[N_TOK];
		for (int64_t t = 0; t < N_TOK; t++)
			ids[t] = (int32_t)((const int64_t *)(const void *)input->data)[seq * N_TOK + t];
		check_sequence(model, device, &plain, "plain", ids, rows + seq * n_row);
		check_sequence(model, device, &small, "chunks of 3", ids, rows + seq * n_row);
		check_sequence(model, device, &queues, "an expert takes 3", ids, NULL);
		check_sequence(model, device, &masked, "without the best experts", ids, NULL);
	}
	free(rows);
	moe_ckpt_close(golden);
	moe_model_free(model);
	moe_ckpt_close(ckpt);
	moe_device_close(device);
	moe_pool_free(pool);
	return done();
}
