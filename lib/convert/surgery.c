/* Surgery on experts.
 *
 * Fine-grained segmentation (DeepSeekMoE, section 3.1): an expert's network down(act(gate x) * up x) is a sum over its
 * inner width, so M parts of that width add up to it. Every part gets the router row and the bias of the whole, so that
 * parts of one expert tie, and top_k times M chooses the parts of those that were chosen. What a part weighs depends on
 * the policy: a softmax over M times as many experts, or a division by the sum of M times as many chosen, makes it 1/M
 * of the whole's; the factor M goes into the routed scale where the policy reads one, else into the down matrices. A
 * sigmoid that is not normalised leaves it alone. A bias that joins probabilities in the choice is divided by M as they
 * are. Where experts are in groups, part m of group g's experts is group
 * g M + m, so that each group ranks as the one it came from, by its largest as by its two largest. */
#include "convert/surgery.h"

#include <stdlib.h>
#include <string.h>

#include "base/table.h"
#include "model/names.h"

bool moe_surgery_asked(const struct moe_surgery_opts *opts)
{
	return opts->segment || opts->keep || opts->drop || opts->order;
}

static bool has_experts(const struct moe_config *c, int32_t l) { return c->layers[l].ffn == MOE_FFN_MOE; }

static struct moe_origin *origin(const struct moe_surgery *s, int32_t l, int32_t e)
{
	return &s->origins[(size_t)l * (size_t)s->n_experts + (size_t)e];
}

/* ---- lists of experts ---- */

struct list {
	const char *path;
	const struct moe_config *config;
	int32_t *rank;     /* [n_layers][n_experts] which row of its layer names it, from 1; 0: none does */
	int32_t *n;        /* [n_layers] rows */
};

static enum moe_status read_rows(struct list *list, const struct moe_table *table, struct moe_err *err)
{
	const struct moe_config *c = list->config;
	const int32_t n_layers = c->n_layers + c->n_mtp_layers;
	int c_layer = 0, c_expert = 0;
	enum moe_status st = moe_table_need(table, "layer", &c_layer, err);

	if (!st)
		st = moe_table_need(table, "expert", &c_expert, err);
	for (int64_t i = 0; !st && i < moe_table_rows(table); i++) {
		int64_t l = 0, e = 0;

		st = moe_table_i64(table, i, c_layer, 0, n_layers - 1, &l, err);
		if (!st)
			st = moe_table_i64(table, i, c_expert, 0, c->n_experts - 1, &e, err);
		if (st)
			return st;
		int32_t *rank = &list->rank[l * c->n_experts + e];
		if (!has_experts(c, (int32_t)l))
			return moe_err_set(err, MOE_EUSAGE, "%s:%lld: layer %lld has no experts", list->path,
			                   (long long)moe_table_line(table, i), (long long)l);
		if (*rank)
			return moe_err_set(err, MOE_EUSAGE, "%s:%lld: layer %lld: expert %lld is named twice",
			                   list->path, (long long)moe_table_line(table, i), (long long)l, (long long)e);
		*rank = ++list->n[l];
	}
	return st;
}

static enum moe_status read_list(struct list *list, const char *path, const struct moe_config *c, struct moe_err *err)
{
	const size_t n_layers = (size_t)(c->n_layers + c->n_mtp_layers);
	struct moe_table *table;
	enum moe_status st = moe_table_read(&table, path, err);

	*list = (struct list){ .path = path, .config = c };
	if (st)
		return st;
	list->rank = calloc(n_layers * (size_t)c->n_experts, sizeof *list->rank);
	list->n = calloc(n_layers, sizeof *list->n);
	st = list->rank && list->n ? read_rows(list, table, err)
	                           : moe_err_nomem(err, n_layers * (size_t)c->n_experts, "a list of experts");
	moe_table_free(table);
	return st;
}

static void free_list(struct list *list)
{
	free(list->rank);
	free(list->n);
}

/* ---- what new experts are made of ---- */

