/* Blocked gzip, written and read in batches of blocks that the pool packs or unpacks.
 *
 * A block: the gzip header with FLG = 4 and an extra field holding the subfield 'B' 'C' of two bytes, the size of the
 * whole block less one; raw deflate data; CRC-32 and length of the data. */
#include "trace/bgzf.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include "base/bytes.h"
#include "trace/deflate.h"

#define BLOCK_MAX 65536         /* of a block, packed or not */
#define N_HEAD 18               /* gzip header with nothing but the block size in its extra field */
#define N_TAIL 8
#define SLOT (BLOCK_MAX + 64)   /* room for a block unpacked, and to notice that it has more than it said */

static const uint8_t end_block[28] = {
	0x1f, 0x8b, 8, 4, 0, 0, 0, 0, 0, 0xff, 6, 0, 'B', 'C', 2, 0, 27, 0, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0,
};

/* ---- writing ---- */

struct moe_bgzf_out {
	struct moe_out *file;
	struct moe_pool *pool;
	struct moe_deflate *deflate;   /* [n_threads] */
	int n_threads;
	size_t n_slots, n_closed;   /* blocks [0, n_closed) are complete, n_closed is open */
	uint8_t *data;            /* [n_slots][MOE_BGZF_BLOCK] */
	uint8_t *packed;          /* [n_slots][BLOCK_MAX] */
	size_t *n_data, *n_packed;   /* [n_slots] */
};

void moe_bgzf_abort(struct moe_bgzf_out *out)
{
	if (!out)
		return;
	moe_out_abort(out->file);
	moe_deflate_free(out->deflate, out->n_threads);
	free(out->data);
	free(out->packed);
	free(out->n_data);
	free(out->n_packed);
	free(out);
}

enum moe_status moe_bgzf_create(struct moe_bgzf_out **result, const char *path, unsigned flags, struct moe_pool *pool,
                                struct moe_watch *watch, struct moe_err *err)
{
	struct moe_bgzf_out *out = calloc(1, sizeof *out);
	if (!out)
		return moe_err_nomem(err, sizeof *out, "an output");
	out->pool = pool;
	out->n_threads = moe_pool_threads(pool);
	out->n_slots = 4 * (size_t)out->n_threads;
	out->deflate = moe_deflate_new(out->n_threads, true);
	out->data = malloc(out->n_slots * MOE_BGZF_BLOCK);
	out->packed = malloc(out->n_slots * BLOCK_MAX);
	out->n_data = calloc(out->n_slots, sizeof *out->n_data);
	out->n_packed = calloc(out->n_slots, sizeof *out->n_packed);
	enum moe_status status;
	if (!out->deflate || !out->data || !out->packed || !out->n_data || !out->n_packed)
		status = moe_err_nomem(err, out->n_slots * 2 * BLOCK_MAX, "gzip blocks");
	else
		status = moe_out_open(&out->file, path, flags | MOE_OUT_BINARY, watch, err);
	if (status) {
		moe_bgzf_abort(out);
		return status;
	}
	*result = out;
	return MOE_OK;
}

const char *moe_bgzf_out_path(const struct moe_bgzf_out *out)
{
	return moe_out_path(out->file);
}

/* Bytes that no packing makes much smaller: all values about equally often, so that codes gain less than a part in
 * 64, and hardly any four of them twice. Known in a tenth of the time that a packer takes to find out, and unpacked in
 * none: most planes of floats are of this kind. */
static bool is_noise(const uint8_t *data, size_t n)
{
	enum { LEAST = 4096, SLOTS = 1 << 12 };
	uint32_t counts[4][256] = { { 0 } };
	uint32_t seen[SLOTS] = { 0 };
	uint64_t squares = 0;
	size_t n_seen = 0, n_again = 0, i = 0;
	if (n < LEAST)
		return false;
	for (; i + 4 <= n; i += 4)
		for (size_t at = 0; at < 4; at++)
			counts[at][data[i + at]]++;
	for (; i < n; i++)
		counts[0][data[i]]++;
	for (size_t byte = 0; byte < 256; byte++) {
		const uint64_t count = counts[0][byte] + counts[1][byte] + counts[2][byte] + counts[3][byte];
		squares += count * count;
	}
	/* Of shares (1 + d) / 256 the loss is about the mean of d^2 / (2 ln 2) bits, and the squares add up to
	 * n^2 (1 + d^2) / 256. */
	if (256 * squares > (uint64_t)n * n + (uint64_t)n * n / 6)
		return false;
	/* Fours that begin with a certain pattern of bits, wherever they lie: repeats meet themselves among them. */
	for (i = 0; i + 4 <= n; i++) {
		const uint32_t four = moe_load_u32(data + i), hash = four * UINT32_C(2654435761);
		if (hash >> 29)
			continue;
		uint32_t *slot = &seen[hash >> 17 & (SLOTS - 1)];
		n_again += *slot == (four | 1);
		*slot = four | 1;
		n_seen++;
	}
	return 64 * n_again < n_seen;
}

