/* The forward pass against logits, hidden states, experts and weights that another implementation computed
 * (tests/golden/README.md), for each model directory given or all that are in the tree; and the same bits however the
 * sequence is cut. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "../tap.h"
#include "forward/forward.h"

/* What follows would make no sense: say why and stop. */
__attribute__((noreturn, format(printf, 1, 2))) static void bail(const char *fmt, ...)
{
	va_list args;
	va_start(args, fmt);
	printf("Bail out! ");
	vprintf(fmt, args);
	printf("\n");
	va_end(args);
	exit(1);
}

struct run {
	const struct moe_ckpt *golden;
	int32_t seq, vocab, hidden, n_tokens, n_layers;
	double logits_error, hidden_error, weights_error,
	    mtp_error; /* largest so far, relative to the largest golden */
	int64_t n_ids, n_mtp_ids, n_wrong;
	int64_t n_masked, n_unmasked; /* rows of index masks met, and those that differ */
	float *logits; /* [n_tokens][vocab] as computed */
};

/* Golden values of one sequence, [n_tokens][width]; NULL where the file has no such tensor. */
static float *golden_rows(const struct moe_ckpt *golden, const char *name, int32_t seq, size_t *n, double *largest)
{
	const struct moe_tensor *t = moe_ckpt_find(golden, name);
	if (!t)
		return NULL;
	const struct moe_tensor one = moe_tensor_slice(t, seq);
	size_t all;
	moe_dims_elems(t->dims, t->n_dims, &all);
	moe_dims_elems(one.dims, one.n_dims, n);
	float *values = malloc(all * sizeof *values);
	t->codec->decode(t->data, values, all);
	*largest = 0;
	for (size_t i = 0; i < all; i++)
		*largest = fmax(*largest, fabs(values[i]));
	memmove(values, values + (size_t)seq * *n, *n * sizeof *values);
	return values;
}

static double worst(const struct run *run, const char *name, int64_t pos, const float *x, size_t n)
{
	size_t total;
	double largest, error = 0;
	float *want = golden_rows(run->golden, name, run->seq, &total, &largest);
	if (!want)
		return INFINITY;
	for (size_t i = 0; i < n; i++)
		error =
		    fmax(error, isnan(x[i]) ? INFINITY
		                            : fabs(x[i] - want[(size_t)pos * (total / (size_t)run->n_tokens) + i]));
	free(want);
	return error / largest;
}

static enum moe_status on_hidden(void *arg, int32_t n_layers, int64_t pos, int64_t n, const float *x,
                                 struct moe_err *err)
{
	(void)err;
	struct run *run = arg;
	char name[32];
	snprintf(name, sizeof name, "hidden.%d", (int)n_layers);
	run->hidden_error = fmax(run->hidden_error, worst(run, name, pos, x, (size_t)(n * run->hidden)));
	return MOE_OK;
}

static enum moe_status on_routing(void *arg, const struct moe_routing *r, int64_t pos, struct moe_err *err)
{
	(void)err;
	struct run *run = arg;
	char name[32];
	size_t n;
	double largest;
	struct run of = *run;
	const bool mtp = r->layer == run->n_layers;
	of.n_tokens -= mtp;
	snprintf(name, sizeof name, mtp ? "mtp_expert_ids" : "expert_ids.%d", (int)r->layer);
	float *ids = golden_rows(run->golden, name, run->seq, &n, &largest);
	for (int64_t i = 0; i < r->n_tokens * r->top_k; i++)
		run->n_wrong += !ids || r->ids[i] != (int32_t)ids[pos * r->top_k + i];
	run->n_ids += r->n_tokens * r->top_k;
	run->n_mtp_ids += mtp ? r->n_tokens * r->top_k : 0;
	free(ids);
	snprintf(name, sizeof name, mtp ? "mtp_expert_weights" : "expert_weights.%d", (int)r->layer);
	/* tiny-v3 has the ids of its MTP layer alone */
	if (!mtp || moe_ckpt_find(run->golden, name))
		run->weights_error =
		    fmax(run->weights_error, worst(&of, name, pos, r->weights, (size_t)(r->n_tokens * r->top_k)));
	return MOE_OK;
}

static enum moe_status on_logits(void *arg, int64_t pos, int64_t n, const float *logits, struct moe_err *err)
{
	(void)err;
	struct run *run = arg;
	run->logits_error = fmax(run->logits_error, worst(run, "logits", pos, logits, (size_t)(n * run->vocab)));
	memcpy(run->logits + pos * run->vocab, logits, (size_t)(n * run->vocab) * sizeof *logits);
	return MOE_OK;
}

