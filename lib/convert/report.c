/* The reports of moe-convert, row by row. */
#include <stdlib.h>
#include <string.h>

#include "convert/check.h"
#include "convert/report.h"

/* ---- what a model is ---- */

static double number(const json_t *info, const char *key) { return json_number_value(json_object_get(info, key)); }

static long long whole(const json_t *info, const char *key) { return json_integer_value(json_object_get(info, key)); }

static void add_bytes(struct moe_buf *b, const json_t *object, double total)
{
	const char *key;
	json_t *value;
	char text[24];

	json_object_foreach((json_t *)object, key, value)
		if (json_integer_value(value))
			moe_buf_addf(b, "  %-18s %10s  %5.1f %%\n", key,
			             moe_format_bytes(text, json_number_value(value)),
			             100 * json_number_value(value) / total);
}

/* "1-3, 5": the numbers of an ascending list. */
static void add_ranges(struct moe_buf *b, const json_t *list)
{
	const size_t n = json_array_size(list);

	for (size_t i = 0, end; i < n; i = end) {
		const json_int_t first = json_integer_value(json_array_get(list, i));

		for (end = i + 1; end < n; end++)
			if (json_integer_value(json_array_get(list, end)) != first + (json_int_t)(end - i))
				break;
		moe_buf_addf(b, "%s%lld", i ? ", " : "", (long long)first);
		if (end > i + 1)
			moe_buf_addf(b, "-%lld", (long long)first + (long long)(end - i) - 1);
	}
}

/* How many layers there are, and which of them are what. */
static void add_layers(struct moe_buf *b, const json_t *info)
{
	const long long n_encoder = whole(info, "encoder_layers");

	moe_buf_addf(b, "layers               %lld, %lld of them with experts", whole(info, "layers"),
	             whole(info, "moe_layers"));
	if (whole(info, "mtp_layers"))
		moe_buf_addf(b, "; %lld more for multi-token prediction", whole(info, "mtp_layers"));
	if (n_encoder)
		moe_buf_addf(b, "\n  encoder            0-%lld\n  decoder            %lld-%lld", n_encoder - 1,
		             n_encoder, whole(info, "layers") - 1);
	if (whole(info, "moe_layers")) {
		moe_buf_adds(b, "\n  with experts       ");
		add_ranges(b, json_object_get(info, "layers_with_experts"));
	}
}

static void add_experts(struct moe_buf *b, const json_t *info)
{
	if (!whole(info, "experts")) {
		moe_buf_adds(b, "experts              none\n");
		return;
	}
	moe_buf_addf(b, "experts              %lld of width %lld, %lld chosen per token, %lld shared\n",
	             whole(info, "experts"),
	             whole(info, "expert_width"), whole(info, "experts_per_token"), whole(info, "shared_experts"));
	moe_buf_addf(b, "router               %s, %lld of %lld groups, weights %stimes %g",
	             json_string_value(json_object_get(info, "policy")), whole(info, "top_groups"),
	             whole(info, "groups"),
	             json_is_true(json_object_get(info, "normalize")) ? "normalised, " : "", number(info, "scale"));
	if (whole(info, "capacity"))
		moe_buf_addf(b, ", %lld tokens of a sequence for an expert at most", whole(info, "capacity"));
	moe_buf_addf(b, "\ncombinations         %s per layer\n",
	             json_string_value(json_object_get(info, "combinations")));
}

