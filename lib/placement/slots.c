/* Slots from what other programs write of them, and back. */
#include "placement/slots.h"

#include <stdlib.h>
#include <string.h>

#include "base/json.h"

void moe_slots_free(struct moe_slots *slots)
{
	free(slots->experts);
	free(slots->replicas);
	*slots = (struct moe_slots){0};
}

static enum moe_status make(struct moe_slots *out, int64_t n_layers, int64_t n_slots, const char *where,
                            struct moe_err *err)
{
	const size_t n = (size_t)n_layers * (size_t)n_slots;

	*out = (struct moe_slots){0};
	if (n_layers > INT32_MAX || n_slots > INT32_MAX)
		return moe_err_set(err, MOE_EFORMAT, "%s: %lld layers of %lld slots are more than can be", where,
		                   (long long)n_layers, (long long)n_slots);
	out->n_layers = (int32_t)n_layers;
	out->n_slots = (int32_t)n_slots;
	out->experts = malloc(n * sizeof *out->experts);
	return out->experts ? MOE_OK : moe_err_nomem(err, n * sizeof *out->experts, "slots");
}

enum moe_status moe_slots_of_experts(struct moe_slots *out, const struct moe_ints *experts, const char *where,
                                     struct moe_err *err)
{
	const int64_t n_slots = experts->dims[1], n = experts->dims[0] * n_slots;
	enum moe_status status = make(out, experts->dims[0], n_slots, where, err);

	for (int64_t i = 0; i < n && !status; i++) {
		/* Every expert has a slot, so that there are no more than slots. */
		if (experts->v[i] < 0 || experts->v[i] >= n_slots)
			status = moe_err_set(err, MOE_EFORMAT,
			                     "%s[%lld][%lld]: expected an expert from 0 to %lld, found %lld", where,
			                     (long long)(i / n_slots), (long long)(i % n_slots),
			                     (long long)n_slots - 1, (long long)experts->v[i]);
		else
			out->experts[i] = (int32_t)experts->v[i];
		if (!status && experts->v[i] >= out->n_experts)
			out->n_experts = (int32_t)experts->v[i] + 1;
	}
	if (status)
		moe_slots_free(out);
	return status;
}

/* How many slots a layer has: one more than the largest that is named. */
static int64_t largest(const struct moe_ints *copies)
{
	const int64_t n = copies->dims[0] * copies->dims[1] * copies->dims[2];
	int64_t most = -1;

	for (int64_t i = 0; i < n; i++)
		most = copies->v[i] > most ? copies->v[i] : most;
	return most + 1;
}

/* One expert of one layer. v [n]: its slots. */
static enum moe_status take_copies(struct moe_slots *out, const int64_t *v, int64_t n, int64_t layer, int64_t expert,
                                   const char *where, struct moe_err *err)
{
	int32_t *experts = out->experts + layer * out->n_slots, *replicas = out->replicas + layer * out->n_slots;
	int64_t k = 0;

	for (; k < n && v[k] >= 0; k++) {
		if (v[k] >= out->n_slots)
			return moe_err_set(err, MOE_EFORMAT, "%s[%lld][%lld][%lld]: slot %lld, but there are %d", where,
			                   (long long)layer, (long long)expert, (long long)k, (long long)v[k],
			                   out->n_slots);
		if (replicas[v[k]] >= 0 || (experts[v[k]] >= 0 && experts[v[k]] != expert))
			return moe_err_set(err, MOE_EFORMAT,
			                   "%s[%lld][%lld][%lld]: slot %lld is of expert %d already", where,
			                   (long long)layer, (long long)expert, (long long)k, (long long)v[k],
			                   experts[v[k]]);
		experts[v[k]] = (int32_t)expert;
		replicas[v[k]] = (int32_t)k;
	}
	for (int64_t i = k; i < n; i++)
		if (v[i] != -1)
			return moe_err_set(err, MOE_EFORMAT, "%s[%lld][%lld][%lld]: expected -1 behind the last copy, "
			                   "found %lld", where, (long long)layer, (long long)expert, (long long)i,
			                   (long long)v[i]);
	return MOE_OK;
}

enum moe_status moe_slots_of_copies(struct moe_slots *out, const struct moe_ints *copies, const char *where,
                                    struct moe_err *err)
{
	const int64_t n_layers = copies->dims[0], n_experts = copies->dims[1], n_copies = copies->dims[2];
	enum moe_status status = MOE_OK;
	size_t n;

