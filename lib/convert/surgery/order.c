/* --order: the experts of a layer in another order. A layer that is named lists all its experts; groups stay
 * together. */
#include "convert/surgery/kinds.h"

static enum moe_status order_layer(const struct moe_operation *op, const struct moe_expert_list *list, int32_t l,
                                   struct moe_err *err)
{
	const struct moe_config *c = op->config;
	const int32_t size = moe_surgery_group_size(c), *rank = list->rank + (size_t)l * (size_t)c->n_experts;

	if (list->n[l] && list->n[l] != c->n_experts)
		return moe_err_set(err, MOE_EUSAGE, "%s: layer %d: %d of its %d experts are listed", list->path, l,
		                   list->n[l], c->n_experts);
	for (int32_t e = 0; e < c->n_experts; e++)
		moe_surgery_term(op->s, l, list->n[l] ? rank[e] - 1 : e)->expert = e;
	for (int32_t e = 0; e < c->n_experts; e++)
		if (moe_surgery_term(op->s, l, e)->expert / size !=
		    moe_surgery_term(op->s, l, e / size * size)->expert / size)
			return moe_err_set(err, MOE_EUSAGE, "%s: layer %d: the router ranks groups of %d experts, and "
			                   "the new group %d would mix two of them", list->path, l, size, e / size);
	return MOE_OK;
}

enum moe_status moe_surgery_order(const struct moe_operation *op, struct moe_err *err)
{
	struct moe_expert_list list;
	enum moe_status st = moe_expert_list_read(&list, op->opts->order, op->config, err);

	if (!st)
		st = moe_surgery_alloc(op, op->config->n_experts, err);
	for (int32_t l = 0; !st && l < op->s->n_layers; l++)
		st = order_layer(op, &list, l, err);
	moe_expert_list_free(&list);
	return st;
}
