/* Reading, checking and printing plans. */
#include "plan/plan.h"

#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/table.h"

/* An entry and the line it came from (0: none), while it is being checked. */
struct row {
	struct moe_plan_entry e;
	int64_t line;
};

static int compare_i32(int32_t a, int32_t b) { return (a > b) - (a < b); }

static int by_slot(const void *pa, const void *pb)
{
	const struct moe_plan_entry *a = pa, *b = pb;   /* a row begins with its entry */
	int c = compare_i32(a->layer, b->layer);

	if (!c)
		c = compare_i32(a->rank, b->rank);
	if (!c)
		c = compare_i32(a->slot, b->slot);
	if (!c)
		c = compare_i32(a->expert, b->expert);
	return c ? c : compare_i32(a->replica, b->replica);
}

static int by_replica(const void *pa, const void *pb)
{
	const struct moe_plan_entry *a = pa, *b = pb;
	int c = compare_i32(a->layer, b->layer);

	if (!c)
		c = compare_i32(a->expert, b->expert);
	if (!c)
		c = compare_i32(a->replica, b->replica);
	return c ? c : compare_i32(a->rank, b->rank);
}

static int by_rank(const void *pa, const void *pb)
{
	const struct moe_plan_entry *a = pa, *b = pb;
	int c = compare_i32(a->layer, b->layer);

	if (!c)
		c = compare_i32(a->expert, b->expert);
	return c ? c : compare_i32(a->rank, b->rank);
}

void moe_plan_free(struct moe_plan *plan)
{
	free(plan->entries);
	free(plan->planner);
	free(plan->model);
	memset(plan, 0, sizeof *plan);
}

void moe_plan_sort(struct moe_plan *plan)
{
	int64_t i = 1;

	while (i < plan->n_entries && by_slot(&plan->entries[i - 1], &plan->entries[i]) <= 0)
		i++;
	if (i < plan->n_entries)
		qsort(plan->entries, (size_t)plan->n_entries, sizeof *plan->entries, by_slot);
}

enum moe_status moe_plan_copy(struct moe_plan *to, const struct moe_plan *plan, struct moe_err *err)
{
	*to = (struct moe_plan){ .n_ranks = plan->n_ranks, .n_nodes = plan->n_nodes, .n_entries = plan->n_entries };
	to->entries = calloc((size_t)plan->n_entries + 1, sizeof *to->entries);
	if (!to->entries)
		return moe_err_nomem(err, (size_t)plan->n_entries * sizeof *to->entries, "a plan");
	memcpy(to->entries, plan->entries, (size_t)plan->n_entries * sizeof *to->entries);
	return MOE_OK;
}

void moe_plan_sort_by_expert(struct moe_plan_entry *entries, int64_t n)
{
	qsort(entries, (size_t)n, sizeof *entries, by_rank);
}

