/* One block by either library. */
#include "trace/deflate.h"

#include <stdlib.h>

#ifdef MOE_HAVE_LIBDEFLATE
#include <libdeflate.h>
#else
#include <zlib.h>
#endif

#define LEVEL 4   /* never another, so that bytes depend on the data and the library alone */

#ifdef MOE_HAVE_LIBDEFLATE
struct moe_deflate {
	struct libdeflate_compressor *out;
	struct libdeflate_decompressor *in;
};

static bool init(struct moe_deflate *state, bool writes)
{
	if (writes)
		state->out = libdeflate_alloc_compressor(LEVEL);
	else
		state->in = libdeflate_alloc_decompressor();
	return state->out || state->in;
}

static void drop(struct moe_deflate *state)
{
	if (state->out)
		libdeflate_free_compressor(state->out);
	if (state->in)
		libdeflate_free_decompressor(state->in);
}

size_t moe_deflate_pack(struct moe_deflate *state, int thread, const uint8_t *data, size_t n_data, uint8_t *out,
                        size_t cap)
{
	return libdeflate_deflate_compress(state[thread].out, data, n_data, out, cap);
}

bool moe_deflate_unpack(struct moe_deflate *state, int thread, const uint8_t *packed, size_t n_packed, uint8_t *out,
                        size_t cap, size_t n_data)
{
	size_t n_used = 0, n_out = 0;
	enum libdeflate_result result =
		libdeflate_deflate_decompress_ex(state[thread].in, packed, n_packed, out, cap, &n_used, &n_out);
	return result == LIBDEFLATE_SUCCESS && n_used == n_packed && n_out == n_data;
}

uint32_t moe_deflate_crc(const uint8_t *data, size_t n)
{
	return libdeflate_crc32(0, data, n);
}
#else
struct moe_deflate {
	z_stream out, in;
	bool writes, reads;
};

static bool init(struct moe_deflate *state, bool writes)
{
	if (writes)
		state->writes = deflateInit2(&state->out, LEVEL, Z_DEFLATED, -15, 8, Z_DEFAULT_STRATEGY) == Z_OK;
	else
		state->reads = inflateInit2(&state->in, -15) == Z_OK;
	return state->writes || state->reads;
}

static void drop(struct moe_deflate *state)
{
	if (state->writes)
		deflateEnd(&state->out);
	if (state->reads)
		inflateEnd(&state->in);
}

size_t moe_deflate_pack(struct moe_deflate *state, int thread, const uint8_t *data, size_t n_data, uint8_t *out,
                        size_t cap)
{
	z_stream *z = &state[thread].out;
	if (deflateReset(z) != Z_OK)
		return 0;
	z->next_in = (uint8_t *)(uintptr_t)data;
	z->avail_in = (uInt)n_data;
	z->next_out = out;
	z->avail_out = (uInt)cap;
	return deflate(z, Z_FINISH) == Z_STREAM_END ? cap - z->avail_out : 0;
}

bool moe_deflate_unpack(struct moe_deflate *state, int thread, const uint8_t *packed, size_t n_packed, uint8_t *out,
                        size_t cap, size_t n_data)
{
	z_stream *z = &state[thread].in;
	if (inflateReset(z) != Z_OK)
		return false;
	z->next_in = (uint8_t *)(uintptr_t)packed;
	z->avail_in = (uInt)n_packed;
	z->next_out = out;
	z->avail_out = (uInt)cap;
	return inflate(z, Z_FINISH) == Z_STREAM_END && z->avail_in == 0 && cap - z->avail_out == n_data;
}

uint32_t moe_deflate_crc(const uint8_t *data, size_t n)
{
	return (uint32_t)crc32(0, data, (uInt)n);
}
#endif

void moe_deflate_free(struct moe_deflate *state, int n)
{
	for (int i = 0; state && i < n; i++)
		drop(&state[i]);
	free(state);
}

struct moe_deflate *moe_deflate_new(int n, bool writes)
{
	struct moe_deflate *state = calloc((size_t)n, sizeof *state);
	for (int i = 0; state && i < n; i++) {
		if (!init(&state[i], writes)) {
			moe_deflate_free(state, i);
			return NULL;
		}
	}
	return state;
}
