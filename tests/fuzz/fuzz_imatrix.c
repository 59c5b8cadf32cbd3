/* Any bytes as a table of importance: opens or is refused; what opens lies within the file, is found by name, and every
 * number of it can be asked for. */
#include "fuzz.h"

#include <math.h>

#include "checkpoint/imatrix.h"

static void check_entry(const struct moe_imatrix *im, const struct moe_imatrix_entry *entry, size_t n)
{
	struct moe_err err = {0};
	int64_t count;
	float value;

	if (moe_imatrix_find(im, entry->name) != entry || entry->n_values < 1 || entry->n_counts < 0)
		abort();
	if ((size_t)entry->n_values > n / 4 || (size_t)entry->n_counts > n / 4)
		abort();
	for (int64_t i = 0; i < entry->n_values; i++)
		if (moe_imatrix_values(im, entry, i, 1, &value, &err) == MOE_OK ? !(value >= 0) || isinf(value)
		                                                                : !err.text[0])
			abort();
	for (int64_t i = 0; i < entry->n_counts; i++)
		if (moe_imatrix_count(im, entry, i, &count, &err) == MOE_OK ? count < 0 : !err.text[0])
			abort();
}

static void fuzz_one(const uint8_t *data, size_t n)
{
	struct moe_imatrix im;
	struct moe_err err = {0};
	char path[64];
	int fd;

	fuzz_file(data, n, path, &fd);
	if (moe_imatrix_open(&im, path, NULL, &err) == MOE_OK) {
		if (im.n == 0)
			abort();
		for (size_t i = 0; i < im.n; i++)
			check_entry(&im, &im.entries[i], n);
		moe_imatrix_close(&im);
	} else if (!err.text[0]) {
		abort();
	}
	close(fd);
}