static enum moe_status alloc_origins(struct moe_surgery *s, const struct moe_config *c, int32_t n_experts,
                                     struct moe_err *err)
{
	const size_t n = (size_t)(c->n_layers + c->n_mtp_layers) * (size_t)n_experts;

	s->n_layers = c->n_layers + c->n_mtp_layers;
	s->n_experts = n_experts;
	s->n_parts = 1;
	s->factor = s->bias_factor = 1;
	s->origins = calloc(n + 1, sizeof *s->origins);
	return s->origins ? MOE_OK : moe_err_nomem(err, n * sizeof *s->origins, "a list of experts");
}

/* Every layer keeps as many, and so does every group. */
static enum moe_status plan_kept(struct moe_surgery *s, const struct moe_config *c, const struct list *list, bool drop,
                                 const char *option, struct moe_err *err)
{
	const int32_t n_groups = c->router.n_groups > 1 ? c->router.n_groups : 1, size = c->n_experts / n_groups;
	int32_t first = -1, kept = 0;
	enum moe_status st = MOE_OK;

	for (int32_t l = 0; l < c->n_layers + c->n_mtp_layers && !st; l++) {
		const int32_t *rank = list->rank + (size_t)l * (size_t)c->n_experts;
		int32_t n = 0;

		if (!has_experts(c, l))
			continue;
		for (int32_t e = 0; e < c->n_experts; e++)
			n += !rank[e] == drop;
		if (first < 0) {
			first = l;
			kept = n;
			st = kept ? alloc_origins(s, c, kept, err)
			          : moe_err_set(err, MOE_EUSAGE, "%s: layer %d keeps no expert", option, l);
		} else if (n != kept) {
			st = moe_err_set(err, MOE_EUSAGE,
			                 "%s: layer %d keeps %d experts and layer %d keeps %d: a config has one "
			                 "number for all layers%s", option, first, kept, l, n,
			                 l >= c->n_layers ? " (--drop-mtp leaves that one out)" : "");
		}
		for (int32_t e = 0, at = 0; e < c->n_experts && !st; e++) {
			if (!rank[e] != drop)
				continue;
			if (n_groups > 1 && (kept % n_groups || e / size != at / (kept / n_groups)))
				return moe_err_set(err, MOE_EUSAGE,
				                   "%s: layer %d: the router has %d groups of experts, and each must "
				                   "keep as many as the others", option, l, n_groups);
			*origin(s, l, at++) = (struct moe_origin){ .expert = e };
		}
	}
	return st;
}

/* A layer that is named lists all its experts; groups stay together. */
static enum moe_status plan_order(struct moe_surgery *s, const struct moe_config *c, const struct list *list,
                                  struct moe_err *err)
{
	const int32_t size = c->n_experts / (c->router.n_groups > 1 ? c->router.n_groups : 1);
	enum moe_status st = alloc_origins(s, c, c->n_experts, err);

	for (int32_t l = 0; l < s->n_layers && !st; l++) {
		const int32_t *rank = list->rank + (size_t)l * (size_t)c->n_experts;

		if (list->n[l] && list->n[l] != c->n_experts)
			return moe_err_set(err, MOE_EUSAGE, "%s: layer %d: %d of its %d experts are listed", list->path,
			                   l, list->n[l], c->n_experts);
		for (int32_t e = 0; e < c->n_experts; e++)
			origin(s, l, list->n[l] ? rank[e] - 1 : e)->expert = e;
		for (int32_t e = 0; e < c->n_experts; e++)
			if (origin(s, l, e)->expert / size != origin(s, l, e / size * size)->expert / size)
				return moe_err_set(err, MOE_EUSAGE,
				                   "%s: layer %d: the router ranks groups of %d experts, and the new "
				                   "group %d would mix two of them", list->path, l, size, e / size);
	}
	return st;
}

