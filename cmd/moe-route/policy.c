/* --policy: its parameters, from options and from the trace, and the stages that come of them. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "moe-route/route.h"

/* A bias of --bias: a table, or the correction biases of a model. */
static enum moe_status read_bias(struct route *route, int32_t n_experts, struct moe_err *err)
{
	char *path = NULL;
	if (moe_is_file(route->cfg->bias)) {
		uint8_t magic[4] = { 0 };
		FILE *f = fopen(route->cfg->bias, "rb");
		const bool gguf = f && fread(magic, 1, 4, f) == 4 && memcmp(magic, "GGUF", 4) == 0;
		if (f)
			fclose(f);
		if (!gguf)
			return moe_bias_read(&route->bias, route->cfg->bias, n_experts, err);
	}
	enum moe_status status = tool_model_path(route->ctx, route->cfg->bias, &path, err);
	if (!status)
		status = moe_setup_open(&route->setup, path, "cpu", route->pool, route->ctx->watch, err);
	if (!status)
		status = moe_setup_bias(&route->setup, &route->bias, err);
	if (!status && route->bias.n_experts != n_experts)
		status = moe_err_set(err, MOE_EUSAGE, "--bias %s: the model has %d experts a layer, the trace %d",
		                     route->cfg->bias, (int)route->bias.n_experts, (int)n_experts);
	free(path);
	return status;
}

/* An option that the policy does not read would be ignored in silence: refuse it. */
static enum moe_status check_reads(const struct config *cfg, const struct moe_policy *policy, struct moe_err *err)
{
	const struct {
		bool given;
		unsigned reads;
		const char *name;
	} wanted[] = {
		{ cfg->groups != UNSET, MOE_READS_GROUPS, "--groups" },
		{ cfg->top_groups != UNSET, MOE_READS_GROUPS, "--top-groups" },
		{ cfg->group_score != UNSET, MOE_READS_GROUP_SCORE, "--group-score" },
		{ !isnan(cfg->scale), MOE_READS_SCALE, "--scale" },
		{ cfg->normalize || cfg->no_normalize, MOE_READS_NORMALIZE, "--normalize" },
		{ cfg->bias != NULL, MOE_READS_BIAS, "--bias" },
		{ !isnan(cfg->eps), MOE_READS_EPS, "--eps" },
		{ !isnan(cfg->p_norm), MOE_READS_P_NORM, "--p-norm" },
		{ cfg->table != NULL, MOE_READS_TABLE, "--table" },
		{ cfg->counts != NULL, MOE_READS_TABLE, "--counts" },
		{ cfg->second != UNSET, MOE_READS_SECOND, "--second" },
	};
	for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++)
		if (wanted[i].given && !(policy->reads & wanted[i].reads))
			return moe_err_set(err, MOE_EUSAGE, "policy %s does not read %s", policy->name,
			                   wanted[i].name);
	return MOE_OK;
}

/* Policies that share out groups have places for their tokens, and nobody to drop. */
static enum moe_status check_groups(const struct config *cfg, const struct moe_policy *policy, struct moe_err *err)
{
	const bool capacity = cfg->capacity > 0 || cfg->capacity_tokens;
	if (cfg->normalize_when != UNSET && !capacity && !(policy->reads & MOE_READS_SECOND))
		return moe_err_set(err, MOE_EUSAGE, "--normalize-when goes with --capacity or --capacity-tokens");
	if (!policy->group)
		return cfg->capacity_group && !capacity
		           ? moe_err_set(err, MOE_EUSAGE, "--capacity-group goes with --capacity or --capacity-tokens")
		           : MOE_OK;
	if (cfg->drop != UNSET || cfg->priority != UNSET || cfg->devices || cfg->exempt > 0 ||
	    cfg->normalize_when != UNSET)
		return moe_err_set(err, MOE_EUSAGE,
		                   "policy %s drops nothing: it reads no --drop, --priority, --capacity-devices, "
		                   "--exempt and --normalize-when", policy->name);
	if (capacity && !policy->most)
		return moe_err_set(err, MOE_EUSAGE, "policy %s gives all experts the same: it reads no --capacity",
		                   policy->name);
	if (cfg->margin)
		return moe_err_set(err, MOE_EUSAGE, "policy %s chooses for a whole group: a token has no margin",
		                   policy->name);
	return MOE_OK;
}

