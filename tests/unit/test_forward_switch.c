/* Encoder and decoder against what another implementation computed, for each model directory given or else
 * tests/golden/models/switch: the encoder's output, hidden states and logits, experts, weights and dropped tokens; the
 * same bits however the decoder's tokens are fed. Then the biases by distance farther out than the golden goes, and
 * what a session with an encoder refuses. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "../tap.h"
#include "forward/forward.h"
#include "forward/session.h"
#include "model/names.h"

__attribute__((noreturn)) static void bail(const struct moe_err *err)
{
	printf("Bail out! %s\n", err->text);
	exit(1);
}

enum { N_SEQ = 2, N_ENCODER = 24, N_DECODER = 20 };

struct run {
	const char *name;
	const struct moe_ckpt *golden;
	const struct moe_config *config;
	int32_t seq;
	double logits_error, hidden_error, weights_error;   /* relative to the largest golden value */
	int64_t n_hidden, n_ids, n_wrong, n_dropped, n_not_kept;
	float *logits;   /* [N_DECODER][vocab] as computed */
};

/* Values of tensor `name` for one sequence [n / N_SEQ]; *largest is over all of it. */
static float *golden_rows(const struct run *run, const char *name, double *largest)
{
	const struct moe_tensor *t = moe_ckpt_find(run->golden, name);
	size_t n;
	if (!t || !moe_dims_elems(t->dims, t->n_dims, &n) || t->dims[0] != N_SEQ) {
		printf("Bail out! the golden file has no %s\n", name);
		exit(1);
	}
	float *values = malloc(n * sizeof *values);
	t->codec->decode(t->data, values, n);
	*largest = 0;
	for (size_t i = 0; i < n; i++)
		*largest = fmax(*largest, fabs(values[i]));
	memmove(values, values + n / N_SEQ * (size_t)run->seq, n / N_SEQ * sizeof *values);
	return values;
}

/* Largest difference of x [n] from the rows at pos, each `width` wide. */
static double worst(const struct run *run, const char *name, int64_t pos, int64_t width, const float *x, int64_t n)
{
	double largest, error = 0;
	float *want = golden_rows(run, name, &largest);
	for (int64_t i = 0; i < n; i++)
		error = fmax(error, isnan(x[i]) ? INFINITY : fabs(x[i] - want[pos * width + i]));
	free(want);
	return error / largest;
}

/* "encoder.kept.3" of layer 3, "decoder.kept.1" of layer n_encoder_layers + 1. */
static const char *name_of(char text[64], const struct run *run, const char *what, int32_t layer)
{
	const int32_t first = run->config->n_encoder_layers;
	snprintf(text, 64, "%s.%s.%d", layer < first ? "encoder" : "decoder", what,
	         (int)(layer < first ? layer : layer - first));
	return text;
}

static enum moe_status on_hidden(void *arg, int32_t n_layers, int64_t pos, int64_t n, const float *x,
                                 struct moe_err *err)
{
	(void)err;
	struct run *run = arg;
	const int32_t first = run->config->n_encoder_layers, hidden = run->config->hidden_size;
	char name[64];
	if (n_layers == 0)
		return MOE_OK;
	snprintf(name, sizeof name, "%s.hidden.%d", n_layers <= first ? "encoder" : "decoder",
	         (int)(n_layers <= first ? n_layers : n_layers - first));
	run->hidden_error = fmax(run->hidden_error, worst(run, name, pos, hidden, x, n * hidden));
	run->n_hidden += n;
	return MOE_OK;
}

static enum moe_status on_routing(void *arg, const struct moe_routing *r, int64_t pos, struct moe_err *err)
{
	(void)err;
	struct run *run = arg;
	char name[64];
	double largest;
	float *ids = golden_rows(run, name_of(name, run, "expert_ids", r->layer), &largest);
	float *kept = golden_rows(run, name_of(name, run, "kept", r->layer), &largest);
	float *weights = golden_rows(run, name_of(name, run, "expert_weights", r->layer), &largest);
	for (int64_t i = 0; i < r->n_tokens; i++) {
		const bool keeps = kept[pos + i] != 0;
		run->n_wrong += r->top_k != 1 || r->ids[i] != (int32_t)ids[pos + i];
		run->n_not_kept += keeps != (r->weights[i] != 0);
		run->n_dropped += !keeps;
		run->weights_error = fmax(run->weights_error,
		                          fabs(r->weights[i] - (keeps ? weights[pos + i] : 0)) / largest);
	}
	run->n_ids += r->n_tokens;
	free(ids);
	free(kept);
	free(weights);
	return MOE_OK;
}

