/* The table of kernels, the choice among them, and the choice of experts with and without one. */
#include "route/kernel.h"

#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "device/device.h"
#include "route/exp.h"
#include "route/group.h"

#define X(name) extern const struct moe_kernel moe_kernel_##name;
#include "gen/route_kernel.h"
#undef X

static const struct moe_kernel *const kernels[] = {
#define X(name) &moe_kernel_##name,
#include "gen/route_kernel.h"
#undef X
};

const struct moe_kernel *moe_kernel_at(size_t i) { return i < sizeof kernels / sizeof *kernels ? kernels[i] : NULL; }

const char *moe_kernel_name(const struct moe_kernel *kernel) { return kernel->name; }

bool moe_kernel_usable(const struct moe_kernel *kernel) { return kernel->usable(); }

const struct moe_kernel *moe_kernel_best(void)
{
	const char *limit = getenv("MOE_CPU");
	int most = 1000000;
	for (size_t i = 0; limit && moe_kernel_at(i); i++)
		if (strcmp(kernels[i]->name, limit) == 0)
			most = kernels[i]->rank;
	const struct moe_kernel *best = NULL;
	for (size_t i = 0; moe_kernel_at(i); i++)
		if (kernels[i]->rank <= most && (!best || kernels[i]->rank > best->rank) && kernels[i]->usable())
			best = kernels[i];
	return best;
}

/* Adds a name once. */
static void add_name(struct moe_buf *known, const char *name)
{
	for (size_t at = 0; at + 1 < known->n; at += strlen(known->p + at) + 1)
		if (strcmp(known->p + at, name) == 0)
			return;
	moe_buf_add(known, name, strlen(name) + 1);
}

enum moe_status moe_cpu_check(struct moe_err *err)
{
	const char *name = getenv("MOE_CPU"), *isa;
	struct moe_buf known = {0};
	enum moe_status status;

	if (!name || !*name)
		return MOE_OK;
	for (size_t i = 0; moe_kernel_at(i); i++)
		add_name(&known, kernels[i]->name);
	for (size_t i = 0; (isa = moe_device_isa_at(i)); i++)
		add_name(&known, isa);
	status = moe_buf_check(&known, err);
	for (size_t at = 0; !status && at < known.n; at += strlen(known.p + at) + 1) {
		if (strcmp(known.p + at, name) == 0)
			goto out;
	}
	for (size_t i = 0; !status && i + 1 < known.n; i++)
		known.p[i] = known.p[i] ? known.p[i] : ' ';
	if (!status)
		status = moe_err_set(err, MOE_EUSAGE, "MOE_CPU=%s: expected one of %s", name, known.p);
out:
	moe_buf_free(&known);
	return status;
}

/* ---- choosing ---- */

static bool fits(const struct moe_policy_params *p)
{
	return p->n_experts <= MOE_KERNEL_EXPERTS && p->top_k <= MOE_KERNEL_TOP_K;
}

size_t moe_choose_scratch(const struct moe_policy_params *p)
{
	const size_t one = 2 * ((size_t)p->n_experts + (size_t)p->n_groups);
	return one + (fits(p) ? MOE_KERNEL_LANES * one : 0);
}

static void score(enum moe_rule_score kind, const float *logits, int32_t n, float *out)
{
	if (kind == MOE_RULE_SOFTMAX)
		moe_softmax(logits, n, out);
	else if (kind == MOE_RULE_SIGMOID)
		moe_sigmoid(logits, n, out);
	else if (kind == MOE_RULE_SQRTSOFTPLUS)
		for (int32_t i = 0; i < n; i++)
			out[i] = moe_sqrtsoftplus(logits[i]);
	else if (out != logits)
		memcpy(out, logits, (size_t)n * sizeof *out);
}

/* One token, by plain loops: what all kernels agree with. Returns the sum of the chosen scores. */
static float choose_one(const struct moe_policy_params *p, const struct moe_rule *rule, int64_t t, const float *logits,
                        int32_t *ids, float *weights, float *margins, float *scratch)
{
	const int32_t n = p->n_experts;
	float *scores = scratch, *choice = scratch + n, *groups = choice + n;
	if (rule->one) {
		rule->one(p, t, logits, ids, weights, margins, scratch);
		return 0;
	}
	score(rule->score, logits, n, scores);
	for (int32_t i = 0; i < n; i++)
		choice[i] = rule->biased && p->bias ? scores[i] + p->bias[i] : scores[i];
	const float sum = moe_choose(p, t, choice, scores, rule->grouped ? groups : NULL, ids, weights, margins);
	score(rule->weigh, weights, p->top_k, weights);
	return sum;
}

void moe_choose_rows(const struct moe_policy_params *p, const struct moe_rule *rule, const float *logits,
                     int64_t n_tokens, int32_t *ids, float *weights, float *margins, float *scratch)
{
	const struct moe_kernel *kernel = p->kernel && fits(p) && !p->mask ? p->kernel : NULL;
	const int64_t n = p->n_experts, k = p->top_k, lanes = kernel ? kernel->lanes : 1;
	float sums[MOE_KERNEL_LANES];
	for (int64_t t = 0, now; t < n_tokens; t += now) {
		now = n_tokens - t < lanes ? 1 : lanes;
		if (now == 1 || !kernel->choose(p, rule, logits + t * n, ids + t * k, weights + t * k, sums,
		                                margins ? margins + t : NULL, scratch + 2 * (n + p->n_groups)))
			for (int64_t i = t; i < t + now; i++)
				sums[i - t] = choose_one(p, rule, i, logits + i * n, ids + i * k, weights + i * k,
				                         margins, scratch);
		if (rule->finish)
			rule->finish(p, now, sums, weights + t * k);
		for (int64_t i = t; rule->clear && i < t + now; i++)
			moe_clear_unchosen(ids + i * k, p->top_k, weights + i * k);
	}
}
