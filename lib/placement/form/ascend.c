/* The expert map of vllm-ascend and MindIE: for every layer with experts, for every device, the experts it holds. */
#include <stdlib.h>

#include "base/json.h"
#include "placement/form.h"
#include "placement/slots.h"

/* Lists of devices of every layer, gathered as [layers][devices][experts]. A device may say which it is, and then it
 * must be the one that its place in the list says; the same holds for layers. */
static enum moe_status check_index(const json_t *item, const char *key, size_t index, const char *where,
                                   struct moe_err *err)
{
	int64_t found = (int64_t)index;
	enum moe_status status;

	if (!json_is_object(item))
		return moe_json_refuse(err, item, where, "expected an object");
	status = moe_json_i64(item, key, where, 0, INT32_MAX, &found, err);
	if (!status && found != (int64_t)index)
		status = moe_err_set(err, MOE_EFORMAT, "%s: %s is %lld, expected %zu", where, key, (long long)found,
		                     index);
	return status;
}

static enum moe_status add_layer(json_t *gathered, const json_t *layer, size_t l, const char *path,
                                 struct moe_err *err)
{
	const json_t *devices;
	json_t *row;
	char where[512];
	int64_t n_devices;
	enum moe_status status;

	snprintf(where, sizeof where, "%.400s: layer_list[%zu]", path, l);
	status = check_index(layer, "layer_id", l, where, err);
	if (status)
		return status;
	devices = json_object_get(layer, "device_list");
	if (!json_is_array(devices))
		return moe_json_refuse(err, devices, where, "expected a list 'device_list'");
	n_devices = (int64_t)json_array_size(devices);
	status = moe_json_i64(layer, "device_count", where, n_devices, n_devices, &n_devices, err);
	if (status)
		return status;
	row = json_array();
	if (!row || json_array_append_new(gathered, row))
		return moe_err_nomem(err, sizeof *row, "an expert map");
	for (size_t d = 0; d < json_array_size(devices) && !status; d++) {
		const json_t *device = json_array_get(devices, d);
		json_t *experts;

		snprintf(where, sizeof where, "%.400s: layer_list[%zu].device_list[%zu]", path, l, d);
		status = check_index(device, "device_id", d, where, err);
		if (status)
			break;
		experts = json_object_get(device, "device_expert");
		if (!json_is_array(experts))
			status = moe_json_refuse(err, experts, where, "expected a list 'device_expert'");
		else if (json_array_append(row, experts))
			status = moe_err_nomem(err, sizeof *row, "an expert map");
	}
	return status;
}

static enum moe_status read_root(struct moe_slots *out, const json_t *root, const char *path, struct moe_err *err)
{
	const json_t *layers = json_object_get(root, "layer_list");
	json_t *gathered = json_array();
	struct moe_ints experts = {0};
	char where[512];
	int64_t n_layers = (int64_t)json_array_size(layers);
	enum moe_status status = MOE_OK;

	snprintf(where, sizeof where, "%.400s: device_expert", path);
	if (!gathered)
		status = moe_err_nomem(err, sizeof *gathered, "an expert map");
	else if (!json_is_array(layers))
		status = moe_json_refuse(err, layers, path, "expected a list 'layer_list'");
	if (!status)
		status = moe_json_i64(root, "moe_layer_count", path, n_layers, n_layers, &n_layers, err);
	for (size_t l = 0; l < json_array_size(layers) && !status; l++)
		status = add_layer(gathered, json_array_get(layers, l), l, path, err);
	if (!status)
		status = moe_ints_json(&experts, gathered, 3, where, err);
	if (!status && experts.dims[1] > MOE_PLAN_MAX_RANKS)
		status = moe_err_set(err, MOE_EFORMAT, "%s: %lld devices are more than %d", path,
		                     (long long)experts.dims[1], MOE_PLAN_MAX_RANKS);
	if (!status) {
		const int64_t n_ranks = experts.dims[1];

		experts.n_dims = 2;
		experts.dims[1] *= experts.dims[2];
		status = moe_slots_of_experts(out, &experts, where, err);
		out->n_ranks = status ? 0 : (int32_t)n_ranks;
	}
	moe_ints_free(&experts);
	json_decref(gathered);
	return status;
}

static enum moe_status read_form(struct moe_slots *out, const char *path, struct moe_watch *watch, struct moe_err *err)
{
	json_t *root;
	enum moe_status status = moe_json_load(&root, path, MOE_FORM_MAX_BYTES, err);

	(void)watch;
	if (status)
		return status;
	if (json_is_object(root))
		status = read_root(out, root, path, err);
	else
		status = moe_json_refuse(err, root, path, "expected an object");
	json_decref(root);
	return status;
}

static enum moe_status write_form(const struct moe_slots *slots, struct moe_buf *out, struct moe_err *err)
{
	const int32_t capacity = slots->n_slots / slots->n_ranks;

	moe_buf_addf(out, "{\"moe_layer_count\": %d, \"layer_list\": [", slots->n_layers);
	for (int32_t l = 0; l < slots->n_layers; l++) {
		moe_buf_addf(out, "%s{\"layer_id\": %d, \"device_count\": %d, \"device_list\": [", l ? ",\n " : "\n ",
		             l, slots->n_ranks);
		for (int32_t s = 0; s < slots->n_slots; s++) {
			const int32_t expert = slots->experts[(int64_t)l * slots->n_slots + s];

			if (s % capacity)
				moe_buf_addf(out, ", %d", expert);
			else
				moe_buf_addf(out, "%s{\"device_id\": %d, \"device_expert\": [%d", s ? ",\n  " : "\n  ",
				             s / capacity, expert);
			if (s % capacity == capacity - 1)
				moe_buf_adds(out, "]}");
		}
		moe_buf_adds(out, "]}");
	}
	moe_buf_adds(out, "]}\n");
	return moe_buf_check(out, err);
}

const struct moe_plan_form moe_form_ascend = {
	.name = "ascend",
	.help = "JSON of the experts on every device of every layer with experts",
	.source = "vllm-ascend and MindIE, expert_map_path",
	.read = read_form,
	.write = write_form,
};
