/* From one plan to another: which experts travel, over which links, and shards patched accordingly. */
#include <stdlib.h>
#include <string.h>

#include "moe-split/split.h"
#include "placement/moves.h"

static void advance(void *arg, uint64_t n_bytes) { tool_progress_add(arg, (int64_t)n_bytes); }

/* The node of every rank of the larger plan: by --topology, else as the new plan spreads its ranks. */
static enum moe_status find_nodes(const struct config *cfg, const struct moe_plan *old, const struct moe_plan *new,
                                  const char *name, int32_t **node, struct moe_err *err)
{
	int32_t n = old->n_ranks > new->n_ranks ? old->n_ranks : new->n_ranks;
	struct moe_topology topology = {0};
	enum moe_status status;

	if (!cfg->topology && (!new->n_nodes || new->n_ranks % new->n_nodes))
		return moe_err_set(err, MOE_EUSAGE, "%s does not spread its ranks evenly over nodes: say --topology",
		                   name);
	*node = calloc((size_t)n, sizeof **node);
	if (!*node)
		return moe_err_nomem(err, (size_t)n * sizeof **node, "nodes");
	for (int32_t r = 0; r < n && !cfg->topology; r++)
		(*node)[r] = r / (new->n_ranks / new->n_nodes);
	if (!cfg->topology)
		return MOE_OK;
	status = moe_topology_read(&topology, cfg->topology, err);
	if (!status && topology.n_ranks != n)
		status = moe_err_set(err, MOE_EUSAGE, "%s has %d ranks, the plans %d", cfg->topology, topology.n_ranks,
		                     n);
	if (!status)
		memcpy(*node, topology.node, (size_t)n * sizeof **node);
	moe_topology_free(&topology);
	return status;
}

/* What experts weigh: by the model, if there is one, else by --expert-bytes. */
static enum moe_status weigh(struct tool_ctx *ctx, const struct config *cfg, struct moe_expert_bytes *bytes,
                             struct moe_err *err)
{
	struct moe_model *model = NULL;
	struct moe_ckpt *ckpt = NULL;
	enum moe_status status;
	char *path = NULL;

	*bytes = (struct moe_expert_bytes){ .each = cfg->expert_bytes };
	if (ctx->n_operands < 2)
		return cfg->expert_bytes ? MOE_OK
		                         : moe_err_set(err, MOE_EUSAGE, "what experts weigh is said by a MODEL behind "
		                                       "the plan, or by --expert-bytes SIZE");
	status = tool_model_path(ctx, ctx->operands[1], &path, err);
	if (!status)
		status = moe_ckpt_open(&ckpt, path, ctx->watch, err);
	if (!status)
		status = moe_model_bind(&model, ckpt, err);
	if (!status)
		status = moe_expert_bytes_of(bytes, model, err);
	moe_model_free(model);
	moe_ckpt_close(ckpt);
	free(path);
	return status;
}

static void put_moves(struct moe_rows *rows, const struct moe_moves *moves, const int32_t *node)
{
	for (int64_t i = 0; i < moves->n; i++) {
		const struct moe_move *m = &moves->moves[i];

		moe_rows_u64(rows, (uint64_t)m->layer);
		moe_rows_u64(rows, (uint64_t)m->expert);
		moe_rows_u64(rows, (uint64_t)m->from);
		moe_rows_u64(rows, (uint64_t)m->to);
		moe_rows_u64(rows, (uint64_t)node[m->from]);
		moe_rows_u64(rows, (uint64_t)node[m->to]);
		moe_rows_u64(rows, m->n_bytes);
	}
}

static void put_links(struct moe_rows *rows, const struct moe_moves *moves, const int32_t *node)
{
	for (int64_t i = 0; i < moves->n_links; i++) {
		const struct moe_link *link = &moves->links[i];

		moe_rows_u64(rows, (uint64_t)link->from);
		moe_rows_u64(rows, (uint64_t)link->to);
		moe_rows_u64(rows, (uint64_t)node[link->from]);
		moe_rows_u64(rows, (uint64_t)node[link->to]);
		moe_rows_u64(rows, (uint64_t)link->n_experts);
		moe_rows_u64(rows, link->n_bytes);
	}
}

static void sum_up(struct tool_ctx *ctx, const struct moe_moves *moves, const int32_t *node)
{
	uint64_t total = 0, across = 0, busiest = 0;
	char a[24], b[24], c[24];

	for (int64_t i = 0; i < moves->n_links; i++) {
		const struct moe_link *link = &moves->links[i];

		total += link->n_bytes;
		across += node[link->from] != node[link->to] ? link->n_bytes : 0;
		busiest = link->n_bytes > busiest ? link->n_bytes : busiest;
	}
	tool_note(ctx, "%lld experts move, %s over %lld links, at most %s on one; %s between nodes; %lld copies are "
	          "given up", (long long)moves->n, moe_format_bytes(a, (double)total), (long long)moves->n_links,
	          moe_format_bytes(b, (double)busiest), moe_format_bytes(c, (double)across),
	          (long long)moves->n_dropped);
}

