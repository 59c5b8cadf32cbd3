/* Models of unusual sizes, written by the test itself with random numbers: 384 experts, one expert, all of them chosen,
 * a prime vocabulary, groups of two. They run, what the router chose is what its numbers allow, and neither the cut of
 * the sequence nor the number of threads changes a bit. */
#include "../tap.h"

#include "../ckpt.h"
#include "base/rng.h"
#include "forward/forward.h"
#include "model/names.h"

#define N_TOKENS 40

static const struct size {
	const char *name, *changes;    /* of the base below */
	bool v3;                       /* noaux_tc: sigmoid scores, a bias, groups */
} sizes[] = {
	{ "384 experts", "{\"n_routed_experts\": 384, \"num_experts_per_tok\": 8}", true },
	{ "384 experts, 8 groups",
	  "{\"n_routed_experts\": 384, \"num_experts_per_tok\": 8, \"n_group\": 8, "
	  "\"topk_group\": 4}",
	  true },
	{ "1 expert", "{\"n_routed_experts\": 1, \"num_experts_per_tok\": 1}", true },
	{ "1 expert, none shared", "{\"n_routed_experts\": 1, \"num_experts_per_tok\": 1, \"n_shared_experts\": 0}",
	  true },
	{ "all 6 experts chosen", "{\"n_routed_experts\": 6, \"num_experts_per_tok\": 6}", true },
	{ "all 100 experts chosen", "{\"n_routed_experts\": 100, \"num_experts_per_tok\": 100}", true },
	{ "a vocabulary of 127", "{\"vocab_size\": 127}", true },
	{ "groups of 2", "{\"n_group\": 8, \"topk_group\": 3, \"num_experts_per_tok\": 5}", true },
	{ "groups of 2, all kept", "{\"n_group\": 8, \"topk_group\": 8, \"num_experts_per_tok\": 16}", true },
	{ "300 experts of Qwen3",
	  "{\"model_type\": \"qwen3_moe\", \"num_experts\": 300, \"num_experts_per_tok\": 9, "
	  "\"norm_topk_prob\": true, \"vocab_size\": 131}",
	  false },
	{ "all 5 experts of Mixtral",
	  "{\"model_type\": \"mixtral\", \"num_local_experts\": 5, \"intermediate_size\": 7, "
	  "\"num_experts_per_tok\": 5}",
	  false },
	{ "1 expert of OLMoE",
	  "{\"model_type\": \"olmoe\", \"num_experts\": 1, \"intermediate_size\": 7, "
	  "\"num_experts_per_tok\": 1, \"norm_topk_prob\": true}",
	  false },
};

static json_t *config_of(const struct size *size)
{
	json_t *changes = json_loads(size->changes, 0, NULL);
	json_t *json =
	    json_pack("{s:s, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:s}", "model_type", "deepseek_v3", "vocab_size", 96,
	              "hidden_size", 24, "num_hidden_layers", 3, "intermediate_size", 33, "moe_intermediate_size", 7,
	              "num_attention_heads", 3, "num_key_value_heads", 3, "torch_dtype", "float32");

	json_object_update_new(json,
	                       json_pack("{s:n, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:b, s:f, s:i}",
	                                 "q_lora_rank", "kv_lora_rank", 16, "qk_nope_head_dim", 8, "qk_rope_head_dim",
	                                 4, "v_head_dim", 6, "n_routed_experts", 16, "n_shared_experts", 1,
	                                 "num_experts_per_tok", 4, "first_k_dense_replace", 1, "n_group", 1,
	                                 "topk_group", 1, "norm_topk_prob", 1, "routed_scaling_factor", 1.75,
	                                 "num_nextn_predict_layers", 0));
	json_object_update(json, changes);
	json_decref(changes);
	return json;
}

/* What writing needs to know of a tensor. */
struct tensors {
	const struct moe_config *config;
	struct moe_ckpt_out *out;
	uint64_t n;        /* declared, or written */
	bool writing;
};

static enum moe_status visit(void *arg, const struct moe_tensor_id *id, const int64_t *dims, int32_t n_dims,
                             struct moe_err *err)
{
	struct tensors *t = arg;
	struct moe_buf name = { 0 };
	size_t n = 0;
	enum moe_status st;

