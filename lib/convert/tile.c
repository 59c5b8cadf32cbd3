/* Tiles of segments: walked, decoded, and stored anew. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/bytes.h"
#include "convert/surgery.h"
#include "convert/view.h"

enum {
	RELEASED_BYTES = 65536,    /* smaller tiles are not worth a system call */
	PIECE_ELEMS = 1 << 14,     /* decoded and encoded while the values are near; whole blocks of every type */
};

static size_t bytes_of(const struct moe_codec *codec, size_t n_elems)
{
	return n_elems / codec->block_elems * codec->block_bytes;
}

/* ---- walking ---- */

/* Do rows of the segment run across those that are stored? */
static bool crosses(const struct moe_segment *s)
{
	return s->turned || s->parts[0].in_stride;
}

size_t moe_tile_most(const struct moe_segment *s, bool blocks)
{
	const size_t cols = s->cols > 0 ? (size_t)s->cols : 1, band = cols * MOE_SCALE_BLOCK;
	size_t rows = (size_t)(crosses(s) ? MOE_TURNED_ELEMS : MOE_TILE_ELEMS) / cols, block = 1;

	if (blocks)
		return band > MOE_TILE_ELEMS ? band : MOE_TILE_ELEMS / band * band;
	if (moe_segment_plain(s))
		return MOE_TILE_ELEMS;
	/* turned, a row is a column of what is stored: whole blocks of it */
	for (int32_t i = 0; s->turned && i < s->n_parts; i++)
		if (s->parts[i].codec->block_elems > block)
			block = s->parts[i].codec->block_elems;
	rows = rows / block * block;
	return (rows ? rows : block) * cols;
}

bool moe_tile_next(struct moe_tile_walk *w, struct moe_tile *tile)
{
	while (w->segment < w->seen->n_segments) {
		const struct moe_segment s = moe_seen_segment(w->view, w->seen, w->segment);
		const size_t n = (size_t)s.rows * (size_t)s.cols, most = moe_tile_most(&s, w->blocks);

		if (w->at >= n) {
			w->segment++;
			w->at = 0;
			continue;
		}
		tile->view = w->view;
		tile->seen = w->seen;
		tile->index = w->segment;
		tile->segment = s;
		tile->at = w->at;
		tile->n = n - w->at < most ? n - w->at : most;
		w->at += tile->n;
		return true;
	}
	return false;
}

const uint8_t *moe_tile_stored(const struct moe_tile *tile, size_t *n_bytes)
{
	const struct moe_weight *w = &tile->segment.parts[0];

	*n_bytes = bytes_of(w->codec, tile->n);
	return w->data + bytes_of(w->codec, tile->at);
}

static void release(const uint8_t *bytes, size_t n_bytes)
{
	const uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
	const uintptr_t begin = (uintptr_t)bytes / page * page, end = ((uintptr_t)bytes + n_bytes) / page * page;

	/* The last page goes with the tile behind this one: were it to be faulted in again, what lies before it would
	 * be as well, and stay. A failure changes nothing. */
	if (n_bytes >= RELEASED_BYTES)
		(void)madvise((void *)begin, end - begin, MADV_DONTNEED);
}

/* Rows [first, first + n) of w, with what lies between them; all of it where rows run across what is stored. */
static void release_rows(const struct moe_weight *w, size_t first, size_t n)
{
	const size_t step = w->row_step > 1 ? (size_t)w->row_step : 1, cols = (size_t)w->cols;
	const size_t row = bytes_of(w->codec, cols), number = w->codec->block_bytes;

	/* and nothing behind the last number: who knows whose that is */
	if (n == 0 || cols == 0)
		return;
	if (w->in_stride)
		release(w->data, ((cols - 1) * (size_t)w->in_stride + ((size_t)w->rows - 1) * step + 1) * number);
	else
		release(w->data + first * step * row, ((n - 1) * step + 1) * row);
}

static void release_segment(const struct moe_tile *tile, const struct moe_segment *s)
{
	const size_t cols = (size_t)s->cols, first = tile->at / cols;
	const bool last = tile->at + tile->n == (size_t)s->rows * cols;

	if (moe_segment_plain(s)) {
		release(s->parts[0].data + bytes_of(s->parts[0].codec, tile->at),
		        bytes_of(s->parts[0].codec, tile->n));
	} else if (s->n_parts == 1 && !crosses(s)) {
		/* rows change places within a head at most: those of the next tile are few */
		release_rows(&s->parts[0], first, tile->n / cols);
	} else if (last) {
		for (int32_t i = 0; i < s->n_parts; i++)
			release_rows(&s->parts[i], 0, (size_t)s->parts[i].rows);
	}
}

