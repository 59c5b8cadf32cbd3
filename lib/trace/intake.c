/* What importers share. */
#include "trace/intake.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "trace/record.h"

#define MAX_CONFIG_BYTES (16u << 20)

/* What the model's configuration says about the trace. */
static enum moe_status read_config(struct moe_intake *in, const char *path, struct moe_err *err)
{
	json_t *json = NULL;
	struct moe_config *c = &in->config;
	enum moe_status status = moe_json_load(&json, path, MAX_CONFIG_BYTES, err);
	if (!status)
		status = moe_config_parse(c, json, path, err);
	json_decref(json);
	if (status)
		return status;
	in->moe_layers = MOE_NEW(&in->arena, int32_t, (size_t)c->n_layers);
	if (!in->moe_layers)
		return moe_err_nomem(err, (size_t)c->n_layers * sizeof *in->moe_layers, "layers");
	for (int32_t l = 0; l < c->n_layers; l++)
		if (c->layers[l].ffn == MOE_FFN_MOE)
			in->moe_layers[in->n_moe++] = l;
	if (in->n_moe == 0 || c->n_experts < 1)
		return moe_err_set(err, MOE_EFORMAT, "%s: expected a model with experts, found none", path);
	in->has_config = true;
	in->header.family = c->family->name;
	in->header.n_model_layers = c->n_layers;
	in->header.n_experts = c->n_experts;
	in->header.top_k = c->router.top_k;
	in->header.n_groups = c->router.n_groups;
	in->header.top_groups = c->router.top_groups;
	in->header.scale = c->router.scale;
	in->header.normalize = c->router.normalize;
	return MOE_OK;
}

enum moe_status moe_intake_open(struct moe_intake *in, const struct moe_import_opts *opts,
                                const struct moe_import_sink *sink, const char *what, struct moe_err *err)
{
	enum moe_status status = MOE_OK;
	in->opts = opts;
	in->sink = sink;
	in->header = (struct moe_trace_header) {
		.model = "", .model_hash = "", .tokenizer_hash = "", .family = "", .policy = "imported", .scoring = "",
		.math = "", .command = "", .version = "", .n_groups = 1, .top_groups = 1, .scale = 1,
		.n_experts = opts->n_experts, .gates = MOE_GATES_F32,
	};
	if (opts->config_path)
		status = read_config(in, opts->config_path, err);
	if (!status && in->header.n_experts < 1)
		return moe_err_set(err, MOE_EUSAGE,
		                   "%s do not tell how many experts there are: name the model's config.json by "
		                   "--model-config, or the number by --n-experts", what);
	if (!status && opts->n_experts > 0 && opts->n_experts != in->header.n_experts)
		return moe_err_set(err, MOE_EUSAGE, "%s: has %d experts a layer, --n-experts says %d",
		                   opts->config_path, in->header.n_experts, opts->n_experts);
	if (!status && in->header.n_experts > MOE_TRACE_EXPERTS_MAX)
		return moe_err_set(err, MOE_EUSAGE, "--n-experts %d: a trace takes at most %d", in->header.n_experts,
		                   MOE_TRACE_EXPERTS_MAX);
	if (!status) {
		in->seen = MOE_NEW(&in->arena, int64_t, (size_t)in->header.n_experts);
		if (!in->seen)
			status = moe_err_nomem(err, (size_t)in->header.n_experts * sizeof *in->seen, "experts");
	}
	return status;
}

void moe_intake_close(struct moe_intake *in)
{
	moe_config_free(&in->config);
	moe_arena_free(&in->arena);
	*in = (struct moe_intake) {0};
}

enum moe_status moe_intake_layer(const struct moe_intake *in, int64_t layer, const char *where, struct moe_err *err)
{
	if (layer < 0 || layer > INT32_MAX - 1)
		return moe_err_set(err, MOE_EFORMAT, "%s: layer: expected a number from 0 to %d, found %lld", where,
		                   INT32_MAX - 1, (long long)layer);
	if (!in->has_config)
		return MOE_OK;
	const struct moe_config *c = &in->config;
	if (layer < c->n_layers ? c->layers[layer].ffn == MOE_FFN_MOE : layer < c->n_layers + c->n_mtp_layers)
		return MOE_OK;
	return moe_err_set(err, MOE_EFORMAT, "%s: layer %lld has no experts in %s, whose %d MoE layers are %d to %d",
	                   where, (long long)layer, in->opts->config_path, in->n_moe, in->moe_layers[0],
	                   in->moe_layers[in->n_moe - 1]);
}