/* The factor that parts of an expert need, or 0: they cannot replace it, for *why. */
static float segment_factor(const struct moe_config *c, int32_t n_parts, const char **why)
{
	static const char *const always[] = {"softmax_topk", "group_limited", "topk_softmax", "mixtral", "ernie"};
	const struct moe_router_spec *r = &c->router;

	*why = NULL;
	if (r->capacity)
		*why = "its experts have a capacity, which parts would fill one by one";
	else if (r->scales_input)
		*why = "its weights multiply what experts read";
	else if (!strcmp(r->policy, "group_limited") && r->normalize && r->top_k == 1)
		*why = "it normalises the weights of more than one expert only, and one is chosen";
	if (*why)
		return 0;
	for (size_t i = 0; i < sizeof always / sizeof always[0]; i++)
		if (!strcmp(r->policy, always[i]))
			return (float)n_parts;
	if (!strcmp(r->policy, "noaux_tc"))
		return r->normalize ? (float)n_parts : 1;
	*why = "what its weights become for more experts is not known";
	return 0;
}

/* May the experts' matrices be cut? Numbers that share a scale are not taken apart. */
static enum moe_status check_cut(const struct moe_ckpt *src, const struct moe_config *c, int32_t n_parts,
                                 struct moe_err *err)
{
	if (c->moe_intermediate_size % n_parts)
		return moe_err_set(err, MOE_EUSAGE, "--segment %d: the experts' width %d is no multiple of it", n_parts,
		                   c->moe_intermediate_size);
	for (size_t i = 0; i < src->n_tensors; i++) {
		const struct moe_tensor *t = &src->tensors[i];
		struct moe_tensor_id id;

		if (moe_names_parse(c, MOE_NAMING_HF, t->name, &id) && moe_spec_is_expert(id.spec) &&
		    (t->codec->scaled || t->codec->block_elems > 1 || !t->codec->is_float || t->n_dims != 2))
			return moe_err_set(err, MOE_EUSAGE,
			                   "--segment: '%s' is %s, which is not cut: convert to --type bf16 first",
			                   t->name, t->codec->name);
	}
	return MOE_OK;
}

static enum moe_status plan_segments(struct moe_surgery *s, const struct moe_config *c, int32_t n_parts,
                                     const struct moe_ckpt *src, struct moe_err *err)
{
	const int32_t n_groups = c->router.n_groups > 1 ? c->router.n_groups : 1, size = c->n_experts / n_groups;
	const char *why;
	const float factor = segment_factor(c, n_parts, &why);
	enum moe_status st = why ? moe_err_set(err, MOE_EUSAGE, "--segment: the router of %s, %s, is not cut: %s",
	                                       c->family->name, c->router.policy, why)
	                         : check_cut(src, c, n_parts, err);

	if (!st && (c->n_experts > INT32_MAX / n_parts || c->router.top_k > INT32_MAX / n_parts))
		st = moe_err_set(err, MOE_EUSAGE, "--segment %d: too many experts", n_parts);
	if (!st)
		st = alloc_origins(s, c, c->n_experts * n_parts, err);
	if (st)
		return st;
	s->n_parts = n_parts;
	s->factor = factor;
	if (!strcmp(c->router.policy, "ernie"))
		s->bias_factor = 1.0f / (float)n_parts;
	for (int32_t l = 0; l < s->n_layers; l++)
		for (int32_t e = 0; e < c->n_experts; e++)
			for (int32_t m = 0; m < n_parts; m++) {
				const int32_t g = e / size, j = e % size;
				const int32_t to = n_groups > 1 ? (g * n_parts + m) * size + j : e * n_parts + m;

				*origin(s, l, to) = (struct moe_origin){ e, m };
			}
	return MOE_OK;
}

/* ---- the config ---- */

/* Sets the first of these keys that is there, in the config or its text_config; false: none is. */
static bool set_first(json_t *json, const char *const *keys, json_t *value)
{
	json_t *text = json_object_get(json, "text_config");
	bool done = false;

	for (; *keys && !done; keys++) {
		json_t *at = json_object_get(json, *keys) ? json : json_object_get(text, *keys) ? text : NULL;

		done = at && !json_object_set(at, *keys, value);
	}
	json_decref(value);
	return done;
}

