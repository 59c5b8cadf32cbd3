/* Logs of other tools in. */
#include <string.h>

#include "moe-route/route.h"

enum moe_status route_import(struct route *route, struct moe_err *err)
{
	const struct moe_import_sink sink = { route, route_open_output, route_deliver };
	for (size_t i = 0; moe_import_at(i); i++)
		if (strcmp(moe_import_at(i)->name, route->cfg->from) == 0)
			return moe_import_at(i)->run(route->ctx->operands, route->ctx->n_operands,
			                             route->cfg->model_config, &sink, err);
	struct moe_buf names = { 0 };
	for (size_t i = 0; moe_import_at(i); i++)
		moe_buf_addf(&names, "%s%s", i ? ", " : "", moe_import_at(i)->name);
	enum moe_status status =
	    moe_err_set(err, MOE_EUSAGE, "--from %s: expected one of: %s", route->cfg->from, names.p ? names.p : "");
	moe_buf_free(&names);
	return status;
}