static enum moe_status list_moves(struct tool_ctx *ctx, const struct config *cfg, const struct moe_plan *old,
                                  const struct moe_plan *new, struct moe_err *err)
{
	static const char *const of_moves[] = {"layer", "expert", "from", "to", "from_node", "to_node", "bytes"};
	static const char *const of_links[] = {"from", "to", "from_node", "to_node", "experts", "bytes"};
	const char *name = ctx->operands[0];
	struct moe_expert_bytes bytes = {0};
	struct moe_moves moves = {0};
	struct moe_buf text = {0};
	struct moe_rows rows;
	int32_t *node = NULL;
	enum moe_status status = find_nodes(cfg, old, new, name, &node, err);

	if (!status)
		status = weigh(ctx, cfg, &bytes, err);
	if (!status)
		status = moe_moves_make(&moves, old, cfg->rebalance, new, name, node, &bytes, err);
	if (!status) {
		moe_rows_begin(&rows, &text, ctx->common.json, cfg->links ? of_links : of_moves, cfg->links ? 6 : 7);
		if (cfg->links)
			put_links(&rows, &moves, node);
		else
			put_moves(&rows, &moves, node);
		status = split_write(ctx, &text, ctx->common.dry_run ? NULL : ctx->common.output, err);
	}
	if (!status)
		sum_up(ctx, &moves, node);
	moe_buf_free(&text);
	moe_moves_free(&moves);
	moe_expert_bytes_free(&bytes);
	free(node);
	return status;
}

static enum moe_status patch(struct tool_ctx *ctx, const struct config *cfg, const struct moe_plan *old,
                             const struct moe_plan *new, struct moe_err *err)
{
	struct tool_progress progress;
	struct moe_shard_done done = {0};
	struct moe_shard_patched patched;
	struct moe_shard_opts opts = {.flags = tool_out_flags(ctx), .watch = ctx->watch, .done = &done,
	                              .dry_run = ctx->common.dry_run, .progress = advance,
	                              .progress_arg = &progress};
	enum moe_status status = tool_pool(ctx, &opts.pool, err);
	char a[24];

	if (status)
		return status;
	tool_raise_open_files();
	tool_on_interrupt(ctx, "what is complete is kept: the same command goes on with it");
	tool_progress_start(&progress, ctx, "rewriting shards", 0, TOOL_BYTES);
	status = moe_shard_rebalance(cfg->patch, old, new, &opts, &patched, err);
	tool_progress_finish(&progress);
	tool_on_interrupt(ctx, NULL);
	if (status == MOE_EIO) {
		const struct moe_err why = *err;

		return moe_err_set(err, status, "%s; what is complete is kept: the same command goes on with it",
		                   why.text);
	}
	if (status)
		return status;
	if (patched.complete)
		tool_note(ctx, "%s: the shards are those of %s already", cfg->patch, ctx->operands[0]);
	else if (patched.went_on)
		tool_note(ctx, "%s: what an earlier run had made ready is in place", cfg->patch);
	else
		tool_note(ctx, "%s: %d of %d ranks%s rewritten, %s", cfg->patch, patched.n_rewritten, new->n_ranks,
		          ctx->common.dry_run ? " would be" : "",
		          moe_format_bytes(a, (double)patched.n_bytes));
	if (done.n_kept)
		tool_note(ctx, "%s: went on behind the %lld tensors that were there", cfg->patch,
		          (long long)done.n_kept);
	return MOE_OK;
}

enum moe_status split_rebalance(struct tool_ctx *ctx, const struct config *cfg, struct moe_err *err)
{
	struct moe_plan old = {0}, new = {0};
	enum moe_status status;

	if (ctx->n_operands < 1 || ctx->n_operands > (cfg->patch ? 1 : 2))
		return moe_err_set(err, MOE_EUSAGE, "--rebalance OLD takes the new PLAN%s, found %d operands",
		                   cfg->patch ? "" : ", and a MODEL", ctx->n_operands);
	if (cfg->patch && ctx->common.output)
		return moe_err_set(err, MOE_EUSAGE, "--patch writes into its DIR, and nothing to -o");
	status = moe_plan_read(&old, cfg->rebalance, err);
	if (!status)
		status = moe_plan_read(&new, ctx->operands[0], err);
	if (!status)
		status = cfg->patch ? patch(ctx, cfg, &old, &new, err) : list_moves(ctx, cfg, &old, &new, err);
	moe_plan_free(&old);
	moe_plan_free(&new);
	return status;
}