static enum moe_status on_mtp(void *arg, int64_t pos, int64_t n, const float *logits, struct moe_err *err)
{
	(void)err;
	struct run *run = arg;
	struct run shorter = *run;
	shorter.n_tokens--;
	run->mtp_error = fmax(run->mtp_error, worst(&shorter, "mtp_logits", pos, logits, (size_t)(n * run->vocab)));
	return MOE_OK;
}

static enum moe_status on_visible(void *arg, int32_t layer, int64_t pos, int64_t n_tokens, const int32_t *positions,
                                  int32_t top_k, struct moe_err *err)
{
	(void)err;
	struct run *run = arg;
	char name[32];
	size_t n;
	double largest;
	snprintf(name, sizeof name, "index_mask.%d", (int)layer);
	float *mask = golden_rows(run->golden, name, run->seq, &n, &largest);
	for (int64_t t = 0; t < n_tokens; t++) {
		const int64_t p = pos + t, n_seen = p < top_k || !positions ? p + 1 : top_k;
		bool same = mask && n_seen <= top_k;
		for (int64_t s = 0, i = 0; same && s < run->n_tokens; s++) {
			const bool seen = i < n_seen && (positions ? positions[t * top_k + i] : i) == s;
			same = seen == (mask[p * run->n_tokens + s] != 0);
			i += seen;
		}
		run->n_masked++;
		run->n_unmasked += !same;
	}
	free(mask);
	return MOE_OK;
}

static void check(const struct moe_model *model, const struct moe_ckpt *golden, const char *name)
{
	struct moe_err err = { 0 };
	const struct moe_tensor *input = moe_ckpt_find(golden, "input_ids");
	struct run run = {
		.golden = golden,
		.vocab = model->config.vocab_size,
		.hidden = model->config.hidden_size,
		.n_tokens = (int32_t)input->dims[1],
		.n_layers = model->config.n_layers,
	};
	const size_t n_logits = (size_t)run.n_tokens * (size_t)run.vocab;
	run.logits = calloc(n_logits, sizeof *run.logits);
	float *first = calloc(n_logits, sizeof *first);
	const bool mtp = moe_ckpt_find(golden, "mtp_logits") != NULL;
	/* attention with one form alone does not see where tokens came from */
	const bool plain = strcmp(model->config.layers[0].mixer, "mla") != 0;
	struct moe_pool *pool = NULL;
	if (moe_pool_new(&pool, 2, &err))
		bail("%s", err.text);
	for (run.seq = 0; run.seq < input->dims[0]; run.seq++) {
		int32_t ids[512];
		for (int32_t t = 0; t < run.n_tokens; t++)
			ids[t] = (int32_t)((const int64_t *)(const void *)input->data)[run.seq * run.n_tokens + t];
		/* The second and third must repeat the first bit for bit; the last is the absorbed form. */
		static const struct {
			int32_t chunk;
			bool threads, generated;
		} ways[] = {
			{ 512, false, false },
			{ 7, true, false },
			{ 1, true, false },
			{ 512, true, true },
		};
		for (size_t w = 0; w < sizeof ways / sizeof *ways; w++) {
			struct moe_device *device = NULL;
			struct moe_session *session = NULL;
			const struct moe_session_opts opts = {
				.n_ctx = run.n_tokens,
				.chunk = ways[w].chunk,
				.mtp = mtp,
				.hooks = { &run, on_hidden, on_routing, on_logits, mtp ? on_mtp : NULL, on_visible },
			};
			if (moe_device_open(&device, "cpu", ways[w].threads ? pool : NULL, &err) ||
			    moe_session_open(&session, model, device, &opts, &err) ||
			    moe_session_feed(session, ids, run.n_tokens, ways[w].generated, MOE_LOGITS_ALL, &err))
				bail("%s: %s", name, err.text);
			if (w == 0)
				memcpy(first, run.logits, n_logits * sizeof *first);
			else if (!ways[w].generated || plain)
				ok(memcmp(first, run.logits, n_logits * sizeof *first) == 0,
				   "%s seq %d: same bits in chunks of %d%s", name, (int)run.seq, (int)ways[w].chunk,
				   ways[w].generated ? ", generated" : "");
			moe_session_close(session);
			moe_device_close(device);
		}
	}
	ok(run.logits_error <= 2e-5, "%s: logits within 2e-5 of the largest (%.2g)", name, run.logits_error);
	ok(run.hidden_error <= 2e-5, "%s: hidden states within 2e-5 of the largest (%.2g)", name, run.hidden_error);
	ok(run.n_wrong == 0 && (run.n_ids > 0) == (model->config.n_experts > 0), "%s: %lld expert ids, %lld differ",
	   name, (long long)run.n_ids, (long long)run.n_wrong);
	if (run.n_ids > 0)
		ok(run.weights_error <= 1e-5, "%s: weights within 1e-5 (%.2g)", name, run.weights_error);
	int64_t n_masks = 0;
	for (size_t i = 0; i < golden->n_tensors; i++)
		n_masks += strncmp(golden->tensors[i].name, "index_mask.", 11) == 0;
	if (n_masks > 0 || run.n_masked > 0) {
		is_i64(run.n_masked, n_masks * input->dims[0] * run.n_tokens * 4, "%s: every indexer spoke", name);
		is_i64(run.n_unmasked, 0, "%s: rows of %lld index masks that differ", name, (long long)n_masks);
	}
	if (mtp)
		is_i64(run.n_mtp_ids, 4 * input->dims[0] * (run.n_tokens - 1) * model->config.router.top_k,
		       "%s: choices of the MTP layer, one token fewer", name);
	if (mtp)
		ok(run.mtp_error <= 2e-5 && run.mtp_error > 0, "%s: MTP logits within 2e-5 of the largest (%.2g)",
		   name, run.mtp_error);
	moe_pool_free(pool);
	free(first);
	free(run.logits);
}