void moe_info_text(struct moe_buf *b, const json_t *info)
{
	const json_t *roles = json_object_get(info, "parameters_by_role"), *value;
	const char *key;
	char text[24];

	moe_buf_addf(b, "family               %s (%s)\n", json_string_value(json_object_get(info, "family")),
	             json_string_value(json_object_get(info, "architecture")));
	add_layers(b, info);
	moe_buf_addf(b, "\nwidth                %lld, %lld heads, vocabulary %lld, ", whole(info, "hidden_size"),
	             whole(info, "heads"), whole(info, "vocab_size"));
	if (json_is_null(json_object_get(info, "max_positions")))
		moe_buf_adds(b, "any number of positions\n");
	else
		moe_buf_addf(b, "%lld positions\n", whole(info, "max_positions"));
	add_experts(b, info);
	moe_buf_addf(b, "parameters           %lld\n", whole(info, "parameters"));
	if (whole(info, "mtp_layers"))
		moe_buf_addf(b, "  multi-token        %lld unique, %lld stored; %lld stored in all\n",
		             whole(info, "parameters_mtp_unique"), whole(info, "parameters_mtp_stored"),
		             whole(info, "parameters_stored"));
	moe_buf_addf(b, "activated            %lld\n  without embedding  %lld\n  and without head   %lld\n",
	             whole(info, "activated"), whole(info, "activated_no_embed"), whole(info, "activated_no_both"));
	moe_buf_adds(b, "parameters by role\n");
	json_object_foreach((json_t *)roles, key, value)
		if (json_integer_value(value))
			moe_buf_addf(b, "  %-18s %lld\n", key, (long long)json_integer_value(value));
	moe_buf_addf(b, "operations           %.4g per token forward; %.4g per 4096 tokens of training\n",
	             number(info, "flops_token"), number(info, "flops_4k"));
	moe_buf_addf(b, "key-value cache      %lld numbers per token, %lld bytes as bf16\n",
	             whole(info, "cache_elems_token"),
	             whole(info, "cache_bytes_token"));
	moe_buf_addf(b, "tensors              %lld, %s\n", whole(info, "tensors"),
	             json_is_true(json_object_get(info, "stacked")) ? "with stacks of experts" : "one for each expert");
	if (whole(info, "bytes"))
		moe_buf_addf(b, "bytes                %lld, as the config names types\n", whole(info, "bytes"));
	if (!json_object_get(info, "stored_bytes"))
		return;
	moe_buf_addf(b, "stored               %s in %lld tensors of %lld files (%s)\n",
	             moe_format_bytes(text, number(info, "stored_bytes")), whole(info, "stored_tensors"),
	             whole(info, "files"),
	             json_string_value(json_object_get(info, "format")));
	add_bytes(b, json_object_get(info, "stored_bytes_by_role"), number(info, "stored_bytes"));
	moe_buf_adds(b, "stored by type\n");
	add_bytes(b, json_object_get(info, "stored_bytes_by_type"), number(info, "stored_bytes"));
}

/* ---- what a checkpoint holds ---- */

enum moe_status moe_report_tensors(struct moe_rows *r, const struct moe_ckpt *ckpt, const struct moe_config *config,
                                 struct moe_err *err)
{
	enum moe_status st = MOE_OK;

	for (size_t i = 0; i < ckpt->n_tensors && !st; i++) {
		const struct moe_tensor *t = &ckpt->tensors[i];
		char shape[24 * MOE_MAX_DIMS], offset[32], bytes[32], layer[32], expert[32];
		struct moe_tensor_id id;
		const bool known = config && moe_names_parse(config, ckpt->format->naming, t->name, &id);
		const struct moe_cell cells[] = {
			{"name", t->name, false},
			{"dtype", t->codec->name, false},
			{"shape", moe_dims_text(shape, t->dims, t->n_dims), false},
			{"file", moe_path_base(moe_ckpt_file(ckpt, t)), false},
			{"offset", moe_cell_int(offset, (int64_t)t->offset), true},
			{"bytes", moe_cell_int(bytes, (int64_t)t->n_bytes), true},
			{"role", known ? moe_role_name(moe_id_role(config, &id)) : NULL, false},
			{"layer", known && id.layer >= 0 ? moe_cell_int(layer, id.layer) : NULL, true},
			{"expert", known && id.expert >= 0 ? moe_cell_int(expert, id.expert) : NULL, true},
			{NULL, NULL, false},
		};
		st = moe_rows_add(r, cells, err);
	}
	return st;
}

enum { BATCH = 512 };   /* tensors worked on between two writes of rows */

enum moe_status moe_hash_rows(struct moe_rows *r, const struct moe_view *view, bool sha256, struct moe_pool *pool,
                              struct moe_err *err)
{
	struct moe_tensor_hash *hashes = calloc(BATCH, sizeof *hashes);
	enum moe_status st = hashes ? MOE_OK : moe_err_nomem(err, BATCH * sizeof *hashes, "hashes");

	for (size_t first = 0; first < view->n && !st; first += BATCH) {
		const size_t n = view->n - first < BATCH ? view->n - first : BATCH;
		st = moe_check_hash(view, first, n, pool, sha256, hashes, err);
		for (size_t i = 0; i < n && !st; i++) {
			const struct moe_cell cells[] = {{"name", view->seen[first + i].name, false},
			                                 {"stored", hashes[i].stored, false},
			                                 {"decoded", hashes[i].decoded, false},
			                                 {sha256 ? "sha256" : NULL, hashes[i].sha256, false},
			                                 {NULL, NULL, false}};
			st = moe_rows_add(r, cells, err);
		}
	}
	free(hashes);
	return st;
}

/* ---- whether it is whole, and how far from another ---- */

/* ref_index[i]: the tensor of ref by the same name; a missing one or another shape is an error. */
static enum moe_status pair_up(const struct moe_view *view, const struct moe_view *ref, int64_t **ref_index,
                               struct moe_err *err)
{
	int64_t *index = calloc(view->n + 1, sizeof *index);