void moe_tile_release(const struct moe_tile *tile)
{
	struct moe_edit edit = {0};
	int32_t expert;

	/* what is made is memory of our own, and would be lost */
	if (tile->seen->making == MOE_MADE_NEW || tile->segment.cols == 0)
		return;
	release_segment(tile, &tile->segment);
	if (!tile->segment.edited)
		return;
	const enum moe_part part = moe_seen_part(tile->view, tile->seen, tile->index, &expert);

	moe_surgery_edits(tile->view->surgery, part, tile->seen->id.layer, expert, &edit);
	for (size_t k = 1; k < edit.n_terms; k++) {
		const struct moe_segment term = moe_seen_term(tile->view, tile->seen, tile->index, k);

		release_segment(tile, &term);
	}
}

/* ---- buffers ---- */

void moe_tile_buf_free(struct moe_tile_buf *buf)
{
	free(buf->values);
	free(buf->row);
	free(buf->bytes);
	free(buf->term);
	*buf = (struct moe_tile_buf){0};
}

/* Room for n elements of `size` bytes in *at, whose old content is not kept. */
static enum moe_status room(void **at, size_t *cap, size_t n, size_t size, struct moe_err *err)
{
	size_t n_bytes;

	if (n <= *cap)
		return MOE_OK;
	free(*at);
	*cap = 0;
	*at = moe_mul_size(n, size, &n_bytes) ? malloc(n_bytes) : NULL;
	if (!*at)
		return moe_err_nomem(err, n, "a tile");
	*cap = n;
	return MOE_OK;
}

enum moe_status moe_tile_room(struct moe_tile_buf *buf, size_t n_bytes, struct moe_err *err)
{
	return room(&buf->bytes, &buf->n_bytes, n_bytes, 1, err);
}

/* ---- rows ---- */

/* Where row r of a segment that is not turned, or column r of one that is, lies: row *row of the part. */
static const struct moe_weight *find_row(const struct moe_segment *s, size_t r, size_t *row)
{
	int32_t i = 0;

	if (s->alternate && s->n_parts > 1) {
		*row = r / (size_t)s->n_parts;
		return &s->parts[r % (size_t)s->n_parts];
	}
	while (i + 1 < s->n_parts && r >= (size_t)s->parts[i].rows)
		r -= (size_t)s->parts[i++].rows;
	if (s->head) {
		const size_t head = (size_t)s->head, half = head / 2, at = r % head;

		/* seen in pairs: at 2i row i, at 2i + 1 row i + half; and the other way round */
		r += (s->paired ? at / 2 + at % 2 * half : at < half ? 2 * at : 2 * (at - half) + 1) - at;
	}
	*row = r;
	return &s->parts[i];
}

/* Row r of w alone, from column `col` on, a whole block. */
static struct moe_weight row_of(const struct moe_weight *w, size_t r, size_t col)
{
	const size_t step = w->row_step > 1 ? (size_t)w->row_step : 1, at = r * step;
	const size_t blocks = (size_t)w->cols / w->codec->block_elems;
	struct moe_weight one = *w;

	one.rows = 1;
	one.row_step = 0;
	one.cols -= (int64_t)col;
	if (w->in_stride) {
		one.data += (at + col * (size_t)w->in_stride) * w->codec->block_bytes;
		return one;
	}
	one.data += (at * blocks + col / w->codec->block_elems) * w->codec->block_bytes;
	if (w->scales && w->codec->block_exponents)
		one.scales += at * blocks + col / w->codec->block_elems;
	return one;
}

/* Columns [col, col + n) of row r of w, whole blocks. */
static void decode_part(const struct moe_weight *w, size_t r, size_t col, size_t n, float *out)
{
	if (w->parted || (w->scales && !w->codec->block_exponents)) {
		moe_weight_decode(w, r * (size_t)w->cols + col, n, out);   /* scales go by the place in the matrix */
		return;
	}
	struct moe_weight one = row_of(w, r, col);

	one.cols = (int64_t)n;
	moe_weight_decode(&one, 0, n, out);
}

