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

#define MOE_TRACE_VERSION 2   /* that is written; version 1 is read as well */

/* Limits of the format, so that a reader knows what it may be asked to hold. */
#define MOE_TRACE_HEADER_MAX (1u << 24)     /* bytes of header text */
#define MOE_TRACE_RECORD_MAX (1u << 28)     /* bytes of payload */
#define MOE_TRACE_CHOICES_MAX (1 << 26)     /* n_tokens * top_k * n_layers of a run */
#define MOE_TRACE_EXPERTS_MAX (1 << 20)     /* experts of a layer */
#define MOE_TRACE_PAIRS_MAX (1 << 22)       /* experts of all layers: what readers count by */
#define MOE_TRACE_SOURCE_MAX (1u << 16)     /* bytes of a source label */
#define MOE_RECORD_SMALL (1u << 16)         /* bytes of a run that is not worth waking anybody */

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
/* Tokens of one sequence that follow each other. */
struct moe_segment {
	int64_t seq, pos, n_tokens;   /* pos: of the first */
	uint32_t source;              /* index of its label */
};
struct moe_segments {
	struct moe_segment *at;       /* [n] */
	int64_t n, cap;
};
MOE_MUST_USE enum moe_status moe_segments_add(struct moe_segments *list, const struct moe_segment *segment,
                                              struct moe_err *err);

/* Bytes of the payload of a record; wide: with absent choices. */
uint64_t moe_run_bytes(const struct moe_trace_header *header, int version, int64_t n_segments, int64_t n_tokens,
                       bool wide);
/* Tokens after which a writer ends a record: payloads of about 1 MiB, at least one token. */
int64_t moe_run_limit(const struct moe_trace_header *header);

/* Appends the payload of a record: tokens and layers of all segments, one after another, checked against the header.
 * Fails on gates the type cannot hold. */
MOE_MUST_USE enum moe_status moe_run_put(const struct moe_trace_header *header, const struct moe_segments *segments,
                                         const int32_t *tokens, const struct moe_routing *layers,
                                         struct moe_buf *buf, struct moe_pool *pool, const char *where,
                                         struct moe_err *err);

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

/* Decodes a payload into space, and says which segments its tokens are of. Everything is checked but the sources. */
MOE_MUST_USE enum moe_status moe_run_get(const struct moe_trace_header *header, int version, const uint8_t *payload,
                                         size_t n, struct moe_run_space *space, struct moe_segments *segments,
                                         struct moe_pool *pool, const char *where, struct moe_err *err);
/* What version 1 has behind the first bytes of a run: how many bytes, and what they say; space fits. */
uint64_t moe_run_bytes_v1(const struct moe_trace_header *header, uint64_t n_tokens, bool wide);
MOE_MUST_USE enum moe_status moe_run_get_v1(const struct moe_trace_header *header, const uint8_t *bytes, int64_t n,
                                            bool wide, struct moe_run_space *space, const char *where,
                                            struct moe_err *err);

#endif
