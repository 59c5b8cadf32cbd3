/* What the options name beside traces. */
#include <stdlib.h>

#include "moe-stats/job.h"

static bool token_text(const void *arg, int32_t id, struct moe_str *text) { return moe_tokenizer_bytes(arg, id, text); }

/* A plan, and the nodes of its ranks: of the topology, else as the plan says. */
static enum moe_status open_plan(struct job *job, struct moe_err *err)
{
	const struct config *cfg = job->cfg;
	enum moe_status status = moe_plan_read(&job->plan, cfg->plan, err);

	if (status)
		return status;
	if (cfg->topology)
		status = moe_topology_read(&job->topology, cfg->topology, err);
	else
		status = moe_topology_even(&job->topology, job->plan.n_ranks, job->plan.n_nodes ? job->plan.n_nodes : 1,
		                           err);
	if (!status && job->topology.n_ranks != job->plan.n_ranks)
		status = moe_err_set(err, MOE_EUSAGE, "%s has %d ranks, the plan %s has %d", cfg->topology,
		                     job->topology.n_ranks, cfg->plan, job->plan.n_ranks);
	job->cfg->params.plan = &job->plan;
	job->cfg->params.topology = &job->topology;
	return status;
}

static enum moe_status open_tokenizer(struct job *job, struct moe_err *err)
{
	struct moe_ckpt *ckpt = NULL;
	char *path = NULL;
	enum moe_status status = tool_model_path(job->ctx, job->cfg->tokenizer, &path, err);

	if (!status)
		status = moe_ckpt_open(&ckpt, path, job->ctx->watch, err);
	if (!status)
		status = moe_tokenizer_open(&job->tokenizer, ckpt, err);
	if (!status) {
		job->cfg->params.token_text = token_text;
		job->cfg->params.token_arg = job->tokenizer;
	}
	moe_ckpt_close(ckpt);
	free(path);
	return status;
}

enum moe_status stats_open_inputs(struct job *job, struct moe_err *err)
{
	enum moe_status status = MOE_OK;

	if (job->cfg->plan)
		status = open_plan(job, err);
	if (!status && job->cfg->tokenizer)
		status = open_tokenizer(job, err);
	return status;
}

void stats_close_inputs(struct job *job)
{
	moe_plan_free(&job->plan);
	moe_topology_free(&job->topology);
	moe_tokenizer_free(job->tokenizer);
}
