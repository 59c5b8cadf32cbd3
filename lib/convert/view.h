/* A checkpoint seen under the names and shapes of one naming, whichever it is stored in: experts apart or stacked, kv_b
 * whole or split per head. Every tensor seen is a row of segments, each a stored matrix taken as it lies or turned;
 * a segment is worked on in tiles, so nothing as large as a tensor is ever in memory. */
#ifndef MOE_CONVERT_VIEW_H
#define MOE_CONVERT_VIEW_H

#include "base/str.h"
#include "checkpoint/checkpoint.h"
#include "model/model.h"
#include "model/names.h"

/* Elements a tile holds at most, unless its segment is turned; whole blocks of every storage type. */
#define MOE_TILE_ELEMS (1 << 18)

/* How a seen tensor is made of stored ones. */
enum moe_making {
	MOE_MADE_WHOLE,    /* a as it is */
	MOE_MADE_SLICE,    /* one expert of the stack a */
	MOE_MADE_STACK,    /* all experts, each its own tensor */
	MOE_MADE_JOINED,   /* kv_b from k_b (a) and v_b (b) */
	MOE_MADE_K,        /* k_b from kv_b (a) */
	MOE_MADE_V,        /* v_b from kv_b (a) */
};

struct moe_seen {
	struct moe_tensor_id id;
	const char *name;                /* in the view's arena */
	int32_t n_dims;
	int64_t dims[MOE_MAX_DIMS];
	size_t n_elems;
	enum moe_making making;
	const struct moe_tensor *a, *b;  /* views of the checkpoint; NULL for a stack */
	int64_t n_segments;
};

struct moe_view {
	const struct moe_ckpt *ckpt;       /* borrowed, as config is */
	const struct moe_config *config;
	enum moe_naming naming;
	size_t n, cap;
	struct moe_seen *seen;             /* [n] in canonical order */
	struct moe_arena arena;
};

/* All tensors that config expects in this naming; they must be there (moe_model_check). */
MOE_MUST_USE enum moe_status moe_view_make(struct moe_view *view, const struct moe_ckpt *ckpt,
                                           const struct moe_config *config, enum moe_naming naming,
                                           struct moe_err *err);
void moe_view_free(struct moe_view *view);
/* Index of a name in a view, or -1. */
int64_t moe_view_find(const struct moe_view *view, const char *name);

/* A stored matrix as the seen tensor has it: [rows][cols], stored so or, where turned, as [cols][rows]. */
struct moe_segment {
	const struct moe_codec *codec;
	const uint8_t *data;
	int64_t rows, cols;
	bool turned;
	const uint8_t *scales;   /* block scales of the matrix it is cut from, NULL: none */
	int64_t scale_row;       /* where it begins there */
};
struct moe_segment moe_seen_segment(const struct moe_view *view, const struct moe_seen *seen, int64_t i);

/* Does every segment begin at a whole number of scale blocks? */
bool moe_seen_aligned(const struct moe_view *view, const struct moe_seen *seen);

struct moe_tile {
	struct moe_segment segment;
	size_t at, n;     /* elements of the segment; all of it where turned */
};

/* Walks the tiles of one seen tensor in its order. Zero-initialise all but view and seen. */
struct moe_tile_walk {
	const struct moe_view *view;
	const struct moe_seen *seen;
	int64_t segment;
	size_t at;
	bool blocks;      /* tiles of whole rows of scale blocks, but for the last of a segment */
};
bool moe_tile_next(struct moe_tile_walk *walk, struct moe_tile *tile);
/* The tile's stored bytes, for hashing: a view. */
const uint8_t *moe_tile_stored(const struct moe_tile *tile, size_t *n_bytes);

/* The tile will not be read again: its pages need not stay mapped in memory. Reading it again stays right, and slow. */
void moe_tile_release(const struct moe_tile *tile);

/* Buffers of one worker, grown on demand. Zero-initialise. */
struct moe_tile_buf {
	void *values, *turned, *bytes;
	size_t n_values, n_turned, n_bytes;   /* capacities */
};
void moe_tile_buf_free(struct moe_tile_buf *buf);
/* Room for n_bytes in buf->bytes. */
MOE_MUST_USE enum moe_status moe_tile_room(struct moe_tile_buf *buf, size_t n_bytes, struct moe_err *err);
/* Decoded values in the order of the seen tensor, in buf. */
MOE_MUST_USE enum moe_status moe_tile_decode(const struct moe_tile *tile, struct moe_tile_buf *buf,
                                             const float **values, struct moe_err *err);
/* Bytes in codec `to`, in buf or (where nothing changes) in the checkpoint. *exact is false if a value was rounded;
 * NULL: not asked. The tile's rows must be whole blocks of `to`. */
MOE_MUST_USE enum moe_status moe_tile_encode(const struct moe_tile *tile, const struct moe_codec *to,
                                             struct moe_tile_buf *buf, const uint8_t **bytes, size_t *n_bytes,
                                             bool *exact, struct moe_err *err);

#endif
