/* How large shards will be. */
#include "placement/predict.h"

#include <stdlib.h>

#include "placement/shard.h"

static enum moe_status predict_rank(const struct moe_layout *layout, int32_t rank, uint64_t *bytes, struct moe_err *err)
{
	json_t *metadata = moe_layout_metadata(layout, rank);
	struct moe_ckpt_out *out;
	enum moe_status status;

	if (!metadata)
		return moe_err_nomem(err, 0, "metadata");
	status = moe_layout_declare(layout, rank, "shard", metadata, 0, NULL, NULL, &out, err);
	if (!status) {
		*bytes = moe_ckpt_out_total(out);
		if (!*bytes)
			status = moe_err_set(err, MOE_EFORMAT,
			                     "the shard of rank %d cannot be laid out: its metadata or tensors "
			                     "do not fit the container",
			                     rank);
		moe_ckpt_out_abort(out);
	}
	json_decref(metadata);
	return status;
}

static int n_digits(int32_t rank)
{
	int n = 1;

	for (; rank >= 10; rank /= 10)
		n++;
	return n;
}

/* Ranks without experts differ in their number alone: one is laid out for each count of its digits. */
static enum moe_status predict_ranks(const struct moe_layout *layout, uint64_t *bytes, struct moe_err *err)
{
	const struct moe_plan *plan = &layout->plan;
	bool *holds = calloc((size_t)plan->n_ranks, sizeof *holds);
	uint64_t empty[11] = {0};
	enum moe_status status = MOE_OK;

	if (!holds)
		return moe_err_nomem(err, (size_t)plan->n_ranks * sizeof *holds, "sizes of shards");
	for (int64_t i = 0; i < plan->n_entries; i++)
		holds[plan->entries[i].rank] = true;
	for (int32_t r = 0; r < plan->n_ranks && !status; r++) {
		uint64_t *same = &empty[n_digits(r)];

		if (!holds[r] && *same)
			bytes[r] = *same;
		else
			status = predict_rank(layout, r, &bytes[r], err);
		if (!holds[r])
			*same = bytes[r];
	}
	free(holds);
	return status;
}

enum moe_status moe_predict(const struct moe_layout *layout, const struct moe_source *source, uint64_t *bytes,
                            struct moe_err *err)
{
	struct moe_buf text = {0};
	enum moe_status status = predict_ranks(layout, bytes, err);

	if (!status) {
		moe_source_print(source, &text);
		status = moe_buf_check(&text, err);
	}
	if (!status)
		bytes[0] += text.n + source->n_between;
	for (size_t f = 0; f < source->n_files; f++)
		if (source->files[f].kept)
			bytes[0] += source->files[f].n_bytes;
	moe_buf_free(&text);
	return status;
}

enum moe_status moe_shard_predict(const struct moe_model *model, const struct moe_plan *plan, uint64_t *bytes,
                                  struct moe_err *err)
{
	struct moe_layout layout;
	struct moe_source source;
	enum moe_status status = moe_layout_make(&layout, model->ckpt, &model->config, plan, err);

	if (status)
		return status;
	status = moe_source_of(&source, &layout, err);
	if (!status) {
		status = moe_predict(&layout, &source, bytes, err);
		moe_source_free(&source);
	}
	moe_layout_free(&layout);
	return status;
}