static void write_config(struct moe_surgery *s, const struct moe_config *c, json_t *json)
{
	static const char *const experts[] = {"n_routed_experts", "num_experts", "num_local_experts", "moe_num_experts",
	                                      NULL};
	static const char *const chosen[] = {"num_experts_per_tok", "moe_topk", "moe_k", "num_experts_per_token", NULL};
	static const char *const width[] = {"moe_intermediate_size", "intermediate_size", NULL};
	static const char *const shared[] = {"n_shared_experts", "moe_num_shared_experts", "num_shared_experts",
	                                     "num_shared_expert", NULL};
	static const char *const groups[] = {"n_group", NULL}, *const top_groups[] = {"topk_group", NULL};
	static const char *const scale[] = {"routed_scaling_factor", NULL};
	const int32_t m = s->n_parts;

	/* whether all of it was taken is asked of the config that comes out */
	set_first(json, experts, json_integer(s->n_experts));
	if (m == 1)
		return;
	set_first(json, chosen, json_integer((json_int_t)c->router.top_k * m));
	set_first(json, width, json_integer(c->moe_intermediate_size / m));
	if (c->n_shared_experts && !c->shared_intermediate_size)
		set_first(json, shared, json_integer((json_int_t)c->n_shared_experts * m));
	if (c->router.n_groups > 1) {
		set_first(json, groups, json_integer((json_int_t)c->router.n_groups * m));
		set_first(json, top_groups, json_integer((json_int_t)c->router.top_groups * m));
	}
	/* a scale that the policy multiplies by takes the factor: no weight is rounded then */
	if (s->factor != 1 && (!strcmp(c->router.policy, "noaux_tc") ||
	                       (!strcmp(c->router.policy, "group_limited") && !c->router.normalize)) &&
	    set_first(json, scale, json_real(c->router.scale * (double)s->factor)))
		s->factor = 1;
}

enum moe_status moe_surgery_plan(struct moe_surgery *s, const struct moe_surgery_opts *opts, const struct moe_ckpt *src,
                                 const struct moe_config *config, json_t *json, struct moe_buf *notes,
                                 struct moe_err *err)
{
	const char *path = opts->keep ? opts->keep : opts->drop ? opts->drop : opts->order;
	enum moe_status st = MOE_OK;

	if ((opts->segment != 0) + !!opts->keep + !!opts->drop + !!opts->order > 1)
		return moe_err_set(err, MOE_EUSAGE,
		                   "--segment, --keep-experts, --drop-experts and --order: one of them at a time");
	if (config->n_experts == 0)
		return moe_err_set(err, MOE_EUSAGE, "%s has no experts", src->path);
	if (src->format->naming != MOE_NAMING_HF)
		return moe_err_set(err, MOE_EUSAGE, "%s: experts are cut, left out or moved in safetensors only: "
		                   "convert it first", src->path);
	if (moe_names_stacked(config))
		return moe_err_set(err, MOE_EUSAGE, "%s: the experts of %s share tensors: they are not cut, left out "
		                   "or moved", src->path, config->family->name);
	if (opts->segment) {
		st = plan_segments(s, config, opts->segment, src, err);
	} else {
		struct list list;

		st = read_list(&list, path, config, err);
		if (!st && opts->order)
			st = plan_order(s, config, &list, err);
		else if (!st)
			st = plan_kept(s, config, &list, opts->drop, opts->drop ? "--drop-experts" : "--keep-experts",
			               err);
		free_list(&list);
	}
	if (st)
		return st;
	write_config(s, config, json);
	if (s->n_experts < config->n_experts && strcmp(config->router.policy, "topk_softmax") &&
	    strcmp(config->router.policy, "noaux_tc") &&
	    (!config->router.normalize || !strcmp(config->router.policy, "ernie")))
		moe_buf_adds(notes, "the router's softmax now runs over fewer experts: those that are kept weigh more "
		             "than they did\n");
	if (s->factor != 1)
		moe_buf_addf(notes, "the parts of an expert weigh 1/%d of it each: their down matrices are multiplied "
		             "by %d%s\n", s->n_parts, s->n_parts,
		             s->n_parts & (s->n_parts - 1) ? ", which rounds" : "");
	return MOE_OK;
}

