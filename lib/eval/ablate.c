/* Lists of LAYER:EXPERT. */
#include "eval/ablate.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"

struct range {
	int64_t first, last;
};

/* "5", "2-4" or "*" within [0, n). */
static bool parse_range(struct moe_str text, int64_t n, struct range *out)
{
	struct moe_str rest = text, part;
	const bool closed = text.n > 0 && text.p[text.n - 1] != '-';
	if (moe_str_eq(text, "*")) {
		*out = (struct range){ 0, n - 1 };
		return true;
	}
	if (!closed || !moe_str_next(&rest, '-', &part) || !moe_parse_i64(part, &out->first))
		return false;
	out->last = out->first;
	if (rest.n && !moe_parse_i64(rest, &out->last))
		return false;
	return out->first >= 0 && out->first <= out->last && out->last < n;
}

static enum moe_status apply(struct moe_str item, const struct moe_config *config, uint8_t *table,
                             struct moe_err *err)
{
	struct moe_str rest = item, layer_text;
	struct range layers, experts;
	const int shown = (int)(item.n > 60 ? 60 : item.n);
	if (!moe_str_next(&rest, ':', &layer_text) || !parse_range(layer_text, config->n_layers, &layers))
		return moe_err_set(err, MOE_EUSAGE,
		                   "--disable: '%.*s': expected LAYER:EXPERT with a layer from 0 to %d", shown,
		                   item.p, (int)config->n_layers - 1);
	if (!parse_range(rest, config->n_experts, &experts))
		return moe_err_set(err, MOE_EUSAGE,
		                   "--disable: '%.*s': expected LAYER:EXPERT with an expert from 0 to %d", shown,
		                   item.p, (int)config->n_experts - 1);
	const bool all = moe_str_eq(layer_text, "*");
	for (int64_t l = layers.first; l <= layers.last; l++) {
		if (config->layers[l].ffn != MOE_FFN_MOE && all)
			continue;
		if (config->layers[l].ffn != MOE_FFN_MOE)
			return moe_err_set(err, MOE_EUSAGE, "--disable: '%.*s': layer %lld has no experts", shown,
			                   item.p, (long long)l);
		for (int64_t e = experts.first; e <= experts.last; e++)
			table[l * config->n_experts + e] = 1;
	}
	return MOE_OK;
}

enum moe_status moe_ablate_parse(const char *text, const struct moe_config *config, int32_t top_k, uint8_t **out,
                                 struct moe_err *err)
{
	struct moe_str rest = moe_str_of(text), item;
	uint8_t *table = calloc((size_t)config->n_layers * (size_t)config->n_experts + 1, 1);
	enum moe_status status = table ? MOE_OK : moe_err_nomem(err, (size_t)config->n_layers, "a list of experts");
	if (!status && (rest.n == 0 || rest.p[rest.n - 1] == ','))
		status = moe_err_set(err, MOE_EUSAGE, "--disable: '%.60s': expected LAYER:EXPERT%s", text,
		                     rest.n ? " behind the last comma" : "");
	while (!status && moe_str_next(&rest, ',', &item))
		status = apply(item, config, table, err);
	for (int32_t l = 0; l < config->n_layers && !status; l++) {
		int32_t left = 0;
		for (int32_t e = 0; e < config->n_experts; e++)
			left += !table[(int64_t)l * config->n_experts + e];
		if (config->layers[l].ffn == MOE_FFN_MOE && left < top_k)
			status = moe_err_set(err, MOE_EUSAGE,
			                     "--disable: layer %d is left with %d experts, each token needs %d",
			                     (int)l, (int)left, (int)top_k);
	}
	if (status)
		free(table);
	else
		*out = table;
	return status;
}