/* Are rows [r, r + n) neighbours in one part? */
static bool is_run(const struct moe_segment *s)
{
	return s->n_parts == 1 && !s->head;
}

/* The bytes of the codes, or of the exponents, of a row of MXFP4 as GGUF holds it (codec/mxfp4.c), as safetensors
 * checkpoints hold them: two neighbours in a byte. */
static void split_mx(const uint8_t *src, size_t n_blocks, bool codes, uint8_t *out)
{
	for (; n_blocks > 0; n_blocks--, src += 17) {
		if (!codes) {
			*out++ = src[0];
			continue;
		}
		for (int j = 0; j < 16; j++) {
			const uint8_t *pair = src + 1 + 2 * (j % 8);
			*out++ = (uint8_t)(j < 8 ? (pair[0] & 15) | pair[1] << 4 : pair[0] >> 4 | (pair[1] & 240));
		}
	}
}

/* The other way round: a row of codes and one of exponents. */
static void join_mx(const uint8_t *codes, const uint8_t *exponents, size_t n_blocks, uint8_t *out)
{
	for (; n_blocks > 0; n_blocks--, codes += 16, out += 17) {
		out[0] = *exponents++;
		for (int j = 0; j < 16; j++) {
			const uint8_t low = codes[j / 2], high = codes[8 + j / 2];
			out[1 + j] = j % 2 ? (uint8_t)(low >> 4 | (high & 240)) : (uint8_t)((low & 15) | high << 4);
		}
	}
}

/* ---- decoding and encoding ---- */

static void decode_rows(const struct moe_tile *tile, float *out)
{
	const struct moe_segment *s = &tile->segment;
	const size_t cols = (size_t)s->cols, first = tile->at / cols, n = tile->n / cols;

	if (is_run(s)) {
		moe_weight_decode(&s->parts[0], tile->at, tile->n, out);
		return;
	}
	for (size_t r = 0; r < n; r++) {
		size_t row;
		const struct moe_weight *w = find_row(s, first + r, &row);

		decode_part(w, row, 0, cols, out + r * cols);
	}
}

/* Rows of the tile are columns [first, first + n) of what is stored. */
static void decode_turned(const struct moe_tile *tile, float *strip, float *out)
{
	const struct moe_segment *s = &tile->segment;
	const size_t cols = (size_t)s->cols, first = tile->at / cols, n = tile->n / cols;

	for (size_t c = 0; c < cols; c++) {
		size_t row;
		const struct moe_weight *w = find_row(s, c, &row);

		decode_part(w, row, first, n, strip);
		for (size_t r = 0; r < n; r++)
			out[r * cols + c] = strip[r];
	}
}

/* The bytes of a tile of codes or exponents. */
static enum moe_status split_tile(const struct moe_tile *tile, struct moe_tile_buf *buf, struct moe_err *err)
{
	const struct moe_segment *s = &tile->segment;
	const size_t cols = (size_t)s->cols, first = tile->at / cols;
	const bool codes = s->mx == MOE_MX_CODES;
	enum moe_status st = moe_tile_room(buf, tile->n, err);

	for (size_t r = 0; r < tile->n / cols && !st; r++) {
		size_t row;
		const struct moe_weight *w = find_row(s, first + r, &row);
		const struct moe_weight one = row_of(w, row, 0);
		uint8_t *out = (uint8_t *)buf->bytes + r * cols;

		if (w->codec->joined)   /* apart already */
			memcpy(out, codes ? one.data : one.scales, cols);
		else
			split_mx(one.data, cols / (codes ? 16 : 1), codes, out);
	}
	return st;
}

static void decode(const struct moe_tile *tile, float *strip, float *out)
{
	if (tile->segment.turned)
		decode_turned(tile, strip, out);
	else
		decode_rows(tile, out);
}

/* Decoded values become those of the destination: the sum over terms, times the factor, plus noise. */
static enum moe_status edit_tile(const struct moe_tile *tile, struct moe_tile_buf *buf, struct moe_err *err)
{
	float *values = buf->values, *more;
	struct moe_edit edit;
	int32_t expert;
	const enum moe_part part = moe_seen_part(tile->view, tile->seen, tile->index, &expert);
	enum moe_status st = MOE_OK;

