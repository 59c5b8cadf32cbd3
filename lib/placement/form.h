/* Plans as other programs keep them: which expert is in which slot, layer by layer. Members: placement/form/. */
#ifndef MOE_PLACEMENT_FORM_H
#define MOE_PLACEMENT_FORM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/file.h"
#include "base/str.h"
#include "plan/plan.h"

/* What such a file does not say. */
struct moe_form_opts {
	int32_t n_ranks;         /* 0: the file says it */
	int32_t n_nodes;         /* 0: one */
	const char *layers;      /* "3-60": the model's own indices of the layers; NULL: counted from 0 */
	struct moe_watch *watch;
};

struct moe_slots;

struct moe_plan_form {
	const char *name;        /* "sglang" */
	const char *help;
	const char *source;      /* whose form it is */
	bool binary;
	bool model_layers;       /* a row for every layer of the model, not only for those with experts */
	/* The file as slots; NULL: the form does not say where experts are. */
	MOE_MUST_USE enum moe_status (*read)(struct moe_slots *out, const char *path, struct moe_watch *watch,
	                                     struct moe_err *err);
	/* Appends the file. */
	MOE_MUST_USE enum moe_status (*write)(const struct moe_slots *slots, struct moe_buf *out, struct moe_err *err);
};
const struct moe_plan_form *moe_form_at(size_t i);   /* NULL past the end */
const struct moe_plan_form *moe_form_by_name(const char *name);

/* A plan from such a file. Replicas are numbered as the file lists them, else by rank. What a plan must not be, as two
 * copies of an expert on a rank, is refused; so are ranks that do not hold equally many. */
MOE_MUST_USE enum moe_status moe_form_import(struct moe_plan *plan, const struct moe_plan_form *form, const char *path,
                                            const struct moe_form_opts *opts, struct moe_err *err);
/* And back; `name` is of the plan, for messages. Needs ranks that hold equally many experts in every layer. Layers that
 * a form asks for and the plan does not name get experts in order. */
MOE_MUST_USE enum moe_status moe_form_export(const struct moe_plan *plan, const struct moe_plan_form *form,
                                             const char *name, struct moe_buf *out, struct moe_err *err);

#endif
