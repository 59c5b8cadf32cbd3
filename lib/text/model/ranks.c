/* Byte pair encoding without a list of merges: any two neighbours whose concatenation is in the vocabulary may merge,
 * the one of lowest rank first. The rank of an entry is its id (tiktoken), or its place by falling score
 * (SentencePiece): "scores" has one per id. Sources make objects of this type; it has no place in a tokenizer.json. */
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "text/bpe.h"
#include "text/utf8.h"

enum {
	MAX_TOKEN = 4096,        /* bytes; trying all ways to divide one takes their square */
	MAX_VOCAB = 1 << 26,     /* bytes of all entries */
};

struct found {
	int32_t left, right, id;
	uint32_t rank;
};

struct list {
	struct found *v;         /* [n] */
	size_t n, cap;
};

static enum moe_status list_add(struct list *list, struct found found, struct moe_err *err)
{
	if (list->n == list->cap) {
		size_t cap = list->cap ? 2 * list->cap : 1024;
		struct found *grown = realloc(list->v, cap * sizeof *grown);
		if (!grown)
			return moe_err_nomem(err, cap * sizeof *grown, "merges");
		list->v = grown;
		list->cap = cap;
	}
	list->v[list->n++] = found;
	return MOE_OK;
}

/* All ways to divide an entry into two others. */
static enum moe_status divide(struct moe_bpe *bpe, const struct moe_bpe_entry *e, uint32_t rank,
                              struct list *list, struct moe_err *err)
{
	enum moe_status status = MOE_OK;
	size_t used = 0;

	for (size_t i = 0; i < e->n_bytes && !status; i += used ? used : 1) {
		int32_t left = i ? moe_bpe_find(bpe, (struct moe_str){e->text, i}) : -1, right;

		(void)moe_utf8_take((const uint8_t *)e->text + i, e->n_bytes - i, &used);
		right = left < 0 ? -1 : moe_bpe_find(bpe, (struct moe_str){e->text + i, e->n_bytes - i});
		if (right < 0)
			continue;
		status = moe_seams_add(&bpe->seams, (struct moe_str){e->text, i},
		                       (struct moe_str){e->text + i, e->n_bytes - i}, err);
		if (!status)
			status = list_add(list, (struct found){left, right, e->id, rank}, err);
	}
	return status;
}

struct scored {
	double score;
	int32_t id;
};

static int compare_scores(const void *a, const void *b)
{
	const struct scored *x = a, *y = b;

	return x->score > y->score ? -1 : x->score < y->score;
}

/* ranks [n_ids]: places by falling score; equal scores have equal places. */
static enum moe_status rank_scores(const json_t *scores, uint32_t *ranks, size_t n_ids, const char *where,
                                   struct moe_err *err)
{
	struct scored *sorted = calloc(n_ids + 1, sizeof *sorted);

	if (!sorted)
		return moe_err_nomem(err, n_ids * sizeof *sorted, "scores");
	for (size_t i = 0; i < n_ids; i++) {
		const json_t *score = json_array_get(scores, i);
		if (!json_is_number(score)) {
			free(sorted);
			return moe_err_set(err, MOE_EFORMAT, "%s.scores[%zu]: a number is expected", where, i);
		}
		sorted[i] = (struct scored){json_number_value(score), (int32_t)i};
	}
	qsort(sorted, n_ids, sizeof *sorted, compare_scores);
	for (size_t i = 0, rank = 0; i < n_ids; i++) {
		rank += i > 0 && sorted[i].score < sorted[i - 1].score;
		ranks[sorted[i].id] = (uint32_t)rank;
	}
	free(sorted);
	return MOE_OK;
}

static enum moe_status check_sizes(const struct moe_bpe *bpe, const json_t *scores, size_t *n_ids, const char *where,
                                   struct moe_err *err)
{
	size_t n_bytes = 0;