enum moe_status moe_surgery_check(const struct moe_surgery *s, const struct moe_config *before,
                                  const struct moe_config *after, struct moe_err *err)
{
	const int32_t m = s->n_parts, groups = before->router.n_groups > 1 ? m : 1;
	bool dense = false;

	for (int32_t l = 0; l < s->n_layers; l++)
		dense |= before->layers[l].ffn == MOE_FFN_DENSE;
	if (after->n_experts == s->n_experts && after->router.top_k == before->router.top_k * m &&
	    after->moe_intermediate_size == before->moe_intermediate_size / m &&
	    after->router.n_groups == before->router.n_groups * groups &&
	    after->router.top_groups == before->router.top_groups * groups &&
	    moe_dim_of(after, MOE_DIM_SHARED_FFN) == moe_dim_of(before, MOE_DIM_SHARED_FFN) &&
	    (!dense || after->intermediate_size == before->intermediate_size))
		return MOE_OK;
	return moe_err_set(err, MOE_EUSAGE,
	                   "a config of family %s does not take %d experts of width %d, %d of them chosen",
	                   before->family->name, s->n_experts, before->moe_intermediate_size / m,
	                   before->router.top_k * m);
}

/* ---- the tensors ---- */

struct deriving {
	struct moe_surgery *s;
	const struct moe_config *config;
	struct moe_tensor *tensors;      /* [cap] */
	size_t n, cap;
	struct moe_buf name;
};

static enum moe_status add(struct deriving *d, const struct moe_tensor *t, const struct moe_tensor_id *id,
                           struct moe_err *err)
{
	if (d->n == d->cap) {
		const size_t cap = d->cap ? 2 * d->cap : 1024;
		struct moe_tensor *bigger = reallocarray(d->tensors, cap, sizeof *bigger);

		if (!bigger)
			return moe_err_nomem(err, cap * sizeof *bigger, "a list of tensors");
		d->tensors = bigger;
		d->cap = cap;
	}
	d->tensors[d->n] = *t;
	if (id) {
		d->name.n = 0;
		moe_names_format(d->config, id, MOE_NAMING_HF, &d->name);
		if (id->scales)
			moe_buf_adds(&d->name, MOE_SCALES_SUFFIX);
		if (moe_buf_check(&d->name, err))
			return MOE_EIO;
		d->tensors[d->n].name = moe_arena_strndup(&d->s->ckpt.arena, d->name.p, d->name.n);
		if (!d->tensors[d->n].name)
			return moe_err_nomem(err, d->name.n, "a tensor's name");
	}
	d->n++;
	return MOE_OK;
}

/* Which dimension counts experts, all before it being 1; -1: none does. */
static int32_t expert_dim(const struct moe_tensor_spec *spec)
{
	return spec->dims[0] == MOE_DIM_EXPERTS                                                         ? 0
	       : spec->n_dims == 2 && spec->dims[0] == MOE_DIM_1 && spec->dims[1] == MOE_DIM_EXPERTS ? 1
	                                                                                             : -1;
}

/* Rows by expert, as the new experts have them. */
static enum moe_status add_rows(struct deriving *d, const struct moe_tensor *t, const struct moe_tensor_id *id,
                                struct moe_err *err)
{
	const int32_t dim = expert_dim(id->spec);
	const struct moe_surgery *s = d->s;
	const size_t n_row = t->n_bytes / (size_t)t->dims[dim];
	struct moe_tensor gathered = *t;
	uint8_t *data = moe_arena_alloc(&d->s->ckpt.arena, (size_t)s->n_experts, n_row);
	const bool scaled = s->bias_factor != 1 && id->spec->part == MOE_PART_ROUTER_BIAS;

