/* Streams fed: one block of states per layer, one more for each sequence and part that is open. */
#include "stats/feed.h"

#include <stdlib.h>
#include <string.h>

#include "stats/gone.h"

enum { ALIGN = 64, MIN_OPEN = 8, SMALL_RUN = 4096 };
#define OPEN_BYTES ((size_t)256 << 20)

/* Where a stream's state lies in the block of a layer. */
struct slot {
	const struct moe_stream *stream;
	size_t state, n_state;   /* offset, bytes */
	size_t open, n_open;     /* offset in the block of a sequence or of the part; n_open 0: none */
};

struct moe_feeder {
	struct moe_stream_setup setup;
	int32_t *layers;       /* [setup.n_layers] */
	char *scoring;
	int32_t header_groups, header_top_groups;
	int32_t *rows;         /* [n_rows] those that are wanted */
	int32_t n_rows;
	struct slot *slots;
	int n_slots;
	size_t n_state, n_open[2];   /* bytes of a layer; by enum moe_scope */
	struct moe_pool *pool;
	size_t n_scratch;
	char *scratch;         /* [threads][n_scratch] */
	struct moe_err *errs;  /* [n_rows] */
};

struct open {
	int64_t seq;
	uint64_t tick;   /* when it was last fed */
	char *bytes;     /* [n_rows][n_open] */
};

struct moe_feed {
	struct moe_feeder *feeder;
	char *states;            /* [n_rows][n_state] */
	char *part_bytes;        /* [n_rows][n_open] of the part; NULL: none needed */
	struct open *open;
	size_t n_open, cap_open, last;
	uint64_t tick;
	struct moe_gone gone;   /* sequences of this part that were closed to make room */
	int64_t part;
	bool started;
};

static size_t round_up(size_t n) { return (n + ALIGN - 1) / ALIGN * ALIGN; }

/* n zero bytes, aligned; NULL where there is no memory. n may be 0. */
static char *zeros(size_t n_rows, size_t n_each, struct moe_err *err)
{
	size_t n;
	char *p = NULL;

	if (!__builtin_mul_overflow(n_rows, n_each, &n) && n <= SIZE_MAX / 2)
		p = aligned_alloc(ALIGN, n ? n : ALIGN);
	else
		n = SIZE_MAX;
	if (p)
		memset(p, 0, n);
	else
		moe_err_nomem(err, n, "the sums of a metric");
	return p;
}

/* ---- feeder ---- */

static enum moe_status set_groups(struct moe_feeder *f, const struct moe_metric *const *metrics, int n_metrics,
                                  const struct moe_metric_params *params, const struct moe_trace_header *h,
                                  struct moe_err *err)
{
	struct moe_stream_setup *s = &f->setup;
	const struct moe_metric *m = NULL;

	f->header_groups = h->n_groups;
	f->header_top_groups = h->top_groups;
	s->n_groups = params->n_groups;
	if (s->n_groups > 0 && s->n_experts % s->n_groups != 0)
		return moe_err_set(err, MOE_EUSAGE, "--groups %d does not divide the %d experts", s->n_groups,
		                   s->n_experts);
	if (s->n_groups == 0 && h->n_groups > 1 && s->n_experts % h->n_groups == 0)
		s->n_groups = h->n_groups;
	for (int i = 0; i < n_metrics && !m; i++)
		if (metrics[i]->needs & MOE_NEEDS_GROUPS)
			m = metrics[i];
	if (m && s->n_groups == 0)
		return moe_err_set(err, MOE_EUSAGE,
		                   "%s is about groups of experts, and the trace has none: --groups D says how many",
		                   m->name);
	s->top_groups = params->top_groups;
	if (s->top_groups == 0)
		s->top_groups = s->n_groups == h->n_groups && h->top_groups > 0 ? h->top_groups : s->top_k;
	if (params->top_groups > s->n_groups && s->n_groups > 0)
		return moe_err_set(err, MOE_EUSAGE, "--top-groups %d of %d groups", params->top_groups, s->n_groups);
	if (s->top_groups > s->n_groups)
		s->top_groups = s->n_groups;
	return MOE_OK;
}

