/* The choices of models with a layer of multi-token prediction, recorded into a trace and read back, against the
 * experts, weights and margins that another implementation computed (tests/golden/README.md): that layer stands behind
 * the others, and the last token of a sequence has no choice there. The same bytes in whatever passes tokens come. */
#include <stdlib.h>
#include <unistd.h>

#include "../tap.h"
#include "eval/record.h"

static char dir[] = "/tmp/test_eval_record.XXXXXX";

__attribute__((noreturn)) static void bail(const char *text)
{
	printf("Bail out! %s\n", text);
	exit(1);
}

struct writer {
	struct moe_record *record;
	struct moe_trace_out *trace;
};

static enum moe_status on_routing(void *arg, const struct moe_routing *routing, int64_t pos, struct moe_err *err)
{
	struct writer *w = arg;
	return moe_record_routing(w->record, routing, pos, err);
}

static enum moe_status on_run(void *arg, const struct moe_trace_run *run, struct moe_err *err)
{
	struct writer *w = arg;
	return moe_trace_write(w->trace, run, err);
}

/* Sequences 0.. of the golden's input into `path`, in calls of `a_call` tokens; then sequences of one token and of
 * none. routers_only: as moe-route runs models. */
static void record(const struct moe_setup *setup, const struct moe_ckpt *golden, const char *path, int32_t chunk,
                   int64_t a_call, bool routers_only, struct moe_pool *pool)
{
	const struct moe_tensor *input = moe_ckpt_find(golden, "input_ids");
	const struct moe_config *config = &setup->model->config;
	const struct moe_record_opts opts = { .top_k = config->router.top_k, .chunk = chunk, .logits = true,
		                              .margins = true, .mtp = true };
	const int64_t n_tokens = input->dims[1];
	struct writer w = { 0 };
	const struct moe_record_sink sink = { &w, on_run };
	const struct moe_session_opts session_opts = { .n_ctx = n_tokens, .chunk = chunk, .mtp = true, .margins = true,
		                                       .routers_only = routers_only,
		                                       .hooks = { .arg = &w, .routing = on_routing } };
	struct moe_record_header described;
	struct moe_session *session = NULL;
	struct moe_err err = { 0 };
	if (moe_record_describe(&described, setup, "m", "c", true, &err))
		bail(err.text);
	described.header.logits = described.header.margins = true;
	if (moe_record_new(&w.record, config, &opts, &sink, &err) ||
	    moe_trace_create(&w.trace, path, MOE_OUT_FORCE, &described.header, pool, NULL, &err) ||
	    moe_session_open(&session, setup->model, setup->device, &session_opts, &err))
		bail(err.text);
	for (int64_t seq = 0; seq < input->dims[0] + 2; seq++) {
		int32_t ids[512];
		const int64_t n = seq < input->dims[0] ? n_tokens : seq == input->dims[0] ? 1 : 0;
		const int64_t *given = (const int64_t *)(const void *)input->data + seq % input->dims[0] * n_tokens;
		for (int64_t t = 0; t < n; t++)
			ids[t] = (int32_t)given[t];
		const struct moe_sequence sequence = { .source = "s", .tokens = ids, .n_tokens = n, .n_given = 1 };
		if (moe_record_start(w.record, session, &sequence, seq, &err))
			bail(err.text);
		for (int64_t t = 0; t < n; t += a_call) {
			const int64_t now = n - t < a_call ? n - t : a_call;
			moe_record_tokens(w.record, t, ids + t);
			if (moe_session_feed(session, ids + t, now, false, MOE_LOGITS_NONE, &err))
				bail(err.text);
		}
		if (moe_record_finish(w.record, &err))
			bail(err.text);
	}
	if (moe_trace_commit(w.trace, &err))
		bail(err.text);
	moe_record_free(w.record);
	moe_record_header_free(&described);
	moe_session_close(session);
}

/* All values of a golden tensor, NULL where there is none. */
static float *values(const struct moe_ckpt *golden, const char *name)
{
	const struct moe_tensor *t = moe_ckpt_find(golden, name);
	size_t n;
	if (!t || !moe_dims_elems(t->dims, t->n_dims, &n))
		return NULL;
	float *out = malloc(n * sizeof *out);
	t->codec->decode(t->data, out, n);
	return out;
}

struct sums {
	int64_t n_ids, n_wrong, n_absent, n_not_absent;
	double weights, margins;   /* largest error: relative to the largest weight of the token, and as it is */
};

/* One layer of a run. n: tokens that golden sequences have of it. */
static void compare(const struct moe_ckpt *golden, const struct moe_trace_run *run, const struct moe_routing *r,
                    bool mtp, int64_t n, struct sums *sums)
{
	char name[3][40];
	const char *const what[3] = { "expert_ids", "expert_weights", "margin" };
	for (int i = 0; i < 3; i++)
		snprintf(name[i], sizeof name[i], mtp ? "mtp_%s" : "%s.%d", what[i], (int)r->layer);
	float *ids = values(golden, name[0]), *weights = values(golden, name[1]), *margins = values(golden, name[2]);
	for (int64_t t = 0; t < run->n_tokens && ids; t++) {
		const int64_t pos = run->pos + t, row = run->seq * n + pos;
		double largest = 0;
		for (int32_t c = 0; c < r->top_k; c++) {
			const int64_t at = t * r->top_k + c;
			if (pos >= n) {
				sums->n_absent++;
				sums->n_not_absent += r->ids[at] != -1 || r->weights[at] != 0 ||
				                      isfinite(r->margins[t]) || !isnan(r->logits[t * r->n_experts]);
				continue;
			}
			sums->n_ids++;
			sums->n_wrong += r->ids[at] != (int32_t)ids[row * r->top_k + c];
			largest = weights ? fmax(largest, fabs(weights[row * r->top_k + c])) : 1;
		}
		for (int32_t c = 0; pos < n && weights && c < r->top_k; c++)
			sums->weights = fmax(sums->weights, fabs(r->weights[t * r->top_k + c] -
			                                         weights[row * r->top_k + c]) / largest);
		if (pos < n && margins)
			sums->margins = fmax(sums->margins, fabs(r->margins[t] - margins[row]));
	}
	free(ids);
	free(weights);
	free(margins);
}