	moe_surgery_edits(tile->view->surgery, part, tile->seen->id.layer, expert, &edit);
	if (edit.n_terms > 1) {
		for (size_t i = 0; i < tile->n; i++)
			values[i] *= edit.terms[0].weight;
		st = room(&buf->term, &buf->n_term, tile->n, sizeof(float), err);
	}
	more = buf->term;
	for (size_t k = 1; k < edit.n_terms && !st; k++) {
		struct moe_tile term = *tile;

		term.segment = moe_seen_term(tile->view, tile->seen, tile->index, k);
		decode(&term, buf->row, more);
		for (size_t i = 0; i < tile->n; i++)
			values[i] += more[i] * edit.terms[k].weight;
	}
	for (size_t i = 0; i < tile->n && edit.factor != 1; i++)
		values[i] *= edit.factor;
	if (edit.noise > 0 && !st)
		moe_edit_add_noise(&edit, tile->at, values, tile->n);
	return st;
}

enum moe_status moe_tile_decode(const struct moe_tile *tile, struct moe_tile_buf *buf, const float **values,
                                struct moe_err *err)
{
	const struct moe_segment *s = &tile->segment;
	enum moe_status st = room(&buf->values, &buf->n_values, tile->n, sizeof(float), err);

	*values = buf->values;
	if (!st && s->mx != MOE_MX_WHOLE) {
		st = split_tile(tile, buf, err);
		for (size_t i = 0; i < tile->n && !st; i++)
			((float *)buf->values)[i] = ((const uint8_t *)buf->bytes)[i];
		return st;
	}
	if (!st && s->turned)
		st = room(&buf->row, &buf->n_row, tile->n / (size_t)s->cols, sizeof(float), err);
	if (st)
		return st;
	decode(tile, buf->row, buf->values);
	return s->edited ? edit_tile(tile, buf, err) : MOE_OK;
}

/* Are all parts stored in this type, without scales? */
static bool all_of(const struct moe_segment *s, const struct moe_codec *codec)
{
	for (int32_t i = 0; i < s->n_parts; i++)
		if (s->parts[i].codec != codec || s->parts[i].scales)
			return false;
	return true;
}

/* The stored bytes in the order of the tile, all parts being of `codec`: rows as they are, or single numbers. */
static void gather(const struct moe_tile *tile, const struct moe_codec *codec, uint8_t *out)
{
	const struct moe_segment *s = &tile->segment;
	const size_t cols = (size_t)s->cols, first = tile->at / cols, n = tile->n / cols, size = codec->block_bytes;

	for (size_t i = 0; i < (s->turned ? cols : n); i++) {
		size_t row;
		const struct moe_weight *w = find_row(s, s->turned ? i : first + i, &row);

		if (w->parted) {
			moe_weight_copy(w, row, 0, cols, out + i * cols * size);
			continue;
		}
		const struct moe_weight one = row_of(w, row, s->turned ? first : 0);

		if (!s->turned && !w->in_stride)
			memcpy(out + bytes_of(codec, i * cols), one.data, bytes_of(codec, cols));
		else
			for (size_t k = 0; k < (s->turned ? n : cols); k++)
				memcpy(out + (s->turned ? k * cols + i : i * cols + k) * size,
				       one.data + k * (w->in_stride ? (size_t)w->in_stride : 1) * size, size);
	}
}

static void join_tile(const struct moe_tile *tile, uint8_t *out)
{
	const struct moe_segment *s = &tile->segment;
	const size_t cols = (size_t)s->cols, blocks = cols / 32, first = tile->at / cols;

	for (size_t r = 0; r < tile->n / cols; r++) {
		size_t row;
		const struct moe_weight *w = find_row(s, first + r, &row);
		const struct moe_weight one = row_of(w, row, 0);

		join_mx(one.data, one.scales, blocks, out + r * blocks * 17);
	}
}

/* Do the bytes stand for these very values? The sign of zero and the kind of NaN do not count. */
static bool same_values(const float *values, const uint8_t *bytes, const struct moe_codec *codec, size_t n)
{
	float back[256];

	for (size_t at = 0; at < n;) {
		const size_t m = n - at < 256 ? n - at : 256;
		codec->decode(bytes + bytes_of(codec, at), back, m);
		for (size_t i = 0; i < m; i++)
			if (back[i] != values[at + i] && !(isnan(back[i]) && isnan(values[at + i])))
				return false;
		at += m;
	}
	return true;
}