/* What only the caller can give. */
static enum moe_status check_params(const struct moe_metric *m, const struct moe_metric_params *params,
                                    int32_t n_experts, struct moe_err *err)
{
	int32_t n_planned = 0;

	if ((m->needs & MOE_NEEDS_AGAINST) && !params->against)
		return moe_err_set(err, MOE_EUSAGE,
		                   "%s compares with another trace of the same tokens: --against TRACE", m->name);
	if ((m->needs & MOE_NEEDS_PLAN) && !params->plan)
		return moe_err_set(err, MOE_EUSAGE, "%s asks where the experts live: --plan PLAN", m->name);
	for (int64_t i = 0; (m->needs & MOE_NEEDS_PLAN) && i < params->plan->n_entries; i++) {
		int32_t expert = params->plan->entries[i].expert;

		n_planned = expert >= n_planned ? expert + 1 : n_planned;
	}
	if ((m->needs & MOE_NEEDS_PLAN) && n_planned != n_experts)
		return moe_err_set(err, MOE_EUSAGE, "the plan places %d experts of a layer, the trace has %d",
		                   n_planned, n_experts);
	if ((m->needs & MOE_NEEDS_BYTES) && (params->hidden_size <= 0 || params->element_bytes <= 0))
		return moe_err_set(err, MOE_EUSAGE,
		                   "%s counts bytes: --hidden-size H and --bytes-per-element B say how large a token "
		                   "is", m->name);
	return MOE_OK;
}

static enum moe_status add_stream(struct moe_feeder *f, const struct moe_stream *stream, struct moe_err *err)
{
	struct slot slot = {.stream = stream, .state = f->n_state};
	size_t n_scratch = stream->scratch ? round_up(stream->scratch(&f->setup)) : 0;
	struct slot *grown;

	for (int i = 0; i < f->n_slots; i++)
		if (f->slots[i].stream == stream)
			return MOE_OK;
	grown = reallocarray(f->slots, (size_t)f->n_slots + 1, sizeof *grown);
	if (!grown)
		return moe_err_nomem(err, sizeof *grown, "a metric");
	f->slots = grown;
	slot.n_state = round_up(stream->state(&f->setup));
	f->n_state += slot.n_state;
	if (stream->open) {
		slot.open = f->n_open[stream->scope];
		slot.n_open = round_up(stream->open(&f->setup));
		f->n_open[stream->scope] += slot.n_open;
	}
	if (n_scratch > f->n_scratch)
		f->n_scratch = n_scratch;
	f->slots[f->n_slots++] = slot;
	return MOE_OK;
}

enum moe_status moe_feeder_new(struct moe_feeder **out, const struct moe_metric *const *metrics, int n_metrics,
                               const struct moe_metric_params *params, const struct moe_trace_header *h,
                               const bool *rows, struct moe_pool *pool, struct moe_err *err)
{
	static const struct moe_metric_params none = {0};
	const size_t n_layers = (size_t)h->n_layers;
	struct moe_feeder *f = calloc(1, sizeof *f);
	enum moe_status status = MOE_OK;

	*out = NULL;
	if (!f)
		return moe_err_nomem(err, sizeof *f, "metrics");
	params = params ? params : &none;
	f->pool = pool;
	f->layers = calloc(n_layers, sizeof *f->layers);
	f->rows = calloc(n_layers, sizeof *f->rows);
	f->errs = calloc(n_layers, sizeof *f->errs);
	f->scoring = strdup(h->scoring ? h->scoring : "");
	if (!f->layers || !f->rows || !f->errs || !f->scoring) {
		status = moe_err_nomem(err, n_layers * sizeof *f->errs, "metrics");
		goto out;
	}
	memcpy(f->layers, h->layers, n_layers * sizeof *f->layers);
	for (int32_t l = 0; l < h->n_layers; l++)
		if (!rows || rows[l])
			f->rows[f->n_rows++] = l;
	f->setup = (struct moe_stream_setup){
		.n_layers = h->n_layers,
		.n_experts = h->n_experts,
		.top_k = h->top_k,
		.layers = f->layers,
		.rows = f->rows,
		.n_fed = f->n_rows,
		.params = params,
		.scoring = f->scoring,
		.batch_tokens = params->batch_tokens > 0 ? params->batch_tokens : 2048,
		.flip_below = params->flip_below > 0 ? params->flip_below : 1e-3,
	};
	status = set_groups(f, metrics, n_metrics, params, h, err);
	for (int i = 0; i < n_metrics && !status; i++)
		status = check_params(metrics[i], params, h->n_experts, err);
	for (int i = 0; i < n_metrics && !status; i++)
		if (metrics[i]->stream)
			status = add_stream(f, metrics[i]->stream, err);
	if (!status) {
		f->scratch = zeros((size_t)moe_pool_threads(pool), f->n_scratch, err);
		status = f->scratch ? MOE_OK : MOE_EIO;
	}
out:
	if (status)
		moe_feeder_free(f);
	else
		*out = f;
	return status;
}

