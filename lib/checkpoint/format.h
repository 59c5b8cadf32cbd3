/* What the readers and writers of checkpoint/format/ share. Private to this folder. */
#ifndef MOE_CHECKPOINT_FORMAT_H
#define MOE_CHECKPOINT_FORMAT_H

#include "base/arena.h"
#include "checkpoint/checkpoint.h"
#include "checkpoint/write.h"

/* Reading. What a reader allocates in ckpt is freed by moe_ckpt_close, also after a failure. */

/* The first n bytes of a regular file; false where there are fewer or it cannot be read. */
bool moe_format_peek(const char *path, void *bytes, size_t n);
/* Room for n_files unopened maps in ckpt->files; raises n_files as they are opened. */
MOE_MUST_USE enum moe_status moe_format_alloc_files(struct moe_ckpt *ckpt, size_t n, struct moe_err *err);
MOE_MUST_USE enum moe_status moe_format_open_file(struct moe_ckpt *ckpt, const char *path, struct moe_err *err);
/* True for n bytes of UTF-8 without overlong forms or surrogates; NUL is allowed. */
bool moe_format_is_utf8(const uint8_t *p, size_t n);
/* True for a name that stays in its directory: not empty, no '/', no NUL, not "." or "..". */
bool moe_format_plain_name(const char *name, size_t n);
/* Takes stacks of experts apart (stacks.c); names are indexed before it and have to be afterwards. */
MOE_MUST_USE enum moe_status moe_ckpt_unstack(struct moe_ckpt *ckpt, struct moe_err *err);
/* Takes gate and up of GGUF's merged experts apart (stacks.c); names have to be indexed afterwards. */
MOE_MUST_USE enum moe_status moe_ckpt_unmerge(struct moe_ckpt *ckpt, struct moe_err *err);
/* Sorts ckpt->companions by name and parses the one called config.json into ckpt->config. */
MOE_MUST_USE enum moe_status moe_format_take_config(struct moe_ckpt *ckpt, struct moe_err *err);

/* Writing. */

struct moe_declared {
	const char *name;               /* in out->arena */
	const struct moe_codec *codec;
	int32_t n_dims;
	int64_t dims[MOE_MAX_DIMS];
	uint64_t n_bytes;
	bool tied;                      /* complete only with the one before it */
	int32_t rank;                   /* whose file holds it; 0 where there are none */
};

/* Where a tensor of an output lies. */
struct moe_format_place {
	char name[64];                  /* of the file, below the output; "": the output itself */
	uint64_t offset;
	const struct moe_buf *header;   /* what the file begins with; the layout's */
};

/* A container's half of the writer. Functions run in the order they stand here. */
struct moe_format_writer {
	/* Can this tensor be held? */
	MOE_MUST_USE enum moe_status (*check)(const struct moe_ckpt_out *out, const struct moe_declared *tensor,
	                                      struct moe_err *err);
	/* Makes *layout (headers, places) of everything declared and *total, the bytes of all files. */
	MOE_MUST_USE enum moe_status (*plan)(const struct moe_ckpt_out *out, void **layout, uint64_t *total,
	                                     struct moe_err *err);
	void (*place)(const struct moe_ckpt_out *out, const void *layout, size_t i, struct moe_format_place *place);
	/* Checks free space and opens out->dir or out->sink, which abort closes. Where out->resume is set, the tensors
	 * before out->current are there already. */
	MOE_MUST_USE enum moe_status (*begin)(struct moe_ckpt_out *out, struct moe_err *err);
	/* Before the first byte of tensor i, for every i ascending: out->sink must be ready for its bytes. */
	MOE_MUST_USE enum moe_status (*tensor)(struct moe_ckpt_out *out, size_t i, struct moe_err *err);
	/* After the last byte of the last tensor: everything else is written and the output made final. */
	MOE_MUST_USE enum moe_status (*finish)(struct moe_ckpt_out *out, struct moe_err *err);
	void (*free_layout)(void *layout);
	/* Calls fn for every file that a layout of `total` bytes makes, names as the user will see them below
	 * out->path;
	 * "" is out->path itself. */
	void (*files)(const struct moe_ckpt_out *out, const void *layout, uint64_t total,
	              void (*fn)(void *arg, const char *name, uint64_t n_bytes), void *arg);
};

struct moe_ckpt_out {
	const struct moe_format *format;
	char *path;
	unsigned flags;
	uint64_t shard_bytes;
	int32_t n_ranks, rank;          /* rank: of the tensors that are declared now */
	json_t *metadata;               /* a copy, or NULL */
	int32_t n_companions;
	struct moe_companion *companions;   /* copied table; bytes are the caller's */
	struct moe_watch *watch;
	struct moe_arena arena;         /* names */
	struct moe_declared *tensors;   /* [n_tensors] */
	size_t n_tensors, cap;
	bool begun;
	uint64_t total;                 /* set by begin */
	void *layout;                   /* the format's, from begin on */
	struct moe_outdir *dir;         /* owned, or NULL */
	struct moe_out *sink;           /* owned: where the current tensor's bytes go */
	struct moe_buf buf;             /* bytes not yet given to sink */
	char *recipe;                   /* a copy, or NULL */
	size_t n_kept;                  /* tensors that were there at begin */
	struct moe_resume *resume;      /* owned; NULL: what is begun is finished or gone */
	bool complete;                  /* nothing is left to write */
	size_t current;                 /* tensor being written */
	uint64_t n_done;                /* bytes of it that came */
};

/* Bytes into out->sink, gathered into large writes. */
MOE_MUST_USE enum moe_status moe_format_put(struct moe_ckpt_out *out, const void *bytes, size_t n_bytes,
                                            struct moe_err *err);
/* Gives what was gathered to out->sink. */
MOE_MUST_USE enum moe_status moe_format_flush(struct moe_ckpt_out *out, struct moe_err *err);

extern const struct moe_format_writer moe_safetensors_writer, moe_gguf_writer;

#endif
