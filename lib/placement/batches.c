/* Traces read once more, cut into batches, every batch judged under every plan. */
#include "placement/batches.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "trace/trace.h"

struct judge {
	const struct moe_plan *plans;
	int n_plans;
	int32_t n_layers, n_experts, max_ranks;
	const int32_t *layers;         /* [n_layers] of the trace at hand */
	int64_t batch_tokens;
	int64_t n_tokens;              /* in the batch so far */
	int64_t n_of_part;             /* whole batches of the part so far */
	int64_t *counts;               /* [n_layers][n_experts] of the batch */
	double *weight;                /* [n_plans][n_layers][n_experts] 1 / copies */
	double *rank_load;             /* [n_layers][max_ranks] scratch */
	struct moe_batch_cost *out;    /* [n_plans][n_layers]; mean: a sum until the end */
	int64_t *n_counted;            /* [n_layers] batches with choices */
	int64_t n_batches;
};

static void judge_free(struct judge *j)
{
	free(j->counts);
	free(j->weight);
	free(j->rank_load);
	free(j->n_counted);
}

static int64_t row_of(const struct judge *j, int plan, int32_t layer)
{
	return (int64_t)plan * j->n_layers + layer;
}

/* The first trace says how many experts there are. */
static enum moe_status judge_start(struct judge *j, const struct moe_trace_header *head, struct moe_err *err)
{
	const size_t n_layers = (size_t)j->n_layers, n_experts = (size_t)head->n_experts;

	j->n_experts = head->n_experts;
	for (int p = 0; p < j->n_plans; p++)
		j->max_ranks = j->plans[p].n_ranks > j->max_ranks ? j->plans[p].n_ranks : j->max_ranks;
	j->counts = calloc(n_layers * n_experts, sizeof *j->counts);
	j->weight = calloc((size_t)j->n_plans * n_layers * n_experts, sizeof *j->weight);
	j->rank_load = calloc(n_layers * (size_t)j->max_ranks, sizeof *j->rank_load);
	j->n_counted = calloc(n_layers, sizeof *j->n_counted);
	if (!j->counts || !j->weight || !j->rank_load || !j->n_counted)
		return moe_err_nomem(err, (size_t)j->n_plans * n_layers * n_experts * sizeof *j->weight, "batches");
	for (int p = 0; p < j->n_plans; p++)
		for (int32_t l = 0; l < j->n_layers; l++) {
			double *weight = j->weight + row_of(j, p, l) * j->n_experts;
			const struct moe_plan_entry *entries;
			int64_t n;

			entries = moe_plan_layer(&j->plans[p], head->layers[l], &n);
			for (int64_t i = 0; i < n; i++)
				if (entries[i].expert < j->n_experts)
					weight[entries[i].expert]++;
			for (int32_t e = 0; e < j->n_experts; e++) {
				if (weight[e] <= 0)
					return moe_err_set(err, MOE_EFORMAT,
					                   "the plan does not place expert %d of layer %d", e,
					                   head->layers[l]);
				weight[e] = 1 / weight[e];
			}
		}
	return MOE_OK;
}

/* One layer of the batch that is full, under every plan. */
static void end_layer(struct judge *j, int32_t l)
{
	const int64_t *counts = j->counts + (int64_t)l * j->n_experts;
	double *rank_load = j->rank_load + (int64_t)l * j->max_ranks, total = 0;

	for (int32_t e = 0; e < j->n_experts; e++)
		total += (double)counts[e];
	if (total <= 0)
		return;
	j->n_counted[l]++;
	for (int p = 0; p < j->n_plans; p++) {
		const double *weight = j->weight + row_of(j, p, l) * j->n_experts;
		struct moe_batch_cost *out = &j->out[row_of(j, p, l)];
		const struct moe_plan_entry *entries;
		double peak = 0;
		int64_t n;

		memset(rank_load, 0, (size_t)j->plans[p].n_ranks * sizeof *rank_load);
		entries = moe_plan_layer(&j->plans[p], j->layers[l], &n);
		for (int64_t i = 0; i < n; i++)
			rank_load[entries[i].rank] += (double)counts[entries[i].expert] * weight[entries[i].expert];
		for (int32_t r = 0; r < j->plans[p].n_ranks; r++)
			peak = fmax(peak, rank_load[r]);
		peak /= total / j->plans[p].n_ranks;
		out->mean += peak;
		out->worst = fmax(out->worst, peak);
	}
}

