/* BPE of tokenizer.json: a vocabulary, and a list of merges in the order in which they are made. */
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "text/bpe.h"
#include "text/utf8.h"

/* Entry i of the merges: [left, right] or "left right". */
static enum moe_status read_pair(const json_t *item, size_t i, const char *where, struct moe_str pair[2],
                                 struct moe_err *err)
{
	if (json_is_array(item) && json_array_size(item) == 2 && json_is_string(json_array_get(item, 0)) &&
	    json_is_string(json_array_get(item, 1))) {
		for (size_t k = 0; k < 2; k++) {
			const json_t *s = json_array_get(item, k);
			pair[k] = (struct moe_str){json_string_value(s), json_string_length(s)};
		}
		return MOE_OK;
	}
	if (json_is_string(item)) {
		const char *text = json_string_value(item);
		size_t n = json_string_length(item);
		const char *space = memchr(text, ' ', n);
		if (space && !memchr(space + 1, ' ', n - (size_t)(space + 1 - text))) {
			pair[0] = (struct moe_str){text, (size_t)(space - text)};
			pair[1] = (struct moe_str){space + 1, n - pair[0].n - 1};
			return MOE_OK;
		}
	}
	return moe_err_set(err, MOE_EFORMAT, "%s.merges[%zu]: two tokens are expected, as \"a b\" or [\"a\", \"b\"]",
	                   where, i);
}

static enum moe_status read_merges(struct moe_bpe *bpe, const json_t *merges, const char *where, struct moe_err *err)
{
	size_t n = json_array_size(merges);
	struct moe_buf joined = {0};
	struct moe_str pair[2];
	enum moe_status status = MOE_OK;

	if (!json_is_array(merges))
		return moe_err_set(err, MOE_EFORMAT,
		                   "%s.merges: an array is expected; a vocabulary without its merges cannot "
		                   "encode", where);
	bpe->any_merges = n > 0;
	bpe->has_seams = true;
	status = moe_merges_room(&bpe->merges, n, err);
	for (size_t i = 0; i < n && !status; i++) {
		const json_t *item = json_array_get(merges, i);
		int32_t ids[3];

		if (json_is_string(item) && strncmp(json_string_value(item), "#version", 8) == 0)
			continue;
		status = read_pair(item, i, where, pair, err);
		if (status)
			break;
		joined.n = 0;
		moe_buf_add(&joined, pair[0].p, pair[0].n);
		moe_buf_add(&joined, pair[1].p, pair[1].n);
		status = moe_buf_check(&joined, err);
		if (status)
			break;
		ids[0] = moe_bpe_find(bpe, pair[0]);
		ids[1] = moe_bpe_find(bpe, pair[1]);
		ids[2] = moe_bpe_find(bpe, (struct moe_str){joined.p ? joined.p : "", joined.n});
		for (int k = 0; k < 3 && !status; k++) {
			struct moe_str s = k < 2 ? pair[k] : (struct moe_str){joined.p ? joined.p : "", joined.n};
			if (ids[k] < 0)
				status = moe_err_set(err, MOE_EFORMAT,
				                     "%s.merges[%zu]: '%.*s' is not in the vocabulary", where, i,
				                     (int)(s.n < 100 ? s.n : 100), s.p);
		}
		if (!status)
			status = moe_seams_add(&bpe->seams, pair[0], pair[1], err);
		if (!status)
			moe_merges_put(&bpe->merges, ids[0], ids[1], ids[2], (uint32_t)i);
	}
	moe_buf_free(&joined);
	return status;
}

/* Options that would change ids in ways this model does not know. */
static enum moe_status check_options(const json_t *obj, const char *where, struct moe_err *err)
{
	static const char *const affixes[] = {"continuing_subword_prefix", "end_of_word_suffix"};
	double dropout = 0;
	enum moe_status status = moe_json_f64(obj, "dropout", where, &dropout, err);

	if (!status && dropout != 0)
		return moe_err_set(err, MOE_EFORMAT,
		                   "%s.dropout: %g would make ids random; only 0 or null is supported", where, dropout);
	for (size_t i = 0; i < 2 && !status; i++) {
		const char *affix = "";
		status = moe_json_str(obj, affixes[i], where, &affix, err);
		if (!status && *affix)
			return moe_err_set(err, MOE_EFORMAT, "%s.%s: '%.100s' is not supported, only nothing", where,
			                   affixes[i], affix);
	}
	return status;
}

static enum moe_status parse(void **self, const json_t *obj, const char *where, struct moe_err *err)
{
	struct moe_bpe *bpe = calloc(1, sizeof *bpe);
	const char *unk = NULL;
	enum moe_status status;

	*self = NULL;
	if (!bpe)
		return moe_err_nomem(err, sizeof *bpe, "a tokenizer");
	status = check_options(obj, where, err);
	if (!status)
		status = moe_json_bool(obj, "byte_fallback", where, &bpe->byte_fallback, err);
	if (!status)
		status = moe_json_bool(obj, "fuse_unk", where, &bpe->fuse_unk, err);
	if (!status)
		status = moe_json_bool(obj, "ignore_merges", where, &bpe->ignore_merges, err);
	if (!status)
		status = moe_json_str(obj, "unk_token", where, &unk, err);
	if (!status)
		status = moe_bpe_read_vocab(bpe, json_object_get(obj, "vocab"), where, err);
	if (!status)
		status = read_merges(bpe, json_object_get(obj, "merges"), where, err);
	if (!status) {
		bpe->unk_id = unk ? moe_bpe_find(bpe, moe_str_of(unk)) : -1;
		if (unk && bpe->unk_id < 0)
			status = moe_err_set(err, MOE_EFORMAT, "%s.unk_token: '%.100s' is not in the vocabulary", where,
			                     unk);
	}
	if (status) {
		moe_bpe_free(bpe);
		return status;
	}
	moe_bpe_settle(bpe);
	*self = bpe;
	return MOE_OK;
}

/* Of several characters, with no merge to make it of them; neither the unknown token nor a byte as <0xHH>. */
static bool lacks_merges(const void *self, int32_t id, struct moe_str text)
{
	const struct moe_bpe *bpe = self;
	size_t used = 0;

	if (bpe->any_merges || bpe->ignore_merges || id == bpe->unk_id || text.n == 0)
		return false;
	if (text.n == 6 && strncmp(text.p, "<0x", 3) == 0 && text.p[5] == '>')
		return false;
	moe_utf8_take((const uint8_t *)text.p, text.n, &used);
	return used > 0 && used < text.n;
}

const struct moe_text_model moe_text_model_bpe = {
	.part = {.type = "BPE", .parse = parse, .free = moe_bpe_free},
	.n_pieces = moe_bpe_n_pieces,
	.piece = moe_bpe_piece,
	.find = moe_bpe_find,
	.lacks_merges = lacks_merges,
	.scratch_new = moe_bpe_scratch_new,
	.scratch_free = moe_bpe_scratch_free,
	.encode = moe_bpe_encode,
	.advance = moe_bpe_advance,
};
