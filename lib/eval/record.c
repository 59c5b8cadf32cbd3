/* Gathers the layers of a pass and delivers them together. */
#include "eval/record.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

struct layer_store {
	int32_t *ids;
	float *weights, *logits, *margins;
};

struct moe_record {
	struct moe_record_sink sink;
	struct moe_arena arena;
	int32_t n_layers, chunk, n_experts, top_k;
	bool logits, margins;
	bool mtp; /* the last of n_layers is the MTP layer */
	int32_t n_encoder_routers; /* the first of n_layers */
	int64_t n_encoder; /* tokens of the sequence's encoder */
	/* With an MTP layer: rows of the stores in use; between passes 0, or 1 for the token that waits. */
	int64_t n_rows;
	int32_t *row_tokens; /* [chunk + 1] */
	struct layer_store *stores; /* [n_layers] */
	struct moe_routing *routings; /* [n_layers] */
	int32_t *layers; /* [n_layers] the model's indices */
	int32_t n_gathered;
	struct moe_trace_run run;
	int64_t tokens_pos;
	const int32_t *tokens;
};

static int32_t count_routers(const struct moe_config *config, int32_t n_layers)
{
	int32_t n = 0;
	for (int32_t l = 0; l < n_layers; l++)
		n += config->layers[l].ffn == MOE_FFN_MOE;
	return n;
}

/* Layers that a session runs, with or without its one MTP layer. */
static int32_t layers_run(const struct moe_config *config, bool mtp)
{
	return config->n_layers + (mtp && config->n_mtp_layers > 0 ? 1 : 0);
}

static bool list_routers(struct moe_arena *arena, const struct moe_config *config, bool mtp, int32_t **out, int32_t *n)
{
	const int32_t n_layers = layers_run(config, mtp);
	*n = count_routers(config, n_layers);
	*out = MOE_NEW(arena, int32_t, (size_t)*n);
	for (int32_t l = 0, i = 0; *out && l < n_layers; l++)
		if (config->layers[l].ffn == MOE_FFN_MOE)
			(*out)[i++] = l;
	return *out != NULL;
}

static bool make_store(struct moe_record *r, struct layer_store *store)
{
	const size_t n = (size_t)r->chunk + 1;
	store->ids = MOE_NEW(&r->arena, int32_t, n * (size_t)r->top_k);
	store->weights = MOE_NEW(&r->arena, float, n *(size_t)r->top_k);
	store->logits = r->logits ? MOE_NEW(&r->arena, float, n *(size_t)r->n_experts) : NULL;
	store->margins = r->margins ? MOE_NEW(&r->arena, float, n) : NULL;
	return store->ids && store->weights && (store->logits || !r->logits) && (store->margins || !r->margins);
}

enum moe_status moe_record_new(struct moe_record **out, const struct moe_config *config,
                               const struct moe_record_opts *opts, const struct moe_record_sink *sink,
                               struct moe_err *err)
{
	struct moe_record *r = calloc(1, sizeof *r);
	if (!r)
		return moe_err_nomem(err, sizeof *r, "a recorder");
	*r = (struct moe_record){ .sink = *sink,
		                  .chunk = opts->chunk,
		                  .n_experts = config->n_experts,
		                  .top_k = opts->top_k,
		                  .n_encoder_routers = count_routers(config, config->n_encoder_layers),
		                  .logits = opts->logits,
		                  .margins = opts->margins };
	bool good = list_routers(&r->arena, config, opts->mtp, &r->layers, &r->n_layers);
	r->mtp = good && r->n_layers > count_routers(config, config->n_layers);
	r->row_tokens = MOE_NEW(&r->arena, int32_t, (size_t)opts->chunk + 1);
	good = good && r->row_tokens;
	r->stores = good ? MOE_NEW(&r->arena, struct layer_store, (size_t)r->n_layers) : NULL;
	r->routings = good ? MOE_NEW(&r->arena, struct moe_routing, (size_t)r->n_layers) : NULL;
	good = good && r->stores && r->routings;
	for (int32_t i = 0; i < r->n_layers && good; i++)
		good = make_store(r, &r->stores[i]);
	if (!good) {
		const size_t n_bytes = r->arena.n_bytes;
		moe_record_free(r);
		return moe_err_nomem(err, n_bytes, "the routing of one pass (a smaller --chunk needs less)");
	}
	*out = r;
	return MOE_OK;
}