static void pack_blocks(void *arg, int64_t begin, int64_t end, int thread)
{
	struct moe_bgzf_out *out = arg;
	for (int64_t i = begin; i < end; i++) {
		const uint8_t *data = out->data + (size_t)i * MOE_BGZF_BLOCK;
		uint8_t *block = out->packed + (size_t)i * BLOCK_MAX;
		size_t n_data = out->n_data[i];
		size_t n = is_noise(data, n_data) ? 0
		                                  : moe_deflate_pack(out->deflate, thread, data, n_data,
		                                                     block + N_HEAD, BLOCK_MAX - N_HEAD - N_TAIL);
		if (n == 0 || n > n_data + 5) {   /* one stored deflate block, which always fits */
			block[N_HEAD] = 1;
			moe_store_u16(block + N_HEAD + 1, (uint16_t)n_data);
			moe_store_u16(block + N_HEAD + 3, (uint16_t)~n_data);
			memcpy(block + N_HEAD + 5, data, n_data);
			n = n_data + 5;
		}
		memcpy(block, end_block, N_HEAD);
		moe_store_u16(block + N_HEAD - 2, (uint16_t)(N_HEAD + n + N_TAIL - 1));
		moe_store_u32(block + N_HEAD + n, moe_deflate_crc(data, n_data));
		moe_store_u32(block + N_HEAD + n + 4, (uint32_t)n_data);
		out->n_packed[i] = N_HEAD + n + N_TAIL;
	}
}

/* Packs and writes the complete blocks. */
static enum moe_status drain(struct moe_bgzf_out *out, struct moe_err *err)
{
	moe_pool_for(out->pool, (int64_t)out->n_closed, 1, pack_blocks, out);
	for (size_t i = 0; i < out->n_closed; i++) {
		enum moe_status status = moe_out_write(out->file, out->packed + i * BLOCK_MAX, out->n_packed[i], err);
		if (status)
			return status;
	}
	out->n_closed = 0;
	out->n_data[0] = 0;
	return MOE_OK;
}

enum moe_status moe_bgzf_cut(struct moe_bgzf_out *out, struct moe_err *err)
{
	if (out->n_data[out->n_closed] == 0)
		return MOE_OK;
	if (++out->n_closed == out->n_slots)
		return drain(out, err);
	out->n_data[out->n_closed] = 0;
	return MOE_OK;
}

size_t moe_bgzf_room(const struct moe_bgzf_out *out)
{
	return MOE_BGZF_BLOCK - out->n_data[out->n_closed];
}

enum moe_status moe_bgzf_write(struct moe_bgzf_out *out, const void *bytes, size_t n_bytes, struct moe_err *err)
{
	const uint8_t *p = bytes;
	while (n_bytes > 0) {
		size_t room = moe_bgzf_room(out), n = n_bytes < room ? n_bytes : room;
		memcpy(out->data + out->n_closed * MOE_BGZF_BLOCK + out->n_data[out->n_closed], p, n);
		out->n_data[out->n_closed] += n;
		p += n;
		n_bytes -= n;
		if (n == room) {
			enum moe_status status = moe_bgzf_cut(out, err);
			if (status)
				return status;
		}
	}
	return MOE_OK;
}

enum moe_status moe_bgzf_commit(struct moe_bgzf_out *out, struct moe_err *err)
{
	enum moe_status status = moe_bgzf_cut(out, err);
	if (!status)
		status = drain(out, err);
	if (!status)
		status = moe_out_write(out->file, end_block, sizeof end_block, err);
	if (!status) {
		status = moe_out_commit(out->file, err);
		out->file = NULL;
	}
	moe_bgzf_abort(out);
	return status;
}

/* ---- reading ---- */

struct block {
	const uint8_t *packed;   /* deflate data, then CRC and length */
	size_t n_packed;         /* deflate data alone */
	size_t n_data;           /* as it says */
	uint64_t offset;         /* of the block in the file */
	bool bad;
};

/* What comes after the blocks of the batch. */
enum next { NEXT_MORE, NEXT_PLAIN, NEXT_END, NEXT_CUT, NEXT_GARBAGE, NEXT_BAD_SIZE };

