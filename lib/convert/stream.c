/* Running a conversion: one pass over the tensors of the destination, in tiles that are read, encoded and written at
 * the same time. Block scales are gathered while their matrix goes by, and written behind it. */
#include <stdlib.h>

#include "base/bytes.h"
#include "convert/job.h"
#include "tensor/blocks.h"

/* What all slots together take at most, unless two tiles take more. */
#define SLOTS_BYTES ((uint64_t)64 << 20)

/* Memory of a slot: the values of its tile, its codes and what is beside them, the weights of a row. */
static uint64_t slot_bytes(const struct moe_convert *conv)
{
	uint64_t most = 0, weights = 0;

	for (size_t i = 0; i < conv->view.n; i++) {
		const struct moe_seen *seen = &conv->view.seen[i];
		const struct moe_codec *to = conv->choices[i].codec;

		if (seen->n_segments > 0) {
			const struct moe_segment s = moe_seen_segment(&conv->view, seen, 0);
			const uint64_t n = moe_tile_most(&s, conv->choices[i].scaled);
			const uint64_t n_elems = n < seen->n_elems ? n : seen->n_elems;
			/* averages are added up term by term */
			const uint64_t n_bytes = n_elems * sizeof(float) * (conv->opts.surgery.merge ? 2 : 1) +
			                         (n_elems / to->block_elems + 1) * to->block_bytes;

			most = n_bytes > most ? n_bytes : most;
		}
		if (conv->choices[i].importance && (uint64_t)moe_seen_cols(seen) > weights)
			weights = (uint64_t)moe_seen_cols(seen);
	}
	return most + weights * (2 * sizeof(float) + sizeof(double));
}

/* Enough to keep every thread at work, reading and writing beside it. */
static int slots_for(const struct moe_convert *conv, int n_threads)
{
	const uint64_t most = slot_bytes(conv), fit = most ? SLOTS_BYTES / most : SLOTS_BYTES;
	const uint64_t wanted = 2 * (uint64_t)n_threads + 2;

	return fit < 2 ? 2 : (int)(fit < wanted ? fit : wanted);
}

uint64_t moe_convert_memory(const struct moe_convert *conv, int n_threads)
{
	return (uint64_t)slots_for(conv, n_threads) * slot_bytes(conv);
}

/* ---- running ---- */

struct slot {
	struct moe_tile tile;
	size_t item;
	struct moe_tile_buf buf;
	const uint8_t *bytes;
	size_t n_bytes;
	float *scales;       /* [n_scales] of the tile's blocks, where its tensor has them */
	size_t n_scales, cap;
	bool last;           /* of its tensor */
	size_t first;        /* element of its tensor */
	struct moe_weigher weigher;
};

struct run {
	struct moe_convert *conv;
	struct moe_tile_walk walk;
	size_t item, elem;
	struct slot *slots;
	struct moe_buf scales;   /* of the tensor being written, so far; as stored */
	void (*progress)(void *arg, size_t n_bytes);
	void *arg;
};

static enum moe_status run_read(void *arg, int slot, int *done, struct moe_err *err)
{
	struct run *run = arg;
	const struct moe_view *view = &run->conv->view;

	(void)err;
	while (run->item < view->n) {
		if (run->walk.seen != &view->seen[run->item])
			run->walk = (struct moe_tile_walk){ .view = view, .seen = &view->seen[run->item],
			                                    .blocks = run->conv->choices[run->item].scaled };
		if (run->walk.segment == 0 && run->walk.at == 0)
			run->elem = 0;
		run->slots[slot].item = run->item;
		if (moe_tile_next(&run->walk, &run->slots[slot].tile)) {
			const struct moe_tile *tile = &run->slots[slot].tile;
			run->slots[slot].first = run->elem;
			run->elem += tile->n;
			run->slots[slot].last = run->walk.segment + 1 == run->walk.seen->n_segments &&
			                        tile->at + tile->n ==
			                                (size_t)tile->segment.rows * (size_t)tile->segment.cols;
			return MOE_OK;
		}
		run->item++;
	}
	*done = 1;
	return MOE_OK;
}