	*n_ids = 0;
	for (size_t i = 0; i < bpe->n; i++) {
		const struct moe_bpe_entry *e = &bpe->entries[i];
		n_bytes += e->n_bytes;
		if ((size_t)e->id >= *n_ids)
			*n_ids = (size_t)e->id + 1;
		if (e->n_bytes > MAX_TOKEN)
			return moe_err_set(err, MOE_EFORMAT,
			                   "%s.vocab: the token %d has %u bytes, at most %d are supported", where,
			                   (int)e->id, (unsigned)e->n_bytes, MAX_TOKEN);
	}
	if (n_bytes > MAX_VOCAB)
		return moe_err_set(err, MOE_EFORMAT, "%s.vocab: %zu bytes of tokens, at most %d are supported", where,
		                   n_bytes, MAX_VOCAB);
	if (scores && json_array_size(scores) < *n_ids)
		return moe_err_set(err, MOE_EFORMAT, "%s.scores: expected one for each id below %zu, found %zu", where,
		                   *n_ids, json_array_size(scores));
	return MOE_OK;
}

static enum moe_status make_merges(struct moe_bpe *bpe, const json_t *scores, const char *where, struct moe_err *err)
{
	struct list list = {0};
	uint32_t *ranks = NULL;
	size_t n_ids;
	enum moe_status status = check_sizes(bpe, scores, &n_ids, where, err);

	if (!status && scores) {
		ranks = calloc(n_ids + 1, sizeof *ranks);
		status = ranks ? rank_scores(scores, ranks, n_ids, where, err)
		               : moe_err_nomem(err, n_ids * sizeof *ranks, "scores");
	}
	for (size_t i = 0; i < bpe->n && !status; i++) {
		const struct moe_bpe_entry *e = &bpe->entries[i];
		status = divide(bpe, e, ranks ? ranks[e->id] : (uint32_t)e->id, &list, err);
	}
	if (!status)
		status = moe_merges_room(&bpe->merges, list.n, err);
	for (size_t i = 0; i < list.n && !status; i++)
		moe_merges_put(&bpe->merges, list.v[i].left, list.v[i].right, list.v[i].id, list.v[i].rank);
	bpe->any_merges = list.n > 0;
	bpe->has_seams = true;
	free(list.v);
	free(ranks);
	return status;
}

static enum moe_status parse(void **self, const json_t *obj, const char *where, struct moe_err *err)
{
	struct moe_bpe *bpe = calloc(1, sizeof *bpe);
	const json_t *scores = json_object_get(obj, "scores");
	int32_t unk_id = -1;
	enum moe_status status;

	*self = NULL;
	if (!bpe)
		return moe_err_nomem(err, sizeof *bpe, "a tokenizer");
	status = moe_json_bool(obj, "byte_fallback", where, &bpe->byte_fallback, err);
	if (!status)
		status = moe_json_bool(obj, "fuse_unk", where, &bpe->fuse_unk, err);
	if (!status)
		status = moe_json_bool(obj, "ignore_merges", where, &bpe->ignore_merges, err);
	if (!status)
		status = moe_json_i32(obj, "unk_id", where, 0, INT32_MAX - 1, &unk_id, err);
	if (!status)
		status = moe_bpe_read_vocab(bpe, json_object_get(obj, "vocab"), where, err);
	if (!status)
		status = make_merges(bpe, json_is_array(scores) ? scores : NULL, where, err);
	if (status) {
		moe_bpe_free(bpe);
		return status;
	}
	bpe->unk_id = unk_id;
	moe_bpe_settle(bpe);
	*self = bpe;
	return MOE_OK;
}

const struct moe_text_model moe_text_model_ranks = {
	.part = {.type = "Ranks", .parse = parse, .free = moe_bpe_free},
	.n_pieces = moe_bpe_n_pieces,
	.piece = moe_bpe_piece,
	.find = moe_bpe_find,
	.scratch_new = moe_bpe_scratch_new,
	.scratch_free = moe_bpe_scratch_free,
	.encode = moe_bpe_encode,
	.advance = moe_bpe_advance,
};