static bool in_parts(const struct moe_segment *s)
{
	for (int32_t i = 0; i < s->n_parts; i++)
		if (s->parts[i].parted)
			return true;
	return false;
}

/* Stores the tile in buf->bytes without going by its values, where that can be: false where not. */
static bool copy_tile(const struct moe_tile *tile, const struct moe_codec *to, struct moe_tile_buf *buf)
{
	const struct moe_segment *s = &tile->segment;

	if (s->edited)
		return false;
	if (s->parts[0].codec->joined && !strcmp(s->parts[0].codec->joined, to->name) && !s->turned)
		join_tile(tile, buf->bytes);
	else if (all_of(s, to) && (to->block_elems == 1 || (!crosses(s) && !in_parts(s))) &&
	         !(s->turned && in_parts(s)))
		gather(tile, to, buf->bytes);
	else
		return false;
	return true;
}

enum moe_status moe_tile_bytes(const struct moe_tile *tile, struct moe_tile_buf *buf, const uint8_t **bytes,
                               size_t *n_bytes, struct moe_err *err)
{
	const struct moe_codec *codec = tile->segment.parts[0].codec;
	const float *values;
	enum moe_status st;

	if (moe_segment_plain(&tile->segment)) {
		*bytes = moe_tile_stored(tile, n_bytes);
		return MOE_OK;
	}
	if (tile->segment.mx != MOE_MX_WHOLE) {
		st = split_tile(tile, buf, err);
		*n_bytes = tile->n;
		*bytes = buf->bytes;
		return st;
	}
	*n_bytes = bytes_of(codec, tile->n);
	st = moe_tile_room(buf, *n_bytes, err);
	*bytes = buf->bytes;
	if (st || copy_tile(tile, codec, buf))
		return st;
	st = moe_tile_decode(tile, buf, &values, err);
	*n_bytes = tile->n * sizeof *values;
	*bytes = (const uint8_t *)values;
	return st;
}

/* Stores a tile of one matrix anew, piece by piece; false where a value was rounded and that is asked for. */
static bool encode_pieces(const struct moe_tile *tile, const struct moe_weight *plain, const struct moe_codec *to,
                          struct moe_tile_buf *buf, bool exact)
{
	bool same = true;

	for (size_t at = 0; at < tile->n; at += PIECE_ELEMS) {
		const size_t n = tile->n - at < PIECE_ELEMS ? tile->n - at : PIECE_ELEMS;
		uint8_t *bytes = (uint8_t *)buf->bytes + bytes_of(to, at);

		moe_weight_decode(plain, tile->at + at, n, buf->values);
		to->encode(buf->values, bytes, n);
		same = same && (!exact || same_values(buf->values, bytes, to, n));
	}
	return same;
}

enum moe_status moe_tile_encode(const struct moe_tile *tile, const struct moe_codec *to, struct moe_tile_buf *buf,
                                const uint8_t **bytes, size_t *n_bytes, bool *exact, struct moe_err *err)
{
	const struct moe_segment *s = &tile->segment;
	const struct moe_weight *plain = moe_segment_plain(s);
	const float *values;
	enum moe_status st;

	if (exact)
		*exact = true;
	if (plain && plain->codec == to) {
		*bytes = moe_tile_stored(tile, n_bytes);
		return MOE_OK;
	}
	*n_bytes = bytes_of(to, tile->n);
	if (s->mx != MOE_MX_WHOLE) {
		st = split_tile(tile, buf, err);
		*bytes = buf->bytes;
		return st;
	}
	st = moe_tile_room(buf, *n_bytes, err);
	if (st)
		return st;
	*bytes = buf->bytes;
	if (copy_tile(tile, to, buf))
		return MOE_OK;
	if (plain) {
		st = room(&buf->values, &buf->n_values, PIECE_ELEMS, sizeof(float), err);
		if (!st && !encode_pieces(tile, plain, to, buf, exact))
			*exact = false;
		return st;
	}
	st = moe_tile_decode(tile, buf, &values, err);
	if (st)
		return st;
	to->encode(values, buf->bytes, tile->n);
	if (exact)
		*exact = same_values(values, buf->bytes, to, tile->n);
	return MOE_OK;
}
