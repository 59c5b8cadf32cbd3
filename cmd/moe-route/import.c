/* Logs of other tools in. */
#include <string.h>

#include "moe-route/route.h"

enum moe_status route_find_format(const char *option, const char *name, bool writes, const struct moe_import **out,
                                  struct moe_err *err)
{
	struct moe_buf names = { 0 };
	*out = moe_import_by_name(name);
	if (*out && (!writes || (*out)->to))
		return MOE_OK;
	for (size_t i = 0; moe_import_at(i); i++)
		if (!writes || moe_import_at(i)->to)
			moe_buf_addf(&names, "%s%s", names.n ? ", " : "", moe_import_at(i)->name);
	enum moe_status status =
	    moe_err_set(err, MOE_EUSAGE, "%s %s: expected one of: %s", option, name, names.p ? names.p : "");
	moe_buf_free(&names);
	return status;
}

enum moe_status route_import(struct route *route, struct moe_err *err)
{
	const struct config *cfg = route->cfg;
	const struct moe_import_sink sink = { route, route_open_output, route_deliver };
	const struct moe_import *format = NULL;
	int64_t n_dropped = 0;
	const struct moe_import_opts opts = {
		.config_path = cfg->model_config,
		.n_experts = cfg->n_experts == UNSET ? 0 : cfg->n_experts,
		.layer = cfg->layer,
		.top_k = cfg->top_k == UNSET ? 0 : cfg->top_k,
		.lenient = cfg->lenient,
		.watch = route->ctx->watch,
		.n_dropped = &n_dropped,
	};
	enum moe_status status = route_find_format("--from", cfg->from, false, &format, err);
	if (!status && cfg->top_k != UNSET && !format->scores)
		status = moe_err_set(err, MOE_EUSAGE, "-k: files of %s hold choices, not scores", format->name);
	if (!status)
		status = format->run(route->ctx->operands, route->ctx->n_operands, &opts, &sink, err);
	if (!status && format->scores && cfg->top_k == UNSET && !cfg->model_config)
		tool_note(route->ctx, "of every token the best expert alone is chosen: -k says how many");
	if (!status && n_dropped)
		tool_warn(route->ctx, "choices dropped, of experts that cannot be: %lld", (long long)n_dropped);
	return status;
}
