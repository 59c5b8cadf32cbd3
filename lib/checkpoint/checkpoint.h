/* A checkpoint: named tensors, a config and companion files, whatever the container.
 *
 * A Hugging Face directory (config.json, *.safetensors with or without an index), one .safetensors file, or a GGUF
 * file (also split). Experts that transformers 5 stacked are seen one by one (stacks.c). Nothing is copied: tensors are
 * views into mappings that live until moe_ckpt_close. */
#ifndef MOE_CHECKPOINT_CHECKPOINT_H
#define MOE_CHECKPOINT_CHECKPOINT_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/err.h"
#include "base/file.h"
#include "tensor/tensor.h"

struct moe_ckpt;
struct moe_buf;

/* How tensors are called and laid out inside. The old names of GGUF are no format's own: a file tells by what it holds
 * (model/names.h). */
enum moe_naming { MOE_NAMING_HF, MOE_NAMING_GGUF, MOE_NAMING_GGUF_OLD };

/* A file beside the tensors that travels with them: config.json, tokenizer.json, tokenizer_config.json, ... */
struct moe_companion {
	const char *name;
	const uint8_t *data;   /* view */
	size_t n_bytes;
};

/* How ranks that compute together share a tensor: a copy each, rows or columns of it, or an expert to one of them. */
enum moe_cut { MOE_CUT_NONE, MOE_CUT_ROWS, MOE_CUT_COLS, MOE_CUT_EXPERTS };

/* A tensor that lies in two files, of which the first is read. */
struct moe_replica {
	struct moe_tensor tensor, other;
};

/* A container. Members: checkpoint/format/. */
struct moe_format {
	const char *name;       /* "safetensors", "gguf": what --to says */
	enum moe_naming naming;
	const char *help;
	/* Does this path look like one of ours? By magic or listing, never by name alone. */
	bool (*probe)(const char *path);
	MOE_MUST_USE enum moe_status (*open)(struct moe_ckpt *ckpt, const char *path, struct moe_err *err);
	bool is_default;        /* of directories whose names say nothing */
	/* Appends what a tensor of this (published) name is called in the file of a rank, and how ranks share it;
	 * false where such files hold none of that name. NULL: files are not those of ranks. */
	bool (*rank_name)(const char *name, struct moe_buf *own, enum moe_cut *cut);
	/* The writer's half: see write.h. */
	const struct moe_format_writer *writer;
};

const struct moe_format *moe_format_at(size_t i);             /* NULL past the end */
const struct moe_format *moe_format_by_name(const char *name);

struct moe_ckpt {
	const struct moe_format *format;
	char *path;                    /* as given */
	struct moe_arena arena;        /* owns names and tables */
	struct moe_watch *watch;
	int32_t n_files;
	struct moe_map *files;         /* [n_files] mapped; path inside */
	size_t n_tensors;
	struct moe_tensor *tensors;    /* [n_tensors], malloc'd, in file order then offset order */
	uint32_t *by_name;             /* [n_tensors] indices sorted by name */
	json_t *config;                /* config.json, or one made from GGUF keys; NULL where there is none */
	/* safetensors: __metadata__ of file 0, NULL where it has none; GGUF: all keys, as write.h has them. */
	json_t *metadata;
	int32_t n_companions;
	struct moe_companion *companions;   /* sorted by name */
	int32_t n_side_files;
	size_t n_replicas;
	struct moe_replica *replicas;  /* [n_replicas], the arena's */
	struct moe_map *side_files;    /* [n_side_files] mappings that companions view; owned */
};

/* Opens and checks the structure: every header, every offset, no overlap, no hole, no duplicate name, index and files
 * agree. A directory that holds only config.json opens with n_tensors 0. A file of a checkpoint that is there as
 * something else (a directory, a link to nothing) is refused. What is read becomes an input of the watch. */
MOE_MUST_USE enum moe_status moe_ckpt_open(struct moe_ckpt **out, const char *path, struct moe_watch *watch,
                                           struct moe_err *err);
void moe_ckpt_close(struct moe_ckpt *ckpt);   /* NULL is fine */

/* A view, or NULL. */
const struct moe_tensor *moe_ckpt_find(const struct moe_ckpt *ckpt, const char *name);
const struct moe_companion *moe_ckpt_companion(const struct moe_ckpt *ckpt, const char *name);
/* The file a tensor lies in, for messages. */
const char *moe_ckpt_file(const struct moe_ckpt *ckpt, const struct moe_tensor *tensor);
/* Where *config is that of DeepSeek's inference program, replaces it by what config.json says in its place. */
MOE_MUST_USE enum moe_status moe_ckpt_translate(json_t **config, const char *where, struct moe_err *err);
/* Gives a checkpoint that has no config.json the one at path. */
MOE_MUST_USE enum moe_status moe_ckpt_give_config(struct moe_ckpt *ckpt, const char *path, struct moe_err *err);
/* Are the files' copies of what they all hold the same? Reads them. */
MOE_MUST_USE enum moe_status moe_ckpt_check_replicas(const struct moe_ckpt *ckpt, struct moe_err *err);
/* MOE_EFORMAT where a matrix lies in parts, or (stacks) one of experts that are whole: who cannot put it together asks
 * first. */
MOE_MUST_USE enum moe_status moe_ckpt_check_whole(const struct moe_ckpt *ckpt, bool stacks, struct moe_err *err);
/* Identity of a checkpoint: XXH3-128 over config.json's bytes and every tensor's name, dtype, dims and stored bytes
 * (full: reads everything) or over names, dtypes and dims only (quick). 32 hex digits. */
MOE_MUST_USE enum moe_status moe_ckpt_hash(const struct moe_ckpt *ckpt, bool full, char out[33], struct moe_err *err);

#endif