enum moe_status moe_feeder_alike(const struct moe_feeder *f, const struct moe_trace_header *h, struct moe_err *err)
{
	const char *scoring = h->scoring ? h->scoring : "";

	if (h->top_k != f->setup.top_k)
		return moe_err_set(err, MOE_EFORMAT, "top_k %d, the part before it has %d", h->top_k, f->setup.top_k);
	if (strcmp(scoring, f->scoring) != 0)
		return moe_err_set(err, MOE_EFORMAT,
		                   "its scores are '%.80s', those of the part before it '%.80s': metrics of both "
		                   "together have no meaning", scoring, f->scoring);
	if (h->n_groups != f->header_groups || h->top_groups != f->header_top_groups)
		return moe_err_set(err, MOE_EFORMAT,
		                   "%d of %d groups of experts, the part before it has %d of %d: metrics of both "
		                   "together have no meaning", h->top_groups, h->n_groups, f->header_top_groups,
		                   f->header_groups);
	return MOE_OK;
}

void moe_feeder_free(struct moe_feeder *f)
{
	if (!f)
		return;
	free(f->layers);
	free(f->scoring);
	free(f->rows);
	free(f->slots);
	free(f->scratch);
	free(f->errs);
	free(f);
}

/* ---- feed ---- */

enum moe_status moe_feed_new(struct moe_feed **out, struct moe_feeder *f, struct moe_err *err)
{
	struct moe_feed *feed = calloc(1, sizeof *feed);

	*out = NULL;
	if (!feed)
		return moe_err_nomem(err, sizeof *feed, "metrics");
	feed->feeder = f;
	feed->states = zeros((size_t)f->n_rows, f->n_state, err);
	if (feed->states && f->n_open[MOE_SCOPE_PART] > 0)
		feed->part_bytes = zeros((size_t)f->n_rows, f->n_open[MOE_SCOPE_PART], err);
	if (!feed->states || (f->n_open[MOE_SCOPE_PART] > 0 && !feed->part_bytes)) {
		moe_feed_free(feed);
		return MOE_EIO;
	}
	*out = feed;
	return MOE_OK;
}

void moe_feed_free(struct moe_feed *feed)
{
	if (!feed)
		return;
	struct moe_feeder *f = feed->feeder;

	for (int s = 0; s < f->n_slots && feed->states; s++)
		for (int32_t r = 0; r < f->n_rows && f->slots[s].stream->clear; r++)
			f->slots[s].stream->clear(&f->setup,
			                          feed->states + (size_t)r * f->n_state + f->slots[s].state);
	for (size_t i = 0; i < feed->n_open; i++)
		free(feed->open[i].bytes);
	free(feed->open);
	moe_gone_free(&feed->gone);
	free(feed->part_bytes);
	free(feed->states);
	free(feed);
}

size_t moe_feed_bytes(const struct moe_feed *feed)
{
	return (size_t)feed->feeder->n_rows * feed->feeder->n_state;
}

bool moe_feed_opens(const struct moe_feed *feed) { return feed->feeder->n_open[MOE_SCOPE_SEQUENCE] > 0; }

size_t moe_feed_open_max(const struct moe_feed *feed)
{
	const struct moe_feeder *f = feed->feeder;
	size_t each = (size_t)f->n_rows * f->n_open[MOE_SCOPE_SEQUENCE];
	size_t n = OPEN_BYTES / (each ? each : 1);

	return n > MIN_OPEN ? n : MIN_OPEN;
}

/* What is to be closed. */
struct closing {
	struct moe_feed *feed;
	enum moe_scope scope;
	char *bytes;
};

static void close_some(void *arg, int64_t begin, int64_t end, int thread)
{
	const struct closing *c = arg;
	struct moe_feeder *f = c->feed->feeder;

	(void)thread;
	for (int64_t r = begin; r < end; r++) {
		enum moe_status status = MOE_OK;

		for (int s = 0; s < f->n_slots && !status; s++) {
			const struct slot *slot = &f->slots[s];

			if (slot->n_open > 0 && slot->stream->scope == c->scope && slot->stream->close)
				status = slot->stream->close(
					&f->setup, c->feed->states + (size_t)r * f->n_state + slot->state,
					c->bytes + (size_t)r * f->n_open[c->scope] + slot->open, &f->errs[r]);
		}
		f->errs[r].status = status;
	}
}