	*ref_index = index;
	if (!index)
		return moe_err_nomem(err, view->n * sizeof *index, "pairs of tensors");
	for (size_t i = 0; i < view->n; i++) {
		const struct moe_seen *a = &view->seen[i], *b;
		char want[24 * MOE_MAX_DIMS], have[24 * MOE_MAX_DIMS];

		index[i] = moe_view_find(ref, a->name);
		if (index[i] < 0)
			return moe_err_set(err, MOE_ECHECK, "%s: tensor '%s' is not in %s", view->ckpt->path, a->name,
			                   ref->ckpt->path);
		b = &ref->seen[index[i]];
		if (a->n_dims != b->n_dims || memcmp(a->dims, b->dims, (size_t)a->n_dims * sizeof a->dims[0]))
			return moe_err_set(err, MOE_ECHECK, "%s: tensor '%s': expected shape %s as in %s, found %s",
			                   view->ckpt->path,
			                   a->name, moe_dims_text(want, b->dims, b->n_dims), ref->ckpt->path,
			                   moe_dims_text(have, a->dims, a->n_dims));
	}
	for (size_t i = 0; i < ref->n; i++)
		if (moe_view_find(view, ref->seen[i].name) < 0)
			return moe_err_set(err, MOE_ECHECK, "%s: tensor '%s' of %s is not there", view->ckpt->path,
			                   ref->seen[i].name, ref->ckpt->path);
	return MOE_OK;
}

/* `by`: what the row is about, a tensor's name or a role; n_tensors < 0: the former. */
static enum moe_status verify_row(struct moe_rows *r, const char *by, int64_t n_tensors,
                                  const struct moe_tensor_check *c, bool with_ref, struct moe_err *err)
{
	const bool of_role = n_tensors >= 0;
	char text[7][32];
	struct moe_cell cells[9];
	int n = 0;

	cells[n++] = (struct moe_cell){of_role ? "role" : "name", by, false};
	if (of_role)
		cells[n++] = (struct moe_cell){"tensors", moe_cell_int(text[6], n_tensors), true};
	if (with_ref) {
		cells[n++] = (struct moe_cell){"max", moe_cell_real(text[0], c->max), true};
		cells[n++] = (struct moe_cell){"rms", moe_cell_real(text[1], c->rms), true};
		cells[n++] = (struct moe_cell){"rel", moe_cell_real(text[2], c->rel), true};
		cells[n++] = (struct moe_cell){"cosine", moe_cell_real(text[3], c->cosine), true};
	} else if (!of_role && !c->n_nan && !c->n_inf) {
		return MOE_OK;
	}
	cells[n++] = (struct moe_cell){"nan", moe_cell_int(text[4], c->n_nan), true};
	cells[n++] = (struct moe_cell){"inf", moe_cell_int(text[5], c->n_inf), true};
	cells[n] = (struct moe_cell){0};
	return moe_rows_add(r, cells, err);
}

/* Sums of each role. */
struct by_role {
	struct moe_tensor_check check[MOE_N_ROLES];
	int64_t n[MOE_N_ROLES];
};

static enum moe_status role_rows(struct moe_rows *r, const struct by_role *sums, bool with_ref, struct moe_err *err)
{
	enum moe_status st = MOE_OK;

	for (int role = 0; role < MOE_N_ROLES && !st; role++)
		if (sums->n[role])
			st = verify_row(r, moe_role_name((enum moe_role)role), sums->n[role], &sums->check[role],
			                with_ref, err);
	return st;
}

enum moe_status moe_verify_rows(struct moe_rows *r, const struct moe_view *view, const struct moe_view *ref,
                                double tolerance, bool by_role, struct moe_pool *pool, struct moe_verdict *v,
                                struct moe_err *err)
{
	struct moe_tensor_check *checks = calloc(BATCH, sizeof *checks);
	struct by_role sums = {0};
	int64_t *ref_index = NULL;
	enum moe_status st = checks ? MOE_OK : moe_err_nomem(err, BATCH * sizeof *checks, "checks");

	if (!st && ref)
		st = pair_up(view, ref, &ref_index, err);
	for (size_t first = 0; first < view->n && !st; first += BATCH) {
		const size_t n = view->n - first < BATCH ? view->n - first : BATCH;
		st = moe_check_values(view, ref, ref ? ref_index + first : NULL, first, n, pool, checks, err);
		for (size_t i = 0; i < n && !st; i++) {
			const struct moe_seen *seen = &view->seen[first + i];
			const enum moe_role role = moe_id_role(view->config, &seen->id);

			v->n_nan += checks[i].n_nan;
			v->n_inf += checks[i].n_inf;
			v->n_different += checks[i].max > tolerance;
			if (checks[i].max > v->max)
				v->max = checks[i].max, v->worst = seen->name;
			moe_check_add(&sums.check[role], &checks[i]);
			sums.n[role]++;
			if (!by_role)
				st = verify_row(r, seen->name, -1, &checks[i], ref, err);
		}
	}
	if (!st && by_role)
		st = role_rows(r, &sums, ref, err);
	free(checks);
	free(ref_index);
	return st;
}