/* The one matrix in parts that the segment shows as it lies, or NULL. */
static const struct moe_weight *window_of(const struct moe_segment *s)
{
	return s->n_parts == 1 && s->parts[0].parted && !s->turned && !s->head ? &s->parts[0] : NULL;
}

/* Codes and scales of a tile of whole bands of blocks; those of a source that has them already stay as they are. */
static enum moe_status encode_blocks(struct slot *slot, const struct moe_choice *choice, struct moe_err *err)
{
	const struct moe_codec *codec = choice->codec;
	const struct moe_weight *plain = moe_segment_plain(&slot->tile.segment);
	const struct moe_weight *kept = plain ? plain : window_of(&slot->tile.segment);
	const size_t cols = (size_t)slot->tile.segment.cols, rows = slot->tile.n / cols, across = moe_blocks_of(cols);
	const size_t n = moe_blocks_of(rows) * across;
	const float *values;
	enum moe_status st;

	if (n > slot->cap) {
		free(slot->scales);
		slot->cap = 0;
		slot->scales = calloc(n, sizeof *slot->scales);
		if (!slot->scales)
			return moe_err_nomem(err, n * sizeof *slot->scales, "block scales");
		slot->cap = n;
	}
	slot->n_scales = n;
	if (kept && kept->codec == codec && (kept->scales || kept->parted) && !choice->rescale &&
	    (kept->scale_row | kept->row0 | kept->col0) % MOE_SCALE_BLOCK == 0) {
		const size_t first = slot->tile.at / cols;

		for (size_t i = 0; i < n; i++)
			slot->scales[i] = moe_weight_scale(kept, first + i / across * MOE_SCALE_BLOCK,
			                                   i % across * MOE_SCALE_BLOCK);
		return moe_tile_bytes(&slot->tile, &slot->buf, &slot->bytes, &slot->n_bytes, err);
	}
	st = moe_tile_decode(&slot->tile, &slot->buf, &values, err);
	if (!st)
		st = moe_tile_room(&slot->buf, slot->tile.n, err);
	if (st)
		return st;
	/* the values are this slot's own: dividing them in place is nobody's loss */
	moe_blocks_encode(codec, (float *)values, rows, cols, choice->powers, slot->buf.bytes, slot->scales);
	slot->bytes = slot->buf.bytes;
	slot->n_bytes = slot->tile.n * codec->block_bytes;
	return MOE_OK;
}

/* Rows with the weights of their columns, in the destination's type. */
static enum moe_status encode_weighted(const struct moe_convert *conv, struct slot *slot, struct moe_err *err)
{
	const struct moe_seen *seen = &conv->view.seen[slot->item];
	const struct moe_choice *choice = &conv->choices[slot->item];
	const struct moe_codec *codec = choice->codec;
	const size_t cols = (size_t)moe_seen_cols(seen), per_matrix = seen->n_elems / (size_t)moe_seen_matrices(seen);
	const float *values;
	enum moe_status st = moe_tile_decode(&slot->tile, &slot->buf, &values, err);

	slot->n_bytes = slot->tile.n / codec->block_elems * codec->block_bytes;
	if (!st)
		st = moe_tile_room(&slot->buf, slot->n_bytes, err);
	slot->bytes = slot->buf.bytes;
	/* row by row: a tile may begin and end within one */
	for (size_t at = 0, n; at < slot->tile.n && !st; at += n) {
		const size_t col = (slot->first + at) % cols;
		uint8_t *to = (uint8_t *)slot->buf.bytes + at / codec->block_elems * codec->block_bytes;

		n = cols - col < slot->tile.n - at ? cols - col : slot->tile.n - at;
		st = moe_importance_weights(&slot->weigher, &conv->imatrix, choice->importance, seen,
		                            (int64_t)((slot->first + at) / per_matrix), conv->opts.imatrix_tokens, err);
		if (!st)
			codec->encode_weighted(values + at, slot->weigher.weights + col, to, n);
	}
	return st;
}

