/* From one plan to another. */
#include "placement/moves.h"

#include <stdlib.h>
#include <string.h>

#include "placement/layout.h"

static int by_ranks(const void *pa, const void *pb)
{
	const struct moe_link *a = pa, *b = pb;

	if (a->from != b->from)
		return a->from < b->from ? -1 : 1;
	return (a->to > b->to) - (a->to < b->to);
}

static int32_t experts_of(const struct moe_plan *plan)
{
	int32_t last = -1;

	for (int64_t i = 0; i < plan->n_entries; i++)
		last = plan->entries[i].expert > last ? plan->entries[i].expert : last;
	return last + 1;
}

/* The plan with the layers that only the other one names, entries by expert. */
static enum moe_status take(struct moe_plan *to, const struct moe_plan *plan, const struct moe_plan *other,
                            int32_t n_experts, struct moe_err *err)
{
	int32_t *layers = calloc((size_t)other->n_entries + 1, sizeof *layers), n = 0, n_added;
	enum moe_status status = moe_plan_copy(to, plan, err);

	if (status || !layers) {
		free(layers);
		return status ? status : moe_err_nomem(err, (size_t)other->n_entries * sizeof *layers, "a plan");
	}
	for (int64_t i = 0; i < other->n_entries; i++)
		if (!n || layers[n - 1] != other->entries[i].layer)
			layers[n++] = other->entries[i].layer;
	status = moe_plan_complete(to, layers, n, n_experts, &n_added, err);
	free(layers);
	return status;
}

static bool is_among(const struct moe_plan_entry *copies, int64_t n, int32_t rank)
{
	for (int64_t i = 0; i < n; i++)
		if (copies[i].rank == rank)
			return true;
	return false;
}

static int32_t choose(const struct moe_plan_entry *copies, int64_t n, int32_t to, const int32_t *node,
                      const uint64_t *sent)
{
	int32_t best = copies[0].rank;

	for (int64_t i = 1; i < n; i++) {
		int32_t rank = copies[i].rank;
		bool near = node[rank] == node[to], best_near = node[best] == node[to];

		if (near != best_near ? near : sent[rank] < sent[best])
			best = rank;
	}
	return best;
}

static uint64_t bytes_of(const struct moe_expert_bytes *bytes, const struct moe_plan_entry *e)
{
	if (!bytes->bytes)
		return bytes->each;
	if (e->layer >= bytes->n_layers || e->expert >= bytes->n_experts)
		return 0;
	return bytes->bytes[(size_t)e->layer * (size_t)bytes->n_experts + (size_t)e->expert];
}

/* Moves by pairs of ranks. */
static enum moe_status add_up(struct moe_moves *moves, struct moe_err *err)
{
	int64_t n = 0;

	moves->links = calloc((size_t)moves->n + 1, sizeof *moves->links);
	if (!moves->links)
		return moe_err_nomem(err, (size_t)moves->n * sizeof *moves->links, "links");
	for (int64_t i = 0; i < moves->n; i++) {
		const struct moe_move *m = &moves->moves[i];

		moves->links[i] = (struct moe_link){ m->from, m->to, 1, m->n_bytes };
	}
	qsort(moves->links, (size_t)moves->n, sizeof *moves->links, by_ranks);
	for (int64_t i = 0; i < moves->n; i++) {
		struct moe_link *link = &moves->links[i];

		if (n && !by_ranks(&moves->links[n - 1], link)) {
			moves->links[n - 1].n_experts++;
			moves->links[n - 1].n_bytes += link->n_bytes;
		} else {
			moves->links[n++] = *link;
		}
	}
	moves->n_links = n;
	return MOE_OK;
}