struct moe_bgzf_in {
	int fd;
	char *path;
	struct moe_pool *pool;
	struct moe_deflate *deflate;   /* [n_threads] */
	int n_threads;
	uint8_t *raw;            /* [raw_cap] bytes of the file; [raw_at, raw_end) are still to be parsed */
	size_t raw_cap, raw_at, raw_end;
	uint64_t raw_offset;     /* of raw[0] in the file */
	bool at_eof;             /* no more bytes in the file */
	bool any, ended;         /* a member was seen; the last one was an end block, or plain */
	uint64_t n_total;
	struct block *blocks;    /* [n_slots] */
	uint8_t *data;           /* [n_slots][SLOT] */
	size_t n_slots, n_blocks, block, at;   /* next byte: data[block][at] */
	enum next next;
	z_stream plain;          /* a plain member being read, while in_plain */
	bool in_plain, has_plain;
	uint64_t plain_offset;
	uint64_t tell;
};

void moe_bgzf_close(struct moe_bgzf_in *in)
{
	if (!in)
		return;
	if (in->fd > 0)
		close(in->fd);
	if (in->has_plain)
		inflateEnd(&in->plain);
	moe_deflate_free(in->deflate, in->n_threads);
	free(in->raw);
	free(in->blocks);
	free(in->data);
	free(in->path);
	free(in);
}

