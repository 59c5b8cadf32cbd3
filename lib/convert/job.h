/* A conversion between its planning and its running. Private to this folder. */
#ifndef MOE_CONVERT_JOB_H
#define MOE_CONVERT_JOB_H

#include "convert/convert.h"
#include "convert/importance.h"
#include "convert/surgery.h"
#include "convert/view.h"

/* How a tensor is stored. */
struct moe_choice {
	const struct moe_codec *codec;
	bool scaled;               /* with block scales, in a tensor of their own right behind it */
	bool powers;               /* which are powers of two where they are new */
	bool e8m0;                 /* and stored as such */
	bool rescale;              /* those of the source are not kept */
	int32_t rank;              /* whose file it goes to; 0 where there are none */
	bool exact;                /* values must not be rounded: a type restored from the record */
	bool kept;                 /* the type is the one it is stored in: bytes are copied */
	const struct moe_imatrix_entry *importance;   /* NULL: every number matters the same */
};

/* A conversion, planned. */
struct moe_convert {
	const struct moe_ckpt *src;
	struct moe_convert_opts opts;
	json_t *json;              /* config.json of the destination */
	bool json_made;            /* from GGUF keys */
	bool json_changed;         /* no longer the source's bytes */
	struct moe_config own;     /* of the source */
	struct moe_config config;  /* of the destination */
	struct moe_surgery surgery;
	struct moe_view view;      /* the source under the destination's names */
	struct moe_choice *choices;    /* [view.n] */
	struct moe_imatrix imatrix;    /* zero where there is none */
	json_t *recorded;          /* the source's moe.hf.dtypes, or NULL */
	json_t *metadata;
	struct moe_companion *companions;
	int32_t n_companions;
	struct moe_buf config_text, notes, details;
	size_t n_fallback, n_widened, n_unscaled, n_rescaled;
	struct moe_ckpt_out *out;
	uint64_t total;
	bool complete;             /* after the run: there was nothing to do */
	size_t n_kept;             /* tensors that an earlier run wrote */
};

/* Where the destination is the files of ranks: the view becomes what each of them holds, rank after rank. */
MOE_MUST_USE enum moe_status moe_convert_cut_ranks(struct moe_convert *conv, struct moe_err *err);
/* Appends what the destination calls a tensor. */
MOE_MUST_USE enum moe_status moe_convert_name(const struct moe_convert *conv, const char *published,
                                              struct moe_buf *name, struct moe_err *err);
/* Lays the view's experts out as --experts asks; stacks are not found by name. */
MOE_MUST_USE enum moe_status moe_convert_lay_out(struct moe_convert *conv, struct moe_err *err);
/* What decides the values of the destination beside its headers, as a hash: the program, the source's files by name,
 * size and time of change, and what each tensor is made into. */
MOE_MUST_USE enum moe_status moe_convert_recipe(const struct moe_convert *conv, char recipe[33], struct moe_err *err);
/* Sets a key of the destination's config; value NULL takes it out, also of the text_config. */
MOE_MUST_USE enum moe_status moe_convert_set(struct moe_convert *conv, const char *key, json_t *value,
                                             struct moe_err *err);
/* Which form the scales of a tensor that has them get. */
void moe_convert_choose_scales(struct moe_convert *conv, const struct moe_seen *seen, struct moe_choice *out);
/* Types with block scales are wanted: the config must say so. */
MOE_MUST_USE enum moe_status moe_convert_ask_scales(struct moe_convert *conv, const char *where, struct moe_err *err);
/* A config that speaks of block scales where no tensor has them would be wrong, and one silent on their form. */
MOE_MUST_USE enum moe_status moe_convert_settle_scales(struct moe_convert *conv, struct moe_err *err);
/* The block scales of a tensor, right behind it. */
MOE_MUST_USE enum moe_status moe_convert_declare_scales(struct moe_convert *conv, const struct moe_seen *seen,
                                                        bool e8m0, struct moe_err *err);
/* Reads the source's config, which is checked against its tensors, and makes the destination's of it: without MTP
 * layers, with block scales, with other experts, as asked. */
MOE_MUST_USE enum moe_status moe_convert_take_config(struct moe_convert *conv, struct moe_err *err);
/* Opens opts.imatrix, if there is one, and gives each tensor that it guides its entry; the metadata is made by then. */
MOE_MUST_USE enum moe_status moe_convert_weigh(struct moe_convert *conv, struct moe_err *err);

#endif
