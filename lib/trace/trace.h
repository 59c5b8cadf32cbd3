/* Traces: which experts every token chose, in every layer, as moe-trace(5) describes. */
#ifndef MOE_TRACE_TRACE_H
#define MOE_TRACE_TRACE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/file.h"
#include "base/pool.h"
#include "route/route.h"

#define MOE_TRACE_MAGIC "MOETRACE"   /* the first unpacked bytes */

enum moe_gate_type { MOE_GATES_F32, MOE_GATES_F16, MOE_GATES_8BIT, MOE_GATES_NONE };
const char *moe_gate_type_name(enum moe_gate_type type);   /* f32 f16 8bit none */

/* What a trace says about itself. Strings are owned by whoever filled it (the reader: views until close). */
struct moe_trace_header {
	const char *model;       /* name or path as given; "" unknown */
	const char *model_hash;  /* "xxh3:..." or "" */
	const char *tokenizer_hash;
	const char *family;      /* "deepseek_v3" or "" */
	const char *policy;      /* "noaux_tc", "imported" */
	const char *scoring;     /* "sigmoid", "softmax", "" */
	const char *math;        /* "exact", "native", "" */
	const char *command;     /* provenance: the command line */
	const char *version;     /* of the writer */
	int32_t n_layers;        /* MoE layers in the trace */
	const int32_t *layers;   /* [n_layers] the model's own indices, ascending */
	int32_t n_model_layers;  /* of the model; 0 unknown */
	int32_t n_experts, top_k;
	int32_t n_groups, top_groups;
	double scale;
	bool normalize;
	double eps, p_norm;      /* of the policies that read them; others leave them out */
	enum moe_gate_type gates;
	bool logits, margins;    /* kept for every token? */
};

/* A run of consecutive tokens of one sequence, all layers. A view. */
struct moe_trace_run {
	int64_t part;             /* counts headers: after `cat`, (part, seq, pos) is the key */
	int64_t seq;              /* sequence within the part */
	int64_t pos;              /* of the first token */
	const char *source;       /* file or domain label; any bytes, NUL-terminated */
	int64_t n_tokens;
	const int32_t *tokens;    /* [n_tokens] token ids, -1 unknown */
	const struct moe_routing *layers;   /* [header n_layers] */
};

/* Where runs go. The run is a view until the call returns. */
struct moe_run_sink {
	void *arg;
	MOE_MUST_USE enum moe_status (*run)(void *arg, const struct moe_trace_run *run, struct moe_err *err);
};

/* A trace being written, by one thread at a time; compression uses the pool. */
struct moe_trace_out;
MOE_MUST_USE enum moe_status moe_trace_create(struct moe_trace_out **out, const char *path, unsigned flags,
                                              const struct moe_trace_header *header, struct moe_pool *pool,
                                              struct moe_watch *watch, struct moe_err *err);
/* Ids are checked against n_experts. A run of any length is split as the format needs. */
MOE_MUST_USE enum moe_status moe_trace_write(struct moe_trace_out *out, const struct moe_trace_run *run,
                                             struct moe_err *err);
MOE_MUST_USE enum moe_status moe_trace_commit(struct moe_trace_out *out, struct moe_err *err);
void moe_trace_abort(struct moe_trace_out *out);

/* A trace being read, by one thread at a time; decompression uses the pool. "-" is stdin. */
struct moe_trace_in;
MOE_MUST_USE enum moe_status moe_trace_open(struct moe_trace_in **out, const char *path, struct moe_pool *pool,
                                            struct moe_watch *watch, struct moe_err *err);
/* The same from a descriptor (not 0), closed with the trace, or at a failure. `path` is for messages. */
MOE_MUST_USE enum moe_status moe_trace_open_fd(struct moe_trace_in **out, int fd, const char *path,
                                               struct moe_pool *pool, struct moe_err *err);
/* What a run may hold beside ids. */
enum moe_trace_field { MOE_TRACE_GATES = 1, MOE_TRACE_LOGITS = 2, MOE_TRACE_MARGINS = 4 };
/* Only these fields are decoded from now on; the others are NULL in every run. Before the first moe_trace_next;
 * without it all that the trace keeps is decoded. */
void moe_trace_want(struct moe_trace_in *in, unsigned fields);
/* The header of the current part (after open: of the first). All parts of a file must agree in layers, experts and
 * model; that is checked when a new part begins. */
const struct moe_trace_header *moe_trace_head(const struct moe_trace_in *in);
/* *out is the next run, valid until the next call, or NULL at the end. A cut file is an error that tells how many
 * complete runs and tokens came before the cut. */
MOE_MUST_USE enum moe_status moe_trace_next(struct moe_trace_in *in, const struct moe_trace_run **out,
                                            struct moe_err *err);
/* Compressed bytes read so far and in all (0 for a pipe): for progress. */
void moe_trace_progress(const struct moe_trace_in *in, uint64_t *n_read, uint64_t *n_total);
/* Do two headers speak of the same model, layers, experts and top_k? The sentence calls them by the names given. */
MOE_MUST_USE enum moe_status moe_trace_agree(const struct moe_trace_header *first, const char *first_name,
                                             const struct moe_trace_header *second, const char *second_name,
                                             struct moe_err *err);
void moe_trace_close(struct moe_trace_in *in);
/* Does this file begin like a trace? False for what cannot be opened. Never for "-". */
bool moe_trace_probe(const char *path);

/* Where an importer delivers: begin once, then runs. */
struct moe_import_sink {
	void *arg;
	MOE_MUST_USE enum moe_status (*begin)(void *arg, const struct moe_trace_header *header, struct moe_err *err);
	MOE_MUST_USE enum moe_status (*run)(void *arg, const struct moe_trace_run *run, struct moe_err *err);
};

/* What is said about the files beside what they hold. */
struct moe_import_opts {
	const char *config_path;   /* a model's config.json, or NULL */
	int32_t n_experts;         /* 0: not given */
	int32_t layer;             /* the model's index of the only or first layer in the files; -1: not given */
	int32_t top_k;             /* of scores, which do not tell; 0: not given */
	bool lenient;              /* drop ids that cannot be, instead of refusing the file */
	struct moe_watch *watch;
	int64_t *n_dropped;        /* counts them */
};

/* A trace in the format of another tool being written. Members make it; out gets the bytes. */
struct moe_export;
struct moe_export_ops {
	bool binary;
	MOE_MUST_USE enum moe_status (*begin)(struct moe_export **result, struct moe_out *out,
	                                      const struct moe_trace_header *header, struct moe_err *err);
	MOE_MUST_USE enum moe_status (*run)(struct moe_export *export, const struct moe_trace_run *run,
	                                    struct moe_err *err);
	/* The last bytes; `out` is the caller's to commit. */
	MOE_MUST_USE enum moe_status (*finish)(struct moe_export *export, struct moe_err *err);
	void (*free)(struct moe_export *export);   /* NULL is fine */
};

/* A format of another tool. Members: trace/format/. */
struct moe_import {
	const char *name;        /* "esft" */
	const char *help;
	/* Reads FILEs and delivers runs; the header comes from the configuration, if there is one, and the files. */
	MOE_MUST_USE enum moe_status (*run)(char *const *files, int n_files, const struct moe_import_opts *opts,
	                                    const struct moe_import_sink *sink, struct moe_err *err);
	bool scores;                       /* its files hold scores, of which opts->top_k are chosen */
	const struct moe_export_ops *to;   /* NULL: only read */
};
const struct moe_import *moe_import_at(size_t i);             /* NULL past the end */
const struct moe_import *moe_import_by_name(const char *name);   /* or NULL */

#endif