static void check(const char *top, const char *weights, const char *name, struct moe_pool *pool)
{
	static const struct {
		int32_t chunk;
		int64_t a_call;
		bool routers_only;
	} ways[] = { { 512, 512, false }, { 7, 512, false }, { 512, 1, false }, { 5, 3, false }, { 512, 512, true },
		     { 2, 512, true }, { 1, 1, true } };
	char path[4096], first_path[4096];
	struct moe_err err = { 0 };
	struct moe_setup setup = { 0 };
	struct moe_ckpt *golden = NULL;
	struct moe_trace_in *in = NULL;
	const struct moe_trace_run *run = NULL;
	struct moe_buf first = { 0 }, other = { 0 };
	snprintf(path, sizeof path, "%s/%s/%s", top, weights, name);
	if (moe_setup_open(&setup, path, "cpu", pool, NULL, &err))
		bail(err.text);
	snprintf(path, sizeof path, "%s/tests/golden/models/%s/golden.safetensors", top, name);
	if (moe_ckpt_open(&golden, path, NULL, &err))
		bail(err.text);
	for (size_t w = 0; w < sizeof ways / sizeof *ways; w++) {
		snprintf(path, sizeof path, "%s/%s.%d", dir, name, (int)w);
		record(&setup, golden, path, ways[w].chunk, ways[w].a_call, ways[w].routers_only, pool);
		other.n = 0;
		if (moe_read_all(path, 0, w ? &other : &first, &err))
			bail(err.text);
		if (w) {
			ok(other.n == first.n && memcmp(other.p, first.p, first.n) == 0,
			   "%s: the same trace in chunks of %d, %d tokens a call%s", name, (int)ways[w].chunk,
			   (int)ways[w].a_call, ways[w].routers_only ? ", routers only" : "");
			unlink(path);
		} else {
			memcpy(first_path, path, sizeof path);
		}
	}
	const struct moe_config *config = &setup.model->config;
	const struct moe_tensor *input = moe_ckpt_find(golden, "input_ids");
	const int64_t n_seq = input->dims[0], n_tokens = input->dims[1];
	struct sums main_sums = { 0 }, mtp_sums = { 0 };
	int64_t n_all = 0;
	if (moe_trace_open(&in, first_path, pool, NULL, &err))
		bail(err.text);
	const struct moe_trace_header *head = moe_trace_head(in);
	ok(head->layers[head->n_layers - 1] == config->n_layers && head->n_model_layers == config->n_layers,
	   "%s: the MTP layer is number %d, behind all others", name, (int)config->n_layers);
	while (!moe_trace_next(in, &run, &err) && run) {
		n_all += run->n_tokens;
		for (int32_t l = 0; l < head->n_layers; l++) {
			const bool mtp = run->layers[l].layer == config->n_layers;
			if (run->seq < n_seq)
				compare(golden, run, &run->layers[l], mtp, n_tokens - mtp,
				        mtp ? &mtp_sums : &main_sums);
			else if (mtp)
				ok(run->n_tokens == 1 && run->layers[l].ids[0] == -1,
				   "%s: a sequence of one token has none", name);
		}
	}
	is_i64(n_all, n_seq * n_tokens + 1, "%s: all tokens %s", name, err.text);
	const int32_t k = config->router.top_k;
	ok(main_sums.n_wrong == 0 && main_sums.n_ids == n_seq * n_tokens * k * (head->n_layers - 1),
	   "%s: %lld ids of the other layers, %lld differ", name, (long long)main_sums.n_ids,
	   (long long)main_sums.n_wrong);
	ok(mtp_sums.n_wrong == 0 && mtp_sums.n_ids == n_seq * (n_tokens - 1) * k,
	   "%s: %lld ids of the MTP layer, %lld differ", name, (long long)mtp_sums.n_ids, (long long)mtp_sums.n_wrong);
	ok(mtp_sums.n_absent == n_seq * k && mtp_sums.n_not_absent == 0, "%s: none for the last token", name);
	if (moe_ckpt_find(golden, "mtp_expert_weights")) {
		ok(mtp_sums.weights <= 1e-5 && mtp_sums.weights > 0, "%s: its weights within 1e-5 (%.2g)", name,
		   mtp_sums.weights);
		ok(mtp_sums.margins <= 1e-5 && mtp_sums.margins > 0, "%s: its margins within 1e-5 (%.2g)", name,
		   mtp_sums.margins);
	}
	moe_trace_close(in);
	unlink(first_path);
	moe_buf_free(&first);
	moe_buf_free(&other);
	moe_ckpt_close(golden);
	moe_setup_close(&setup);
}

int main(void)
{
	const char *top = getenv("MOE_TOP") ? getenv("MOE_TOP") : ".";
	struct moe_err err = { 0 };
	struct moe_pool *pool = NULL;
	if (!mkdtemp(dir) || moe_pool_new(&pool, 2, &err))
		bail(err.text);
	check(top, "tests/golden/models", "deepseek_v3", pool);
	check(top, "tests/golden/models", "glm4_moe", pool);
	check(top, "tests/golden/models", "glm4_moe_lite", pool);
	check(top, "share/models", "tiny-v3", pool);
	moe_pool_free(pool);
	rmdir(dir);
	return done();
}