enum moe_status moe_ablate_open(struct moe_ablate *out, const struct moe_ablate_opts *opts,
                                const struct moe_config *config, struct moe_pool *pool, struct moe_watch *watch,
                                struct moe_err *err)
{
	const int32_t top_k = opts->top_k ? opts->top_k : config->router.top_k;
	const int32_t n_masked = (int32_t)lround(opts->mask_top * config->n_experts);
	enum moe_status status = MOE_OK;
	out->ablation = (struct moe_ablation){
		.top_k = opts->top_k, .policy = opts->policy, .no_shared = opts->no_shared, .mask_top = opts->mask_top
	};
	if (config->n_experts == 0 &&
	    (opts->top_k || opts->policy || opts->disable || opts->mask_top > 0 || opts->replay ||
	                               opts->capacity > 0 || opts->capacity_tokens))
		return moe_err_set(err, MOE_EUSAGE, "the model has no experts: there is no routing to change");
	if (opts->policy && !moe_policy_by_name(opts->policy))
		return moe_err_set(err, MOE_EUSAGE,
		                   "--policy: '%.60s' is not known: moe-route --list-policies prints those that are",
		                   opts->policy);
	const struct moe_policy *policy = opts->policy ? moe_policy_by_name(opts->policy) : NULL;
	if (policy && (!policy->rows || (policy->reads & (MOE_NEEDS_TOKENS | MOE_NEEDS_PLACE))))
		return moe_err_set(err, MOE_EUSAGE,
		                   "--policy %s goes by more than the logits of one token: moe-route --policy has it, "
		                   "for traces", policy->name);
	if (opts->top_k > config->n_experts)
		return moe_err_set(err, MOE_EUSAGE, "-k %d: expected at most the model's %d experts",
		                   (int)opts->top_k, (int)config->n_experts);
	if (opts->no_shared && config->n_shared_experts == 0)
		return moe_err_set(err, MOE_EUSAGE, "--no-shared: the model has no shared experts");
	out->ablation.capacity = (struct moe_capacity){ .factor = opts->capacity, .choices = opts->capacity_tokens };
	if (opts->capacity_group)
		status = moe_capacity_group_parse(opts->capacity_group, &out->ablation.capacity.group, err);
	if (!status && opts->disable) {
		status = moe_ablate_parse(opts->disable, config, top_k, &out->disabled, err);
		out->ablation.disabled = out->disabled;
	}
	if (!status && opts->mask_top > 0 && n_masked == 0)
		status = moe_err_set(err, MOE_EUSAGE, "--mask-top %g bars none of the %d experts", opts->mask_top,
		                     (int)config->n_experts);
	if (!status && n_masked > 0 && config->n_experts - n_masked < top_k)
		status = moe_err_set(err, MOE_EUSAGE, "--mask-top %g leaves %d of %d experts, each token needs %d",
		                     opts->mask_top, (int)(config->n_experts - n_masked), (int)config->n_experts,
		                     (int)top_k);
	if (!status && opts->replay) {
		status = moe_replay_open(&out->replay, opts->replay, config, opts->replay_gates, pool, watch, err);
		if (!status) {
			out->ablation.top_k = moe_replay_top_k(out->replay);
			out->ablation.forced = moe_replay_forced;
			out->ablation.arg = out->replay;
		}
	}
	return status;
}

void moe_ablate_describe(const struct moe_ablate *ablate, struct moe_trace_header *header)
{
	const struct moe_ablation *a = &ablate->ablation;
	if (a->top_k)
		header->top_k = a->top_k;
	const struct moe_policy *policy = a->policy ? moe_policy_by_name(a->policy) : NULL;
	if (policy && strcmp(policy->name, header->policy) != 0) {
		header->policy = policy->name;
		header->eps = policy->eps;
		header->p_norm = policy->p_norm;
		header->scoring = policy->scoring;
	}
}

void moe_ablate_close(struct moe_ablate *ablate)
{
	free(ablate->disabled);
	moe_replay_close(ablate->replay);
	*ablate = (struct moe_ablate){ 0 };
}