enum moe_status moe_bgzf_open_fd(struct moe_bgzf_in **result, int fd, const char *path, struct moe_pool *pool,
                                 struct moe_err *err)
{
	bool is_stdin = strcmp(path, "-") == 0;
	struct moe_bgzf_in *in = calloc(1, sizeof *in);
	if (!in) {
		if (fd > 0)
			close(fd);
		return moe_err_nomem(err, sizeof *in, "an input");
	}
	in->fd = fd;
	in->pool = pool;
	in->n_threads = moe_pool_threads(pool);
	in->n_slots = 4 * (size_t)in->n_threads;
	in->raw_cap = (in->n_slots + 1) * BLOCK_MAX;
	in->path = strdup(is_stdin ? "stdin" : path);
	in->deflate = moe_deflate_new(in->n_threads, false);
	in->raw = malloc(in->raw_cap);
	in->blocks = calloc(in->n_slots, sizeof *in->blocks);
	in->data = malloc(in->n_slots * SLOT);
	enum moe_status status = MOE_OK;
	if (!in->path || !in->deflate || !in->raw || !in->blocks || !in->data)
		status = moe_err_nomem(err, in->raw_cap + in->n_slots * SLOT, "gzip blocks");
	if (status) {
		moe_bgzf_close(in);
		return status;
	}
	struct stat st;
	if (fstat(in->fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_size > 0)
		in->n_total = (uint64_t)st.st_size;
	*result = in;
	return MOE_OK;
}

enum moe_status moe_bgzf_open(struct moe_bgzf_in **result, const char *path, struct moe_pool *pool, struct moe_err *err)
{
	int fd = strcmp(path, "-") == 0 ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return moe_err_sys(err, "%s: cannot open", path);
	return moe_bgzf_open_fd(result, fd, path, pool, err);
}

/* Drops what was parsed and reads until the buffer is full or the file ends. */
static enum moe_status refill(struct moe_bgzf_in *in, struct moe_err *err)
{
	memmove(in->raw, in->raw + in->raw_at, in->raw_end - in->raw_at);
	in->raw_offset += in->raw_at;
	in->raw_end -= in->raw_at;
	in->raw_at = 0;
	while (!in->at_eof && in->raw_end < in->raw_cap) {
		ssize_t n = read(in->fd, in->raw + in->raw_end, in->raw_cap - in->raw_end);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return moe_err_sys(err, "%s: cannot read at byte %llu", in->path,
			                   (unsigned long long)(in->raw_offset + in->raw_end));
		if (n == 0)
			in->at_eof = true;
		in->raw_end += (size_t)n;
	}
	return MOE_OK;
}

/* The block at raw_at: NEXT_MORE and *block filled with *n_block bytes to pass; or what else is there. NEXT_CUT before
 * the end of the file means that more must be read. */
static enum next parse_block(const struct moe_bgzf_in *in, struct block *block, size_t *n_block)
{
	const uint8_t *p = in->raw + in->raw_at;
	size_t n = in->raw_end - in->raw_at;
	if (n == 0)
		return in->at_eof ? NEXT_END : NEXT_CUT;
	if (p[0] != 0x1f || (n > 1 && p[1] != 0x8b) || (n > 2 && p[2] != 8))
		return NEXT_GARBAGE;
	if (n < 12)
		return NEXT_CUT;
	if (p[3] != 4)
		return NEXT_PLAIN;
	size_t n_extra = moe_load_u16(p + 10), n_head = 12 + n_extra, size = 0;
	if (n < n_head)
		return NEXT_CUT;
	for (size_t at = 12; at + 4 <= n_head;) {
		size_t n_field = moe_load_u16(p + at + 2);
		if (p[at] == 'B' && p[at + 1] == 'C' && n_field == 2 && at + 6 <= n_head)
			size = (size_t)moe_load_u16(p + at + 4) + 1;
		at += 4 + n_field;
	}
	if (size == 0)
		return NEXT_PLAIN;
	if (size < n_head + 2 + N_TAIL)
		return NEXT_BAD_SIZE;
	if (n < size)
		return NEXT_CUT;
	*block = (struct block) {
		.packed = p + n_head, .n_packed = size - n_head - N_TAIL, .n_data = moe_load_u32(p + size - 4),
		.offset = in->raw_offset + in->raw_at,
	};
	*n_block = size;
	return NEXT_MORE;
}

static void unpack_blocks(void *arg, int64_t begin, int64_t end, int thread)
{
	struct moe_bgzf_in *in = arg;
	for (int64_t i = begin; i < end; i++) {
		struct block *block = &in->blocks[i];
		uint8_t *data = in->data + (size_t)i * SLOT;
		block->bad = block->n_data > BLOCK_MAX ||
		             !moe_deflate_unpack(in->deflate, thread, block->packed, block->n_packed, data, SLOT,
		                                 block->n_data) ||
		             moe_deflate_crc(data, block->n_data) != moe_load_u32(block->packed + block->n_packed);
	}
}

/* Reads and unpacks the next batch of blocks; in->next says what follows them. */
static enum moe_status next_blocks(struct moe_bgzf_in *in, struct moe_err *err)
{
	enum moe_status status = refill(in, err);
	if (status)
		return status;
	in->n_blocks = in->block = in->at = 0;
	in->next = NEXT_MORE;
	while (in->n_blocks < in->n_slots && in->next == NEXT_MORE) {
		size_t n_block = 0;
		in->next = parse_block(in, &in->blocks[in->n_blocks], &n_block);
		if (in->next == NEXT_MORE) {
			in->raw_at += n_block;
			in->any = true;
			in->ended = in->blocks[in->n_blocks++].n_data == 0;
		}
	}
	if (in->next == NEXT_CUT && !in->at_eof)   /* the rest of it comes with the next batch */
		in->next = NEXT_MORE;
	moe_pool_for(in->pool, (int64_t)in->n_blocks, 1, unpack_blocks, in);
	return MOE_OK;
}

/* Unpacks the next piece of a plain member into data, as one block. */
static enum moe_status next_plain(struct moe_bgzf_in *in, struct moe_err *err)
{
	z_stream *z = &in->plain;
	if (!in->in_plain) {
		if (!(in->has_plain ? inflateReset(z) == Z_OK : inflateInit2(z, 31) == Z_OK))
			return moe_err_nomem(err, 1 << 15, "plain gzip");
		in->has_plain = in->in_plain = in->any = true;
		in->plain_offset = in->raw_offset + in->raw_at;
	}
	in->n_blocks = in->block = in->at = 0;
	size_t cap = in->n_slots * SLOT;
	z->next_out = in->data;
	z->avail_out = (uInt)cap;
	while (z->avail_out > 0) {
		if (in->raw_at == in->raw_end && !in->at_eof) {
			enum moe_status status = refill(in, err);
			if (status)
				return status;
		}
		z->next_in = in->raw + in->raw_at;
		z->avail_in = (uInt)(in->raw_end - in->raw_at);
		int result = inflate(z, Z_NO_FLUSH);
		in->raw_at = in->raw_end - z->avail_in;
		if (result == Z_STREAM_END) {
			in->in_plain = false;
			in->ended = true;   /* a plain member needs no end block */
			in->next = NEXT_MORE;
			break;
		}
		bool starved = in->at_eof && in->raw_at == in->raw_end && z->avail_out > 0;
		if (starved || (result != Z_OK && result != Z_BUF_ERROR)) {
			in->next = starved ? NEXT_CUT : NEXT_BAD_SIZE;
			in->in_plain = false;
			in->raw_at = starved ? in->raw_at : in->raw_end;
			break;
		}
	}
	in->blocks[0] = (struct block) { .n_data = cap - z->avail_out, .offset = in->plain_offset };
	in->n_blocks = 1;
	return MOE_OK;
}

/* The sentence for what follows the last block, if that is a fault. */
static enum moe_status fault(const struct moe_bgzf_in *in, struct moe_err *err)
{
	unsigned long long at = in->raw_offset + in->raw_at, end = in->raw_offset + in->raw_end;
	switch (in->next) {
	case NEXT_CUT:
		return moe_err_set(err, MOE_EFORMAT,
		                   "%s: cut short: the gzip block at byte %llu is not complete, the file "
		                   "ends at byte %llu",
		                   in->path, at, end);
	case NEXT_GARBAGE:
		return moe_err_set(err, MOE_EFORMAT, "%s: expected a gzip block at byte %llu, found other bytes "
		                   "(first 0x%02x)", in->path, at, in->raw[in->raw_at]);
	case NEXT_BAD_SIZE:
		return moe_err_set(err, MOE_EFORMAT, "%s: the gzip block at byte %llu is damaged", in->path,
		                   in->n_blocks && !in->blocks[0].packed ? (unsigned long long)in->plain_offset : at);
	case NEXT_END:
		if (in->any && !in->ended)
			return moe_err_set(err, MOE_EFORMAT,
			                   "%s: cut short: expected the empty gzip block that ends the file "
			                   "at byte %llu, found the end of the file",
			                   in->path, end);
		return MOE_OK;
	default:
		return MOE_OK;
	}
}

enum moe_status moe_bgzf_read(struct moe_bgzf_in *in, void *bytes, size_t n_bytes, size_t *n_read, struct moe_err *err)
{
	uint8_t *p = bytes;
	size_t n_left = n_bytes;
	while (n_left > 0) {
		if (in->block < in->n_blocks) {
			const struct block *block = &in->blocks[in->block];
			if (block->bad)
				return moe_err_set(err, MOE_EFORMAT,
				                   "%s: the gzip block at byte %llu is damaged: its data do not "
				                   "have the checksum and length it states",
				                   in->path, (unsigned long long)block->offset);
			size_t n = block->n_data - in->at;
			n = n < n_left ? n : n_left;
			memcpy(p, in->data + in->block * SLOT + in->at, n);
			p += n;
			n_left -= n;
			in->tell += n;
			in->at += n;
			if (in->at == block->n_data) {
				in->block++;
				in->at = 0;
			}
			continue;
		}
		if (in->next != NEXT_MORE && in->next != NEXT_PLAIN) {
			enum moe_status status = fault(in, err);
			if (status)
				return status;
			break;
		}
		enum moe_status status =
			in->in_plain || in->next == NEXT_PLAIN ? next_plain(in, err) : next_blocks(in, err);
		if (status)
			return status;
	}
	*n_read = n_bytes - n_left;
	return MOE_OK;
}

bool moe_bgzf_is_gzip(const struct moe_bgzf_in *in)
{
	return in->any || in->next == NEXT_CUT || in->next == NEXT_BAD_SIZE;
}

uint64_t moe_bgzf_block_at(const struct moe_bgzf_in *in)
{
	return in->block < in->n_blocks ? in->blocks[in->block].offset : in->raw_offset + in->raw_at;
}

uint64_t moe_bgzf_tell(const struct moe_bgzf_in *in)
{
	return in->tell;
}

void moe_bgzf_progress(const struct moe_bgzf_in *in, uint64_t *n_read, uint64_t *n_total)
{
	*n_read = in->raw_offset + in->raw_at;
	*n_total = in->n_total;
}

const char *moe_bgzf_in_path(const struct moe_bgzf_in *in)
{
	return in->path;
}

bool moe_bgzf_peek(const char *path, void *bytes, size_t n_bytes)
{
	uint8_t raw[1024];
	struct stat st;
	if (stat(path, &st) != 0 || !S_ISREG(st.st_mode))
		return false;
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	ssize_t n = read(fd, raw, sizeof raw);
	close(fd);
	z_stream z = { .next_in = raw, .avail_in = n > 0 ? (uInt)n : 0, .next_out = bytes, .avail_out = (uInt)n_bytes };
	if (inflateInit2(&z, 31) != Z_OK)
		return false;
	int result = inflate(&z, Z_SYNC_FLUSH);
	inflateEnd(&z);
	return (result == Z_OK || result == Z_STREAM_END || result == Z_BUF_ERROR) && z.avail_out == 0;
}