	if (!out->experts) {
		const int64_t n_slots = largest(copies);

		/* Every slot is listed, so that there are no more of them than numbers. */
		if (n_slots < 1 || n_slots > n_experts * n_copies)
			return moe_err_set(err, MOE_EFORMAT, "%s: %lld slots cannot be in %lld lists of %lld", where,
			                   (long long)n_slots, (long long)n_experts, (long long)n_copies);
		status = make(out, n_layers, n_slots, where, err);
		if (status)
			return status;
		memset(out->experts, 0xff, (size_t)n_layers * (size_t)n_slots * sizeof *out->experts);
		out->n_experts = n_experts > INT32_MAX ? INT32_MAX : (int32_t)n_experts;
	}
	if (n_layers != out->n_layers || n_experts != out->n_experts)
		return moe_err_set(err, MOE_EFORMAT, "%s: %lld layers of %lld experts, expected %d of %d", where,
		                   (long long)n_layers, (long long)n_experts, out->n_layers, out->n_experts);
	n = (size_t)out->n_layers * (size_t)out->n_slots;
	out->replicas = malloc(n * sizeof *out->replicas);
	if (!out->replicas)
		return moe_err_nomem(err, n * sizeof *out->replicas, "slots");
	memset(out->replicas, 0xff, n * sizeof *out->replicas);
	for (int64_t i = 0; i < n_layers * n_experts && !status; i++)
		status = take_copies(out, copies->v + i * n_copies, n_copies, i / n_experts, i % n_experts, where, err);
	for (size_t i = 0; i < n && !status; i++)
		if (out->replicas[i] < 0)
			status = moe_err_set(err, MOE_EFORMAT, "%s: slot %zu of layer %zu is in no list", where,
			                     i % (size_t)out->n_slots, i / (size_t)out->n_slots);
	return status;
}

enum moe_status moe_slots_numbers(const struct moe_slots *slots, struct moe_ints *numbers, struct moe_err *err)
{
	const int64_t n = (int64_t)slots->n_layers * slots->n_experts, n_slots = slots->n_slots;

	*numbers = (struct moe_ints){ .n_dims = 2, .dims = { slots->n_layers, slots->n_experts } };
	numbers->v = calloc((size_t)n + 1, sizeof *numbers->v);
	if (!numbers->v)
		return moe_err_nomem(err, (size_t)n * sizeof *numbers->v, "numbers of copies");
	for (int64_t i = 0; i < slots->n_layers * n_slots; i++)
		numbers->v[i / n_slots * slots->n_experts + slots->experts[i]]++;
	return MOE_OK;
}

enum moe_status moe_slots_check_numbers(const struct moe_slots *slots, const struct moe_ints *numbers,
                                        const char *where, struct moe_err *err)
{
	const int64_t n_experts = slots->n_experts;
	struct moe_ints have;
	enum moe_status status;

	if (numbers->dims[0] != slots->n_layers || numbers->dims[1] != n_experts)
		return moe_err_set(err, MOE_EFORMAT, "%s: %lld layers of %lld experts, expected %d of %d", where,
		                   (long long)numbers->dims[0], (long long)numbers->dims[1], slots->n_layers,
		                   slots->n_experts);
	status = moe_slots_numbers(slots, &have, err);
	for (int64_t i = 0; i < slots->n_layers * n_experts && !status; i++)
		if (have.v[i] != numbers->v[i])
			status = moe_err_set(err, MOE_EFORMAT, "%s[%lld][%lld]: %lld copies, but there are %lld", where,
			                     (long long)(i / n_experts), (long long)(i % n_experts),
			                     (long long)numbers->v[i], (long long)have.v[i]);
	moe_ints_free(&have);
	return status;
}

enum moe_status moe_slots_copies(const struct moe_slots *slots, struct moe_ints *copies, struct moe_err *err)
{
	const int64_t n = (int64_t)slots->n_layers * slots->n_slots;
	int64_t most = 0, total;

	for (int64_t i = 0; i < n; i++)
		most = slots->replicas[i] >= most ? slots->replicas[i] + 1 : most;
	*copies = (struct moe_ints){ .n_dims = 3, .dims = { slots->n_layers, slots->n_experts, most } };
	total = (int64_t)slots->n_layers * slots->n_experts * most;
	copies->v = malloc((size_t)total * sizeof *copies->v + 1);
	if (!copies->v)
		return moe_err_nomem(err, (size_t)total * sizeof *copies->v, "copies of experts");
	memset(copies->v, 0xff, (size_t)total * sizeof *copies->v);
	for (int64_t i = 0; i < n; i++)
		copies->v[(i / slots->n_slots * slots->n_experts + slots->experts[i]) * most + slots->replicas[i]] =
			i % slots->n_slots;
	return MOE_OK;
}

static enum moe_status read_key(struct moe_ints *out, const json_t *root, const char *key, int32_t n_dims,
                                const char *path, struct moe_err *err)
{
	char where[512];

	*out = (struct moe_ints){0};
	if (!key || !moe_json_has(root, key))
		return MOE_OK;
	snprintf(where, sizeof where, "%.400s: %s", path, key);
	return moe_ints_json(out, json_object_get(root, key), n_dims, where, err);
}

