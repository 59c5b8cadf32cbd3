/* One pass over traces that feeds streams of statistics, layers in parallel. */
#include "placement/traffic.h"

#include <stdlib.h>
#include <string.h>

#include "trace/trace.h"

/* A stream with a state for every layer. */
struct feed {
	const struct moe_stream *stream;
	struct moe_stream_setup setup;
	struct moe_metric_params params;
	void **states;         /* [n_layers] */
	size_t n_scratch;      /* bytes for a thread */
	char *scratch;         /* [threads][n_scratch] */
};

struct pass {
	const struct moe_traffic *traffic;
	const struct moe_load *load;
	struct feed *feeds;
	int n_feeds;
	struct moe_bootstrap *bootstrap;   /* or NULL */
	const struct moe_trace_run *run;
	int64_t part;
	struct moe_err *errs;              /* [n_layers] */
};

static void add_layers(void *arg, int64_t begin, int64_t end, int thread)
{
	struct pass *p = arg;

	for (int64_t l = begin; l < end; l++)
		for (int i = 0; i < p->n_feeds && !p->errs[l].status; i++) {
			struct feed *f = &p->feeds[i];
			const struct moe_stream_tokens tokens = {
				.setup = &f->setup, .run = p->run, .routing = &p->run->layers[l], .row = (int32_t)l,
				.part = p->part, .scratch = f->scratch + (size_t)thread * f->n_scratch
			};

			p->errs[l].status = f->stream->add(&tokens, f->states[l], NULL, &p->errs[l]);
		}
}

static enum moe_status add_run(struct pass *p, struct moe_err *err)
{
	const int64_t of = p->traffic->by_part ? p->part : p->run->seq;

	if (p->traffic->parity >= 0 && (of & 1) != p->traffic->parity)
		return MOE_OK;
	const enum moe_status status =
		p->bootstrap ? moe_bootstrap_add(p->bootstrap, p->part, p->run, NULL, err) : MOE_OK;

	if (status)
		return status;
	moe_pool_for(p->traffic->pool, p->n_feeds ? p->load->n_layers : 0, 1, add_layers, p);
	for (int32_t l = 0; l < p->load->n_layers; l++)
		if (p->errs[l].status)
			return moe_err_set(err, p->errs[l].status, "%s", p->errs[l].text);
	return MOE_OK;
}

/* Scratch follows from the number of choices, which the header says. */
static enum moe_status start_file(struct pass *p, const struct moe_trace_header *head, const char *path,
                                  struct moe_err *err)
{
	const struct moe_load *load = p->load;

	if (head->n_layers != load->n_layers || head->n_experts != load->n_experts ||
	    memcmp(head->layers, load->layers, (size_t)load->n_layers * sizeof *load->layers) != 0)
		return moe_err_set(err, MOE_EFORMAT, "%s: has other layers or experts than when it was read before",
		                   path);
	for (int i = 0; i < p->n_feeds; i++) {
		struct feed *f = &p->feeds[i];

		f->setup.top_k = head->top_k;
		f->n_scratch = (f->stream->scratch(&f->setup) + 63) / 64 * 64;
		free(f->scratch);
		f->scratch = calloc((size_t)moe_pool_threads(p->traffic->pool), f->n_scratch);
		if (!f->scratch)
			return moe_err_nomem(err, f->n_scratch, "statistics");
	}
	return MOE_OK;
}

static enum moe_status read_file(struct pass *p, const char *path, int64_t *n_parts, struct moe_err *err)
{
	const struct moe_trace_run *run;
	struct moe_trace_in *in;
	int64_t last = 0;
	enum moe_status status;

	if (!strcmp(path, "-"))
		return moe_err_set(err, MOE_EUSAGE,
		                   "this is counted in a second reading, which stdin does not allow");
	status = moe_trace_open(&in, path, p->traffic->pool, p->traffic->watch, err);
	if (status)
		return status;
	moe_trace_want(in, 0);
	status = start_file(p, moe_trace_head(in), path, err);
	while (!status) {
		struct moe_err inner = {0};

		status = moe_trace_next(in, &run, err);
		if (status || !run)
			break;
		last = run->part;
		p->run = run;
		p->part = *n_parts + run->part;
		status = add_run(p, &inner);
		if (status)
			status = moe_err_set(err, status, "%s: %s", path, inner.text);
	}
	*n_parts += last + 1;
	moe_trace_close(in);
	return status;
}