	t->n++;
	if (!t->writing) {
		moe_names_format(t->config, id, MOE_NAMING_HF, &name);
		st = moe_ckpt_out_declare(t->out, name.p, moe_codec_by_name("f32"), dims, n_dims, err);
		moe_buf_free(&name);
		return st;
	}
	moe_dims_elems(dims, n_dims, &n);
	float *values = malloc(n * sizeof *values);
	for (size_t i = 0; i < n; i++) {
		const double x = 2 * moe_rng_f64(5, t->n, i) - 1;

		values[i] = (float)(n_dims > 1 ? x * 2 / sqrt((double)dims[n_dims - 1]) :
		                    id->spec->part == MOE_PART_ROUTER_BIAS ? x * 0.2 : 1 + x * 0.3);
	}
	st = moe_ckpt_out_write(t->out, values, n * sizeof *values, err);
	free(values);
	return st;
}

static void write_model(const char *path, const json_t *json, const struct moe_config *config)
{
	char *text = json_dumps(json, 0);
	const struct moe_companion companion = { "config.json", (const uint8_t *)text, strlen(text) };
	const struct moe_ckpt_out_opts opts = { .format = moe_format_by_name("safetensors"), .path = path,
		                                .n_companions = 1, .companions = &companion };
	struct tensors t = { .config = config };
	struct moe_err err = { 0 };
	enum moe_status st = moe_ckpt_out_open(&t.out, &opts, &err);

	if (!st)
		st = moe_names_each(config, MOE_NAMING_HF, visit, &t, &err);
	if (!st)
		st = moe_ckpt_out_begin(t.out, &err);
	t.writing = true;
	t.n = 0;
	if (!st)
		st = moe_names_each(config, MOE_NAMING_HF, visit, &t, &err);
	if (!st)
		st = moe_ckpt_out_commit(t.out, &err);
	step(st, &err, "a model is written");
	free(text);
}

struct run {
	const struct moe_config *config;
	const struct size *size;
	float *logits;         /* [N_TOKENS][vocab] */
	int32_t *ids;          /* [n_layers][N_TOKENS][top_k] */
	int64_t n_routed;
	int32_t largest_id;
	double sum_error;      /* of a token's weights, against what they must add up to */
	int64_t n_bad;         /* experts out of range, chosen twice, from too many groups, or where one is better */
};

static bool is_in(const int32_t *ids, int32_t n, int32_t id)
{
	for (int32_t i = 0; i < n; i++)
		if (ids[i] == id)
			return true;
	return false;
}

/* Without a bias and groups a larger logit is a better score: nothing left out may be larger than something chosen. */
static bool is_best(const int32_t *ids, const float *logits, int32_t n, int32_t top_k)
{
	float least = INFINITY;

	for (int32_t k = 0; k < top_k; k++)
		least = fminf(least, logits[ids[k]]);
	for (int32_t e = 0; e < n; e++)
		if (logits[e] > least && !is_in(ids, top_k, e))
			return false;
	return true;
}

static void check_token(struct run *run, const int32_t *ids, const float *weights, const float *logits)
{
	const struct moe_router_spec *r = &run->config->router;
	const int32_t n = run->config->n_experts, group = n / r->n_groups;
	int32_t groups[256], n_groups = 0;
	const double wanted = r->scale;
	double sum = 0;

	for (int32_t k = 0; k < r->top_k; k++) {
		if (ids[k] < 0 || ids[k] >= n || is_in(ids, k, ids[k])) {
			run->n_bad++;
			return;
		}
		run->largest_id = ids[k] > run->largest_id ? ids[k] : run->largest_id;
		sum += (double)weights[k];
		if (!is_in(groups, n_groups, ids[k] / group))
			groups[n_groups++] = ids[k] / group;
	}
	run->n_bad += n_groups > r->top_groups;
	run->n_bad += !run->size->v3 && !is_best(ids, logits, n, r->top_k);
	run->sum_error = fmax(run->sum_error, fabs(sum / wanted - 1));
}

static enum moe_status on_routing(void *arg, const struct moe_routing *r, int64_t pos, struct moe_err *err)
{
	struct run *run = arg;

	(void)err;
	for (int64_t t = 0; t < r->n_tokens; t++)
		check_token(run, r->ids + t * r->top_k, r->weights + t * r->top_k, r->logits + t * r->n_experts);
	memcpy(run->ids + (r->layer * N_TOKENS + pos) * r->top_k, r->ids,
	       (size_t)(r->n_tokens * r->top_k) * sizeof *r->ids);
	run->n_routed += r->n_tokens;
	return MOE_OK;
}

static enum moe_status on_logits(void *arg, int64_t pos, int64_t n, const float *logits, struct moe_err *err)
{
	struct run *run = arg;

	(void)err;
	memcpy(run->logits + pos * run->config->vocab_size, logits,
	       (size_t)(n * run->config->vocab_size) * sizeof *logits);
	return MOE_OK;
}

