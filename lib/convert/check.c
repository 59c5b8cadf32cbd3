/* Hashes and errors of tensors. One thread works on one tensor, so sums have one order whatever -j is. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/hash.h"
#include "base/sha256.h"
#include "convert/check.h"
#include "tensor/blocks.h"

/* Both hashes of the same bytes; sha256 NULL: not asked for. */
struct two {
	struct moe_hash *xxh3;
	struct moe_sha256 *sha256;
};

static void two_add(struct two *two, const void *bytes, size_t n_bytes)
{
	moe_hash_add(two->xxh3, bytes, n_bytes);
	if (two->sha256)
		moe_sha256_add(two->sha256, bytes, n_bytes);
}

/* The scales of a matrix that lies in parts, as they would be stored were it whole. */
static void hash_parted_scales(struct two *hash, const struct moe_weight *w)
{
	const bool e8m0 = w->parted->parts[0].e8m0;

	for (int64_t r = 0; r < w->rows; r += MOE_SCALE_BLOCK)
		for (int64_t c = 0; c < w->cols; c += MOE_SCALE_BLOCK) {
			const float scale = moe_weight_scale(w, (size_t)r, (size_t)c);
			uint8_t stored[4];

			moe_store_u32(stored, moe_f32_bits(scale));
			if (e8m0)
				stored[0] = moe_e8m0_ceil(scale);
			two_add(hash, stored, e8m0 ? 1 : sizeof stored);
		}
}

struct job {
	const struct moe_view *view, *ref;
	const int64_t *ref_index;
	size_t first;
	bool sha256;
	struct moe_tensor_hash *hashes;
	struct moe_tensor_check *checks;
	enum moe_status *status;    /* [n] */
	struct moe_err *errs;       /* [n_threads] */
};

static enum moe_status hash_one(const struct moe_view *view, const struct moe_seen *seen, bool sha256,
                                struct moe_tensor_hash *out, struct moe_err *err)
{
	struct moe_tile_walk walk = { .view = view, .seen = seen };
	struct two stored = { .xxh3 = moe_hash_new(), .sha256 = sha256 ? moe_sha256_new() : NULL };
	struct moe_hash *decoded = moe_hash_new();
	struct moe_tile_buf buf = {0};
	struct moe_tile tile;
	const bool ready = stored.xxh3 && decoded && (!sha256 || stored.sha256);
	enum moe_status st = ready ? MOE_OK : moe_err_nomem(err, 1024, "hashes");

	while (!st && moe_tile_next(&walk, &tile)) {
		const float *values;
		size_t n_bytes;
		const uint8_t *bytes;

		st = moe_tile_bytes(&tile, &buf, &bytes, &n_bytes, err);
		if (!st)
			two_add(&stored, bytes, n_bytes);
		if (!st)
			st = moe_tile_decode(&tile, &buf, &values, err);
		if (!st)
			moe_hash_add(decoded, values, tile.n * sizeof *values);
		moe_tile_release(&tile);
	}
	/* block scales come behind the tensor they belong to */
	for (int64_t i = 0; !st && i < seen->n_segments; i++) {
		const struct moe_segment s = moe_seen_segment(view, seen, i);
		const int64_t blocks = (s.rows + MOE_SCALE_BLOCK - 1) / MOE_SCALE_BLOCK *
		                       ((s.cols + MOE_SCALE_BLOCK - 1) / MOE_SCALE_BLOCK);

		if (s.parts[0].parted && s.parts[0].codec->scaled)
			hash_parted_scales(&stored, &s.parts[0]);
		if (s.parts[0].scales && !s.parts[0].codec->block_exponents)
			two_add(&stored, s.parts[0].scales, (size_t)blocks * (s.parts[0].e8m0 ? 1 : sizeof(float)));
	}
	if (!st) {
		moe_hash_text(stored.xxh3, out->stored);
		out->sha256[0] = '\0';
		if (sha256)
			moe_sha256_text(stored.sha256, out->sha256);
		moe_hash_text(decoded, out->decoded);
	}
	moe_hash_free(stored.xxh3);
	moe_sha256_free(stored.sha256);
	moe_hash_free(decoded);
	moe_tile_buf_free(&buf);
	return st;
}

static void add_values(struct moe_tensor_check *out, const float *own, const float *ref, size_t n)
{
	out->n += (double)n;
	for (size_t i = 0; i < n; i++) {
		out->n_nan += isnan(own[i]) != 0;
		out->n_inf += isinf(own[i]) != 0;
		if (!ref)
			continue;
		const double a = own[i], b = ref[i];
		/* equal infinities, and NaN where there is NaN, are no difference */
		const bool same = a == b || (isnan(a) && isnan(b));
		const double diff = same ? 0 : isfinite(a) && isfinite(b) ? fabs(a - b) : INFINITY;
		out->max = diff > out->max ? diff : out->max;
		out->squares += diff * diff;
		if (isfinite(a) && isfinite(b)) {
			out->own_squares += a * a;
			out->ref_squares += b * b;
			out->product += a * b;
		}
	}
}

