/* The forms there are, and plans from slots and back. */
#include "placement/form.h"

#include <stdlib.h>
#include <string.h>

#include "placement/slots.h"
#include "stats/layers.h"

#define MAX_LAYERS 65536   /* that a list can name */

#define X(name) extern const struct moe_plan_form moe_form_##name;
#include "gen/placement_form.h"
#undef X

static const struct moe_plan_form *const forms[] = {
#define X(name) &moe_form_##name,
#include "gen/placement_form.h"
#undef X
};

const struct moe_plan_form *moe_form_at(size_t i)
{
	return i < sizeof forms / sizeof *forms ? forms[i] : NULL;
}

const struct moe_plan_form *moe_form_by_name(const char *name)
{
	for (size_t i = 0; moe_form_at(i); i++)
		if (!strcmp(forms[i]->name, name))
			return forms[i];
	return NULL;
}

/* The row of every layer of the plan, and its index in the model: layers, rows [*n], malloc'd together. */
static enum moe_status name_layers(const struct moe_plan_form *form, const struct moe_slots *slots,
                                   const struct moe_form_opts *opts, const char *path, int32_t **layers, int32_t *n,
                                   struct moe_err *err)
{
	const int32_t n_all = opts->layers && !form->model_layers ? MAX_LAYERS : slots->n_layers;
	int32_t *all = malloc((size_t)n_all * sizeof *all), *found = malloc((size_t)n_all * 2 * sizeof *found);
	bool *marks = NULL;
	enum moe_status status = MOE_OK;

	*n = 0;
	if (!all || !found)
		status = moe_err_nomem(err, (size_t)n_all * sizeof *all, "layers");
	for (int32_t i = 0; i < n_all && !status; i++)
		all[i] = i;
	if (!status)
		status = moe_layers_mark(all, n_all, opts->layers, &marks, err);
	for (int32_t i = 0; i < n_all && !status; i++)
		if (marks[i]) {
			found[n_all + *n] = form->model_layers ? i : *n;
			found[(*n)++] = i;
		}
	if (!status && !form->model_layers && *n != slots->n_layers)
		status = moe_err_set(err, MOE_EUSAGE, "%s: has %d layers, and --layers names %d", path, slots->n_layers,
		                     *n);
	free(marks);
	free(all);
	if (status) {
		free(found);
		return status;
	}
	memmove(found + *n, found + n_all, (size_t)*n * sizeof *found);
	*layers = found;
	return MOE_OK;
}

/* Entries of one layer, rank by rank; replicas by rank where the slots do not say. next [n_experts]: scratch. */
static void put_layer(const struct moe_slots *slots, int32_t row, int32_t layer, int32_t n_ranks, int32_t *next,
                      struct moe_plan_entry *entries)
{
	const int32_t capacity = slots->n_slots / n_ranks;
	const int64_t begin = (int64_t)row * slots->n_slots;

	memset(next, 0, (size_t)slots->n_experts * sizeof *next);
	for (int32_t s = 0; s < slots->n_slots; s++) {
		const int32_t e = slots->experts[begin + s], by_rank = next[e]++;

		entries[s] = (struct moe_plan_entry){ layer, e, slots->replicas ? slots->replicas[begin + s] : by_rank,
			                              s / capacity, s % capacity };
	}
}

static enum moe_status make_plan(struct moe_plan *plan, const struct moe_plan_form *form, const struct moe_slots *slots,
                                 const struct moe_form_opts *opts, const char *path, struct moe_err *err)
{
	const int32_t n_ranks = slots->n_ranks ? slots->n_ranks : opts->n_ranks;
	int32_t *layers = NULL, *next = NULL, n = 0;
	enum moe_status status;

	if (!n_ranks)
		return moe_err_set(err, MOE_EUSAGE, "%s: form %s does not say how many ranks there are: -n RANKS does",
		                   path, form->name);
	if (opts->n_ranks && n_ranks != opts->n_ranks)
		return moe_err_set(err, MOE_EUSAGE, "%s: is for %d ranks, not for %d", path, n_ranks, opts->n_ranks);
	if (slots->n_slots % n_ranks)
		return moe_err_set(err, MOE_EFORMAT, "%s: %d slots do not spread evenly over %d ranks", path,
		                   slots->n_slots, n_ranks);
	if (opts->n_nodes && n_ranks % opts->n_nodes)
		return moe_err_set(err, MOE_EUSAGE, "%d ranks do not spread evenly over %d nodes", n_ranks,
		                   opts->n_nodes);
	status = name_layers(form, slots, opts, path, &layers, &n, err);
	if (status)
		return status;
	*plan = (struct moe_plan){ .n_ranks = n_ranks, .n_nodes = opts->n_nodes ? opts->n_nodes : 1,
		                   .n_entries = (int64_t)n * slots->n_slots,
		                   .planner = strdup(""), .model = strdup("") };
	plan->entries = calloc((size_t)plan->n_entries + 1, sizeof *plan->entries);
	next = calloc((size_t)slots->n_experts, sizeof *next);
	if (!plan->entries || !next || !plan->planner || !plan->model)
		status = moe_err_nomem(err, (size_t)plan->n_entries * sizeof *plan->entries, "a plan");
	for (int32_t i = 0; i < n && !status; i++)
		put_layer(slots, layers[n + i], layers[i], n_ranks, next, plan->entries + (int64_t)i * slots->n_slots);
	if (!status)
		status = moe_plan_check(plan, layers, n, slots->n_experts, path, err);
	free(next);
	free(layers);
	if (status)
		moe_plan_free(plan);
	return status;
}

