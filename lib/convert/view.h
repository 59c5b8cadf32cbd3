/* A checkpoint seen under the names and shapes of one naming, whichever it is stored in: experts apart or stacked, gate
 * and up in one tensor or in two, by outputs or by inputs, kv_b whole or split per head, heads with their rows in order
 * or in pairs. Every tensor seen is a row of segments, each a matrix made of stored ones; a segment is worked on in
 * tiles, so nothing as large as a tensor is ever in memory. */
#ifndef MOE_CONVERT_VIEW_H
#define MOE_CONVERT_VIEW_H

#include "base/str.h"
#include "checkpoint/checkpoint.h"
#include "model/model.h"
#include "model/names.h"

/* Elements a tile holds at most, but for rows that are longer; whole blocks of every storage type. Where rows run
 * across those that are stored, more, so that what is read of each is worth its place. */
#define MOE_TILE_ELEMS (1 << 18)
#define MOE_TURNED_ELEMS (1 << 20)

/* How a seen tensor is made of stored ones. */
enum moe_making {
	MOE_MADE_WHOLE,    /* a as it is */
	MOE_MADE_PARTS,    /* of the matrices of its parts, expert after expert */
	MOE_MADE_JOINED,   /* kv_b from k_b (a) and v_b (b) */
	MOE_MADE_K,        /* k_b from kv_b (a) */
	MOE_MADE_V,        /* v_b from kv_b (a) */
	MOE_MADE_NEW,      /* from the config: moe_tensor_spec.made, or a surgery's own */
	MOE_MADE_ROWS,     /* of rows of a, one for each expert: under surgery */
};

struct moe_seen {
	struct moe_tensor_id id;
	const char *name;                /* in the view's arena */
	int32_t n_dims;
	int64_t dims[MOE_MAX_DIMS];
	size_t n_elems;
	enum moe_making making;
	const struct moe_tensor *a, *b;  /* views of the checkpoint, or NULL */
	const float *values;             /* [n_elems] of a new tensor, in the view's arena */
	int64_t n_segments, first_segment;   /* the first of them that belongs to it */
	const struct moe_weight *window;     /* in the view's arena: all there is to it; NULL: as it is made */
};

struct moe_surgery;

struct moe_view {
	const struct moe_ckpt *ckpt;       /* borrowed, as the configs and the surgery are */
	const struct moe_config *config;   /* of what is seen */
	const struct moe_config *own;      /* of what is stored */
	const struct moe_surgery *surgery; /* NULL: none */
	enum moe_naming naming, from;      /* as seen, and as stored */
	size_t n, cap;
	struct moe_seen *seen;             /* [n] in canonical order */
	struct moe_arena arena;
};

/* All tensors that config expects in this naming; they must be there (moe_model_check). */
MOE_MUST_USE enum moe_status moe_view_make(struct moe_view *view, const struct moe_ckpt *ckpt,
                                           const struct moe_config *config, enum moe_naming naming,
                                           struct moe_err *err);
/* The same of a checkpoint whose own config is another, and (surgery: not NULL) whose experts are not its own. */
MOE_MUST_USE enum moe_status moe_view_make_anew(struct moe_view *view, const struct moe_ckpt *ckpt,
                                                const struct moe_config *own, const struct moe_config *config,
                                                const struct moe_surgery *surgery, enum moe_naming naming,
                                                struct moe_err *err);
void moe_view_free(struct moe_view *view);
/* Index of a name in a view, or -1. */
int64_t moe_view_find(const struct moe_view *view, const char *name);

/* A part of a seen tensor: [rows][cols] in its order. Stored matrices one behind the other, or (alternate) a row of
 * each in turn; then (turned) seen by their inputs. */
struct moe_segment {
	struct moe_weight parts[3];
	int32_t n_parts;
	bool alternate, turned;
	int32_t head;            /* rows of so many change their order, see pairing; 0: none do */
	bool paired;             /* from order to pairs (moe_family.gguf_paired), or back */
	bool edited;             /* its numbers are changed on the way: only decoded tiles hold them */
	/* Of MXFP4 only the codes, or only the exponents, as safetensors checkpoints hold them: rows and cols are then
	 * in bytes. */
	enum { MOE_MX_WHOLE, MOE_MX_CODES, MOE_MX_EXPONENTS } mx;
	int64_t rows, cols;
};
struct moe_segment moe_seen_segment(const struct moe_view *view, const struct moe_seen *seen, int64_t i);
/* The same segment made of term k of what its expert is made of. */
struct moe_segment moe_seen_term(const struct moe_view *view, const struct moe_seen *seen, int64_t i, size_t k);
/* Which part of which expert (-1: none) segment i is, its first matrix at least. */
enum moe_part moe_seen_part(const struct moe_view *view, const struct moe_seen *seen, int64_t i, int32_t *expert);
/* The one stored matrix that the segment is as it lies, or NULL. */
const struct moe_weight *moe_segment_plain(const struct moe_segment *segment);

/* Does every segment begin at a whole number of scale blocks? */
bool moe_seen_aligned(const struct moe_view *view, const struct moe_seen *seen);

struct moe_tile {
	const struct moe_view *view;
	const struct moe_seen *seen;
	int64_t index;    /* of the segment */
	struct moe_segment segment;
	size_t at, n;     /* elements of the segment; whole rows where it is not plain */
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
/* Elements of the largest tile of a segment. */
size_t moe_tile_most(const struct moe_segment *segment, bool blocks);
/* The tile's stored bytes, a view; of a plain segment. */
const uint8_t *moe_tile_stored(const struct moe_tile *tile, size_t *n_bytes);

/* The tile will not be read again: its pages need not stay mapped in memory. Reading it again stays right, and slow. */
void moe_tile_release(const struct moe_tile *tile);

/* Buffers of one worker, grown on demand. Zero-initialise. */
struct moe_tile_buf {
	void *values, *row, *bytes, *term;
	size_t n_values, n_row, n_bytes, n_term;   /* capacities */
};
void moe_tile_buf_free(struct moe_tile_buf *buf);
/* Room for n_bytes in buf->bytes. */
MOE_MUST_USE enum moe_status moe_tile_room(struct moe_tile_buf *buf, size_t n_bytes, struct moe_err *err);
/* Decoded values in the order of the seen tensor, in buf. */
MOE_MUST_USE enum moe_status moe_tile_decode(const struct moe_tile *tile, struct moe_tile_buf *buf,
                                             const float **values, struct moe_err *err);
/* The stored bytes of a tile, for hashing: in the order of the seen tensor, where they can be put so without going by
 * their values, else these. In buf or in the checkpoint. */
MOE_MUST_USE enum moe_status moe_tile_bytes(const struct moe_tile *tile, struct moe_tile_buf *buf,
                                            const uint8_t **bytes, size_t *n_bytes, struct moe_err *err);
/* Bytes in codec `to`, in buf or (where nothing changes) in the checkpoint. *exact is false if a value was rounded;
 * NULL: not asked. The tile's rows must be whole blocks of `to`. */
MOE_MUST_USE enum moe_status moe_tile_encode(const struct moe_tile *tile, const struct moe_codec *to,
                                             struct moe_tile_buf *buf, const uint8_t **bytes, size_t *n_bytes,
                                             bool *exact, struct moe_err *err);

#endif
