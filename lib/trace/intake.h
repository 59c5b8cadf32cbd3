/* What importers share: the header that becomes of a configuration and of what the files hold, and the checks of single
 * choices. */
#ifndef MOE_TRACE_INTAKE_H
#define MOE_TRACE_INTAKE_H

#include "base/arena.h"
#include "model/model.h"
#include "trace/trace.h"

/* One import, by one thread. Zero-initialise; moe_intake_close frees what it owns. */
struct moe_intake {
	const struct moe_import_opts *opts;
	const struct moe_import_sink *sink;
	struct moe_arena arena;
	struct moe_config config;
	bool has_config, begun;
	int32_t n_moe, *moe_layers;      /* [n_moe] layers of the configuration that have experts */
	struct moe_trace_header header;
	int64_t *seen, stamp;            /* [n_experts]: the last stamp of each, to find what is there twice */
};

/* Reads the configuration if one is named, and finds out how many experts there are: from it, or from opts; a sentence
 * that names `what` where neither tells. */
MOE_MUST_USE enum moe_status moe_intake_open(struct moe_intake *in, const struct moe_import_opts *opts,
                                             const struct moe_import_sink *sink, const char *what,
                                             struct moe_err *err);
void moe_intake_close(struct moe_intake *in);

/* Is this layer one that the configuration gives experts, or one behind its last (multi-token prediction)? Without a
 * configuration any from 0 is. `where` begins the sentence. */
MOE_MUST_USE enum moe_status moe_intake_layer(const struct moe_intake *in, int64_t layer, const char *where,
                                              struct moe_err *err);
/* The header is known: layers [n_layers] ascending are copied. A configuration with another top_k is refused. */
MOE_MUST_USE enum moe_status moe_intake_begin(struct moe_intake *in, const int32_t *layers, int32_t n_layers,
                                              int32_t top_k, bool gates, bool logits, const char *where,
                                              struct moe_err *err);

/* The choices of the next token in one layer follow. */
void moe_intake_token(struct moe_intake *in);
/* Where a choice was read. */
struct moe_place {
	const char *path;
	int64_t line;              /* 0: it lies in an array */
	const char *array;         /* its name; "" where it has none */
	int64_t token, layer, choice;
};
/* May a token choose this expert, with this gate (0 where none is kept)? An expert out of range, or there twice, is
 * refused, or with opts->lenient counted and *kept false. */
MOE_MUST_USE enum moe_status moe_intake_choice(struct moe_intake *in, int64_t expert, float gate,
                                               const struct moe_place *place, bool *kept, struct moe_err *err);

/* The name of a file without folders and extension, as sources are called; in the arena. */
MOE_MUST_USE enum moe_status moe_intake_label(struct moe_intake *in, const char *path, const char **out,
                                              struct moe_err *err);

#endif