/* The stage behind the policy, where tokens are in groups. out: the header of the runs that leave it. */
static enum moe_status open_limit(struct route *route, const struct moe_policy *policy,
                                  const struct moe_reroute_opts *opts, const struct moe_trace_header *out,
                                  struct moe_err *err)
{
	const struct config *cfg = route->cfg;
	const struct moe_run_sink sink = { route, route_deliver };
	struct moe_limit_opts limit = {
		.capacity = { .factor = cfg->capacity,
		              .choices = cfg->capacity_tokens,
		              .drop = cfg->drop != UNSET ? cfg->drop : policy->drop,
		              .priority = cfg->priority != UNSET ? cfg->priority : MOE_PRIORITY_TOKEN,
		              .rescale = cfg->normalize_when != UNSET ? cfg->normalize_when == 1 : policy->rescale,
		              .n_devices = cfg->devices,
		              .exempt = cfg->exempt },
		.policy = policy,
		.params = opts->params,
		.adjust = opts->adjust,
		.seed = opts->seed,
		.keep_logits = cfg->logits,
	};
	enum moe_status status = MOE_OK;
	if (!policy->group && !moe_capacity_is_set(&limit.capacity))
		return MOE_OK;
	if (cfg->capacity_group)
		status = moe_capacity_group_parse(cfg->capacity_group, &limit.capacity.group, err);
	return status ? status : moe_limit_new(&route->limit, &limit, out, &sink, route->pool, err);
}

/* The table of --table or --counts. */
static enum moe_status read_table(struct route *route, int32_t n_experts, int32_t top_k, struct moe_err *err)
{
	const struct config *cfg = route->cfg;
	return cfg->table    ? moe_token_table_read(&route->table, cfg->table, n_experts, err)
	       : cfg->counts ? moe_token_table_balance(&route->table, cfg->counts, n_experts,
	                                               top_k < n_experts ? top_k : n_experts, err)
	                     : MOE_OK;
}

static struct moe_policy_params make_params(const struct route *route, const struct moe_policy *policy,
                                            const struct moe_trace_header *in, int32_t top_k)
{
	const struct config *cfg = route->cfg;
	const bool grouped = policy->reads & MOE_READS_GROUPS, own = strcmp(in->policy, policy->name) == 0;
	/* a policy with choices that may be left out is normalised by all of them, or by those left */
	const bool normalize = policy->reads & MOE_READS_SECOND
	                           ? cfg->normalize_when == 0
	                           : cfg->normalize || (in->normalize && !cfg->no_normalize);
	return (struct moe_policy_params){
		.n_experts = in->n_experts,
		.top_k = top_k,
		.n_groups = !grouped               ? 1
		            : cfg->groups != UNSET ? cfg->groups
		            : in->n_groups > 0     ? in->n_groups
		                                   : 1,
		.top_groups = !grouped                   ? 1
		              : cfg->top_groups != UNSET ? cfg->top_groups
		              : in->top_groups > 0       ? in->top_groups
		                                         : 1,
		.group_score = cfg->group_score == UNSET ? policy->group_score : cfg->group_score,
		.scale = !isnan(cfg->scale) ? cfg->scale : in->scale,
		.eps = !isnan(cfg->eps) ? cfg->eps : own ? in->eps : policy->eps,
		.p_norm = !isnan(cfg->p_norm) ? cfg->p_norm : own ? in->p_norm : policy->p_norm,
		.normalize = normalize,
		.second = cfg->second != UNSET ? cfg->second : MOE_SECOND_ALL,
		.table = route->table.n_tokens ? &route->table : NULL,
	};
}