static enum moe_status read_all(struct pass *p, struct moe_err *err)
{
	int64_t n_parts = 0;
	enum moe_status status = MOE_OK;

	p->errs = calloc((size_t)p->load->n_layers + 1, sizeof *p->errs);
	if (!p->errs)
		return moe_err_nomem(err, (size_t)p->load->n_layers * sizeof *p->errs, "statistics");
	for (int i = 0; i < p->n_feeds; i++) {
		struct feed *f = &p->feeds[i];

		f->setup.n_layers = p->load->n_layers;
		f->setup.n_experts = p->load->n_experts;
		f->setup.layers = p->load->layers;
		f->setup.params = &f->params;
	}
	for (int i = 0; i < p->traffic->n_paths && !status; i++)
		status = read_file(p, p->traffic->paths[i], &n_parts, err);
	for (int i = 0; i < p->n_feeds; i++)
		free(p->feeds[i].scratch);
	free(p->errs);
	return status;
}

void moe_traffic_free(struct moe_together **together, int32_t n_layers)
{
	for (int32_t l = 0; together && l < n_layers; l++)
		free(together[l]);
	free(together);
}

enum moe_status moe_traffic_together(const struct moe_traffic *traffic, const struct moe_load *load,
                                     struct moe_together ***out, struct moe_err *err)
{
	const struct moe_stream_setup setup = { .n_experts = load->n_experts };
	const size_t n_bytes = moe_stream_together.state(&setup);
	struct feed feed = { .stream = &moe_stream_together };
	struct pass pass = { .traffic = traffic, .load = load, .feeds = &feed, .n_feeds = 1 };
	enum moe_status status = MOE_OK;

	feed.states = calloc((size_t)load->n_layers + 1, sizeof *feed.states);
	if (!feed.states)
		return moe_err_nomem(err, (size_t)load->n_layers * sizeof *feed.states, "pairs of experts");
	for (int32_t l = 0; l < load->n_layers && !status; l++) {
		feed.states[l] = calloc(1, n_bytes);
		if (!feed.states[l])
			status = moe_err_nomem(err, n_bytes, "pairs of experts");
	}
	if (!status)
		status = read_all(&pass, err);
	*out = (struct moe_together **)(void *)feed.states;
	if (status) {
		moe_traffic_free(*out, load->n_layers);
		*out = NULL;
	}
	return status;
}

enum moe_status moe_traffic_cross(const struct moe_traffic *traffic, const struct moe_load *load,
                                  const struct moe_plan *plans, const struct moe_topology *topologies, int n_plans,
                                  struct moe_fan *out, struct moe_err *err)
{
	const size_t n_layers = (size_t)load->n_layers, n = (size_t)n_plans * n_layers;
	struct feed *feeds = calloc((size_t)n_plans + 1, sizeof *feeds);
	struct pass pass = { .traffic = traffic, .load = load, .feeds = feeds, .n_feeds = n_plans };
	void **states = calloc(n + 1, sizeof *states);
	enum moe_status status;

	memset(out, 0, n * sizeof *out);
	for (size_t i = 0; i < n && states; i++)
		states[i] = &out[i];
	for (int i = 0; i < n_plans && feeds && states; i++)
		feeds[i] = (struct feed){ .stream = &moe_stream_fan, .states = states + (size_t)i * n_layers,
			                  .params = { .plan = &plans[i], .topology = &topologies[i] } };
	status = feeds && states ? read_all(&pass, err) : moe_err_nomem(err, n * sizeof *states, "traffic");
	free(states);
	free(feeds);
	return status;
}

enum moe_status moe_traffic_resample(const struct moe_traffic *traffic, const struct moe_load *load, uint64_t seed,
                                     struct moe_bootstrap **out, struct moe_err *err)
{
	struct pass pass = { .traffic = traffic, .load = load };
	const struct moe_bootstrap_opts opts = { .n_layers = load->n_layers, .n_experts = load->n_experts,
		                                 .seed = seed };
	enum moe_status status = moe_bootstrap_new(out, &opts, err);

	if (status)
		return status;
	pass.bootstrap = *out;
	status = read_all(&pass, err);
	if (!status)
		status = moe_bootstrap_end(*out, err);
	if (status) {
		moe_bootstrap_free(*out);
		*out = NULL;
	}
	return status;
}