static void check_paths(const char *path, const char *golden_path, const char *name)
{
	struct moe_err err = { 0 };
	struct moe_ckpt *ckpt = NULL, *golden = NULL;
	struct moe_model *model = NULL;
	if (ok(!moe_ckpt_open(&ckpt, path, NULL, &err) && !moe_model_bind(&model, ckpt, &err) &&
	       !moe_ckpt_open(&golden, golden_path, NULL, &err), "%s: opens %s", name, err.text))
		check(model, golden, name);
	moe_ckpt_close(golden);
	moe_model_free(model);
	moe_ckpt_close(ckpt);
}

static void check_directory(const char *top, const char *weights, const char *name)
{
	char path[4096], golden_path[4096];
	snprintf(path, sizeof path, "%s/%s/%s", top, weights, name);
	snprintf(golden_path, sizeof golden_path, "%s/tests/golden/models/%s/golden.safetensors", top, name);
	check_paths(path, golden_path, name);
}

/* A directory of config.json, model.safetensors and golden.safetensors. */
static void check_given(const char *dir)
{
	const char *slash = strrchr(dir, '/');
	char golden_path[4096];
	snprintf(golden_path, sizeof golden_path, "%s/golden.safetensors", dir);
	check_paths(dir, golden_path, slash && slash[1] ? slash + 1 : dir);
}

int main(int argc, char **argv)
{
	for (int i = 1; i < argc; i++)
		check_given(argv[i]);
	if (argc > 1)
		return done();
	const char *top = getenv("MOE_TOP") ? getenv("MOE_TOP") : ".";
	check_directory(top, "share/models", "tiny-v3");
	check_directory(top, "share/models", "tiny-v2");
	static const char *const names[] = {
		"deepseek_v3",
		"deepseek_v3_fp8",
		"deepseek_v2",
		"deepseek_v2_lite",
		"deepseek_v2_lite_bf16",
		"moonlight",
		"kimi_k2",
		"deepseek_v1",
		"deepseek_v1_norm",
		"mixtral",
		"mixtral_window",
		"qwen2_moe",
		"qwen2_moe_sparse",
		"qwen3_moe",
		"qwen3_moe_bf16",
		"olmoe",
		"olmoe_clip",
		"glm4_moe",
		"glm4_moe_qk_norm",
		"ernie4_5_moe",
		"phimoe", "gpt_oss", "gpt_oss_mxfp4",
		"granitemoe",
		"llama4",
		"llama4_multimodal",
		"glm4_moe_lite",
		"kimi_k25",
		"minimax_m2",
		"hunyuan_v1_moe",
		"exaone_moe",
		"deepseek_v32",
		"glm_moe_dsa",
		"dbrx",
		"llama",
		"llama_bias",
		"qwen2",
		"qwen3",
	};
	for (size_t i = 0; i < sizeof names / sizeof *names; i++)
		check_directory(top, "tests/golden/models", names[i]);
	return done();
}