static enum moe_status on_logits(void *arg, int64_t pos, int64_t n, const float *logits, struct moe_err *err)
{
	(void)err;
	struct run *run = arg;
	const int64_t vocab = run->config->vocab_size;
	run->logits_error = fmax(run->logits_error, worst(run, "logits", pos, vocab, logits, n * vocab));
	memcpy(run->logits + pos * vocab, logits, (size_t)(n * vocab) * sizeof *logits);
	return MOE_OK;
}

static void ids_of(const struct run *run, const char *name, int64_t n, int32_t *ids)
{
	const struct moe_tensor *t = moe_ckpt_find(run->golden, name);
	for (int64_t i = 0; i < n; i++)
		ids[i] = (int32_t)((const int64_t *)(const void *)t->data)[run->seq * n + i];
}

static void check_sequences(const struct moe_model *model, struct run *run, int32_t chunk, struct moe_pool *pool,
                            int64_t a_call, float *first)
{
	const size_t n_logits = (size_t)N_DECODER * (size_t)model->config.vocab_size;
	const struct moe_session_opts opts = {
		.n_ctx = N_DECODER,
		.n_encoder_ctx = N_ENCODER,
		.chunk = chunk,
		.hooks = { .arg = run, .hidden = on_hidden, .routing = on_routing, .logits = on_logits },
	};
	struct moe_err err = { 0 };
	struct moe_device *device = NULL;
	struct moe_session *session = NULL;
	double encoded_error = 0;
	if (moe_device_open(&device, "cpu", pool, &err) || moe_session_open(&session, model, device, &opts, &err))
		bail(&err);
	/* One session for both: nothing of the first may be left. */
	for (run->seq = 0; run->seq < N_SEQ; run->seq++) {
		int32_t encoder[N_ENCODER], decoder[N_DECODER];
		ids_of(run, "input_ids", N_ENCODER, encoder);
		ids_of(run, "decoder_input_ids", N_DECODER, decoder);
		moe_session_reset(session, N_DECODER);
		if (moe_session_encode(session, encoder, N_ENCODER, &err))
			bail(&err);
		encoded_error = fmax(encoded_error, worst(run, "encoder_final", 0, model->config.hidden_size,
		                                          moe_session_encoded(session),
		                                          (int64_t)N_ENCODER * model->config.hidden_size));
		for (int64_t t = 0; t < N_DECODER; t += a_call) {
			const int64_t n = N_DECODER - t < a_call ? N_DECODER - t : a_call;
			if (moe_session_feed(session, decoder + t, n, t > 0, MOE_LOGITS_ALL, &err))
				bail(&err);
		}
		float *kept = first + (size_t)run->seq * n_logits;
		if (chunk == 512 && a_call == N_DECODER && !pool)
			memcpy(kept, run->logits, n_logits * sizeof *kept);
		else
			ok(memcmp(kept, run->logits, n_logits * sizeof *kept) == 0,
			   "%s seq %d: same bits in chunks of %d, %d tokens a call%s", run->name, (int)run->seq,
			   (int)chunk, (int)a_call, pool ? ", threads" : "");
	}
	ok(encoded_error <= 2e-5, "%s: chunk %d: the encoder's output within 2e-5 of the largest (%.2g)", run->name,
	   (int)chunk, encoded_error);
	moe_session_close(session);
	moe_device_close(device);
}

static void check_golden(const char *name, const struct moe_model *model, const struct moe_ckpt *golden)
{
	const struct moe_config *config = &model->config;
	const size_t n_logits = (size_t)N_DECODER * (size_t)config->vocab_size;
	struct run run = { .name = name, .golden = golden, .config = config };
	struct moe_err err = { 0 };
	struct moe_pool *pool = NULL;
	run.logits = calloc(n_logits, sizeof *run.logits);
	float *first = calloc(N_SEQ * n_logits, sizeof *first);
	if (moe_pool_new(&pool, 2, &err))
		bail(&err);
	check_sequences(model, &run, 512, NULL, N_DECODER, first);
	check_sequences(model, &run, 7, pool, N_DECODER, first);
	check_sequences(model, &run, 1, NULL, N_DECODER, first);
	check_sequences(model, &run, 512, pool, 1, first);
	int64_t n_hidden = 0, n_ids = 0;   /* of one pair of sequences: from the config alone */
	for (int32_t l = 0; l < config->n_layers; l++) {
		const int64_t n = l < config->n_encoder_layers ? N_ENCODER : N_DECODER;
		n_hidden += n;
		n_ids += config->layers[l].ffn == MOE_FFN_MOE ? n : 0;
	}
	ok(run.logits_error <= 2e-5, "%s: logits within 2e-5 of the largest (%.2g)", name, run.logits_error);
	ok(run.hidden_error <= 2e-5, "%s: hidden states within 2e-5 of the largest (%.2g)", name, run.hidden_error);
	is_i64(run.n_hidden, 4 * N_SEQ * n_hidden, "%s: hidden states of all layers of both stacks", name);
	ok(run.n_ids == 4 * N_SEQ * n_ids && n_ids > 0, "%s: choices of all routers of both stacks", name);
	ok(run.n_wrong == 0, "%s: %lld expert ids, %lld differ", name, (long long)run.n_ids, (long long)run.n_wrong);
	is_i64(run.n_not_kept, 0, "%s: tokens weigh nothing exactly where they were dropped", name);
	ok(run.n_dropped > 0, "%s: some were (%lld)", name, (long long)run.n_dropped);
	ok(run.weights_error <= 1e-5, "%s: weights within 1e-5 (%.2g)", name, run.weights_error);
	moe_pool_free(pool);
	free(first);
	free(run.logits);
}

