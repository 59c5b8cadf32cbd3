/* The experts of a layer as transformers 5 holds them: gate above up in one stack, down in another, both by outputs.
 * checkpoint/stacks.c sees them one by one again, which is how all else here knows them. */
#include <string.h>

#include "convert/job.h"

#define LAYER "model.layers.{l}.mlp.experts."

static const struct moe_tensor_spec gate_up = {
	.part = MOE_PART_EXPERT_GATE, .role = MOE_ROLE_EXPS, .where = MOE_AT_MOE, .hf = LAYER "gate_up_proj",
	.n_dims = 2, .dims = {MOE_DIM_2EXPERT_FFN, MOE_DIM_HIDDEN}, .stack = MOE_STACK_OUTER, .n_pieces = 2,
	.pieces = {{MOE_PART_EXPERT_GATE, MOE_DIM_EXPERT_FFN}, {MOE_PART_EXPERT_UP, MOE_DIM_EXPERT_FFN}},
};
static const struct moe_tensor_spec down = {
	.part = MOE_PART_EXPERT_DOWN, .role = MOE_ROLE_EXPS, .where = MOE_AT_MOE, .hf = LAYER "down_proj", .n_dims = 2,
	.dims = {MOE_DIM_HIDDEN, MOE_DIM_EXPERT_FFN}, .stack = MOE_STACK_OUTER,
};

/* The stack that takes the place of an expert's matrix, or NULL. */
static const struct moe_tensor_spec *stack_of(const struct moe_seen *seen)
{
	const char *own = seen->id.spec->hf;

	if (!own || seen->id.expert < 0)
		return NULL;
	if (strstr(own, ".mlp.experts.{e}.gate_proj.weight") || strstr(own, ".mlp.experts.{e}.up_proj.weight"))
		return &gate_up;
	return strstr(own, ".mlp.experts.{e}.down_proj.weight") ? &down : NULL;
}

static enum moe_status make_stack(struct moe_view *view, const struct moe_tensor_spec *spec, struct moe_seen *seen,
                                  struct moe_buf *name, struct moe_err *err)
{
	const struct moe_tensor_id id = { .spec = spec, .layer = seen->id.layer, .expert = -1 };
	struct moe_seen stack = { .id = id, .making = MOE_MADE_PARTS };
	const char *first = strstr(seen->name, ".mlp.experts."), *last = strrchr(spec->hf, '.') + 1;

	stack.n_segments = (int64_t)view->config->n_experts * (spec->n_pieces ? spec->n_pieces : 1);
	stack.n_dims = moe_spec_dims(view->config, spec, MOE_NAMING_HF, stack.dims);
	if (!moe_dims_elems(stack.dims, stack.n_dims, &stack.n_elems))
		return moe_err_set(err, MOE_EFORMAT, "%s: layer %d: a stack too large to count", view->ckpt->path,
		                   id.layer);
	name->n = 0;
	moe_buf_add(name, seen->name, (size_t)(first - seen->name) + strlen(".mlp.experts."));
	moe_buf_adds(name, last);
	if (moe_buf_check(name, err))
		return MOE_EIO;
	stack.name = moe_arena_strndup(&view->arena, name->p, name->n);
	*seen = stack;
	return stack.name ? MOE_OK : moe_err_nomem(err, name->n, "a tensor's name");
}

static enum moe_status stack_all(struct moe_view *view, struct moe_err *err)
{
	struct moe_buf name = {0};
	enum moe_status st = MOE_OK;
	size_t n = 0, n_stacks = 0;

	for (size_t i = 0; i < view->n && !st; i++) {
		struct moe_seen seen = view->seen[i];
		const struct moe_tensor_spec *spec = stack_of(&seen);

		/* the first one's place; those behind it, and up, are in it */
		if (spec && (seen.id.expert > 0 || seen.id.spec->part == MOE_PART_EXPERT_UP))
			continue;
		if (spec)
			st = make_stack(view, spec, &seen, &name, err);
		n_stacks += spec != NULL;
		view->seen[n++] = seen;
	}
	view->n = st ? view->n : n;
	moe_buf_free(&name);
	if (!st && n_stacks == 0)
		st = moe_err_set(err, MOE_EUSAGE, "--experts stacked: %s has no experts that are published as stacks "
		                 "of gate_up_proj and down_proj", view->config->family->name);
	return st;
}

enum moe_status moe_convert_lay_out(struct moe_convert *conv, struct moe_err *err)
{
	const enum moe_experts_layout asked = conv->opts.experts;
	const bool stacked = moe_names_stacked(&conv->config);

	if (asked == MOE_EXPERTS_ANY)
		return MOE_OK;
	if (conv->view.naming != MOE_NAMING_HF)
		return moe_err_set(err, MOE_EUSAGE, "--experts: in %s the experts of a layer are always stacked",
		                   conv->opts.to->name);
	if (asked == MOE_EXPERTS_SPLIT && stacked)
		return moe_err_set(err, MOE_EUSAGE, "--experts split: the experts of %s are published stacked only",
		                   conv->config.family->name);
	return asked == MOE_EXPERTS_STACKED && !stacked ? stack_all(&conv->view, err) : MOE_OK;
}
