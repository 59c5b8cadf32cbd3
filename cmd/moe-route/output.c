/* Where routed tokens go: a trace, or decisions as text. */
#include <math.h>
#include <string.h>

#include "base/json.h"
#include "moe-route/route.h"
#include "trace/text.h"

static void print_json(const struct moe_trace_run *run, const struct moe_trace_header *header, bool margin,
                       struct moe_buf *buf)
{
	for (int64_t t = 0; t < run->n_tokens; t++)
		for (int32_t l = 0; l < header->n_layers; l++) {
			const struct moe_routing *r = &run->layers[l];
			for (int32_t c = 0; c < r->top_k; c++) {
				const int64_t i = t * r->top_k + c;
				if (r->ids[i] < 0)
					continue;
				moe_buf_adds(buf, "{\"source\":");
				moe_json_quote(buf, run->source, strlen(run->source));
				moe_buf_addf(buf,
				             ",\"seq\":%lld,\"pos\":%lld,\"token\":%d,\"layer\":%d,\"choice\":%d,"
				             "\"expert\":%d,\"weight\":",
				             (long long)run->seq, (long long)(run->pos + t), (int)run->tokens[t],
				             (int)r->layer, (int)c, (int)r->ids[i]);
				r->weights ? moe_buf_addf(buf, "%.9g", r->weights[i]) : moe_buf_adds(buf, "null");
				if (margin && r->margins && isfinite(r->margins[t]))
					moe_buf_addf(buf, ",\"margin\":%.9g", r->margins[t]);
				else if (margin)
					moe_buf_adds(buf, ",\"margin\":null");
				moe_buf_adds(buf, "}\n");
			}
		}
}

static enum moe_status print_run(struct route *route, const struct moe_trace_run *run, struct moe_err *err)
{
	struct moe_buf text = { 0 };
	if (route->ctx->common.json)
		print_json(run, &route->header, route->cfg->margin, &text);
	else
		moe_trace_print_run(run, &route->header, route->cfg->margin, &text);
	enum moe_status status = moe_buf_check(&text, err);
	if (!status && text.n)
		status = moe_out_write(route->out, text.p, text.n, err);
	moe_buf_free(&text);
	return status;
}

enum moe_status route_deliver(void *arg, const struct moe_trace_run *run, struct moe_err *err)
{
	struct route *route = arg;
	if (route->export)
		return route->to->run(route->export, run, err);
	return route->out ? print_run(route, run, err) : moe_trace_write(route->trace, run, err);
}

static enum moe_status open_export(struct route *route, const char *path, struct moe_err *err)
{
	const struct moe_import *format = NULL;
	enum moe_status status = route_find_format("--to", route->cfg->to, true, &format, err);
	if (status)
		return status;
	route->to = format->to;
	status = moe_out_open(&route->out, path,
	                      tool_out_flags(route->ctx) | (format->to->binary ? MOE_OUT_BINARY : 0), route->ctx->watch,
	                      err);
	return status ? status : format->to->begin(&route->export, route->out, &route->header, err);
}

enum moe_status route_open_output(void *arg, const struct moe_trace_header *header, struct moe_err *err)
{
	struct route *route = arg;
	const struct config *cfg = route->cfg;
	const char *path = route->ctx->common.output ? route->ctx->common.output : "-";
	const unsigned flags = tool_out_flags(route->ctx);
	route->header = *header;
	route->header.command = route->command;
	route->header.version = MOE_VERSION;
	if (cfg->gates != UNSET && header->gates != MOE_GATES_NONE)
		route->header.gates = (enum moe_gate_type)cfg->gates;
	else if (cfg->gates != UNSET && cfg->gates != MOE_GATES_NONE)
		return moe_err_set(err, MOE_EUSAGE, "--gates %s: the input keeps no gates",
		                   moe_gate_type_name((enum moe_gate_type)cfg->gates));
	if (cfg->margin && !header->margins)
		return moe_err_set(err, MOE_EUSAGE,
		                   "--margin: the input keeps none; --policy computes them from stored logits");
	if (cfg->to)
		return open_export(route, path, err);
	if (!cfg->print)
		return moe_trace_create(&route->trace, path, flags, &route->header, route->pool, route->ctx->watch,
		                        err);
	enum moe_status status = moe_out_open(&route->out, path, flags, route->ctx->watch, err);
	struct moe_buf head = { 0 };
	moe_trace_print_head(cfg->margin, &head);
	if (!status)
		status = moe_buf_check(&head, err);
	if (!status && !route->ctx->common.json)
		status = moe_out_write(route->out, head.p, head.n, err);
	moe_buf_free(&head);
	return status;
}
