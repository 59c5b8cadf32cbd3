/* What decides the values of a destination beside its headers. */
#include <string.h>
#include <sys/stat.h>

#include "base/hash.h"
#include "convert/job.h"

static enum moe_status add_file(struct moe_hash *hash, const char *path, struct moe_err *err)
{
	const char *base = moe_path_base(path);
	struct stat now;

	if (stat(path, &now) != 0)
		return moe_err_sys(err, "%s", path);
	const int64_t facts[] = {now.st_size, now.st_mtim.tv_sec, now.st_mtim.tv_nsec};
	moe_hash_add(hash, base, strlen(base) + 1);
	moe_hash_add(hash, facts, sizeof facts);
	return MOE_OK;
}

enum moe_status moe_convert_recipe(const struct moe_convert *conv, char recipe[33], struct moe_err *err)
{
	struct moe_hash *hash = moe_hash_new();
	enum moe_status st = hash ? MOE_OK : moe_err_nomem(err, 1024, "a hash");

	for (int32_t i = 0; !st && i < conv->src->n_files; i++)
		st = add_file(hash, conv->src->files[i].path, err);
	if (!st && conv->imatrix.path) {
		st = add_file(hash, conv->imatrix.path, err);
		moe_hash_add(hash, &conv->opts.imatrix_tokens, sizeof conv->opts.imatrix_tokens);
	}
	for (size_t i = 0; !st && i < conv->view.n; i++) {
		const uint8_t choice[] = {conv->choices[i].scaled, conv->choices[i].exact,
		                          conv->choices[i].powers, conv->choices[i].e8m0,
		                          conv->choices[i].rescale,
		                          (uint8_t)conv->view.seen[i].making};
		moe_hash_add(hash, choice, sizeof choice);
	}
	if (!st) {
		const struct moe_surgery *s = &conv->surgery;

		const size_t n = s->first ? (size_t)s->n_layers * (size_t)s->n_experts : 0;
		const double facts[] = {s->n_parts, s->down_factor, s->down_bias_factor, s->bias_factor,
		                        s->shared_factor, s->noise, s->router_noise, s->upcycled};

		moe_hash_add(hash, s->first, n * sizeof *s->first);
		moe_hash_add(hash, s->terms, s->n_terms * sizeof *s->terms);
		moe_hash_add(hash, facts, sizeof facts);
		moe_hash_add(hash, &s->seed, sizeof s->seed);
		moe_hash_add(hash, MOE_VERSION, sizeof MOE_VERSION);
		moe_hash_text(hash, recipe);
	}
	moe_hash_free(hash);
	return st;
}
