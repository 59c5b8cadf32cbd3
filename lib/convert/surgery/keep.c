/* --keep-experts and --drop-experts: some experts, with their rows of the router and their biases. Every layer keeps as
 * many, and so does every group. */
#include "convert/surgery/kinds.h"

/* The experts of layer l that are kept, in order. */
static enum moe_status keep_layer(const struct moe_operation *op, const struct moe_expert_list *list, bool drop,
                                  int32_t l, int32_t n_kept, const char *option, struct moe_err *err)
{
	const struct moe_config *c = op->config;
	const int32_t n_groups = c->router.n_groups > 1 ? c->router.n_groups : 1, size = moe_surgery_group_size(c);
	const int32_t *rank = list->rank + (size_t)l * (size_t)c->n_experts;

	for (int32_t e = 0, at = 0; e < c->n_experts; e++) {
		if (!rank[e] != drop)
			continue;
		if (n_groups > 1 && (n_kept % n_groups || e / size != at / (n_kept / n_groups)))
			return moe_err_set(err, MOE_EUSAGE, "%s: layer %d: the router has %d groups of experts, and "
			                   "each must keep as many as the others", option, l, n_groups);
		moe_surgery_term(op->s, l, at++)->expert = e;
	}
	return MOE_OK;
}

static enum moe_status keep_all(const struct moe_operation *op, const struct moe_expert_list *list, bool drop,
                                const char *option, struct moe_err *err)
{
	const struct moe_config *c = op->config;
	int32_t first = -1, kept = 0;
	enum moe_status st = MOE_OK;

	for (int32_t l = 0; l < c->n_layers + c->n_mtp_layers && !st; l++) {
		const int32_t *rank = list->rank + (size_t)l * (size_t)c->n_experts;
		int32_t n = 0;

		if (c->layers[l].ffn != MOE_FFN_MOE)
			continue;
		for (int32_t e = 0; e < c->n_experts; e++)
			n += !rank[e] == drop;
		if (first < 0) {
			first = l;
			kept = n;
			st = kept ? moe_surgery_alloc(op, kept, err)
			          : moe_err_set(err, MOE_EUSAGE, "%s: layer %d keeps no expert", option, l);
		} else if (n != kept) {
			st = moe_err_set(err, MOE_EUSAGE, "%s: layer %d keeps %d experts and layer %d keeps %d: a "
			                 "config has one number for all layers%s", option, first, kept, l, n,
			                 l >= c->n_layers ? " (--drop-mtp leaves that one out)" : "");
		}
		if (!st)
			st = keep_layer(op, list, drop, l, kept, option, err);
	}
	if (!st) {
		/* whether it was taken is asked of the config that comes out */
		moe_surgery_set(op->json, moe_surgery_expert_keys, json_integer(kept));
		moe_surgery_say_fewer(op);
	}
	return st;
}

static enum moe_status keep(const struct moe_operation *op, const char *path, bool drop, const char *option,
                            struct moe_err *err)
{
	struct moe_expert_list list;
	enum moe_status st = moe_expert_list_read(&list, path, op->config, err);

	if (!st)
		st = keep_all(op, &list, drop, option, err);
	moe_expert_list_free(&list);
	return st;
}

enum moe_status moe_surgery_keep(const struct moe_operation *op, struct moe_err *err)
{
	return keep(op, op->opts->keep, false, "--keep-experts", err);
}

enum moe_status moe_surgery_drop(const struct moe_operation *op, struct moe_err *err)
{
	return keep(op, op->opts->drop, true, "--drop-experts", err);
}
