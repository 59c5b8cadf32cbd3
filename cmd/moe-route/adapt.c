/* --adapt-bias: biases that balance the load, learnt from stored logits; a table of them comes out, and no trace. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "moe-route/route.h"
#include "stats/rows.h"

enum moe_status route_open_adapt(struct route *route, const struct moe_policy *policy,
                                 const struct moe_policy_params *params, const struct moe_trace_header *in,
                                 struct moe_err *err)
{
	const struct config *cfg = route->cfg;
	const struct moe_adapt_opts opts = {
		.policy = policy,
		.params = *params,
		.rate = cfg->adapt_bias,
		.rule = cfg->adapt_rule != UNSET ? cfg->adapt_rule : MOE_ADAPT_SIGN,
		.batch_tokens = cfg->batch_tokens ? cfg->batch_tokens : 2048,
		.epochs = cfg->epochs ? cfg->epochs : 1,
		.seed = (uint64_t)route->ctx->common.seed,
		.start = cfg->bias ? &route->bias : NULL,
	};
	if (!(policy->reads & MOE_READS_BIAS))
		return moe_err_set(err, MOE_EUSAGE, "policy %s does not read --bias: there is nothing to adapt",
		                   policy->name);
	if (params->table)
		return moe_err_set(err, MOE_EUSAGE, "--adapt-bias: where a table chooses there is nothing to adapt");
	return moe_adapt_new(&route->adapt, &opts, in, route->pool, err);
}

static void put_batches(const struct moe_adapt *adapt, const struct moe_bias *bias, struct moe_rows *rows)
{
	const struct moe_adapt_batch *batch;
	for (int64_t i = 0; (batch = moe_adapt_batch_at(adapt, i)); i++)
		for (int32_t l = 0; l < bias->n_layers; l++) {
			moe_rows_u64(rows, (uint64_t)batch->epoch);
			moe_rows_u64(rows, (uint64_t)i);
			moe_rows_u64(rows, (uint64_t)bias->layers[l]);
			moe_rows_f64(rows, batch->maxvio[l]);
		}
}

/* Text to a file, "-" or NULL: stdout. */
static enum moe_status write_text(struct route *route, const char *path, const struct moe_buf *text,
                                  struct moe_err *err)
{
	struct moe_out *out = NULL;
	enum moe_status status = moe_buf_check(text, err);
	if (!status)
		status = moe_out_open(&out, path ? path : "-", tool_out_flags(route->ctx), route->ctx->watch, err);
	if (!status)
		status = moe_out_write(out, text->p, text->n, err);
	if (!status)
		return moe_out_commit(out, err);
	moe_out_abort(out);
	return status;
}

/* Mean over layers and over the batches of the first or last epoch. */
static double mean_of_epoch(const struct moe_adapt *adapt, int32_t n_layers, bool last)
{
	const struct moe_adapt_batch *batch, *first = moe_adapt_batch_at(adapt, 0), *end = first;
	double sum = 0;
	int64_t n = 0;
	for (int64_t i = 0; (batch = moe_adapt_batch_at(adapt, i)); i++)
		end = batch;
	for (int64_t i = 0; (batch = moe_adapt_batch_at(adapt, i)); i++)
		for (int32_t l = 0; l < n_layers && batch->epoch == (last ? end : first)->epoch; l++, n++)
			sum += batch->maxvio[l];
	return sum / (double)n;
}

enum moe_status route_finish_adapt(struct route *route, struct moe_err *err)
{
	static const char *const of_bias[] = { "layer", "expert", "bias" },
	                         *const of_batch[] = { "epoch", "batch", "layer", "maxvio" };
	const struct config *cfg = route->cfg;
	const struct moe_bias *bias = moe_adapt_bias(route->adapt);
	const int32_t n = bias->n_experts, k = route->adapt_top_k;
	struct moe_buf text = { 0 }, batches = { 0 };
	struct moe_rows rows;
	enum moe_status status = moe_adapt_run(route->adapt, err);
	if (status)
		return status;
	moe_rows_begin(&rows, &text, route->ctx->common.json, of_bias, 3);
	for (int64_t i = 0; i < (int64_t)bias->n_layers * n; i++) {
		moe_rows_u64(&rows, (uint64_t)bias->layers[i / n]);
		moe_rows_u64(&rows, (uint64_t)(i % n));
		moe_rows_f64(&rows, (double)bias->values[i]);
	}
	if (cfg->batches) {
		moe_rows_begin(&rows, &batches, false, of_batch, 4);
		put_batches(route->adapt, bias, &rows);
		status = write_text(route, cfg->batches, &batches, err);
	}
	if (!status)
		status = write_text(route, route->ctx->common.output, &text, err);
	moe_buf_free(&text);
	moe_buf_free(&batches);
	if (status)
		return status;
	tool_note(route->ctx, "MaxVio of batches: %.3f in the first epoch, %.3f in the last; chance alone makes %.3f",
	          mean_of_epoch(route->adapt, bias->n_layers, false), mean_of_epoch(route->adapt, bias->n_layers, true),
	          moe_maxvio_noise(cfg->batch_tokens ? cfg->batch_tokens : 2048, n, k));
	tool_note(route->ctx, "MaxVio of all tokens: %.3f before, %.3f with the biases found; chance alone makes %.3f",
	          moe_adapt_before(route->adapt), moe_adapt_after(route->adapt),
	          moe_maxvio_noise(moe_adapt_tokens(route->adapt), n, k));
	return MOE_OK;
}