const struct moe_plan_entry *moe_plan_find(const struct moe_plan_entry *entries, int64_t n, int32_t layer,
                                           int32_t expert, int64_t *n_copies)
{
	const struct moe_plan_entry key = { .layer = layer, .expert = expert, .rank = -1 };
	int64_t lo = 0, hi = n, end;

	while (lo < hi) {
		int64_t mid = lo + (hi - lo) / 2;

		if (by_rank(&entries[mid], &key) < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	for (end = lo; end < n && entries[end].layer == layer && entries[end].expert == expert; end++)
		;
	*n_copies = end - lo;
	return entries + lo;
}

/* "plan.tsv: line 12" or "plan.tsv". */
static const char *place(char *buf, size_t size, const char *name, const struct row *row)
{
	if (row->line)
		snprintf(buf, size, "%s: line %lld", name, (long long)row->line);
	else
		snprintf(buf, size, "%s", name);
	return buf;
}

/* Ranks and slots of rows sorted by_slot. */
static enum moe_status check_slots(const struct row *rows, int64_t n, int32_t n_ranks, const char *name,
                                   struct moe_err *err)
{
	char at[512];

	for (int64_t i = 0; i < n; i++) {
		const struct moe_plan_entry *e = &rows[i].e;
		bool first = !i || rows[i - 1].e.layer != e->layer || rows[i - 1].e.rank != e->rank;
		int32_t expected = first ? 0 : rows[i - 1].e.slot + 1;

		if (e->rank < 0 || e->rank >= n_ranks)
			return moe_err_set(err, MOE_EFORMAT, "%s: rank %d, but the plan has ranks 0 to %d",
			                   place(at, sizeof at, name, &rows[i]), e->rank, n_ranks - 1);
		if (!first && e->slot == rows[i - 1].e.slot)
			return moe_err_set(err, MOE_EFORMAT,
			                   "%s: layer %d, rank %d, slot %d is given twice, to experts %d and %d",
			                   place(at, sizeof at, name, &rows[i]), e->layer, e->rank, e->slot,
			                   rows[i - 1].e.expert, e->expert);
		if (e->slot != expected)
			return moe_err_set(err, MOE_EFORMAT,
			                   "%s: layer %d, rank %d: slot %d follows where slot %d is expected",
			                   place(at, sizeof at, name, &rows[i]), e->layer, e->rank, e->slot, expected);
	}
	return MOE_OK;
}

/* Experts and replicas; sorts the rows its own way. Every layer must place experts 0..n_experts-1. */
static enum moe_status check_experts(struct row *rows, int64_t n, int32_t n_experts, const char *name,
                                     struct moe_err *err)
{
	char at[512];

	qsort(rows, (size_t)n, sizeof *rows, by_replica);
	for (int64_t i = 0; i < n; i++) {
		const struct moe_plan_entry *e = &rows[i].e, *p = i ? &rows[i - 1].e : NULL;
		bool new_layer = !p || p->layer != e->layer;
		bool new_expert = new_layer || p->expert != e->expert;
		int32_t next = new_layer ? 0 : p->expert + 1, replica = new_expert ? 0 : p->replica + 1;

		if (e->expert < 0 || e->expert >= n_experts)
			return moe_err_set(err, MOE_EFORMAT, "%s: layer %d: expert %d, but there are experts 0 to %d",
			                   place(at, sizeof at, name, &rows[i]), e->layer, e->expert, n_experts - 1);
		if (new_layer && p && p->expert != n_experts - 1)
			return moe_err_set(err, MOE_EFORMAT, "%s: layer %d: expert %d has no place", name, p->layer,
			                   p->expert + 1);
		if (new_expert && e->expert != next)
			return moe_err_set(err, MOE_EFORMAT, "%s: layer %d: expert %d has no place", name, e->layer,
			                   next);
		if (e->replica != replica)
			return moe_err_set(
				err, MOE_EFORMAT, "%s: layer %d, expert %d: replica %d where replica %d is expected",
				place(at, sizeof at, name, &rows[i]), e->layer, e->expert, e->replica, replica);
	}
	if (n && rows[n - 1].e.expert != n_experts - 1)
		return moe_err_set(err, MOE_EFORMAT, "%s: layer %d: expert %d has no place", name, rows[n - 1].e.layer,
		                   rows[n - 1].e.expert + 1);
	qsort(rows, (size_t)n, sizeof *rows, by_rank);
	for (int64_t i = 1; i < n; i++) {
		const struct moe_plan_entry *e = &rows[i].e, *p = &rows[i - 1].e;

		if (e->layer == p->layer && e->expert == p->expert && e->rank == p->rank)
			return moe_err_set(err, MOE_EFORMAT, "%s: layer %d: two replicas of expert %d on rank %d",
			                   place(at, sizeof at, name, &rows[i]), e->layer, e->expert, e->rank);
	}
	return MOE_OK;
}

/* One pass that knows most plans to be right: entries sorted by_slot, the copies of an expert numbered in the order of
 * their ranks. False: wrong, or right in another way. copies, last [n_experts]: scratch. */
static bool is_plainly_right(const struct moe_plan *plan, int32_t n_experts, int32_t *copies, int32_t *last)
{
	int32_t n_found = n_experts;

	for (int64_t i = 0; i < plan->n_entries; i++) {
		const struct moe_plan_entry *e = &plan->entries[i];
		const bool new_layer = !i || e->layer != e[-1].layer, new_rank = new_layer || e->rank != e[-1].rank;

		if (new_layer) {
			if (n_found < n_experts || (i && e->layer < e[-1].layer))
				return false;
			memset(copies, 0, (size_t)n_experts * sizeof *copies);
			memset(last, 0xff, (size_t)n_experts * sizeof *last);
			n_found = 0;
		}
		if (e->expert < 0 || e->expert >= n_experts || e->rank < 0 || e->rank >= plan->n_ranks ||
		    e->slot != (new_rank ? 0 : e[-1].slot + 1) || (!new_layer && e->rank < e[-1].rank) ||
		    last[e->expert] == e->rank || e->replica != copies[e->expert])
			return false;
		n_found += !copies[e->expert]++;
		last[e->expert] = e->rank;
	}
	return n_found == n_experts;
}

/* A whole number in #key=, *out unchanged where it is absent. */
static enum moe_status meta_i32(const struct moe_table *table, const char *key, int32_t max, int32_t *out,
                                struct moe_err *err)
{
	const char *text = moe_table_meta(table, key);
	int64_t value;

	if (!text)
		return MOE_OK;
	if (!moe_parse_i64(moe_str_of(text), &value) || value < 1 || value > max)
		return moe_err_set(err, MOE_EFORMAT, "%s: #%s=%s: expected a number from 1 to %d",
		                   moe_table_name(table), key, text, max);
	*out = (int32_t)value;
	return MOE_OK;
}

static enum moe_status read_rows(const struct moe_table *table, struct row *rows, struct moe_err *err)
{
	static const char *const names[5] = { "layer", "expert", "replica", "rank", "slot" };
	static const int64_t max[5] = { INT32_MAX - 1, INT32_MAX - 1, INT32_MAX - 1, MOE_PLAN_MAX_RANKS - 1,
		                        INT32_MAX - 1 };
	int64_t value[5], n = moe_table_rows(table);
	enum moe_status status;
	int column[5];

	for (int c = 0; c < 5; c++) {
		status = moe_table_need(table, names[c], &column[c], err);
		if (status)
			return status;
	}
	for (int64_t i = 0; i < n; i++) {
		for (int c = 0; c < 5; c++) {
			status = moe_table_i64(table, i, column[c], 0, max[c], &value[c], err);
			if (status)
				return status;
		}
		rows[i].e = (struct moe_plan_entry){ (int32_t)value[0], (int32_t)value[1], (int32_t)value[2],
		                                     (int32_t)value[3], (int32_t)value[4] };
		rows[i].line = moe_table_line(table, i);
	}
	return MOE_OK;
}

enum moe_status moe_plan_parse(struct moe_plan *plan, const struct moe_table *table, struct moe_err *err)
{
	const char *name = moe_table_name(table), *planner = moe_table_meta(table, "planner");
	const char *model = moe_table_meta(table, "model");
	int64_t n = moe_table_rows(table);
	int32_t max_expert = 0, max_rank = 0;
	struct row *rows = NULL;
	enum moe_status status;

	memset(plan, 0, sizeof *plan);
	if (n == 0)
		return moe_err_set(err, MOE_EFORMAT, "%s: the plan has no rows", name);
	rows = calloc((size_t)n, sizeof *rows);
	plan->entries = calloc((size_t)n, sizeof *plan->entries);
	plan->planner = strdup(planner ? planner : "");
	plan->model = strdup(model ? model : "");
	if (!rows || !plan->entries || !plan->planner || !plan->model) {
		status = moe_err_nomem(err, (size_t)n * sizeof *rows, "a plan");
		goto out;
	}
	status = read_rows(table, rows, err);
	if (status)
		goto out;
	for (int64_t i = 0; i < n; i++) {
		max_expert = rows[i].e.expert > max_expert ? rows[i].e.expert : max_expert;
		max_rank = rows[i].e.rank > max_rank ? rows[i].e.rank : max_rank;
	}
	plan->n_ranks = max_rank + 1;
	plan->n_nodes = 1;
	status = meta_i32(table, "ranks", MOE_PLAN_MAX_RANKS, &plan->n_ranks, err);
	if (!status)
		status = meta_i32(table, "nodes", MOE_PLAN_MAX_RANKS, &plan->n_nodes, err);
	if (!status && plan->n_ranks % plan->n_nodes)
		status = moe_err_set(err, MOE_EFORMAT,
		                     "%s: #nodes=%d: %d ranks do not spread evenly over that many nodes", name,
		                     plan->n_nodes, plan->n_ranks);
	if (status)
		goto out;
	qsort(rows, (size_t)n, sizeof *rows, by_slot);
	for (int64_t i = 0; i < n; i++)
		plan->entries[i] = rows[i].e;
	plan->n_entries = n;
	status = check_slots(rows, n, plan->n_ranks, name, err);
	if (!status)
		status = check_experts(rows, n, max_expert + 1, name, err);
out:
	free(rows);
	if (status)
		moe_plan_free(plan);
	return status;
}

enum moe_status moe_plan_read(struct moe_plan *plan, const char *path, struct moe_err *err)
{
	struct moe_table *table;
	enum moe_status status;

	memset(plan, 0, sizeof *plan);
	status = moe_table_read(&table, path, err);
	if (status)
		return status;
	status = moe_plan_parse(plan, table, err);
	moe_table_free(table);
	return status;
}

static bool layer_listed(const int32_t *layers, int32_t n_layers, int32_t layer)
{
	for (int32_t i = 0; i < n_layers; i++)
		if (layers[i] == layer)
			return true;
	return false;
}

enum moe_status moe_plan_check(const struct moe_plan *plan, const int32_t *layers, int32_t n_layers, int32_t n_experts,
                               const char *name, struct moe_err *err)
{
	int64_t n = plan->n_entries, n_found;
	enum moe_status status = MOE_OK;
	int32_t *scratch;
	struct row *rows;
	bool right;

	for (int64_t i = 0; i < n; i++)
		if ((!i || plan->entries[i].layer != plan->entries[i - 1].layer) &&
		    !layer_listed(layers, n_layers, plan->entries[i].layer))
			return moe_err_set(err, MOE_EFORMAT, "%s: layer %d is not a layer with experts here", name,
			                   plan->entries[i].layer);
	for (int32_t i = 0; i < n_layers; i++)
		if (!moe_plan_layer(plan, layers[i], &n_found))
			return moe_err_set(err, MOE_EFORMAT, "%s: layer %d is missing", name, layers[i]);
	if (n <= 0)
		return MOE_OK;
	scratch = calloc((size_t)n_experts, 2 * sizeof *scratch);
	if (!scratch)
		return moe_err_nomem(err, (size_t)n_experts * 2 * sizeof *scratch, "a plan");
	right = is_plainly_right(plan, n_experts, scratch, scratch + n_experts);
	free(scratch);
	if (right)
		return MOE_OK;
	rows = calloc((size_t)n, sizeof *rows);
	if (!rows)
		return moe_err_nomem(err, (size_t)n * sizeof *rows, "a plan");
	for (int64_t i = 0; i < n; i++)
		rows[i].e = plan->entries[i];
	status = check_slots(rows, n, plan->n_ranks, name, err);
	if (!status)
		status = check_experts(rows, n, n_experts, name, err);
	free(rows);
	return status;
}

const struct moe_plan_entry *moe_plan_layer(const struct moe_plan *plan, int32_t layer, int64_t *n)
{
	int64_t lo = 0, hi = plan->n_entries, end;

	while (lo < hi) {
		int64_t mid = lo + (hi - lo) / 2;

		if (plan->entries[mid].layer < layer)
			lo = mid + 1;
		else
			hi = mid;
	}
	for (end = lo; end < plan->n_entries && plan->entries[end].layer == layer; end++)
		;
	*n = end - lo;
	return end > lo ? plan->entries + lo : NULL;
}

enum moe_status moe_plan_complete(struct moe_plan *plan, const int32_t *layers, int32_t n_layers, int32_t n_experts,
                                  int32_t *n_added, struct moe_err *err)
{
	struct moe_plan_entry *entries;
	int64_t n = plan->n_entries, n_found;

	*n_added = 0;
	for (int32_t i = 0; i < n_layers; i++)
		*n_added += !moe_plan_layer(plan, layers[i], &n_found);
	if (!*n_added)
		return MOE_OK;
	entries = realloc(plan->entries, ((size_t)n + (size_t)*n_added * (size_t)n_experts) * sizeof *entries);
	if (!entries)
		return moe_err_nomem(err, (size_t)*n_added * (size_t)n_experts * sizeof *entries, "a plan");
	plan->entries = entries;
	for (int32_t i = 0; i < n_layers; i++) {
		if (moe_plan_layer(plan, layers[i], &n_found))
			continue;
		for (int32_t rank = 0; rank < plan->n_ranks; rank++) {
			int32_t begin = (int32_t)((int64_t)rank * n_experts / plan->n_ranks);
			int32_t end = (int32_t)((int64_t)(rank + 1) * n_experts / plan->n_ranks);

			for (int32_t e = begin; e < end; e++)
				entries[n++] = (struct moe_plan_entry){ layers[i], e, 0, rank, e - begin };
		}
	}
	plan->n_entries = n;
	moe_plan_sort(plan);
	return MOE_OK;
}

void moe_plan_print(const struct moe_plan *plan, struct moe_buf *out)
{
	moe_buf_addf(out, "#ranks=%d", plan->n_ranks);
	if (plan->n_nodes)
		moe_buf_addf(out, " #nodes=%d", plan->n_nodes);
	if (plan->planner && *plan->planner)
		moe_buf_addf(out, " #planner=%s", plan->planner);
	if (plan->model && *plan->model)
		moe_buf_addf(out, " #model=%s", plan->model);
	moe_buf_adds(out, "\nlayer\texpert\treplica\trank\tslot\n");
	for (int64_t i = 0; i < plan->n_entries; i++) {
		const struct moe_plan_entry *e = &plan->entries[i];

		moe_buf_addf(out, "%d\t%d\t%d\t%d\t%d\n", e->layer, e->expert, e->replica, e->rank, e->slot);
	}
}

enum moe_status moe_plan_hash(const struct moe_plan *plan, char out[33], struct moe_err *err)
{
	struct moe_hash *hash = moe_hash_new();
	struct moe_buf text = {0};
	enum moe_status status;

	if (!hash)
		return moe_err_nomem(err, 0, "a hash");
	moe_plan_print(plan, &text);
	status = moe_buf_check(&text, err);
	if (!status) {
		moe_hash_add(hash, text.p, text.n);
		moe_hash_text(hash, out);
	}
	moe_buf_free(&text);
	moe_hash_free(hash);
	return status;
}
