/* Runs as version 1 of the format had them: layer by layer, ids packed bit by bit, least significant bit first. They
 * are read and no longer written. */
#include "base/bytes.h"
#include "tensor/half.h"
#include "trace/record.h"

/* Bytes of the gates of one layer. */
static uint64_t gate_bytes(const struct moe_trace_header *header, uint64_t n_tokens)
{
	uint64_t n = n_tokens * (uint64_t)header->top_k;
	switch (header->gates) {
	case MOE_GATES_F32: return 4 * n;
	case MOE_GATES_F16: return 2 * n;
	case MOE_GATES_8BIT: return 2 * n_tokens + n;
	case MOE_GATES_NONE: break;
	}
	return 0;
}

uint64_t moe_run_bytes_v1(const struct moe_trace_header *h, uint64_t n, bool wide)
{
	const uint64_t n_bits = (uint64_t)moe_id_bits((int64_t)h->n_experts + wide);
	const uint64_t ids = (n * (uint64_t)h->top_k * n_bits + 7) / 8;
	const uint64_t layer =
		ids + gate_bytes(h, n) + (h->logits ? 4 * n * (uint64_t)h->n_experts : 0) + (h->margins ? 4 * n : 0);
	return 4 * n + (uint64_t)h->n_layers * layer;
}

/* False at an id that is neither an expert nor, in a wide run, the mark of an absent choice; *bad is that number. */
static bool get_ids(const uint8_t *p, int64_t n, int n_bits, int32_t n_experts, bool wide, int32_t *ids, uint32_t *bad)
{
	uint64_t word = 0, mask = (UINT64_C(1) << n_bits) - 1;
	int n_held = 0;
	for (int64_t i = 0; i < n; i++) {
		for (; n_held < n_bits; n_held += 8)
			word |= (uint64_t)*p++ << n_held;
		uint32_t id = (uint32_t)(word & mask);
		word >>= n_bits;
		n_held -= n_bits;
		if (id >= (uint32_t)n_experts + wide) {
			*bad = id;
			return false;
		}
		ids[i] = id == (uint32_t)n_experts ? -1 : (int32_t)id;
	}
	return true;
}

static void get_f32(const uint8_t *p, int64_t n, float *out)
{
	for (int64_t i = 0; i < n; i++)
		out[i] = moe_f32_from_bits(moe_load_u32(p + 4 * i));
}

static void get_gates(const struct moe_trace_header *header, const uint8_t *p, int64_t n_tokens, float *out)
{
	int32_t top_k = header->top_k;
	switch (header->gates) {
	case MOE_GATES_F32:
		get_f32(p, n_tokens * top_k, out);
		break;
	case MOE_GATES_F16:
		for (int64_t i = 0; i < n_tokens * top_k; i++)
			out[i] = moe_f32_from_f16(moe_load_u16(p + 2 * i));
		break;
	case MOE_GATES_8BIT:
		for (int64_t i = 0; i < n_tokens * top_k; i++) {
			float unit = moe_f32_from_f16(moe_load_u16(p + 2 * (i / top_k)));
			out[i] = (float)p[2 * n_tokens + i] / 255 * unit;
		}
		break;
	case MOE_GATES_NONE:
		break;
	}
}

enum moe_status moe_run_get_v1(const struct moe_trace_header *h, const uint8_t *p, int64_t n, bool wide,
                               struct moe_run_space *space, const char *where, struct moe_err *err)
{
	for (int64_t i = 0; i < n; i++, p += 4)
		space->tokens[i] = (int32_t)moe_load_u32(p);
	const int n_bits = moe_id_bits((int64_t)h->n_experts + wide);
	for (int32_t l = 0; l < h->n_layers; l++) {
		uint32_t bad = 0;
		if (!get_ids(p, n * h->top_k, n_bits, h->n_experts, wide, space->ids + l * n * h->top_k, &bad))
			return moe_err_set(err, MOE_EFORMAT, "%s: layer %d: expected an expert from 0 to %d, found %u",
			                   where, h->layers[l], h->n_experts - 1, bad);
		p += (n * h->top_k * n_bits + 7) / 8;
		if (space->weights)
			get_gates(h, p, n, space->weights + l * n * h->top_k);
		p += gate_bytes(h, (uint64_t)n);
		if (space->logits)
			get_f32(p, n * h->n_experts, space->logits + l * n * h->n_experts);
		p += h->logits ? 4 * n * h->n_experts : 0;
		if (space->margins)
			get_f32(p, n, space->margins + l * n);
		p += h->margins ? 4 * n : 0;
	}
	return MOE_OK;
}
