/* Who holds what. */
#include "placement/layout.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/names.h"

static int ascending(const void *a, const void *b)
{
	int32_t x = *(const int32_t *)a, y = *(const int32_t *)b;

	return (x > y) - (x < y);
}

enum moe_status moe_layout_part(const struct moe_ckpt *ckpt, const struct moe_config *config,
                                const struct moe_tensor *tensor, struct moe_layout_tensor *part, struct moe_err *err)
{
	struct moe_tensor_id id;

	*part = (struct moe_layout_tensor){ -1, -1 };
	if (moe_names_skipped(config, ckpt->format->naming, tensor->name))
		return MOE_OK;
	if (!moe_names_parse(config, ckpt->format->naming, tensor->name, &id))
		return moe_err_set(err, MOE_EFORMAT, "%s: tensor '%s' is not known to the family %s",
		                   moe_ckpt_file(ckpt, tensor), tensor->name, config->family->name);
	if (moe_spec_is_expert(id.spec))
		*part = (struct moe_layout_tensor){ id.layer, id.expert };
	return MOE_OK;
}

/* Finds the part every tensor plays, and the layers that have experts: layers [n_tensors], sorted, once each. */
static enum moe_status classify(struct moe_layout *layout, const struct moe_config *config, int32_t *layers,
                                int32_t *n_layers, struct moe_err *err)
{
	const struct moe_ckpt *ckpt = layout->ckpt;
	int32_t n = 0;

	for (size_t i = 0; i < ckpt->n_tensors; i++) {
		const struct moe_layout_tensor *part = &layout->tensors[i];
		enum moe_status status = moe_layout_part(ckpt, config, &ckpt->tensors[i], &layout->tensors[i], err);

		if (status)
			return status;
		if (part->layer < 0)
			continue;
		layout->stacks = layout->stacks || part->expert < 0;
		if (!n || layers[n - 1] != part->layer)
			layers[n++] = part->layer;
	}
	if (n)
		qsort(layers, (size_t)n, sizeof *layers, ascending);
	*n_layers = 0;
	for (int32_t i = 0; i < n; i++)
		if (!i || layers[i] != layers[i - 1])
			layers[(*n_layers)++] = layers[i];
	if (!n)
		return moe_err_set(err, MOE_EFORMAT, "%s: the model has no experts to place", ckpt->path);
	return MOE_OK;
}

enum moe_status moe_layout_make(struct moe_layout *layout, const struct moe_ckpt *ckpt, const struct moe_config *config,
                                const struct moe_plan *plan, struct moe_err *err)
{
	int32_t n_layers, n_added, n_experts = config->n_experts;
	int32_t *layers = calloc(ckpt->n_tensors + 1, sizeof *layers);
	enum moe_status status;

	memset(layout, 0, sizeof *layout);
	layout->ckpt = ckpt;
	layout->n_experts = n_experts;
	layout->tensors = calloc(ckpt->n_tensors + 1, sizeof *layout->tensors);
	if (!layers || !layout->tensors) {
		status = moe_err_nomem(err, ckpt->n_tensors * sizeof *layers, "the parts of tensors");
		goto out;
	}
	status = moe_ckpt_check_whole(ckpt, true, err);
	if (!status)
		status = classify(layout, config, layers, &n_layers, err);
	if (!status)
		status = moe_plan_copy(&layout->plan, plan, err);
	if (!status)
		status = moe_plan_complete(&layout->plan, layers, n_layers, n_experts, &n_added, err);
	if (!status)
		status = moe_plan_check(&layout->plan, layers, n_layers, n_experts, "the plan", err);
	if (!status)
		status = moe_plan_hash(plan, layout->plan_hash, err);
	if (!status)
		status = moe_ckpt_hash(ckpt, false, layout->model_hash, err);
	if (status)
		goto out;
	layout->by_expert = calloc((size_t)layout->plan.n_entries, sizeof *layout->by_expert);
	if (!layout->by_expert) {
		status = moe_err_nomem(err, (size_t)layout->plan.n_entries * sizeof *layout->by_expert, "a plan");
		goto out;
	}
	memcpy(layout->by_expert, layout->plan.entries, (size_t)layout->plan.n_entries * sizeof *layout->by_expert);
	moe_plan_sort_by_expert(layout->by_expert, layout->plan.n_entries);
out:
	free(layers);
	if (status)
		moe_layout_free(layout);
	return status;
}