static enum moe_status find_moves(struct moe_moves *moves, struct moe_plan *old, struct moe_plan *new,
                                  const int32_t *node, const struct moe_expert_bytes *bytes, struct moe_err *err)
{
	uint64_t *sent = calloc((size_t)old->n_ranks, sizeof *sent);
	int64_t n_kept = 0;

	moves->moves = calloc((size_t)new->n_entries + 1, sizeof *moves->moves);
	if (!sent || !moves->moves) {
		free(sent);
		return moe_err_nomem(err, (size_t)new->n_entries * sizeof *moves->moves, "moves");
	}
	moe_plan_sort_by_expert(old->entries, old->n_entries);
	for (int64_t i = 0; i < new->n_entries; i++) {
		const struct moe_plan_entry *e = &new->entries[i], *copies;
		struct moe_move *m = &moves->moves[moves->n];
		int64_t n;

		copies = moe_plan_find(old->entries, old->n_entries, e->layer, e->expert, &n);
		if (is_among(copies, n, e->rank)) {
			n_kept++;
			continue;
		}
		*m = (struct moe_move){ e->layer, e->expert, choose(copies, n, e->rank, node, sent), e->rank,
		                        bytes_of(bytes, e) };
		sent[m->from] += m->n_bytes;
		moves->n++;
	}
	moves->n_dropped = old->n_entries - n_kept;
	free(sent);
	return add_up(moves, err);
}

enum moe_status moe_moves_make(struct moe_moves *moves, const struct moe_plan *old, const char *old_name,
                               const struct moe_plan *new, const char *new_name, const int32_t *node,
                               const struct moe_expert_bytes *bytes, struct moe_err *err)
{
	int32_t n_experts = experts_of(old);
	struct moe_plan from = {0}, to = {0};
	enum moe_status status;

	*moves = (struct moe_moves){0};
	if (n_experts != experts_of(new))
		return moe_err_set(err, MOE_EUSAGE, "%s places %d experts, %s %d: they are not of one model", old_name,
		                   n_experts, new_name, experts_of(new));
	status = take(&from, old, new, n_experts, err);
	if (!status)
		status = take(&to, new, old, n_experts, err);
	if (!status)
		status = find_moves(moves, &from, &to, node, bytes, err);
	moe_plan_free(&from);
	moe_plan_free(&to);
	if (status)
		moe_moves_free(moves);
	return status;
}

void moe_moves_free(struct moe_moves *moves)
{
	free(moves->moves);
	free(moves->links);
	*moves = (struct moe_moves){0};
}

enum moe_status moe_expert_bytes_of(struct moe_expert_bytes *bytes, const struct moe_model *model, struct moe_err *err)
{
	const struct moe_config *c = &model->config;
	struct moe_layout_tensor part;

	*bytes = (struct moe_expert_bytes){ .n_layers = c->n_layers + c->n_mtp_layers, .n_experts = c->n_experts };
	bytes->bytes = calloc((size_t)bytes->n_layers * (size_t)bytes->n_experts + 1, sizeof *bytes->bytes);
	if (!bytes->bytes)
		return moe_err_nomem(err, (size_t)bytes->n_layers * sizeof *bytes->bytes, "sizes of experts");
	for (size_t i = 0; i < model->ckpt->n_tensors; i++) {
		const struct moe_tensor *t = &model->ckpt->tensors[i];
		enum moe_status status = moe_layout_part(model->ckpt, c, t, &part, err);
		uint64_t *layer;

		if (!status && part.layer >= bytes->n_layers)
			status = moe_err_set(err, MOE_EFORMAT, "%s: tensor '%s' is of layer %d, and there are %d",
			                     moe_ckpt_file(model->ckpt, t), t->name, part.layer, bytes->n_layers);
		if (status) {
			moe_expert_bytes_free(bytes);
			return status;
		}
		if (part.layer < 0)
			continue;
		layer = bytes->bytes + (size_t)part.layer * (size_t)bytes->n_experts;
		if (part.expert >= 0)
			layer[part.expert] += t->n_bytes;
		for (int32_t e = 0; e < bytes->n_experts && part.expert < 0; e++)
			layer[e] += t->n_bytes / (size_t)bytes->n_experts;
	}
	return MOE_OK;
}

void moe_expert_bytes_free(struct moe_expert_bytes *bytes)
{
	free(bytes->bytes);
	*bytes = (struct moe_expert_bytes){0};
}