static void describe(const struct route *route, const struct moe_policy *policy,
                     const struct moe_policy_params *params, struct moe_trace_header *out)
{
	out->policy = policy->name;
	out->scoring = policy->scoring;
	out->top_k = policy->most ? policy->most(params) : params->top_k;
	out->n_groups = params->n_groups;
	out->top_groups = params->top_groups;
	out->scale = params->scale;
	out->normalize = params->normalize;
	out->eps = params->eps;
	out->p_norm = params->p_norm;
	out->gates = MOE_GATES_F32;
	out->logits = route->cfg->logits;
	out->margins = route->cfg->margin;
}

enum moe_status route_open_policy(struct route *route, const struct moe_trace_header *in, struct moe_trace_header *out,
                                  struct moe_err *err)
{
	const struct config *cfg = route->cfg;
	const struct moe_policy *policy = moe_policy_by_name(cfg->policy);
	if (!policy)
		return moe_err_set(err, MOE_EUSAGE, "policy '%s' is not known: see --list-policies", cfg->policy);
	if (!in->logits)
		return moe_err_set(err, MOE_EUSAGE,
		                   "--policy needs a trace with logits: moe-route --logits writes one");
	int32_t top_k = cfg->top_k != UNSET ? cfg->top_k : policy->top_k ? policy->top_k : in->top_k;
	enum moe_status status = check_reads(cfg, policy, err);
	if (!status)
		status = check_groups(cfg, policy, err);
	if (!status && cfg->bias)
		status = read_bias(route, in->n_experts, err);
	if (!status)
		status = read_table(route, in->n_experts, top_k, err);
	if (status)
		return status;
	if (cfg->table && cfg->top_k == UNSET)
		top_k = route->table.top_k;
	for (int32_t l = 0; cfg->bias && l < in->n_layers; l++)
		if (!moe_bias_at(&route->bias, in->layers[l]))
			return moe_err_set(err, MOE_EUSAGE, "--bias %s: no bias for layer %d of the trace", cfg->bias,
			                   (int)in->layers[l]);
	if (!cfg->bias && !(cfg->adapt_bias > 0) && (policy->reads & MOE_READS_BIAS) &&
	    strcmp(in->policy, policy->name) == 0)
		tool_note(route->ctx, "no --bias: the model's own choices were made with one, if it has one");
	const struct moe_reroute_opts opts = {
		.params = make_params(route, policy, in, top_k),
		.biases = cfg->bias ? &route->bias : NULL,
		.adjust = { .temperature = cfg->temperature, .noise = cfg->noise >= 0 ? cfg->noise : policy->noise },
		.seed = (uint64_t)route->ctx->common.seed,
		.margins = cfg->margin,
		.keep_logits = cfg->logits || policy->group || cfg->priority == MOE_PRIORITY_BATCH,
	};
	if (cfg->adapt_bias > 0) {
		route->adapt_top_k = top_k;
		return route_open_adapt(route, policy, &opts.params, in, err);
	}
	*out = *in;
	describe(route, policy, &opts.params, out);
	status = moe_reroute_new(&route->reroute, policy, &opts, route->pool, err);
	return status ? status : open_limit(route, policy, &opts, out, err);
}

void route_tell_limit(struct route *route)
{
	const struct moe_policy *policy = moe_policy_by_name(route->cfg->policy);
	struct moe_limit_counts counts;
	moe_limit_count(route->limit, &counts);
	if (!policy || !policy->group)
		tool_note(route->ctx,
		          "%lld of %lld choices found no room; %lld of %lld tokens, counted in every layer, keep their "
		          "residual alone", (long long)counts.n_dropped, (long long)counts.n_choices,
		          (long long)counts.n_bare, (long long)counts.n_tokens);
	else if (policy->most)
		tool_note(route->ctx,
		          "%lld of %lld tokens, counted in every layer, got no expert and keep their residual alone",
		          (long long)counts.n_bare, (long long)counts.n_tokens);
	else
		tool_note(route->ctx, "%lld groups: affinities of %.9g in all, and no assignment has more than %.9g",
		          (long long)counts.n_groups, counts.certificate.value, counts.certificate.bound);
}
