/* Traces in: copied, or re-routed from their logits under another policy. */
#include <string.h>

#include "moe-route/route.h"

/* One input trace. Sequences of later parts and files follow those before: *next_seq is the first free number. */
static enum moe_status copy_trace(struct route *route, const char *path, int64_t *next_seq,
                                  struct moe_trace_in **keep, struct moe_err *err)
{
	struct moe_trace_in *in = NULL;
	enum moe_status status = moe_trace_open(&in, path, route->pool, route->ctx->watch, err);
	if (status)
		return status;
	const struct moe_trace_header *head = moe_trace_head(in);
	const char *name = strcmp(path, "-") == 0 ? "stdin" : path;
	const bool first = !*keep;
	if (first) {
		struct moe_trace_header out = *head;
		*keep = in; /* its header's strings live as long as the output */
		out.logits = out.logits && route->cfg->logits;
		out.margins = out.margins && route->cfg->margin;
		if (route->cfg->logits && !head->logits)
			status = moe_err_set(err, MOE_EUSAGE, "%s: --logits: the trace keeps none", name);
		if (!status && route->cfg->policy)
			status = route_open_policy(route, head, &out, err);
		if (!status && !route->adapt)
			status = route_open_output(route, &out, err);
	} else {
		status = moe_trace_agree(moe_trace_head(*keep), route->ctx->operands[0], head, name, err);
	}
	int64_t part = 0, base = first ? 0 : *next_seq;
	const struct moe_trace_run *run = NULL;
	while (!status && !(status = moe_trace_next(in, &run, err)) && run) {
		if (run->part != part) {
			part = run->part;
			base = *next_seq;
		}
		if ((route->reroute || route->adapt || route->header.logits) && !run->layers->logits)
			status =
			    moe_err_set(err, MOE_EFORMAT, "%s: a part keeps no logits, the first one does", name);
		else if (!route->reroute && !route->adapt && route->header.gates != MOE_GATES_NONE &&
		         !run->layers->weights)
			status = moe_err_set(err, MOE_EFORMAT, "%s: a part keeps no gates, the first one does", name);
		else if (!route->reroute && route->header.margins && !run->layers->margins)
			status =
			    moe_err_set(err, MOE_EFORMAT, "%s: a part keeps no margins, the first one does", name);
		struct moe_trace_run out = *run;
		const struct moe_trace_run *now = &out;
		out.part = 0;
		out.seq += base;
		*next_seq = out.seq >= *next_seq ? out.seq + 1 : *next_seq;
		if (!status && route->reroute &&
		    (status = moe_reroute_run(route->reroute, &out, head->n_layers, &now, err)))
			moe_err_set(err, status, "%s: %s", name, err->text);
		if (status)
			break;
		status = route->adapt   ? moe_adapt_add(route->adapt, now, err)
		         : route->limit ? moe_limit_run(route->limit, now, err)
		                        : route_deliver(route, now, err);
		if (status == MOE_EFORMAT && route->limit)
			moe_err_set(err, status, "%s: %s", name, err->text);
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
	if (!status && route->adapt)
		status = route_finish_adapt(route, err);
	tool_progress_finish(&route->progress);
	if (!status && route->limit)
		route_tell_limit(route);
	if (!status && route->trace) {
		status = moe_trace_commit(route->trace, err);
		route->trace = NULL;
	}
	moe_trace_close(first);
	return status;
}
