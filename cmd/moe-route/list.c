/* --list-policies: a row for every policy. */
#include "moe-route/route.h"
#include "stats/rows.h"

/* The options that set what a policy reads, beside -k, which all read. */
static const struct {
	unsigned reads;
	const char *options;
} parameters[] = {
	{ MOE_READS_GROUPS, "--groups --top-groups" },
	{ MOE_READS_GROUP_SCORE, "--group-score" },
	{ MOE_READS_SCALE, "--scale" },
	{ MOE_READS_NORMALIZE, "--normalize" },
	{ MOE_READS_BIAS, "--bias" },
	{ MOE_READS_EPS, "--eps" },
	{ MOE_READS_P_NORM, "--p-norm" },
	{ MOE_READS_TABLE, "--table --counts" },
	{ MOE_READS_SECOND, "--second" },
};

static void add_policy(const struct moe_policy *policy, struct moe_rows *rows)
{
	struct moe_buf options = { 0 };
	moe_buf_adds(&options, "-k");
	for (size_t i = 0; i < sizeof parameters / sizeof *parameters; i++)
		if (policy->reads & parameters[i].reads)
			moe_buf_addf(&options, " %s", parameters[i].options);
	moe_rows_str(rows, policy->name);
	moe_rows_str(rows, policy->help);
	moe_rows_str(rows, options.p ? options.p : "");
	moe_rows_str(rows, policy->source);
	moe_buf_free(&options);
}

enum moe_status route_list(struct tool_ctx *ctx, struct moe_err *err)
{
	static const char *const columns[] = { "policy", "help", "reads", "source" };
	const char *const path = ctx->common.output;
	struct moe_buf text = { 0 };
	struct moe_rows rows;
	struct moe_out *out = NULL;

	if (ctx->n_operands)
		return moe_err_set(err, MOE_EUSAGE, "the list of policies takes no files");
	enum moe_status status = tool_files(ctx, 0, &path, 1, err);
	moe_rows_begin(&rows, &text, ctx->common.json, columns, 4);
	for (size_t i = 0; moe_policy_at(i); i++)
		add_policy(moe_policy_at(i), &rows);
	if (!status)
		status = moe_buf_check(&text, err);
	if (!status && !ctx->common.dry_run)
		status = moe_out_open(&out, path ? path : "-", tool_out_flags(ctx), ctx->watch, err);
	if (!status && out)
		status = moe_out_write(out, text.p, text.n, err);
	if (!status && out)
		status = moe_out_commit(out, err);
	else
		moe_out_abort(out);
	if (!status && ctx->common.dry_run)
		tool_would_write(path, (double)text.n);
	moe_buf_free(&text);
	return status;
}
