/* Plans in the forms of other programs: --import, --export, --list-forms. */
#include "moe-split/split.h"
#include "placement/form.h"

static enum moe_status find_form(const char *name, const struct moe_plan_form **form, struct moe_err *err)
{
	*form = moe_form_by_name(name);
	return *form ? MOE_OK
	             : moe_err_set(err, MOE_EUSAGE, "there is no form '%s'; --list-forms shows which there are", name);
}

enum moe_status split_import(struct tool_ctx *ctx, const struct config *cfg, struct moe_err *err)
{
	const struct moe_form_opts opts = { cfg->ranks, cfg->nodes, cfg->layers, ctx->watch };
	const struct moe_plan_form *form;
	struct moe_plan plan = {0};
	struct moe_buf text = {0};
	enum moe_status status = find_form(cfg->import, &form, err);

	if (!status && ctx->n_operands != 1)
		status = moe_err_set(err, MOE_EUSAGE, "--import reads one FILE, found %d", ctx->n_operands);
	if (!status)
		status = moe_form_import(&plan, form, ctx->operands[0], &opts, err);
	if (!status && !ctx->common.dry_run) {
		split_print_plan(&plan, ctx->common.json, &text);
		status = split_write(ctx, &text, ctx->common.output, err);
	}
	moe_buf_free(&text);
	moe_plan_free(&plan);
	return status;
}

enum moe_status split_export(struct tool_ctx *ctx, const struct config *cfg, struct moe_err *err)
{
	const char *to = ctx->common.output ? ctx->common.output : "-";
	const struct moe_plan_form *form;
	struct moe_plan plan = {0};
	struct moe_buf bytes = {0};
	enum moe_status status = find_form(cfg->export, &form, err);

	if (!status && ctx->n_operands != 1)
		status = moe_err_set(err, MOE_EUSAGE, "--export writes one PLAN, found %d", ctx->n_operands);
	if (!status)
		status = moe_plan_read(&plan, ctx->operands[0], err);
	if (!status)
		status = moe_form_export(&plan, form, ctx->operands[0], &bytes, err);
	if (!status && ctx->common.dry_run)
		tool_would_write(ctx->common.output, (double)bytes.n);
	else if (!status)
		status = moe_out_text(&bytes, to, tool_out_flags(ctx) | (form->binary ? MOE_OUT_BINARY : 0), ctx->watch,
		                      err);
	moe_buf_free(&bytes);
	moe_plan_free(&plan);
	return status;
}

enum moe_status split_list_forms(struct tool_ctx *ctx, struct moe_err *err)
{
	static const char *const columns[] = { "form", "help", "reads", "source" };
	struct moe_buf text = {0};
	struct moe_rows rows;
	enum moe_status status;

	if (ctx->n_operands)
		return moe_err_set(err, MOE_EUSAGE, "the list of forms takes no files");
	moe_rows_begin(&rows, &text, ctx->common.json, columns, 4);
	for (size_t i = 0; moe_form_at(i); i++) {
		moe_rows_str(&rows, moe_form_at(i)->name);
		moe_rows_str(&rows, moe_form_at(i)->help);
		moe_rows_str(&rows, moe_form_at(i)->read ? "yes" : "no");
		moe_rows_str(&rows, moe_form_at(i)->source);
	}
	status = split_write(ctx, &text, ctx->common.output, err);
	moe_buf_free(&text);
	return status;
}