enum moe_status moe_form_import(struct moe_plan *plan, const struct moe_plan_form *form, const char *path,
                                const struct moe_form_opts *opts, struct moe_err *err)
{
	struct moe_slots slots = {0};
	enum moe_status status;

	*plan = (struct moe_plan){0};
	if (!form->read)
		return moe_err_set(err, MOE_EUSAGE, "form %s does not say where experts are: it is only written",
		                   form->name);
	status = form->read(&slots, path, opts->watch, err);
	if (!status)
		status = make_plan(plan, form, &slots, opts, path, err);
	moe_slots_free(&slots);
	return status;
}

/* Counts layers, slots and experts of a plan whose ranks hold equally many experts. */
static enum moe_status measure(const struct moe_plan *plan, const char *name, bool model_layers,
                               struct moe_slots *slots, struct moe_err *err)
{
	int64_t capacity = 0;

	*slots = (struct moe_slots){ .n_ranks = plan->n_ranks };
	for (int64_t i = 0; i < plan->n_entries; i++) {
		const struct moe_plan_entry *e = &plan->entries[i];

		slots->n_layers += !i || e->layer != e[-1].layer;
		slots->n_experts = e->expert >= slots->n_experts ? e->expert + 1 : slots->n_experts;
		capacity = e->slot >= capacity ? e->slot + 1 : capacity;
	}
	if (!plan->n_entries)
		return moe_err_set(err, MOE_EFORMAT, "%s: the plan has no rows", name);
	if (capacity * plan->n_ranks > INT32_MAX || capacity * plan->n_ranks * slots->n_layers != plan->n_entries)
		return moe_err_set(err, MOE_EFORMAT,
		                   "%s: not every rank holds %lld experts in every layer, and the form knows no other "
		                   "plans", name, (long long)capacity);
	slots->n_slots = (int32_t)(capacity * plan->n_ranks);
	if (model_layers)
		slots->n_layers = plan->entries[plan->n_entries - 1].layer + 1;
	if (slots->n_layers > MAX_LAYERS)
		return moe_err_set(err, MOE_EFORMAT, "%s: layer %d is beyond %d", name, slots->n_layers - 1,
		                   MAX_LAYERS - 1);
	return MOE_OK;
}

/* A layer that the plan does not name: experts in order, as those programs place them without a map. */
static void fill_row(struct moe_slots *slots, int64_t row)
{
	for (int32_t s = 0; s < slots->n_slots; s++) {
		slots->experts[row * slots->n_slots + s] = s % slots->n_experts;
		slots->replicas[row * slots->n_slots + s] = s / slots->n_experts;
	}
}

enum moe_status moe_form_export(const struct moe_plan *plan, const struct moe_plan_form *form, const char *name,
                                struct moe_buf *out, struct moe_err *err)
{
	struct moe_slots slots;
	enum moe_status status = measure(plan, name, form->model_layers, &slots, err);
	int64_t row = -1;
	size_t n;

	if (status)
		return status;
	n = (size_t)slots.n_layers * (size_t)slots.n_slots;
	slots.experts = calloc(n, sizeof *slots.experts);
	slots.replicas = calloc(n, sizeof *slots.replicas);
	if (!slots.experts || !slots.replicas)
		status = moe_err_nomem(err, n * sizeof *slots.experts, "slots");
	for (int64_t l = 0; l < slots.n_layers && !status && form->model_layers; l++)
		fill_row(&slots, l);
	for (int64_t i = 0; i < plan->n_entries && !status; i++) {
		const struct moe_plan_entry *e = &plan->entries[i];
		int64_t at;

		row += !i || e->layer != e[-1].layer;
		at = (form->model_layers ? e->layer : row) * slots.n_slots +
		     (int64_t)e->rank * (slots.n_slots / slots.n_ranks) + e->slot;
		slots.experts[at] = e->expert;
		slots.replicas[at] = e->replica;
	}
	if (!status)
		status = form->write(&slots, out, err);
	moe_slots_free(&slots);
	return status;
}