void moe_record_free(struct moe_record *r)
{
	if (!r)
		return;
	moe_arena_free(&r->arena);
	free(r);
}

void moe_record_begin(struct moe_record *r, int64_t seq, const char *source)
{
	r->run = (struct moe_trace_run){ .seq = seq, .source = source };
	r->n_gathered = 0;
	r->n_encoder = 0;
	r->n_rows = 0;
}

void moe_record_tokens(struct moe_record *r, int64_t pos, const int32_t *tokens)
{
	r->tokens_pos = pos;
	r->tokens = tokens;
}

/* What the tokens at the beginning of the stores have in layers [begin, end) where they choose nothing. */
static void fill_none(struct moe_record *r, int32_t begin, int32_t end, int64_t n_tokens)
{
	for (int32_t l = begin; l < end; l++) {
		const struct layer_store *store = &r->stores[l];
		for (int64_t c = 0; c < n_tokens * r->top_k; c++) {
			store->ids[c] = -1;
			store->weights[c] = 0;
		}
		for (int64_t i = 0; store->logits && i < n_tokens * r->n_experts; i++)
			store->logits[i] = NAN;
		for (int64_t i = 0; store->margins && i < n_tokens; i++)
			store->margins[i] = INFINITY;
		r->routings[l] = (struct moe_routing){
			.layer = r->layers[l], .n_experts = r->n_experts, .top_k = r->top_k, .n_tokens = n_tokens,
			.ids = store->ids, .weights = store->weights, .logits = store->logits,
			.margins = store->margins,
		};
	}
}

/* Copies what a router said behind the first `row` rows of store number i. */
static void keep(struct moe_record *r, int32_t i, const struct moe_routing *routing, int64_t row)
{
	const struct layer_store *store = &r->stores[i];
	const size_t n = (size_t)routing->n_tokens, n_choices = n * (size_t)r->top_k;
	memcpy(store->ids + row * r->top_k, routing->ids, n_choices * sizeof *store->ids);
	memcpy(store->weights + row * r->top_k, routing->weights, n_choices * sizeof *store->weights);
	if (store->logits)
		memcpy(store->logits + row * r->n_experts, routing->logits,
		       n * (size_t)r->n_experts * sizeof *store->logits);
	if (store->margins)
		memcpy(store->margins + row, routing->margins, n * sizeof *store->margins);
	r->routings[i] = *routing;
	r->routings[i].ids = store->ids;
	r->routings[i].weights = store->weights;
	r->routings[i].logits = store->logits;
	r->routings[i].margins = store->margins;
}

/* The first n_tokens rows of all stores as a run. */
static enum moe_status deliver(struct moe_record *r, int64_t pos, int64_t n_tokens, const int32_t *tokens,
                               struct moe_err *err)
{
	for (int32_t i = 0; i < r->n_layers; i++)
		r->routings[i].n_tokens = n_tokens;
	r->run.pos = pos;
	r->run.n_tokens = n_tokens;
	r->run.tokens = tokens;
	r->run.layers = r->routings;
	return r->sink.run(r->sink.arg, &r->run, err);
}