static void end_layers(void *arg, int64_t begin, int64_t end, int thread)
{
	(void)thread;
	for (int64_t l = begin; l < end; l++)
		end_layer(arg, (int32_t)l);
}

static void end_batch(struct judge *j, struct moe_pool *pool)
{
	moe_pool_for(pool, j->n_layers, 1, end_layers, j);
	memset(j->counts, 0, (size_t)j->n_layers * (size_t)j->n_experts * sizeof *j->counts);
	j->n_tokens = 0;
	j->n_of_part++;
	j->n_batches++;
}

static void end_part(struct judge *j, struct moe_pool *pool)
{
	if (j->n_tokens && (!j->n_of_part || j->n_tokens * 2 >= j->batch_tokens))
		end_batch(j, pool);
	if (j->n_tokens)
		memset(j->counts, 0, (size_t)j->n_layers * (size_t)j->n_experts * sizeof *j->counts);
	j->n_tokens = 0;
	j->n_of_part = 0;
}

static void add_run(struct judge *j, const struct moe_trace_run *run, struct moe_pool *pool)
{
	for (int64_t t = 0; t < run->n_tokens;) {
		const int64_t room = j->batch_tokens - j->n_tokens, left = run->n_tokens - t;
		const int64_t n = left < room ? left : room;

		for (int32_t l = 0; l < j->n_layers; l++) {
			const struct moe_routing *r = &run->layers[l];
			int64_t *counts = j->counts + (int64_t)l * j->n_experts;

			for (int64_t i = t * r->top_k; i < (t + n) * r->top_k; i++)
				if (r->ids[i] >= 0)
					counts[r->ids[i]]++;
		}
		t += n;
		j->n_tokens += n;
		if (j->n_tokens == j->batch_tokens)
			end_batch(j, pool);
	}
}

static enum moe_status judge_file(struct judge *j, const char *path, struct moe_pool *pool, struct moe_watch *watch,
                                  struct moe_err *err)
{
	const struct moe_trace_run *run;
	struct moe_trace_in *in;
	int64_t part = 0;
	enum moe_status status;

	if (!strcmp(path, "-"))
		return moe_err_set(err, MOE_EUSAGE,
		                   "batches are counted in a second reading, which stdin does not allow");
	status = moe_trace_open(&in, path, pool, watch, err);
	if (status)
		return status;
	moe_trace_want(in, 0);
	j->layers = moe_trace_head(in)->layers;
	if (moe_trace_head(in)->n_layers != j->n_layers ||
	    (j->counts && moe_trace_head(in)->n_experts != j->n_experts))
		status = moe_err_set(err, MOE_EFORMAT, "%s: has other layers or experts than when it was read before",
		                     path);
	else if (!j->counts)
		status = judge_start(j, moe_trace_head(in), err);
	while (!status) {
		status = moe_trace_next(in, &run, err);
		if (status || !run)
			break;
		j->layers = moe_trace_head(in)->layers;
		if (run->part != part)
			end_part(j, pool);
		part = run->part;
		add_run(j, run, pool);
	}
	if (!status)
		end_part(j, pool);
	moe_trace_close(in);
	return status;
}

enum moe_status moe_batches_judge(char *const *paths, int n_paths, const struct moe_plan *plans, int n_plans,
                                  int64_t n_tokens, int32_t n_layers, struct moe_batch_cost *out, int64_t *n_batches,
                                  struct moe_pool *pool, struct moe_watch *watch, struct moe_err *err)
{
	struct judge j = {
		.plans = plans, .n_plans = n_plans, .n_layers = n_layers, .batch_tokens = n_tokens, .out = out
	};
	enum moe_status status = MOE_OK;

	memset(out, 0, (size_t)n_plans * (size_t)n_layers * sizeof *out);
	for (int i = 0; i < n_paths && !status; i++)
		status = judge_file(&j, paths[i], pool, watch, err);
	for (int p = 0; p < n_plans && !status; p++)
		for (int32_t l = 0; l < n_layers; l++) {
			struct moe_batch_cost *c = &out[row_of(&j, p, l)];

			if (j.n_counted[l])
				c->mean /= (double)j.n_counted[l];
			else
				*c = (struct moe_batch_cost){ 1, 1 };
		}
	*n_batches = j.n_batches;
	judge_free(&j);
	return status;
}
