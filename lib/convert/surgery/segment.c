/* --segment M: fine-grained segmentation (DeepSeekMoE, section 3.1).
 *
 * An expert's network down(act(gate x) * up x) is a sum over its inner width, so M parts of that width add up to it.
 * Every part gets the router row and the bias of the whole, so that parts of one expert tie, and top_k times M chooses
 * the parts of those that were chosen. What a part weighs depends on the policy: a softmax over M times as many
 * experts, or a division by the sum of M times as many chosen, makes it 1/M of the whole's; the factor M goes into the
 * routed scale where the policy reads one, else into the down matrices. A sigmoid that is not normalised leaves it
 * alone. What is added behind the down matrix is shared out so that it counts once. A bias that joins probabilities in
 * the choice is divided by M as they are. Where experts are in groups, part m of group g's experts is group g M + m, so
 * that each group ranks as the one it came from, by its largest as by its two largest. */
#include <math.h>
#include <string.h>

#include "convert/surgery/kinds.h"
#include "model/stored.h"

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
	/* n_parts as many, of which each counts with its p-th power; without a norm they are those of a softmax */
	if (!strcmp(r->policy, "dbrx"))
		return (float)(r->p_norm > 0 ? pow(n_parts, 1 / r->p_norm) : n_parts);
	if (!strcmp(r->policy, "noaux_tc"))
		return r->normalize ? (float)n_parts : 1;
	*why = "what its weights become for more experts is not known";
	return 0;
}

/* May the experts' matrices be cut? Numbers that share a scale are not taken apart. */
static enum moe_status check_cut(const struct moe_operation *op, int32_t n_parts, struct moe_err *err)
{
	const struct moe_config *c = op->s->own;
	const enum moe_naming naming = moe_names_form(c, op->src);
	enum moe_status st = MOE_OK;

	if (c->moe_intermediate_size % n_parts)
		return moe_err_set(err, MOE_EUSAGE, "--segment %d: the experts' width %d is no multiple of it", n_parts,
		                   c->moe_intermediate_size);
	for (size_t i = 0; i < op->src->n_tensors && !st; i++) {
		const struct moe_tensor *t = &op->src->tensors[i];
		struct moe_tensor_id id;

		if (moe_names_parse(c, naming, t->name, &id) && moe_spec_is_expert(id.spec) &&
		    (t->codec->scaled || t->codec->block_elems > 1 || !t->codec->is_float))
			st = moe_err_set(err, MOE_EUSAGE, "--segment: '%s' is %s, which is not cut: --dequantize it "
			                 "first", t->name,
			                 moe_spec_is_mx(id.spec) ? "part of an MXFP4 matrix" : t->codec->name);
	}
	return st;
}

static void place_parts(const struct moe_operation *op, int32_t n_parts)
{
	const struct moe_config *c = op->config;
	const int32_t size = c->router.n_groups > 1 ? moe_surgery_group_size(c) : 1;

	for (int32_t l = 0; l < op->s->n_layers; l++)
		for (int32_t to = 0; to < op->s->n_experts; to++) {
			struct moe_term *term = moe_surgery_term(op->s, l, to);

			/* without groups each expert is one of its own: its parts are neighbours */
			term->expert = to / size / n_parts * size + to % size;
			term->part = to / size % n_parts;
		}
}

static void write_config(const struct moe_operation *op, int32_t m)
{
	static const char *const chosen[] = {"num_experts_per_tok", "moe_topk", "moe_k", "num_experts_per_token",
	                                     "moe_top_k", NULL};
	static const char *const width[] = {"moe_intermediate_size", "intermediate_size", "ffn_hidden_size", NULL};
	static const char *const shared[] = {"n_shared_experts", "moe_num_shared_experts", "num_shared_experts",
	                                     "num_shared_expert", NULL};
	static const char *const groups[] = {"n_group", NULL}, *const top_groups[] = {"topk_group", NULL};
	static const char *const scale[] = {"routed_scaling_factor", NULL};
	const struct moe_config *c = op->config;

	/* whether all of it was taken is asked of the config that comes out */
	moe_surgery_set(op->json, moe_surgery_expert_keys, json_integer(op->s->n_experts));
	moe_surgery_set(op->json, chosen, json_integer((json_int_t)c->router.top_k * m));
	moe_surgery_set(op->json, width, json_integer(c->moe_intermediate_size / m));
	if (c->n_shared_experts && !c->shared_intermediate_size)
		moe_surgery_set(op->json, shared, json_integer((json_int_t)c->n_shared_experts * m));
	if (c->router.n_groups > 1) {
		moe_surgery_set(op->json, groups, json_integer((json_int_t)c->router.n_groups * m));
		moe_surgery_set(op->json, top_groups, json_integer((json_int_t)c->router.top_groups * m));
	}
	/* a scale that the policy multiplies by takes the factor: no weight is rounded then */
	if (op->s->down_factor != 1 && (!strcmp(c->router.policy, "noaux_tc") ||
	                                (!strcmp(c->router.policy, "group_limited") && !c->router.normalize)) &&
	    moe_surgery_set(op->json, scale, json_real(c->router.scale * (double)op->s->down_factor)))
		op->s->down_factor = 1;
}

enum moe_status moe_surgery_segment(const struct moe_operation *op, struct moe_err *err)
{
	const struct moe_config *c = op->config;
	const int32_t m = op->opts->segment;
	const char *why;
	const float factor = segment_factor(c, m, &why);
	enum moe_status st = why ? moe_err_set(err, MOE_EUSAGE, "--segment: the router of %s, %s, is not cut: %s",
	                                       c->family->name, c->router.policy, why) : check_cut(op, m, err);

	if (!st && (c->n_experts > INT32_MAX / m || c->router.top_k > INT32_MAX / m))
		st = moe_err_set(err, MOE_EUSAGE, "--segment %d: too many experts", m);
	if (!st)
		st = moe_surgery_alloc(op, c->n_experts * m, err);
	if (st)
		return st;
	op->s->n_parts = m;
	op->s->down_factor = factor;
	place_parts(op, m);
	write_config(op, m);
	op->s->down_bias_factor = op->s->down_factor / (float)m;
	if (!strcmp(c->router.policy, "ernie"))
		op->s->bias_factor = 1.0f / (float)m;
	const double by = (double)op->s->down_factor;
	if (by != 1)
		moe_buf_addf(op->notes, "the parts of an expert weigh 1/%.9g of it each: their down matrices are "
		             "multiplied by %.9g%s\n", by, by, by != exp2(round(log2(by))) ? ", which rounds" : "");
	return MOE_OK;
}
