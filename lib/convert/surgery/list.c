/* Tables of layers and experts, and lists of what new experts are made of. */
#include <stdlib.h>
#include <string.h>

#include "convert/surgery/kinds.h"

const char *const moe_surgery_expert_keys[] = {"n_routed_experts", "num_experts", "num_local_experts",
                                               "moe_num_experts", NULL};

enum moe_status moe_expert_list_layer(const struct moe_table *table, int64_t i, int column, const struct moe_config *c,
                                      int64_t *layer, struct moe_err *err)
{
	const int64_t most = (int64_t)c->n_layers + c->n_mtp_layers - 1;
	enum moe_status st = moe_table_i64(table, i, column, 0, most, layer, err);

	if (!st && c->layers[*layer].ffn != MOE_FFN_MOE)
		st = moe_err_set(err, MOE_EUSAGE, "%s: line %lld: layer %lld has no experts", moe_table_name(table),
		                 (long long)moe_table_line(table, i), (long long)*layer);
	return st;
}

static enum moe_status read_rows(struct moe_expert_list *list, const struct moe_table *table,
                                 const struct moe_config *c, struct moe_err *err)
{
	int c_layer = 0, c_expert = 0;
	enum moe_status st = moe_table_need(table, "layer", &c_layer, err);

	if (!st)
		st = moe_table_need(table, "expert", &c_expert, err);
	for (int64_t i = 0; !st && i < moe_table_rows(table); i++) {
		int64_t l = 0, e = 0;

		st = moe_expert_list_layer(table, i, c_layer, c, &l, err);
		if (!st)
			st = moe_table_i64(table, i, c_expert, 0, c->n_experts - 1, &e, err);
		if (st)
			return st;
		int32_t *rank = &list->rank[l * c->n_experts + e];
		if (*rank)
			return moe_err_set(err, MOE_EUSAGE, "%s: line %lld: layer %lld: expert %lld is named twice",
			                   list->path, (long long)moe_table_line(table, i), (long long)l, (long long)e);
		*rank = ++list->n[l];
	}
	return st;
}

enum moe_status moe_expert_list_read(struct moe_expert_list *list, const char *path, const struct moe_config *c,
                                     struct moe_err *err)
{
	const size_t n_layers = (size_t)(c->n_layers + c->n_mtp_layers);
	struct moe_table *table;
	enum moe_status st = moe_table_read(&table, path, err);

	*list = (struct moe_expert_list){ .path = path };
	if (st)
		return st;
	list->rank = calloc(n_layers * (size_t)c->n_experts, sizeof *list->rank);
	list->n = calloc(n_layers, sizeof *list->n);
	st = list->rank && list->n ? read_rows(list, table, c, err)
	                           : moe_err_nomem(err, n_layers * (size_t)c->n_experts, "a list of experts");
	moe_table_free(table);
	return st;
}

void moe_expert_list_free(struct moe_expert_list *list)
{
	free(list->rank);
	free(list->n);
}

enum moe_status moe_surgery_alloc(const struct moe_operation *op, int32_t n_experts, struct moe_err *err)
{
	struct moe_surgery *s = op->s;
	const size_t n = (size_t)(op->config->n_layers + op->config->n_mtp_layers) * (size_t)n_experts;

	s->n_layers = op->config->n_layers + op->config->n_mtp_layers;
	s->n_experts = n_experts;
	s->first = calloc(n + 1, sizeof *s->first);
	s->terms = calloc(n + 1, sizeof *s->terms);
	s->n_terms = n;
	if (!s->first || !s->terms)
		return moe_err_nomem(err, n * sizeof *s->terms, "a list of experts");
	for (size_t i = 0; i <= n; i++) {
		s->first[i] = i;
		s->terms[i].weight = 1;
	}
	return MOE_OK;
}

struct moe_term *moe_surgery_term(const struct moe_surgery *s, int32_t l, int32_t e)
{
	return &s->terms[s->first[(size_t)l * (size_t)s->n_experts + (size_t)e]];
}

int32_t moe_surgery_group_size(const struct moe_config *c)
{
	return c->n_experts / (c->router.n_groups > 1 ? c->router.n_groups : 1);
}

bool moe_surgery_set(json_t *json, const char *const *keys, json_t *value)
{
	json_t *const objects[] = {json, json_object_get(json, "text_config"), json_object_get(json, "ffn_config")};
	bool done = false;

	for (; *keys && !done; keys++)
		for (size_t i = 0; i < sizeof objects / sizeof objects[0] && !done; i++)
			done = json_object_get(objects[i], *keys) && !json_object_set(objects[i], *keys, value);
	json_decref(value);
	return done;
}

void moe_surgery_say_fewer(const struct moe_operation *op)
{
	const struct moe_router_spec *r = &op->config->router;

	if (op->s->n_experts < op->config->n_experts && strcmp(r->policy, "topk_softmax") &&
	    strcmp(r->policy, "noaux_tc") && !(!strcmp(r->policy, "dbrx") && r->p_norm > 0) &&
	    (!r->normalize || !strcmp(r->policy, "ernie")))
		moe_buf_adds(op->notes, "the router's softmax now runs over fewer experts: those that are kept weigh "
		             "more than they did\n");
}