static void feed(struct run *run, const struct moe_model *model, int32_t chunk, struct moe_pool *pool)
{
	const struct moe_session_opts opts = { .n_ctx = N_TOKENS, .chunk = chunk,
		                               .hooks = { .arg = run, .routing = on_routing, .logits = on_logits } };
	struct moe_device *device = NULL;
	struct moe_session *session = NULL;
	struct moe_err err = { 0 };
	int32_t tokens[N_TOKENS];
	enum moe_status st = moe_device_open(&device, "cpu", pool, &err);

	for (int32_t i = 0; i < N_TOKENS; i++)
		tokens[i] = i == 3 ? model->config.vocab_size - 1 :
		            (int32_t)(moe_rng_u64(9, 0, (uint64_t)i) % (uint64_t)model->config.vocab_size);
	if (!st)
		st = moe_session_open(&session, model, device, &opts, &err);
	if (!st)
		st = moe_session_feed(session, tokens, N_TOKENS, false, MOE_LOGITS_ALL, &err);
	ok(!st, "%s: runs in chunks of %d %s", run->size->name, (int)chunk, err.text);
	moe_session_close(session);
	moe_device_close(device);
}

static void check(const char *top, const struct size *size, struct moe_pool *pool)
{
	char *path = moe_path_join(top, "model");
	json_t *json = config_of(size);
	struct moe_config config;
	struct moe_ckpt *ckpt = NULL;
	struct moe_model *model = NULL;
	struct moe_err err = { 0 };
	size_t n_layers_routed = 0, n_finite = 0;

	step(moe_config_parse(&config, json, "config.json", &err), &err, size->name);
	write_model(path, json, &config);
	step(moe_ckpt_open(&ckpt, path, NULL, &err), &err, "it opens");
	step(moe_model_bind(&model, ckpt, &err), &err, "and binds");
	for (int32_t l = 0; l < config.n_layers; l++)
		n_layers_routed += config.layers[l].ffn == MOE_FFN_MOE;

	const size_t n_logits = (size_t)N_TOKENS * (size_t)config.vocab_size;
	const size_t n_ids = (size_t)N_TOKENS * (size_t)config.n_layers * (size_t)config.router.top_k;
	struct run first = { .config = &config, .size = size, .logits = calloc(n_logits, sizeof(float)),
		             .ids = calloc(n_ids, sizeof(int32_t)) }, again = first;
	again.logits = calloc(n_logits, sizeof(float));
	again.ids = calloc(n_ids, sizeof(int32_t));
	feed(&first, model, 512, NULL);
	for (size_t i = 0; i < n_logits; i++)
		n_finite += isfinite(first.logits[i]) && first.logits[i] != 0;
	is_i64((int64_t)n_finite, (int64_t)n_logits, "%s: every logit is a number", size->name);
	is_i64(first.n_routed, (int64_t)n_layers_routed * N_TOKENS, "%s: every token is routed", size->name);
	is_i64(first.n_bad, 0, "%s: to experts that there are, each once, from the kept groups", size->name);
	ok(first.sum_error < 1e-5, "%s: weights add up (%.2g)", size->name, first.sum_error);
	if (config.n_experts > 256)
		ok(first.largest_id >= 256, "%s: experts beyond 255 are chosen (%d)", size->name,
		   (int)first.largest_id);
	for (int way = 0; way < 2; way++) {
		const int32_t chunk = way ? 7 : 1;

		memset(again.logits, 0, n_logits * sizeof(float));
		memset(again.ids, 0xff, n_ids * sizeof(int32_t));
		for (int32_t l = 0; l < config.n_layers; l++)    /* rows that no router fills */
			if (config.layers[l].ffn != MOE_FFN_MOE)
				memset(again.ids + (size_t)l * N_TOKENS * (size_t)config.router.top_k, 0,
				       (size_t)N_TOKENS * (size_t)config.router.top_k * sizeof(int32_t));
		feed(&again, model, chunk, pool);
		ok(!memcmp(first.logits, again.logits, n_logits * sizeof(float)) &&
		       !memcmp(first.ids, again.ids, n_ids * sizeof(int32_t)),
		   "%s: the same bits in chunks of %d", size->name, (int)chunk);
	}
	free(first.logits);
	free(first.ids);
	free(again.logits);
	free(again.ids);
	moe_model_free(model);
	moe_ckpt_close(ckpt);
	moe_config_free(&config);
	json_decref(json);
	remove_dir(path);
	free(path);
}

int main(void)
{
	char *top = make_dir();
	struct moe_pool *pool = NULL;
	struct moe_err err = { 0 };

	step(moe_pool_new(&pool, 3, &err), &err, "threads");
	for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
		check(top, &sizes[i], pool);
	moe_pool_free(pool);
	remove_dir(top);
	free(top);
	return done();
}