void moe_layout_free(struct moe_layout *layout)
{
	free(layout->by_expert);
	free(layout->tensors);
	moe_plan_free(&layout->plan);
	memset(layout, 0, sizeof *layout);
}

const struct moe_plan_entry *moe_layout_copies(const struct moe_layout *layout, int32_t layer, int32_t expert,
                                               int32_t *n)
{
	int64_t n_copies;
	const struct moe_plan_entry *copies = moe_plan_find(layout->by_expert, layout->plan.n_entries, layer, expert,
	                                                    &n_copies);

	*n = (int32_t)n_copies;
	return copies;
}

const struct moe_plan_entry *moe_layout_slots(const struct moe_layout *layout, int32_t layer, int32_t rank, int32_t *n)
{
	int64_t n_layer, begin = 0, end;
	const struct moe_plan_entry *entries = moe_plan_layer(&layout->plan, layer, &n_layer);

	for (int64_t hi = n_layer; begin < hi;) {
		int64_t mid = begin + (hi - begin) / 2;

		if (entries[mid].rank < rank)
			begin = mid + 1;
		else
			hi = mid;
	}
	for (end = begin; end < n_layer && entries[end].rank == rank; end++)
		;
	*n = (int32_t)(end - begin);
	return entries + begin;
}

bool moe_layout_holds(const struct moe_layout *layout, size_t i, int32_t rank, int64_t dims[MOE_MAX_DIMS])
{
	const struct moe_layout_tensor *part = &layout->tensors[i];
	const struct moe_plan_entry *copies;
	int32_t n;

	memcpy(dims, layout->ckpt->tensors[i].dims, MOE_MAX_DIMS * sizeof *dims);
	if (part->layer < 0)
		return true;
	if (part->expert < 0) {
		moe_layout_slots(layout, part->layer, rank, &n);
		dims[0] = dims[0] / layout->n_experts * n;
		return n > 0;
	}
	copies = moe_layout_copies(layout, part->layer, part->expert, &n);
	for (int32_t k = 0; k < n; k++)
		if (copies[k].rank == rank)
			return true;
	return false;
}

uint64_t moe_layout_bytes(const struct moe_tensor *tensor, const int64_t dims[MOE_MAX_DIMS])
{
	size_t n_bytes;

	/* the whole tensor was counted when it was read, and this is no more */
	return moe_dims_bytes(tensor->codec, dims, tensor->n_dims, &n_bytes) ? n_bytes : 0;
}

/* moe.slots.LAYER of every layer: the rank's experts in slot order, an array in GGUF and its text in safetensors, where
 * metadata are strings. */
static int add_slots(const struct moe_layout *layout, int32_t rank, json_t *metadata)
{
	const struct moe_plan *plan = &layout->plan;
	const bool text = layout->ckpt->format->naming == MOE_NAMING_HF;
	int failed = 0;

	for (int64_t i = 0; i < plan->n_entries; i++) {
		int32_t layer = plan->entries[i].layer, n;
		const struct moe_plan_entry *slots;
		json_t *experts;
		char key[40];

		if (i && plan->entries[i - 1].layer == layer)
			continue;
		slots = moe_layout_slots(layout, layer, rank, &n);
		experts = json_array();
		for (int32_t k = 0; k < n; k++)
			failed |= json_array_append_new(experts, json_integer(slots[k].expert));
		snprintf(key, sizeof key, "moe.slots.%d", layer);
		if (text) {
			char *list = json_dumps(experts, JSON_COMPACT);

			failed |= json_object_set_new(metadata, key, list ? json_string(list) : NULL);
			free(list);
			json_decref(experts);
			continue;
		}
		failed |= json_object_set_new(
			metadata, key, json_pack("{s:s,s:s,s:o}", "type", "array", "of", "i32", "value", experts));
	}
	return failed;
}