/* A directory of config.json, model.safetensors and golden.safetensors. */
static void check_directory(const char *dir)
{
	const char *slash = strrchr(dir, '/'), *name = slash && slash[1] ? slash + 1 : dir;
	char path[4096];
	struct moe_err err = { 0 };
	struct moe_ckpt *ckpt = NULL, *golden = NULL;
	struct moe_model *model = NULL;
	snprintf(path, sizeof path, "%s/golden.safetensors", dir);
	if (ok(!moe_ckpt_open(&ckpt, dir, NULL, &err) && !moe_model_bind(&model, ckpt, &err) &&
	       !moe_ckpt_open(&golden, path, NULL, &err), "%s: opens %s", name, err.text))
		check_golden(name, model, golden);
	moe_ckpt_close(golden);
	moe_model_free(model);
	moe_ckpt_close(ckpt);
}

/* Where buckets begin with 32 of them and 128 positions, computed apart from this program in single precision. */
static void check_buckets(void)
{
	static const int32_t both[] = { 8, 12, 16, 23, 32, 46, 64, 91 };
	static const int32_t back[] = { 16, 19, 21, 24, 27, 31, 35, 40, 46, 52, 59, 67, 77, 87, 99, 113 };
	enum { SPAN = 400, N = 2 * SPAN - 1, BUCKETS = 32, HEADS = 2 };
	static float values[BUCKETS * HEADS], table[HEADS * N];
	const struct moe_config config = { .n_heads = HEADS, .relative_buckets = BUCKETS, .relative_distance = 128 };
	const struct moe_weight w = { .codec = moe_codec_by_name("f32"), .data = (const uint8_t *)values,
		                      .rows = BUCKETS, .cols = HEADS };
	struct moe_err err = { 0 };
	int n_wrong = 0;
	for (int i = 0; i < BUCKETS * HEADS; i++)
		values[i] = (float)(i / HEADS + 100 * (i % HEADS));
	if (moe_relative_table(&config, &w, true, SPAN, table, &err))
		bail(&err);
	for (int rel = 1 - SPAN; rel < SPAN; rel++) {
		const int apart = abs(rel);
		int bucket = apart < 8 ? apart : 7;
		for (size_t i = 0; i < sizeof both / sizeof *both; i++)
			bucket += apart >= both[i];
		for (int h = 0; h < HEADS; h++)
			n_wrong += table[h * N + SPAN - 1 + rel] != (float)(bucket + (rel > 0 ? 16 : 0) + 100 * h);
	}
	is_i64(n_wrong, 0, "an encoder's buckets look both ways");
	if (moe_relative_table(&config, &w, false, SPAN, table, &err))
		bail(&err);
	n_wrong = 0;
	for (int rel = 1 - SPAN; rel < SPAN; rel++) {
		const int apart = rel < 0 ? -rel : 0;
		int bucket = apart < 16 ? apart : 15;
		for (size_t i = 0; i < sizeof back / sizeof *back; i++)
			bucket += apart >= back[i];
		for (int h = 0; h < HEADS; h++)
			n_wrong += table[h * N + SPAN - 1 + rel] != (float)(bucket + 100 * h);
	}
	is_i64(n_wrong, 0, "a decoder's look back");
}

