/* Writing a checkpoint: declare every tensor, then stream their bytes in that order, then finish.
 * Peak memory is the caller's buffer: nothing of a tensor is kept. */
#ifndef MOE_CHECKPOINT_WRITE_H
#define MOE_CHECKPOINT_WRITE_H

#include "base/err.h"
#include "base/file.h"
#include "checkpoint/checkpoint.h"

struct moe_ckpt_out;

struct moe_ckpt_out_opts {
	const struct moe_format *format;
	const char *path;            /* directory (safetensors) or file (gguf) */
	unsigned flags;              /* MOE_OUT_FORCE */
	uint64_t shard_bytes;        /* safetensors: a new file before tensors would pass this; 0: one file */
	const json_t *metadata;      /* object or NULL; safetensors: strings for __metadata__; gguf: keys (see below) */
	int32_t n_companions;        /* safetensors: files beside the tensors; gguf: keys "moe.file.NAME" at the end */
	const struct moe_companion *companions;   /* the bytes must stay until commit */
	int32_t n_ranks;             /* of a format whose files are those of ranks; else 0 */
	/* Not NULL: what is written outlives failures and kills beside path, and a later run with the same declarations
	 * and recipe goes on with it. The text stands for all that decides the tensors' values. */
	const char *recipe;
	struct moe_watch *watch;
};

/* In GGUF metadata objects, a value is { "type": T, "value": V } with T one of u8 i8 u16 i16 u32 i32 f32 bool string
 * u64 i64 f64, or { "type": "array", "of": T or "array", "value": [V...] } (arrays in arrays are such objects again).
 * What JSON cannot hold (a string that is not UTF-8, a number that is not finite, 2^63 and beyond) stands as the hex
 * digits of its bytes in the file: { "type": T, "hex": "..." }, or { "hex": "..." } as an element.
 * That is also how moe_ckpt.metadata holds them. Keys keep their order. */

MOE_MUST_USE enum moe_status moe_ckpt_out_open(struct moe_ckpt_out **out, const struct moe_ckpt_out_opts *opts,
                                               struct moe_err *err);
/* Before the first write. Copies the name. */
MOE_MUST_USE enum moe_status moe_ckpt_out_declare(struct moe_ckpt_out *out, const char *name,
                                                  const struct moe_codec *codec, const int64_t *dims, int32_t n_dims,
                                                  struct moe_err *err);
/* The tensor declared last is never gone on with alone: it is written with the one before it. */
void moe_ckpt_out_tie(struct moe_ckpt_out *out);
/* The next tensor declared begins the file of the next rank. */
void moe_ckpt_out_next_rank(struct moe_ckpt_out *out);
/* Ends the declarations: checks free space, opens files, writes headers. */
MOE_MUST_USE enum moe_status moe_ckpt_out_begin(struct moe_ckpt_out *out, struct moe_err *err);
/* How many tensors an earlier run had written; writing goes on behind them. All of them, and moe_ckpt_out_complete: the
 * output stands finished, and nothing is to be written or committed. */
size_t moe_ckpt_out_kept(const struct moe_ckpt_out *out);
bool moe_ckpt_out_complete(const struct moe_ckpt_out *out);
/* Total bytes that begin() will need, headers and companions included; after all declarations. 0 where that cannot be
 * said: begin() would fail as well, and says why. */
uint64_t moe_ckpt_out_total(const struct moe_ckpt_out *out);
/* Calls fn for every file that will be made, after all declarations and before begin(); name is below the path of the
 * output, "" the path itself. */
MOE_MUST_USE enum moe_status moe_ckpt_out_files(const struct moe_ckpt_out *out,
                                                void (*fn)(void *arg, const char *name, uint64_t n_bytes), void *arg,
                                                struct moe_err *err);
/* The next n_bytes of the tensors in declared order; a call may end in the middle of a tensor, never across two.
 * Tensors without bytes need no call. */
MOE_MUST_USE enum moe_status moe_ckpt_out_write(struct moe_ckpt_out *out, const void *bytes, size_t n_bytes,
                                                struct moe_err *err);
/* All bytes of all tensors must have come. Frees out whatever happens; nothing half-written stays. */
MOE_MUST_USE enum moe_status moe_ckpt_out_commit(struct moe_ckpt_out *out, struct moe_err *err);
void moe_ckpt_out_abort(struct moe_ckpt_out *out);

#endif