/* All rows but the last are complete: they leave, and the last becomes the first. */
static enum moe_status deliver_known(struct moe_record *r, int64_t pos, struct moe_err *err)
{
	const int64_t last = r->n_rows - 1;
	enum moe_status status = deliver(r, pos, last, r->row_tokens, err);
	for (int32_t i = 0; i + 1 < r->n_layers; i++) {
		const struct layer_store *store = &r->stores[i];
		memmove(store->ids, store->ids + last * r->top_k, (size_t)r->top_k * sizeof *store->ids);
		memmove(store->weights, store->weights + last * r->top_k, (size_t)r->top_k * sizeof *store->weights);
		if (store->logits)
			memmove(store->logits, store->logits + last * r->n_experts,
			        (size_t)r->n_experts * sizeof *store->logits);
		if (store->margins)
			store->margins[0] = store->margins[last];
	}
	r->row_tokens[0] = r->row_tokens[last];
	r->n_rows = 1;
	return status;
}

/* As moe_record_routing, where the last of the layers is the MTP layer. */
static enum moe_status routing_with_mtp(struct moe_record *r, int32_t i, const struct moe_routing *routing, int64_t pos,
                                        struct moe_err *err)
{
	if (i == r->n_layers - 1) {
		assert(routing->n_tokens == r->n_rows - 1 && pos == r->run.pos);
		keep(r, i, routing, 0);
		r->n_gathered = 0;
		return deliver_known(r, pos, err);
	}
	keep(r, i, routing, r->n_rows);
	if (i < r->n_layers - 2)
		return MOE_OK;
	r->run.pos = pos - r->n_rows;
	memcpy(r->row_tokens + r->n_rows, r->tokens + (pos - r->tokens_pos),
	       (size_t)routing->n_tokens * sizeof *r->row_tokens);
	r->n_rows += routing->n_tokens;
	/* a single token: the MTP layer has nothing to say yet */
	r->n_gathered = r->n_rows == 1 ? 0 : r->n_gathered;
	return MOE_OK;
}

enum moe_status moe_record_routing(struct moe_record *r, const struct moe_routing *routing, int64_t pos,
                                   struct moe_err *err)
{
	const int32_t i = r->n_gathered++;
	assert(i < r->n_layers && routing->layer == r->layers[i] && routing->n_tokens <= r->chunk);
	if (r->mtp)
		return routing_with_mtp(r, i, routing, pos, err);
	keep(r, i, routing, 0);
	/* the last router of the encoder, or of the decoder: what follows is the decoder's */
	const bool encoder = r->n_gathered == r->n_encoder_routers;
	if (r->n_gathered < r->n_layers && !encoder)
		return MOE_OK;
	r->n_gathered = r->n_encoder_routers;
	fill_none(r, encoder ? r->n_encoder_routers : 0, encoder ? r->n_layers : r->n_encoder_routers,
	          routing->n_tokens);
	const int64_t before = r->n_encoder;
	if (encoder)
		r->n_encoder = routing->n_tokens;
	return deliver(r, before + pos, routing->n_tokens, r->tokens + (pos - r->tokens_pos), err);
}

enum moe_status moe_record_finish(struct moe_record *r, struct moe_err *err)
{
	if (!r || r->n_rows == 0)
		return MOE_OK;
	r->n_rows = 0;
	fill_none(r, r->n_layers - 1, r->n_layers, 1);
	return deliver(r, r->run.pos + r->run.n_tokens, 1, r->row_tokens, err);
}

enum moe_status moe_record_start(struct moe_record *r, struct moe_session *session, const struct moe_sequence *seq,
                                 int64_t number, struct moe_err *err)
{
	enum moe_status status = MOE_OK;
	moe_session_reset(session, seq->n_tokens);
	if (r) {
		moe_record_begin(r, number, seq->source);
		moe_record_tokens(r, 0, seq->encoder);
	}
	if (seq->n_encoder > 0)
		status = moe_session_encode(session, seq->encoder, seq->n_encoder, err);
	if (r)
		moe_record_tokens(r, 0, seq->tokens);
	return status;
}