	if (!data)
		return moe_err_nomem(err, (size_t)s->n_experts * n_row, "a router");
	for (int32_t e = 0; e < s->n_experts; e++) {
		const uint8_t *row = t->data + (size_t)origin(s, id->layer, e)->expert * n_row;
		float value;

		memcpy(data + (size_t)e * n_row, row, n_row);
		if (!scaled)
			continue;
		t->codec->decode(row, &value, 1);
		value *= s->bias_factor;
		t->codec->encode(&value, data + (size_t)e * n_row, 1);
	}
	gathered.dims[dim] = s->n_experts;
	gathered.n_bytes = (size_t)s->n_experts * n_row;
	gathered.data = data;
	return add(d, &gathered, NULL, err);
}

static enum moe_status add_experts(struct deriving *d, const struct moe_tensor *t, const struct moe_tensor_id *id,
                                   struct moe_err *err)
{
	const struct moe_surgery *s = d->s;
	enum moe_status st = MOE_OK;

	for (int32_t e = 0; e < s->n_experts && !st; e++) {
		const struct moe_origin *from = origin(s, id->layer, e);
		struct moe_tensor_id to = *id;
		struct moe_tensor piece = *t;

		if (from->expert != id->expert)
			continue;
		if (id->spec->part != MOE_PART_EXPERT_DOWN && s->n_parts > 1) {
			piece.dims[0] /= s->n_parts;
			piece.n_bytes /= (size_t)s->n_parts;
			piece.data += (size_t)from->part * piece.n_bytes;
			piece.offset += (uint64_t)from->part * piece.n_bytes;
		}
		to.expert = e;
		st = add(d, &piece, &to, err);
	}
	return st;
}

static int by_name(const void *a, const void *b, void *arg)
{
	const struct moe_tensor *tensors = arg;
	return strcmp(tensors[*(const uint32_t *)a].name, tensors[*(const uint32_t *)b].name);
}

static enum moe_status make_index(struct moe_ckpt *ckpt, struct moe_err *err)
{
	if (ckpt->n_tensors > UINT32_MAX || !(ckpt->by_name = MOE_NEW(&ckpt->arena, uint32_t, ckpt->n_tensors)))
		return moe_err_nomem(err, ckpt->n_tensors * sizeof *ckpt->by_name, "an index of tensors");
	for (size_t i = 0; i < ckpt->n_tensors; i++)
		ckpt->by_name[i] = (uint32_t)i;
	if (ckpt->n_tensors > 1)
		qsort_r(ckpt->by_name, ckpt->n_tensors, sizeof *ckpt->by_name, by_name, ckpt->tensors);
	return MOE_OK;
}

enum moe_status moe_surgery_derive(struct moe_surgery *s, const struct moe_ckpt *src, const struct moe_config *config,
                                   struct moe_err *err)
{
	struct deriving d = { .s = s, .config = config };
	enum moe_status st = MOE_OK;

	s->ckpt = *src;
	s->ckpt.arena = (struct moe_arena){0};
	s->ckpt.by_name = NULL;
	s->derived = true;
	for (size_t i = 0; i < src->n_tensors && !st; i++) {
		const struct moe_tensor *t = &src->tensors[i];
		struct moe_tensor_id id;

		if (!moe_names_parse(config, MOE_NAMING_HF, t->name, &id))
			st = add(&d, t, NULL, err);
		else if (id.layer >= s->n_layers)
			continue;   /* of layers left out */
		else if (moe_spec_is_expert(id.spec))
			st = add_experts(&d, t, &id, err);
		else if (expert_dim(id.spec) >= 0 && id.layer >= 0)
			st = add_rows(&d, t, &id, err);
		else
			st = add(&d, t, NULL, err);
	}
	s->ckpt.tensors = d.tensors;
	s->ckpt.n_tensors = d.n;
	moe_buf_free(&d.name);
	return st ? st : make_index(&s->ckpt, err);
}

void moe_surgery_free(struct moe_surgery *s)
{
	free(s->origins);
	if (!s->derived)
		return;
	free(s->ckpt.tensors);
	moe_arena_free(&s->ckpt.arena);
}
