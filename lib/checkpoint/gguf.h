/* GGUF's numbers and the front of its files, for reader and writer. Private to this folder. */
#ifndef MOE_CHECKPOINT_GGUF_H
#define MOE_CHECKPOINT_GGUF_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/file.h"
#include "base/str.h"
#include "checkpoint/checkpoint.h"

#define MOE_GGUF_VERSION 3
#define MOE_GGUF_DEFAULT_ALIGNMENT 32
#define MOE_GGUF_MAX_ALIGNMENT (1u << 20)
#define MOE_GGUF_MAX_DIMS 4
#define MOE_GGUF_MAX_KEY 65535
#define MOE_GGUF_MAX_DEPTH 4                /* arrays within arrays */
/* Keys that hold files of the original directory, by name. */
#define MOE_GGUF_FILE_PREFIX "moe.file."

/* Types of metadata values, by their number in a file. */
enum moe_gguf_type {
	MOE_GGUF_U8, MOE_GGUF_I8, MOE_GGUF_U16, MOE_GGUF_I16, MOE_GGUF_U32, MOE_GGUF_I32, MOE_GGUF_F32, MOE_GGUF_BOOL,
	MOE_GGUF_STRING, MOE_GGUF_ARRAY, MOE_GGUF_U64, MOE_GGUF_I64, MOE_GGUF_F64, MOE_GGUF_N_TYPES,
};

/* What metadata objects call them, and the bytes of one (0: of no fixed length). */
static const struct {
	const char *name;
	size_t n_bytes;
} moe_gguf_types[MOE_GGUF_N_TYPES] = {
	[MOE_GGUF_U8] = { "u8", 1 }, [MOE_GGUF_I8] = { "i8", 1 }, [MOE_GGUF_U16] = { "u16", 2 },
	[MOE_GGUF_I16] = { "i16", 2 }, [MOE_GGUF_U32] = { "u32", 4 }, [MOE_GGUF_I32] = { "i32", 4 },
	[MOE_GGUF_F32] = { "f32", 4 }, [MOE_GGUF_BOOL] = { "bool", 1 }, [MOE_GGUF_STRING] = { "string", 0 },
	[MOE_GGUF_ARRAY] = { "array", 0 }, [MOE_GGUF_U64] = { "u64", 8 }, [MOE_GGUF_I64] = { "i64", 8 },
	[MOE_GGUF_F64] = { "f64", 8 },
};

/* A position in a file, with what is collected on the way. */
struct moe_gguf_reader {
	struct moe_ckpt *ckpt;
	const struct moe_map *file;
	struct moe_err *err;
	size_t at;
	size_t n_values;       /* so far, against MAX_VALUES */
	size_t n_objects;      /* against MAX_OBJECTS */
	uint64_t n_tensors, n_keys;
	uint64_t alignment;
	json_t *keys;          /* owned */
	bool keep_files;       /* collect MOE_GGUF_FILE_PREFIX keys as companions */
};

/* "FILE: " and the sentence, as MOE_EFORMAT. */
enum moe_status moe_gguf_refuse(struct moe_gguf_reader *r, const char *fmt, ...) MOE_PRINTF(2, 3);
/* `what` names the thing in messages. */
MOE_MUST_USE enum moe_status moe_gguf_take_u32(struct moe_gguf_reader *r, const char *what, uint32_t *v);
MOE_MUST_USE enum moe_status moe_gguf_take_u64(struct moe_gguf_reader *r, const char *what, uint64_t *v);
/* The name of a key or tensor: UTF-8 without NUL, so that it can be printed and compared as text. A view. */
MOE_MUST_USE enum moe_status moe_gguf_take_name(struct moe_gguf_reader *r, const char *what, struct moe_str *text);
/* From the magic to the last key. r->keys is the caller's to free, whatever happens. */
MOE_MUST_USE enum moe_status moe_gguf_read_keys(struct moe_gguf_reader *r);
/* An integer key; false where it is absent or no integer. */
bool moe_gguf_key_integer(const json_t *keys, const char *key, json_int_t *value);

#endif
