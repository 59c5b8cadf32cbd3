/* Records of a trace: headers and runs to bytes and back, as moe-trace(5) lays them out. Knows no files. */
#ifndef MOE_TRACE_RECORD_H
#define MOE_TRACE_RECORD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/err.h"
#include "base/str.h"
#include "trace/trace.h"

#define MOE_TRACE_VERSION 1

/* Limits of the format, so that a reader knows what it may be asked to hold. */
#define MOE_TRACE_HEADER_MAX (1u << 24)     /* bytes of header text */
#define MOE_TRACE_RECORD_MAX (1u << 28)     /* bytes of payload */
#define MOE_TRACE_CHOICES_MAX (1 << 26)     /* n_tokens * top_k * n_layers of a run */
#define MOE_TRACE_EXPERTS_MAX (1 << 20)     /* experts of a layer */
#define MOE_TRACE_PAIRS_MAX (1 << 22)       /* experts of all layers: what readers count by */
#define MOE_TRACE_SOURCE_MAX (1u << 16)     /* bytes of a source label */

/* Do these numbers make sense, and does one token fit in a record? `where` begins the sentence. */
MOE_MUST_USE enum moe_status moe_header_check(const struct moe_trace_header *header, const char *where,
                                              struct moe_err *err);
/* Appends the header text. Strings that are NULL count as "". */
void moe_header_print(const struct moe_trace_header *header, struct moe_buf *buf);
/* Reads and checks header text; everything header points to is in the arena. */
MOE_MUST_USE enum moe_status moe_header_parse(struct moe_trace_header *header, struct moe_arena *arena,
                                              const char *text, size_t n, const char *where, struct moe_err *err);

/* Bits that hold the numbers 0 .. n_values - 1; at least 1. */
int moe_id_bits(int64_t n_values);
/* Bytes of the payload of a run; wide: with absent choices. */
uint64_t moe_run_bytes(const struct moe_trace_header *header, int64_t n_tokens, bool wide);
/* Tokens after which a writer ends a record: payloads of about 1 MiB, at least one token. */
int64_t moe_run_limit(const struct moe_trace_header *header);

/* Appends the payload of a run that was checked against the header. Fails on gates the type cannot hold. */
MOE_MUST_USE enum moe_status moe_run_put(const struct moe_trace_header *header, const struct moe_trace_run *run,
                                         uint32_t source, struct moe_buf *buf, const char *where, struct moe_err *err);

/* Where the arrays of a run live; grows, and is freed by moe_run_space_free. Zero-initialise. */
struct moe_run_space {
	int32_t *tokens;
	int32_t *ids;
	float *weights, *logits, *margins;
	struct moe_routing *layers;
	unsigned skip;                   /* enum moe_trace_field: neither held nor decoded; set before the first fit */
	int64_t n_tokens;                /* room in each array */
	const struct moe_trace_header *header;   /* that it was made for */
};

/* Room for n_tokens of such a header. Arrays are [n_layers][n_tokens][...], each layer of exactly n_tokens. */
MOE_MUST_USE enum moe_status moe_run_space_fit(struct moe_run_space *space, const struct moe_trace_header *header,
                                               int64_t n_tokens, struct moe_err *err);
void moe_run_space_free(struct moe_run_space *space);

/* Decodes a payload into space and points run at it; *source is the index of its label. Everything is checked. */
MOE_MUST_USE enum moe_status moe_run_get(const struct moe_trace_header *header, const uint8_t *payload, size_t n,
                                         struct moe_run_space *space, struct moe_trace_run *run, uint32_t *source,
                                         const char *where, struct moe_err *err);

#endif