static enum moe_status read_root(struct moe_slots *out, const json_t *root, const char *path,
                                 const struct moe_slots_keys *keys, struct moe_err *err)
{
	struct moe_ints experts, copies = {0}, numbers = {0};
	char where[512];
	enum moe_status status = read_key(&experts, root, keys->experts, 2, path, err);

	if (!status)
		status = read_key(&copies, root, keys->copies, 3, path, err);
	if (!status)
		status = read_key(&numbers, root, keys->numbers, 2, path, err);
	if (!status && !experts.v && !copies.v)
		status = moe_err_set(err, MOE_EFORMAT, "%s: has no '%s'%s%s%s: nothing says where experts are", path,
		                     keys->experts, keys->copies ? " and no '" : "", keys->copies ? keys->copies : "",
		                     keys->copies ? "'" : "");
	snprintf(where, sizeof where, "%.400s: %s", path, keys->experts);
	if (!status && experts.v)
		status = moe_slots_of_experts(out, &experts, where, err);
	snprintf(where, sizeof where, "%.400s: %s", path, keys->copies ? keys->copies : "");
	if (!status && copies.v)
		status = moe_slots_of_copies(out, &copies, where, err);
	snprintf(where, sizeof where, "%.400s: %s", path, keys->numbers ? keys->numbers : "");
	if (!status && numbers.v)
		status = moe_slots_check_numbers(out, &numbers, where, err);
	moe_ints_free(&experts);
	moe_ints_free(&copies);
	moe_ints_free(&numbers);
	return status;
}

enum moe_status moe_slots_read_json(struct moe_slots *out, const char *path, const struct moe_slots_keys *keys,
                                    struct moe_err *err)
{
	json_t *root;
	enum moe_status status = moe_json_load(&root, path, MOE_FORM_MAX_BYTES, err);

	if (status)
		return status;
	if (json_is_object(root))
		status = read_root(out, root, path, keys, err);
	else
		status = moe_json_refuse(err, root, path, "expected an object");
	json_decref(root);
	return status;
}

/* Nested lists, a line for every list of the first dimension. */
static void put_ints(struct moe_buf *out, const struct moe_ints *ints)
{
	const int64_t n = ints->dims[0], m = ints->dims[1], k = ints->n_dims > 2 ? ints->dims[2] : 1;

	for (int64_t i = 0; i < n; i++) {
		moe_buf_adds(out, i ? ",\n  [" : "[\n  [");
		for (int64_t j = 0; j < m; j++) {
			moe_buf_adds(out, j ? (ints->n_dims > 2 ? ", [" : ", ") : ints->n_dims > 2 ? "[" : "");
			for (int64_t c = 0; c < k; c++)
				moe_buf_addf(out, c ? ", %lld" : "%lld", (long long)ints->v[(i * m + j) * k + c]);
			moe_buf_adds(out, ints->n_dims > 2 ? "]" : "");
		}
		moe_buf_addc(out, ']');
	}
	moe_buf_adds(out, "\n ]");
}

enum moe_status moe_slots_experts(const struct moe_slots *slots, struct moe_ints *experts, struct moe_err *err)
{
	const size_t n = (size_t)slots->n_layers * (size_t)slots->n_slots;

	*experts = (struct moe_ints){ .n_dims = 2, .dims = { slots->n_layers, slots->n_slots } };
	experts->v = malloc(n * sizeof *experts->v + 1);
	if (!experts->v)
		return moe_err_nomem(err, n * sizeof *experts->v, "slots");
	for (size_t i = 0; i < n; i++)
		experts->v[i] = slots->experts[i];
	return MOE_OK;
}

enum moe_status moe_slots_write_json(const struct moe_slots *slots, const struct moe_slots_keys *keys,
                                     struct moe_buf *out, struct moe_err *err)
{
	static enum moe_status (*const of[3])(const struct moe_slots *, struct moe_ints *, struct moe_err *) = {
		moe_slots_experts, moe_slots_copies, moe_slots_numbers
	};
	const char *const names[3] = { keys->experts, keys->copies, keys->numbers };
	bool first = true;

	moe_buf_addc(out, '{');
	for (int i = 0; i < 3; i++) {
		struct moe_ints ints;
		enum moe_status status;

		if (!names[i])
			continue;
		status = of[i](slots, &ints, err);
		if (status)
			return status;
		moe_buf_addf(out, "%s\"%s\": ", first ? "" : ",\n ", names[i]);
		put_ints(out, &ints);
		moe_ints_free(&ints);
		first = false;
	}
	moe_buf_adds(out, "}\n");
	return moe_buf_check(out, err);
}
