/* Traces in: copied, or re-routed from their logits under another policy. */
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
	};
	for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++)
		if (wanted[i].given && !(policy->reads & wanted[i].reads))
			return moe_err_set(err, MOE_EUSAGE, "policy %s does not read %s", policy->name,
			                   wanted[i].name);
	return MOE_OK;
}

/* What follows the policy where choices may find no room. out: the header of the runs it gets. */
static enum moe_status open_limit(struct route *route, const struct moe_trace_header *out, struct moe_err *err)
{
	const struct config *cfg = route->cfg;
	const struct moe_run_sink sink = { route, route_deliver };
	struct moe_capacity capacity = { .factor = cfg->capacity, .choices = cfg->capacity_tokens };
	enum moe_status status = MOE_OK;
	if (!moe_capacity_is_set(&capacity))
		return MOE_OK;
	if (cfg->capacity_group)
		status = moe_capacity_group_parse(cfg->capacity_group, &capacity.group, err);
	return status ? status : moe_limit_new(&route->limit, &capacity, out, &sink, err);
}

/* The policy's parameters: what is given, else what the trace says. */
static enum moe_status open_reroute(struct route *route, const struct moe_trace_header *in,
                                    struct moe_trace_header *out, struct moe_err *err)
{
	const struct config *cfg = route->cfg;
	const struct moe_policy *policy = moe_policy_by_name(cfg->policy);
	if (!policy)
		return moe_err_set(err, MOE_EUSAGE, "policy '%s' is not known: see --list-policies", cfg->policy);
	if (!in->logits)
		return moe_err_set(err, MOE_EUSAGE,
		                   "--policy needs a trace with logits: moe-route --logits writes one");
	enum moe_status status = check_reads(cfg, policy, err);
	if (!status && cfg->bias)
		status = read_bias(route, in->n_experts, err);
	if (status)
		return status;
	const bool grouped = policy->reads & MOE_READS_GROUPS, own = strcmp(in->policy, policy->name) == 0;
	const struct moe_policy_params params = {
		.n_experts = in->n_experts,
		.top_k = cfg->top_k == UNSET ? in->top_k : cfg->top_k,
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
		.normalize = cfg->normalize || (in->normalize && !cfg->no_normalize),
	};
	for (int32_t l = 0; cfg->bias && l < in->n_layers; l++)
		if (!moe_bias_at(&route->bias, in->layers[l]))
			return moe_err_set(err, MOE_EUSAGE, "--bias %s: no bias for layer %d of the trace", cfg->bias,
			                   (int)in->layers[l]);
	if (!cfg->bias && (policy->reads & MOE_READS_BIAS) && own)
		tool_note(route->ctx, "no --bias: the model's own choices were made with one, if it has one");
	*out = *in;
	out->policy = policy->name;
	out->scoring = policy->scoring;
	out->top_k = params.top_k;
	out->n_groups = params.n_groups;
	out->top_groups = params.top_groups;
	out->scale = params.scale;
	out->normalize = params.normalize;
	out->eps = params.eps;
	out->p_norm = params.p_norm;
	out->gates = MOE_GATES_F32;
	out->logits = cfg->logits;
	out->margins = cfg->margin;
	status = moe_reroute_new(&route->reroute, policy, &params, cfg->bias ? &route->bias : NULL, cfg->margin,
	                         cfg->logits, route->pool, err);
	return status ? status : open_limit(route, out, err);
}

/* One input trace. Sequences of later parts and files follow those before: *next_seq is the first free number. */
static enum moe_status copy_trace(struct route *route, const char *path, int64_t *next_seq,
                                  struct moe_trace_in **keep, struct moe_err *err)
{
	struct moe_trace_in *in = NULL;
	enum moe_status status = moe_trace_open(&in, path, route->pool, route->ctx->watch, err);
	if (status)
		return status;
	const struct moe_trace_header *head = moe_trace_head(in);
	const bool first = !*keep;
	if (first) {
		struct moe_trace_header out = *head;
		*keep = in; /* its header's strings live as long as the output */
		out.logits = out.logits && route->cfg->logits;
		out.margins = out.margins && route->cfg->margin;
		if (route->cfg->logits && !head->logits)
			status = moe_err_set(err, MOE_EUSAGE, "%s: --logits: the trace keeps none", path);
		if (!status && route->cfg->policy)
			status = open_reroute(route, head, &out, err);
		if (!status)
			status = route_open_output(route, &out, err);
	} else {
		status = moe_trace_agree(moe_trace_head(*keep), route->ctx->operands[0], head, path, err);
	}
	int64_t part = 0, base = first ? 0 : *next_seq;
	const struct moe_trace_run *run = NULL;
	while (!status && !(status = moe_trace_next(in, &run, err)) && run) {
		if (run->part != part) {
			part = run->part;
			base = *next_seq;
		}
		if ((route->reroute || route->header.logits) && !run->layers->logits)
			status =
			    moe_err_set(err, MOE_EFORMAT, "%s: a part keeps no logits, the first one does", path);
		else if (!route->reroute && route->header.gates != MOE_GATES_NONE && !run->layers->weights)
			status = moe_err_set(err, MOE_EFORMAT, "%s: a part keeps no gates, the first one does", path);
		else if (!route->reroute && route->header.margins && !run->layers->margins)
			status =
			    moe_err_set(err, MOE_EFORMAT, "%s: a part keeps no margins, the first one does", path);
		else if (route->reroute && (status = moe_reroute_run(route->reroute, run, head->n_layers, &run, err)))
			moe_err_set(err, status, "%s: %s", path, err->text);
		if (status)
			break;
		struct moe_trace_run out = *run;
		out.part = 0;
		out.seq += base;
		*next_seq = out.seq >= *next_seq ? out.seq + 1 : *next_seq;
		status = route->limit ? moe_limit_run(route->limit, &out, err) : route_deliver(route, &out, err);
		if (status == MOE_EFORMAT && route->limit)
			moe_err_set(err, status, "%s: %s", path, err->text);
		tool_progress_add(&route->progress, run->n_tokens);
	}
	if (!first)
		moe_trace_close(in);
	return status;
}

enum moe_status route_traces(struct route *route, struct moe_err *err)
{
	struct moe_trace_in *first = NULL;
	int64_t next_seq = 0;
	enum moe_status status = MOE_OK;
	tool_progress_start(&route->progress, route->ctx, "tokens", 0, TOOL_TOKENS);
	for (int i = 0; i < route->ctx->n_operands && !status; i++)
		status = copy_trace(route, route->ctx->operands[i], &next_seq, &first, err);
	if (!status && route->limit)
		status = moe_limit_finish(route->limit, err);
	tool_progress_finish(&route->progress);
	if (!status && route->trace) {
		status = moe_trace_commit(route->trace, err);
		route->trace = NULL;
	}
	moe_trace_close(first);
	return status;
}