static int add_gguf(const struct moe_layout *layout, int32_t rank, json_t *metadata)
{
	int failed = 0;

	json_object_del(metadata, "split.no");
	json_object_del(metadata, "split.count");
	json_object_del(metadata, "split.tensors.count");
	failed |= json_object_set_new(metadata, "moe.rank", json_pack("{s:s,s:i}", "type", "u32", "value", (int)rank));
	failed |= json_object_set_new(metadata, "moe.ranks",
	                              json_pack("{s:s,s:i}", "type", "u32", "value", (int)layout->plan.n_ranks));
	failed |= json_object_set_new(metadata, "moe.plan_hash",
	                              json_pack("{s:s,s:s}", "type", "string", "value", layout->plan_hash));
	failed |= json_object_set_new(metadata, "moe.model_hash",
	                              json_pack("{s:s,s:s}", "type", "string", "value", layout->model_hash));
	return failed | add_slots(layout, rank, metadata);
}

json_t *moe_layout_metadata(const struct moe_layout *layout, int32_t rank)
{
	const struct moe_ckpt *ckpt = layout->ckpt;
	json_t *metadata = ckpt->metadata ? json_copy(ckpt->metadata) : json_object();
	int failed = 0;

	if (!metadata)
		return NULL;
	if (ckpt->format->naming == MOE_NAMING_GGUF) {
		failed = add_gguf(layout, rank, metadata);
	} else {
		failed |= json_object_set_new(metadata, "moe.rank", json_sprintf("%d", rank));
		failed |= json_object_set_new(metadata, "moe.ranks", json_sprintf("%d", layout->plan.n_ranks));
		failed |= json_object_set_new(metadata, "moe.plan_hash", json_string(layout->plan_hash));
		failed |= json_object_set_new(metadata, "moe.model_hash", json_string(layout->model_hash));
		if (layout->stacks)
			failed |= add_slots(layout, rank, metadata);
	}
	if (failed) {
		json_decref(metadata);
		return NULL;
	}
	return metadata;
}

enum moe_status moe_layout_declare(const struct moe_layout *layout, int32_t rank, const char *path,
                                   const json_t *metadata, unsigned flags, const char *recipe,
                                   struct moe_watch *watch, struct moe_ckpt_out **out, struct moe_err *err)
{
	const struct moe_ckpt *ckpt = layout->ckpt;
	/* In GGUF they are among the keys of the metadata already. */
	bool beside = ckpt->format->naming == MOE_NAMING_HF;
	struct moe_ckpt_out_opts opts = { .format = ckpt->format,
		                          .path = path,
		                          .flags = flags,
		                          .metadata = metadata,
		                          .recipe = recipe,
		                          .watch = watch,
		                          .n_companions = beside ? ckpt->n_companions : 0,
		                          .companions = ckpt->companions };
	enum moe_status status = moe_ckpt_out_open(out, &opts, err);
	int64_t dims[MOE_MAX_DIMS];

	if (status)
		return status;
	for (size_t i = 0; i < ckpt->n_tensors && !status; i++) {
		const struct moe_tensor *t = &ckpt->tensors[i];

		if (moe_layout_holds(layout, i, rank, dims))
			status = moe_ckpt_out_declare(*out, t->name, t->codec, dims, t->n_dims, err);
	}
	if (status) {
		moe_ckpt_out_abort(*out);
		*out = NULL;
	}
	return status;
}

char *moe_layout_path(const char *dir, int32_t rank, enum moe_naming naming)
{
	char name[32];

	snprintf(name, sizeof name, "rank-%03d%s", rank, naming == MOE_NAMING_GGUF ? ".gguf" : "");
	return moe_path_join(dir, name);
}
