/* Any bytes as a plan in each of the forms of other programs; what is read comes back the same from every form that is
 * read again. */
#include "fuzz.h"

#include "placement/form.h"

static void check_again(const struct moe_plan *plan, const struct moe_plan_form *form)
{
	struct moe_form_opts opts = { .n_ranks = plan->n_ranks };
	struct moe_plan again = {0};
	struct moe_err err = {0};
	struct moe_buf bytes = {0};
	char path[64];
	int fd;

	if (moe_form_export(plan, form, "fuzz", &bytes, &err))
		abort();
	if (!form->read) {
		moe_buf_free(&bytes);
		return;
	}
	fuzz_file((const uint8_t *)bytes.p, bytes.n, path, &fd);
	if (moe_form_import(&again, form, path, &opts, &err) || again.n_entries != plan->n_entries)
		abort();
	for (int64_t i = 0; i < plan->n_entries; i++)
		if (again.entries[i].layer != plan->entries[i].layer ||
		    again.entries[i].expert != plan->entries[i].expert ||
		    again.entries[i].rank != plan->entries[i].rank || again.entries[i].slot != plan->entries[i].slot)
			abort();
	close(fd);
	moe_plan_free(&again);
	moe_buf_free(&bytes);
}

static void fuzz_one(const uint8_t *data, size_t n)
{
	for (size_t i = 0; moe_form_at(i); i++) {
		const struct moe_plan_form *form = moe_form_at(i);
		struct moe_form_opts opts = { .n_ranks = 4 };
		struct moe_plan plan = {0};
		struct moe_err err = {0};
		char path[64];
		int fd;

		fuzz_file(data, n, path, &fd);
		if (moe_form_import(&plan, form, path, &opts, &err)) {
			if (!err.text[0])
				abort();
		} else {
			for (size_t k = 0; moe_form_at(k); k++)
				check_again(&plan, moe_form_at(k));
			moe_plan_free(&plan);
		}
		close(fd);
	}
}