enum moe_status moe_record_go_on(struct moe_record *r, struct moe_session *session, const struct moe_sequence *seq,
                                 int64_t number, const struct moe_sequence *before, int64_t n_kept,
                                 struct moe_err *err)
{
	if (!r && before) {
		const int64_t common = moe_sequence_common(before, seq);
		if (moe_session_rewind(session, common < n_kept ? common : n_kept, seq->n_tokens))
			return MOE_OK;
	}
	return moe_record_start(r, session, seq, number, err);
}

static const char *copy(struct moe_arena *arena, const char *prefix, const char *text)
{
	const size_t n = strlen(prefix), m = strlen(text);
	char *out = MOE_NEW(arena, char, n + m + 1);
	if (!out)
		return NULL;
	memcpy(out, prefix, n);
	memcpy(out + n, text, m);
	return out;
}

enum moe_status moe_record_describe(struct moe_record_header *out, const struct moe_setup *setup,
                                    const char *model_name, const char *command, bool mtp, struct moe_err *err)
{
	const struct moe_config *config = &setup->model->config;
	char hash[33];
	*out = (struct moe_record_header){ 0 };
	enum moe_status status = moe_ckpt_hash(setup->ckpt, false, hash, err);
	if (status)
		return status;
	struct moe_trace_header *h = &out->header;
	int32_t *layers = NULL;
	const struct moe_policy *policy = moe_policy_by_name(config->router.policy);
	const bool good = list_routers(&out->arena, config, mtp, &layers, &h->n_layers);
	*h = (struct moe_trace_header){
		.model = copy(&out->arena, "", model_name),
		.model_hash = copy(&out->arena, "xxh3:", hash),
		.tokenizer_hash =
		    setup->tokenizer ? copy(&out->arena, "xxh3:", moe_tokenizer_hash(setup->tokenizer)) : "",
		.family = config->family->name,
		.policy = config->router.policy,
		.scoring = policy ? policy->scoring : "",
		.math = "exact",
		.command = copy(&out->arena, "", command),
		.version = MOE_VERSION,
		.n_layers = h->n_layers,
		.layers = layers,
		.n_model_layers = config->n_layers,
		.n_experts = config->n_experts,
		.top_k = config->router.top_k,
		.n_groups = config->router.n_groups,
		.top_groups = config->router.top_groups,
		.scale = config->router.scale,
		.normalize = config->router.normalize,
		.eps = config->router.eps,
		.p_norm = config->router.p_norm,
	};
	if (!good || !h->model || !h->model_hash || !h->tokenizer_hash || !h->command) {
		moe_record_header_free(out);
		return moe_err_nomem(err, 4096, "a trace header");
	}
	if (h->n_layers == 0) {
		moe_record_header_free(out);
		return moe_err_set(err, MOE_EUSAGE,
		                   "%s: the model has no layer with a router: there is nothing to trace", model_name);
	}
	return MOE_OK;
}

void moe_record_header_free(struct moe_record_header *header) { moe_arena_free(&header->arena); }

const char *moe_command_line(struct moe_arena *arena, int argc, char *const *argv, const char *without)
{
	struct moe_buf line = { 0 };
	for (int i = 0; i < argc; i++) {
		const size_t n = strlen(argv[i]);
		if (i && without && n >= 5 && strncmp(argv[i], without, n) == 0)
			continue;
		const char *word = i ? argv[i] : moe_path_base(argv[i]);
		const bool quoted = !*word || strpbrk(word, " \t\n'\"\\$&|;<>()*?");
		moe_buf_adds(&line, i ? " " : "");
		if (!quoted) {
			moe_buf_adds(&line, word);
			continue;
		}
		moe_buf_addc(&line, '\'');
		for (; *word; word++)
			*word == '\'' ? moe_buf_adds(&line, "'\\''") : moe_buf_addc(&line, *word);
		moe_buf_addc(&line, '\'');
	}
	const char *out = line.failed ? NULL : moe_arena_strndup(arena, line.p ? line.p : "", line.n);
	moe_buf_free(&line);
	return out;
}