static void check_refusals(const struct moe_model *model, const struct moe_model *plain)
{
	const struct moe_session_opts opts = { .n_ctx = 4, .n_encoder_ctx = 3, .chunk = 4 };
	const int32_t ids[4] = { 1, 2, 3, 4 }, outside[1] = { 1 << 20 };
	struct moe_err err = { 0 };
	struct moe_device *device = NULL;
	struct moe_session *s = NULL;
	if (moe_device_open(&device, "cpu", NULL, &err) || moe_session_open(&s, model, device, &opts, &err))
		bail(&err);
	ok(moe_session_feed(s, ids, 1, false, MOE_LOGITS_NONE, &err) == MOE_EUSAGE && strstr(err.text, "encoder"),
	   "no decoder before the encoder: %s", err.text);
	ok(moe_session_encode(s, ids, 0, &err) == MOE_EUSAGE, "no encoder without tokens: %s", err.text);
	ok(moe_session_encode(s, ids, 4, &err) == MOE_EUSAGE && strstr(err.text, "of 3"), "not more than fit: %s",
	   err.text);
	ok(moe_session_encode(s, outside, 1, &err) == MOE_EFORMAT, "no ids outside the vocabulary: %s", err.text);
	ok(moe_session_encode(s, ids, 3, &err) == MOE_OK, "then it runs");
	ok(moe_session_encode(s, ids, 3, &err) == MOE_EUSAGE, "but once: %s", err.text);
	ok(moe_session_feed(s, ids, 1, false, MOE_LOGITS_NONE, &err) == MOE_OK, "the decoder follows");
	moe_session_reset(s, 1);
	ok(moe_session_feed(s, ids, 1, false, MOE_LOGITS_NONE, &err) == MOE_EUSAGE, "a new sequence needs its own");
	moe_session_close(s);
	s = NULL;
	if (moe_session_open(&s, plain, device, &opts, &err))
		bail(&err);
	ok(moe_session_encode(s, ids, 1, &err) == MOE_EUSAGE && strstr(err.text, "no encoder"),
	   "not in a model without one: %s", err.text);
	moe_session_close(s);
	moe_device_close(device);
}

static void check_names(const struct moe_config *config)
{
	static const struct {
		const char *name;
		int32_t layer, expert;
	} names[] = {
		{ "encoder.block.3.layer.1.mlp.experts.expert_4.wi.weight", 3, 4 },
		{ "decoder.block.1.layer.2.mlp.experts.expert_0.wo.weight", 5, 0 },
		{ "decoder.block.3.layer.1.EncDecAttention.q.weight", 7, -1 },
		{ "decoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight", 4, -1 },
	};
	static const char *const none[] = {
		"encoder.block.4.layer.0.SelfAttention.q.weight",
		"decoder.block.4.layer.0.SelfAttention.q.weight",
		"decoder.block.2147483647.layer.0.SelfAttention.q.weight",
		"decoder.block.1.layer.0.SelfAttention.relative_attention_bias.weight",
		"encoder.block.1.layer.1.EncDecAttention.q.weight",
	};
	struct moe_tensor_id id;
	struct moe_buf text = { 0 };
	for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
		const bool known = moe_names_parse(config, MOE_NAMING_HF, names[i].name, &id);
		text.n = 0;
		if (known)
			moe_names_format(config, &id, MOE_NAMING_HF, &text);
		ok(known && id.layer == names[i].layer && id.expert == names[i].expert &&
		   text.n == strlen(names[i].name) && memcmp(text.p, names[i].name, text.n) == 0,
		   "%s is of layer %d", names[i].name, (int)names[i].layer);
	}
	for (size_t i = 0; i < sizeof none / sizeof *none; i++)
		ok(!moe_names_parse(config, MOE_NAMING_HF, none[i], &id), "%s is none of its tensors", none[i]);
	ok(moe_names_skipped(config, MOE_NAMING_HF, "encoder.embed_tokens.weight") &&
	   moe_names_skipped(config, MOE_NAMING_HF, "decoder.embed_tokens.weight") &&
	   moe_names_skipped(config, MOE_NAMING_HF, "lm_head.weight") &&
	   !moe_names_skipped(config, MOE_NAMING_HF, "shared.weight"), "copies of the embedding are left alone");
	moe_buf_free(&text);
}

static void open_model(const char *top, const char *name, struct moe_ckpt **ckpt, struct moe_model **model)
{
	struct moe_err err = { 0 };
	char path[4096];
	snprintf(path, sizeof path, "%s/tests/golden/models/%s", top, name);
	if (moe_ckpt_open(ckpt, path, NULL, &err) || moe_model_bind(model, *ckpt, &err))
		bail(&err);
}

int main(int argc, char **argv)
{
	const char *top = getenv("MOE_TOP") ? getenv("MOE_TOP") : ".";
	char path[4096];
	struct moe_ckpt *ckpt = NULL, *plain_ckpt = NULL;
	struct moe_model *model = NULL, *plain = NULL;
	for (int i = 1; i < argc; i++)
		check_directory(argv[i]);
	if (argc > 1)
		return done();
	open_model(top, "switch", &ckpt, &model);
	open_model(top, "mixtral", &plain_ckpt, &plain);
	check_names(&model->config);
	check_buckets();
	check_refusals(model, plain);
	moe_model_free(plain);
	moe_ckpt_close(plain_ckpt);
	moe_model_free(model);
	moe_ckpt_close(ckpt);
	snprintf(path, sizeof path, "%s/tests/golden/models/switch", top);
	check_directory(path);
	return done();
}