/* Closes a sequence, or the part, its layers in parallel: there are fewer parts, and they leave more to do. */
static enum moe_status close_block(struct moe_feed *feed, enum moe_scope scope, char *bytes, struct moe_err *err)
{
	struct moe_feeder *f = feed->feeder;
	struct closing c = {.feed = feed, .scope = scope, .bytes = bytes};

	moe_pool_for(scope == MOE_SCOPE_PART ? f->pool : NULL, f->n_rows, 1, close_some, &c);
	for (int32_t r = 0; r < f->n_rows; r++)
		if (f->errs[r].status)
			return moe_err_set(err, f->errs[r].status, "%s", f->errs[r].text);
	return MOE_OK;
}

enum moe_status moe_feed_end(struct moe_feed *feed, struct moe_err *err)
{
	const struct moe_feeder *f = feed->feeder;
	enum moe_status status = MOE_OK;

	for (size_t i = 0; i < feed->n_open; i++) {
		if (!status)
			status = close_block(feed, MOE_SCOPE_SEQUENCE, feed->open[i].bytes, err);
		free(feed->open[i].bytes);
	}
	feed->n_open = feed->last = 0;
	moe_gone_clear(&feed->gone);
	if (feed->part_bytes && feed->started) {
		if (!status)
			status = close_block(feed, MOE_SCOPE_PART, feed->part_bytes, err);
		memset(feed->part_bytes, 0, (size_t)f->n_rows * f->n_open[MOE_SCOPE_PART]);
	}
	feed->started = false;
	return status;
}

/* Room for a sequence: a new place, or that of the one that waited longest, which is closed. */
static enum moe_status make_room(struct moe_feed *feed, size_t *index, struct moe_err *err)
{
	const struct moe_feeder *f = feed->feeder;
	const size_t n_each = f->n_open[MOE_SCOPE_SEQUENCE];
	enum moe_status status;
	size_t oldest = 0;

	if (feed->n_open == feed->cap_open && feed->cap_open < moe_feed_open_max(feed)) {
		size_t cap = feed->cap_open ? 2 * feed->cap_open : 16;
		struct open *grown;

		if (cap > moe_feed_open_max(feed))
			cap = moe_feed_open_max(feed);
		grown = reallocarray(feed->open, cap, sizeof *grown);
		if (!grown)
			return moe_err_nomem(err, cap * sizeof *grown, "open sequences");
		feed->open = grown;
		feed->cap_open = cap;
	}
	if (feed->n_open < feed->cap_open) {
		char *bytes = zeros((size_t)f->n_rows, n_each, err);

		if (!bytes)
			return MOE_EIO;
		feed->open[feed->n_open].bytes = bytes;
		*index = feed->n_open++;
		return MOE_OK;
	}
	for (size_t i = 1; i < feed->n_open; i++)
		if (feed->open[i].tick < feed->open[oldest].tick)
			oldest = i;
	status = close_block(feed, MOE_SCOPE_SEQUENCE, feed->open[oldest].bytes, err);
	if (!status)
		status = moe_gone_add(&feed->gone, feed->open[oldest].seq, err);
	memset(feed->open[oldest].bytes, 0, (size_t)f->n_rows * n_each);
	*index = oldest;
	return status;
}

/* The open block of a sequence: found, or begun. */
static enum moe_status find_open(struct moe_feed *feed, int64_t seq, char **bytes, struct moe_err *err)
{
	enum moe_status status = MOE_OK;
	size_t i = feed->last;

	if (i >= feed->n_open || feed->open[i].seq != seq)
		for (i = 0; i < feed->n_open && feed->open[i].seq != seq; i++)
			;
	if (i == feed->n_open) {
		if (moe_gone_has(&feed->gone, seq))
			return moe_err_set(err, MOE_EFORMAT,
			                   "sequence %jd goes on after more than %zu others: too many sequences "
			                   "alternate for metrics of sequences", seq, moe_feed_open_max(feed));
		status = make_room(feed, &i, err);
		if (status)
			return status;
		feed->open[i].seq = seq;
	}
	feed->open[i].tick = ++feed->tick;
	feed->last = i;
	*bytes = feed->open[i].bytes;
	return status;
}

/* A run on its way to the layers. */
struct delivery {
	struct moe_feed *feed;
	const struct moe_trace_run *run;
	const struct moe_routing *against;
	char *seq_bytes;
};