/* What the sums say. */
static void conclude(struct moe_tensor_check *c)
{
	c->rms = sqrt(c->squares / (c->n > 0 ? c->n : 1));
	c->rel = c->squares == 0 ? 0 : c->ref_squares > 0 ? sqrt(c->squares / c->ref_squares) : INFINITY;
	c->cosine = 1;
	if (c->squares != 0)
		c->cosine = c->own_squares > 0 && c->ref_squares > 0
		            ? c->product / sqrt(c->own_squares * c->ref_squares) : 0;
}

void moe_check_add(struct moe_tensor_check *sum, const struct moe_tensor_check *c)
{
	sum->n_nan += c->n_nan;
	sum->n_inf += c->n_inf;
	sum->max = c->max > sum->max ? c->max : sum->max;
	sum->n += c->n;
	sum->squares += c->squares;
	sum->own_squares += c->own_squares;
	sum->ref_squares += c->ref_squares;
	sum->product += c->product;
	conclude(sum);
}

/* A walk whose tiles are handed out in pieces, so that two can go in step whatever their tiles are. */
struct stream {
	struct moe_tile_walk walk;
	struct moe_tile_buf buf;
	const float *values;
	size_t n;
};

static enum moe_status fill(struct stream *s, struct moe_err *err)
{
	struct moe_tile tile;
	enum moe_status st;

	if (s->n || !moe_tile_next(&s->walk, &tile))
		return MOE_OK;
	s->n = tile.n;
	st = moe_tile_decode(&tile, &s->buf, &s->values, err);
	moe_tile_release(&tile);
	return st;
}

static enum moe_status check_one(const struct moe_view *view, const struct moe_seen *seen, const struct moe_view *ref,
                                 const struct moe_seen *ref_seen, struct moe_tensor_check *out, struct moe_err *err)
{
	struct stream own = { .walk = { .view = view, .seen = seen } };
	struct stream other = { .walk = { .view = ref, .seen = ref_seen } };
	enum moe_status st = MOE_OK;

	*out = (struct moe_tensor_check){0};
	for (;;) {
		st = fill(&own, err);
		if (!st && ref)
			st = fill(&other, err);
		const size_t n = ref && other.n < own.n ? other.n : own.n;
		if (st || n == 0)
			break;
		add_values(out, own.values, ref ? other.values : NULL, n);
		own.values += n;
		own.n -= n;
		if (ref) {
			other.values += n;
			other.n -= n;
		}
	}
	conclude(out);
	moe_tile_buf_free(&own.buf);
	moe_tile_buf_free(&other.buf);
	return st;
}

static void run_job(void *arg, int64_t begin, int64_t end, int thread)
{
	struct job *job = arg;

	for (int64_t i = begin; i < end; i++) {
		const struct moe_seen *seen = &job->view->seen[job->first + (size_t)i];
		const struct moe_seen *ref = NULL;
		struct moe_err *err = &job->errs[thread];

		if (job->ref && job->ref_index[i] < 0) {
			job->checks[i] = (struct moe_tensor_check){0};
			continue;
		}
		if (job->ref)
			ref = &job->ref->seen[job->ref_index[i]];
		job->status[i] = job->hashes ? hash_one(job->view, seen, job->sha256, &job->hashes[i], err)
		                             : check_one(job->view, seen, job->ref, ref, &job->checks[i], err);
	}
}

static enum moe_status run_all(struct job *job, size_t n, struct moe_pool *pool, struct moe_err *err)
{
	const size_t n_threads = (size_t)moe_pool_threads(pool);
	enum moe_status st = MOE_OK;

	job->status = calloc(n, sizeof *job->status);
	job->errs = calloc(n_threads, sizeof *job->errs);
	if (n && (!job->status || !job->errs)) {
		st = moe_err_nomem(err, n * sizeof *job->status, "checks");
	} else {
		moe_pool_for(pool, (int64_t)n, 1, run_job, job);
		for (size_t i = 0; i < n && !st; i++)
			st = job->status[i];
		/* only memory can be short here, whichever thread says so */
		for (size_t t = 0; st && t < n_threads; t++)
			if (job->errs[t].status && err)
				*err = job->errs[t];
	}
	free(job->status);
	free(job->errs);
	return st;
}

enum moe_status moe_check_hash(const struct moe_view *view, size_t first, size_t n, struct moe_pool *pool,
                               bool sha256, struct moe_tensor_hash *out, struct moe_err *err)
{
	struct job job = { .view = view, .first = first, .sha256 = sha256, .hashes = out };
	return run_all(&job, n, pool, err);
}

enum moe_status moe_check_values(const struct moe_view *view, const struct moe_view *ref, const int64_t *ref_index,
                                 size_t first, size_t n, struct moe_pool *pool, struct moe_tensor_check *out,
                                 struct moe_err *err)
{
	struct job job = { .view = view, .ref = ref, .ref_index = ref_index, .first = first, .checks = out };
	return run_all(&job, n, pool, err);
}