enum moe_status moe_intake_begin(struct moe_intake *in, const int32_t *layers, int32_t n_layers, int32_t top_k,
                                 bool gates, bool logits, const char *where, struct moe_err *err)
{
	struct moe_trace_header *h = &in->header;
	if (in->has_config && top_k != h->top_k)
		return moe_err_set(err, MOE_EFORMAT, "%s: %d experts for every token, but %s says %d", where, top_k,
		                   in->opts->config_path, h->top_k);
	int32_t *copy = MOE_NEW(&in->arena, int32_t, (size_t)n_layers);
	if (!copy)
		return moe_err_nomem(err, (size_t)n_layers * sizeof *copy, "layers");
	memcpy(copy, layers, (size_t)n_layers * sizeof *copy);
	h->layers = copy;
	h->n_layers = n_layers;
	h->top_k = top_k;
	h->gates = gates ? MOE_GATES_F32 : MOE_GATES_NONE;
	h->logits = logits;
	enum moe_status status = moe_header_check(h, where, err);
	if (!status)
		status = in->sink->begin(in->sink->arg, h, err);
	in->begun = !status;
	return status;
}

/* "FILE: line 7" or "FILE: array 'ids': token 3, layer 1, choice 0"; field: what is wrong there. */
static void tell_place(const struct moe_place *p, char *buf, size_t cap)
{
	if (p->line > 0)
		snprintf(buf, cap, "%.600s: line %lld, token %lld, layer %lld", p->path, (long long)p->line,
		         (long long)p->token, (long long)p->layer);
	else
		snprintf(buf, cap, "%.600s: %s%.100s%stoken %lld, layer %lld, choice %lld", p->path,
		         *p->array ? "array '" : "", p->array, *p->array ? "': " : "", (long long)p->token,
		         (long long)p->layer, (long long)p->choice);
}

void moe_intake_token(struct moe_intake *in) { in->stamp++; }

enum moe_status moe_intake_choice(struct moe_intake *in, int64_t expert, float gate, const struct moe_place *place,
                                  bool *kept, struct moe_err *err)
{
	const bool outside = expert < 0 || expert >= in->header.n_experts;
	char where[800];
	*kept = !outside && in->seen[expert] != in->stamp;
	if (*kept && gate >= 0 && isfinite(gate)) {
		in->seen[expert] = in->stamp;
		return MOE_OK;
	}
	if (!*kept && in->opts->lenient) {
		++*in->opts->n_dropped;
		return MOE_OK;
	}
	tell_place(place, where, sizeof where);
	if (outside)
		return moe_err_set(err, MOE_EFORMAT,
		                   "%s: expected an expert from 0 to %d, found %lld; --lenient drops such choices",
		                   where, in->header.n_experts - 1, (long long)expert);
	if (!*kept)
		return moe_err_set(err, MOE_EFORMAT,
		                   "%s: expert %lld is there twice for one token; --lenient drops the second", where,
		                   (long long)expert);
	return moe_err_set(err, MOE_EFORMAT, "%s: expected a weight of at least 0, found %g", where, (double)gate);
}

enum moe_status moe_intake_label(struct moe_intake *in, const char *path, const char **out, struct moe_err *err)
{
	const char *base = moe_path_base(path), *dot = strrchr(base, '.');
	size_t n = dot && dot > base ? (size_t)(dot - base) : strlen(base);
	*out = moe_arena_strndup(&in->arena, base, n < MOE_TRACE_SOURCE_MAX ? n : MOE_TRACE_SOURCE_MAX);
	return *out ? MOE_OK : moe_err_nomem(err, n, "a source label");
}
