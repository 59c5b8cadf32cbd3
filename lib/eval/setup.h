/* A model ready to run: checkpoint, weights, tokenizer and device opened together, closed together. */
#ifndef MOE_EVAL_SETUP_H
#define MOE_EVAL_SETUP_H

#include "base/pool.h"
#include "device/device.h"
#include "model/model.h"
#include "route/route.h"
#include "text/tokenizer.h"

/* Zero-initialise. */
struct moe_setup {
	struct moe_ckpt *ckpt;
	struct moe_model *model;
	struct moe_tokenizer *tokenizer;   /* NULL until moe_setup_tokenizer */
	struct moe_device *device;
};

/* path: a directory or file. The pool is borrowed. */
MOE_MUST_USE enum moe_status moe_setup_open(struct moe_setup *setup, const char *path, const char *device,
                                            struct moe_pool *pool, struct moe_watch *watch, struct moe_err *err);
/* Only the checkpoint and its tokenizer: for --tokenize. */
MOE_MUST_USE enum moe_status moe_setup_text(struct moe_setup *setup, const char *path, struct moe_watch *watch,
                                            struct moe_err *err);
/* The checkpoint's tokenizer, or a sentence saying that it has none. Ids beyond the model's vocabulary are refused. */
MOE_MUST_USE enum moe_status moe_setup_tokenizer(struct moe_setup *setup, struct moe_err *err);
/* Does the model have a layer of multi-token prediction? Else a sentence (MOE_EUSAGE). */
MOE_MUST_USE enum moe_status moe_setup_mtp(const struct moe_setup *setup, struct moe_err *err);
/* The correction biases of every layer that has one; a model without any is an error. Free with moe_bias_free. */
MOE_MUST_USE enum moe_status moe_setup_bias(const struct moe_setup *setup, struct moe_bias *bias, struct moe_err *err);
void moe_setup_close(struct moe_setup *setup);

#endif
