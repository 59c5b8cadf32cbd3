/* What every program shares about files: inputs that stay, outputs refused before any work, how many may be open. */
#include <sys/resource.h>

#include "tool.h"

enum moe_status tool_files(struct tool_ctx *ctx, int first_input, const char *const *outputs, int n_outputs,
                           struct moe_err *err)
{
	/* A trial run does not mind that something is there. */
	const unsigned flags = tool_out_flags(ctx) | (ctx->common.dry_run ? MOE_OUT_FORCE : 0);
	enum moe_status status = MOE_OK;

	for (int i = first_input; i < ctx->n_operands && !status; i++)
		status = moe_watch_add_input(ctx->watch, ctx->operands[i], err);
	for (int i = 0; i < n_outputs && !status; i++) {
		if (!outputs[i])
			continue;
		status = moe_out_check(outputs[i], flags, ctx->watch, err);
		for (int k = 0; k < i && !status; k++)
			if (outputs[k])
				status = moe_out_distinct(outputs[k], outputs[i], err);
	}
	return status;
}

enum moe_status tool_out_dir(struct tool_ctx *ctx, const char *path, struct moe_err *err)
{
	return moe_outdir_check(path, tool_out_flags(ctx) | (ctx->common.dry_run ? MOE_OUT_FORCE : 0), ctx->watch, err);
}

void tool_raise_open_files(void)
{
	struct rlimit limit;

	if (!getrlimit(RLIMIT_NOFILE, &limit) && limit.rlim_cur < limit.rlim_max) {
		limit.rlim_cur = limit.rlim_max;
		/* Where this is refused, writing says how many files it needs. */
		if (setrlimit(RLIMIT_NOFILE, &limit))
			return;
	}
}