static enum moe_status run_work(void *arg, int slot_index, struct moe_err *err)
{
	const struct run *run = arg;
	struct slot *slot = &run->slots[slot_index];
	const struct moe_choice *choice = &run->conv->choices[slot->item];
	bool exact;

	if (choice->scaled)
		return encode_blocks(slot, choice, err);
	if (choice->importance)
		return encode_weighted(run->conv, slot, err);
	enum moe_status st = moe_tile_encode(&slot->tile, choice->codec, &slot->buf, &slot->bytes, &slot->n_bytes,
	                                     choice->exact ? &exact : NULL, err);

	if (!st && choice->exact && !exact)
		return moe_err_set(err, MOE_EFORMAT,
		                   "%s: tensor '%s' was %s once, but its values no longer fit: say --type",
		                   run->conv->src->path, run->conv->view.seen[slot->item].name, choice->codec->name);
	return st;
}

static enum moe_status run_write(void *arg, int slot_index, struct moe_err *err)
{
	struct run *run = arg;
	const struct slot *slot = &run->slots[slot_index];
	enum moe_status st = moe_ckpt_out_write(run->conv->out, slot->bytes, slot->n_bytes, err);

	moe_tile_release(&slot->tile);
	if (!st && run->progress)
		run->progress(run->arg, slot->n_bytes);
	if (st || !run->conv->choices[slot->item].scaled)
		return st;
	for (size_t i = 0; i < slot->n_scales; i++) {
		uint8_t stored[4];
		moe_store_u32(stored, moe_f32_bits(slot->scales[i]));
		if (run->conv->choices[slot->item].e8m0)
			stored[0] = moe_e8m0_ceil(slot->scales[i]);
		moe_buf_add(&run->scales, stored, run->conv->choices[slot->item].e8m0 ? 1 : sizeof stored);
	}
	st = moe_buf_check(&run->scales, err);
	if (st || !slot->last)
		return st;
	st = moe_ckpt_out_write(run->conv->out, run->scales.p, run->scales.n, err);
	run->scales.n = 0;
	return st;
}

/* Goes on behind what an earlier run wrote. */
static void skip_kept(struct run *run)
{
	struct moe_convert *conv = run->conv;
	size_t n = moe_ckpt_out_kept(conv->out);

	conv->complete = moe_ckpt_out_complete(conv->out);
	conv->n_kept = n;
	while (n > 0) {
		const struct moe_seen *seen = &conv->view.seen[run->item];
		const struct moe_choice *choice = &conv->choices[run->item++];

		if (run->progress)
			run->progress(run->arg, seen->n_elems / choice->codec->block_elems *
			                        choice->codec->block_bytes);
		n -= choice->scaled ? 2 : 1;
	}
}

enum moe_status moe_convert_run(struct moe_convert *conv, struct moe_pool *pool,
                                void (*progress)(void *arg, size_t n_bytes), void *arg, struct moe_err *err)
{
	const int n_slots = slots_for(conv, moe_pool_threads(pool));
	struct run run = { .conv = conv, .progress = progress, .arg = arg };
	const struct moe_pipe pipe = { .n_slots = n_slots, .arg = &run, .read = run_read, .work = run_work,
	                               .write = run_write };
	enum moe_status st;

	run.slots = calloc((size_t)n_slots, sizeof *run.slots);
	if (!run.slots)
		return moe_err_nomem(err, (size_t)n_slots * sizeof *run.slots, "tiles");
	st = moe_ckpt_check_replicas(conv->src, err);
	if (!st)
		st = moe_ckpt_out_begin(conv->out, err);
	if (!st)
		skip_kept(&run);
	if (!st)
		st = moe_pipe_run(pool, &pipe, err);
	if (!st) {
		st = moe_ckpt_out_commit(conv->out, err);
		conv->out = NULL;
	}
	for (int i = 0; i < n_slots; i++) {
		moe_tile_buf_free(&run.slots[i].buf);
		free(run.slots[i].scales);
		moe_weigher_free(&run.slots[i].weigher);
	}
	moe_buf_free(&run.scales);
	free(run.slots);
	return st;
}