static void add_some(void *arg, int64_t begin, int64_t end, int thread)
{
	struct delivery *d = arg;
	struct moe_feed *feed = d->feed;
	struct moe_feeder *f = feed->feeder;
	char *const blocks[] = {[MOE_SCOPE_SEQUENCE] = d->seq_bytes, [MOE_SCOPE_PART] = feed->part_bytes};

	for (int64_t r = begin; r < end; r++) {
		struct moe_stream_tokens tokens = {
			.setup = &f->setup, .run = d->run, .row = f->rows[r], .part = feed->part};
		enum moe_status status = MOE_OK;

		tokens.routing = d->run->layers + tokens.row;
		tokens.against = d->against ? d->against + tokens.row : NULL;
		tokens.scratch = f->scratch + (size_t)thread * f->n_scratch;
		f->errs[r].status = MOE_OK;
		for (int s = 0; s < f->n_slots && !status; s++) {
			const struct slot *slot = &f->slots[s];
			enum moe_scope scope = slot->stream->scope;
			char *open = slot->n_open == 0
			                     ? NULL
			                     : blocks[scope] + (size_t)r * f->n_open[scope] + slot->open;

			status = slot->stream->add(&tokens, feed->states + (size_t)r * f->n_state + slot->state, open,
			                           &f->errs[r]);
			f->errs[r].status = status;
		}
	}
}

enum moe_status moe_feed_add(struct moe_feed *feed, int64_t part, const struct moe_trace_run *run,
                             const struct moe_routing *against, struct moe_err *err)
{
	struct moe_feeder *f = feed->feeder;
	struct delivery d = {.feed = feed, .run = run, .against = against};
	int64_t work = run->n_tokens * (run->layers[0].logits ? f->setup.n_experts : f->setup.top_k) * f->n_rows;
	enum moe_status status = MOE_OK;

	if (feed->started && part != feed->part)
		status = moe_feed_end(feed, err);
	feed->started = true;
	feed->part = part;
	if (!status && f->n_open[MOE_SCOPE_SEQUENCE] > 0)
		status = find_open(feed, run->seq, &d.seq_bytes, err);
	if (status)
		return status;
	/* Small runs are not worth waking anybody. */
	moe_pool_for(work < SMALL_RUN ? NULL : f->pool, f->n_rows, 1, add_some, &d);
	for (int32_t r = 0; r < f->n_rows; r++)
		if (f->errs[r].status)
			return moe_err_set(err, f->errs[r].status, "%s", f->errs[r].text);
	return MOE_OK;
}

enum moe_status moe_feed_merge(struct moe_feed *into, const struct moe_feed *from, struct moe_err *err)
{
	const struct moe_feeder *f = into->feeder;
	enum moe_status status = MOE_OK;

	for (int32_t r = 0; r < f->n_rows; r++)
		for (int s = 0; s < f->n_slots && !status; s++) {
			size_t at = (size_t)r * f->n_state + f->slots[s].state;

			status = f->slots[s].stream->merge(&f->setup, into->states + at, from->states + at, err);
		}
	return status;
}

/* ---- states ---- */

const struct moe_stream_setup *moe_feed_setup(const struct moe_feed *feed) { return &feed->feeder->setup; }

static const struct slot *slot_of(const struct moe_feed *feed, const struct moe_stream *stream)
{
	const struct slot *slot = feed->feeder->slots;

	while (slot->stream != stream)
		slot++;
	return slot;
}

const void *moe_feed_state(const struct moe_feed *feed, const struct moe_stream *stream, int32_t layer)
{
	const struct moe_feeder *f = feed->feeder;
	int32_t r = 0;

	while (f->layers[f->rows[r]] != layer)
		r++;
	return feed->states + (size_t)r * f->n_state + slot_of(feed, stream)->state;
}

enum moe_status moe_feed_pool(const struct moe_feed *feed, const struct moe_stream *stream, const int32_t *layers,
                              int32_t n_layers, void **out, struct moe_err *err)
{
	char *state = zeros(1, slot_of(feed, stream)->n_state, err);
	enum moe_status status = state ? MOE_OK : MOE_EIO;

	for (int32_t l = 0; l < n_layers && !status; l++)
		status = stream->merge(&feed->feeder->setup, state, moe_feed_state(feed, stream, layers[l]), err);
	if (status && state) {
		moe_feed_pool_free(feed, stream, state);
		state = NULL;
	}
	*out = state;
	return status;
}

void moe_feed_pool_free(const struct moe_feed *feed, const struct moe_stream *stream, void *state)
{
	if (state && stream->clear)
		stream->clear(&feed->feeder->setup, state);
	free(state);
}
