/* Shards: predicted to the byte, written, verified, merged back; and what is refused. The source is a sample model,
 * whole and cut into files with an index. */
#include "../tap.h"

#include <dirent.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/pool.h"
#include "checkpoint/write.h"
#include "placement/shard.h"

static char scratch[300];

static const char *in_scratch(char path[512], const char *name)
{
	snprintf(path, 512, "%.250s/%.250s", scratch, name);
	return path;
}

/* Bytes of all regular files in a folder and below it. */
static uint64_t folder_bytes(const char *dir)
{
	DIR *handle = opendir(dir);
	struct dirent *entry;
	uint64_t sum = 0;
	char path[1024];
	struct stat st;

	while (handle && (entry = readdir(handle))) {
		snprintf(path, sizeof path, "%s/%s", dir, entry->d_name);
		if (entry->d_name[0] == '.' || stat(path, &st))
			continue;
		if (S_ISDIR(st.st_mode))
			sum += folder_bytes(path);
		else if (S_ISREG(st.st_mode))
			sum += (uint64_t)st.st_size;
	}
	if (handle)
		closedir(handle);
	return sum;
}

/* The bytes of two files are the same. */
static bool same_file(const char *a, const char *b)
{
	struct moe_buf x = {0}, y = {0};
	struct moe_err err = {0};
	bool same =
		!moe_read_all(a, 0, &x, &err) && !moe_read_all(b, 0, &y, &err) && x.n == y.n && !memcmp(x.p, y.p, x.n);

	moe_buf_free(&x);
	moe_buf_free(&y);
	return same;
}

/* Every file that moe_ckpt knows of in `source` is in `merged`, and the same. */
static int n_differing(const struct moe_ckpt *source, const char *merged)
{
	char a[1024], b[1024];
	int n = 0;

	for (int32_t i = 0; i < source->n_files; i++) {
		snprintf(b, sizeof b, "%s/%s", merged, moe_path_base(source->files[i].path));
		n += !same_file(source->files[i].path, b);
	}
	for (int32_t i = 0; i < source->n_companions; i++) {
		snprintf(a, sizeof a, "%s/%s", source->path, source->companions[i].name);
		snprintf(b, sizeof b, "%s/%s", merged, source->companions[i].name);
		n += !same_file(a, b);
	}
	return n;
}

/* A plan of the model's layers: expert e on rank e % n_ranks, the first n_twice experts on the next rank as well. The
 * MTP layer is left out. */
static void make_plan(struct moe_plan *plan, const struct moe_config *config, int32_t n_ranks, int32_t n_twice)
{
	int32_t n = config->n_experts;

	*plan = (struct moe_plan){.n_ranks = n_ranks, .n_nodes = 1, .planner = strdup("test"), .model = strdup("")};
	plan->entries = calloc((size_t)config->n_layers * (size_t)(n + n_twice), sizeof *plan->entries);
	for (int32_t l = 0; l < config->n_layers; l++) {
		int32_t *slots = calloc((size_t)n_ranks, sizeof *slots);

		if (config->layers[l].ffn == MOE_FFN_MOE)
			for (int32_t c = 0; c < n + n_twice; c++) {
				int32_t e = c % n, rank = (c < n ? e : e + 1) % n_ranks;

				plan->entries[plan->n_entries++] =
					(struct moe_plan_entry){l, e, c / n, rank, slots[rank]++};
			}
		free(slots);
	}
	moe_plan_sort(plan);
}

/* Turns over one bit of a file, `from_end` bytes before its end. */
static void damage(const char *path, long from_end)
{
	FILE *f = fopen(path, "r+b");
	int c = 0;

	if (!ok(f && !fseek(f, -from_end, SEEK_END) && (c = fgetc(f)) != EOF, "%s is there", moe_path_base(path)))
		return;
	fseek(f, -from_end, SEEK_END);
	fputc(c ^ 1, f);
	fclose(f);
}

/* From the first byte of a tensor to the end of the file it lies in. */
static long distance_of(const char *dir, const char *name)
{
	struct moe_ckpt *ckpt;
	struct moe_err err = {0};
	const struct moe_tensor *t;
	long n = 0;

	if (moe_ckpt_open(&ckpt, dir, NULL, &err))
		return 0;
	t = moe_ckpt_find(ckpt, name);
	if (t)
		n = (long)(ckpt->files[t->file].n_bytes - t->offset);
	moe_ckpt_close(ckpt);
	return n;
}

static void merge_fails(const char *const *dirs, int n, const char *why)
{
	char out[512], *copy[8];
	struct moe_shard_opts opts = {.out = in_scratch(out, "wrong")};
	struct moe_err err = {0};

	for (int i = 0; i < n; i++)
		copy[i] = strdup(dirs[i]);
	ok(moe_shard_merge(copy, n, &opts, &err) == MOE_EFORMAT && strstr(err.text, why), "not merged: %s (%s)", why,
	   err.text);
	ok(access(out, F_OK) != 0, "nothing is left behind");
	for (int i = 0; i < n; i++)
		free(copy[i]);
}

/* What must not be merged, or is not what was written. */
static void check_damage(const struct moe_model *model, const struct moe_plan *plan, const char *dir)
{
	char r0[600], r1[600], r2[600], file[700], other[600], moved[800];
	struct moe_shard_opts opts = {.plan = plan, .out = dir};
	const char *const twice[] = {r0, r1, r1}, *const missing[] = {r0, r2}, *const mixed[] = {r0, r1, other};
	const char *const all[] = {dir};
	struct moe_plan second;
	struct moe_err err = {0};
	long at;

	snprintf(r0, sizeof r0, "%s/rank-000", dir);
	snprintf(r1, sizeof r1, "%s/rank-001", dir);
	snprintf(r2, sizeof r2, "%s/rank-002", dir);
	merge_fails(twice, 3, "rank 1 is there twice");
	merge_fails(missing, 2, "the shard of rank 1 of 3 is missing");
	make_plan(&second, &model->config, 3, 0);
	opts.plan = &second;
	is_i64(moe_shard_verify(model, &opts, &err), MOE_ECHECK, "another plan: %s", err.text);
	opts.out = in_scratch(file, "second");
	err = (struct moe_err){0};
	ok(!moe_shard_write(model, &opts, &err), "shards of a second plan (%s)", err.text);
	snprintf(other, sizeof other, "%s/second/rank-002", scratch);
	merge_fails(mixed, 3, "is a shard of plan");
	moe_plan_free(&second);

	opts = (struct moe_shard_opts){.plan = plan, .out = dir};
	snprintf(file, sizeof file, "%s/model.safetensors", r1);
	at = distance_of(r1, "model.layers.2.mlp.experts.10.up_proj.weight");
	damage(file, at);
	is_i64(moe_shard_verify(model, &opts, &err), MOE_ECHECK, "a flipped bit is found");
	ok(strstr(err.text, "rank-001") && strstr(err.text, "differs from the source"), "and named: %s", err.text);
	merge_fails(all, 1, "'model.layers.2.mlp.experts.10.up_proj.weight' of rank 1 is not what the source held");
	damage(file, at);
	err = (struct moe_err){0};
	ok(!moe_shard_verify(model, &opts, &err), "turned back (%s)", err.text);

	snprintf(file, sizeof file, "%s/moe-source.bin", r0);
	damage(file, 20);
	is_i64(moe_shard_verify(model, &opts, &err), MOE_ECHECK, "a damaged record is found: %s", err.text);
	merge_fails(all, 1, "the hash of the whole file");
	damage(file, 20);
	snprintf(file, sizeof file, "%s/tokenizer.json", r0);
	damage(file, 20);
	merge_fails(all, 1, "'tokenizer.json' is not what the source held");
	damage(file, 20);
	snprintf(file, sizeof file, "%s/moe-source.json", r0);
	damage(file, 400);
	is_i64(moe_shard_verify(model, &opts, &err), MOE_ECHECK, "a damaged list is found: %s", err.text);
	damage(file, 400);
	snprintf(moved, sizeof moved, "%s.away", file);
	ok(!rename(file, moved), "the record is taken away");
	err = (struct moe_err){0};
	ok(moe_shard_merge(&(char *){r0}, 1, &opts, &err) && err.text[0], "one shard of three: %s", err.text);
	ok(!rename(moved, file), "and put back");
}

static void check_source(const char *source, const char *name, struct moe_pool *pool)
{
	char out[512], back[512], rank[600];
	struct moe_shard_opts opts = {.out = in_scratch(out, name), .pool = pool};
	struct moe_ckpt *ckpt;
	struct moe_model *model;
	struct moe_plan plan;
	struct moe_err err = {0};
	uint64_t bytes[3] = {0};

	if (!ok(!moe_ckpt_open(&ckpt, source, NULL, &err) && !moe_model_bind(&model, ckpt, &err), "%s: opened (%s)",
	        name, err.text))
		return;
	make_plan(&plan, &model->config, 3, 7);
	opts.plan = &plan;
	ok(!moe_shard_predict(model, &plan, bytes, &err), "%s: predicted (%s)", name, err.text);
	ok(!moe_shard_write(model, &opts, &err), "%s: written (%s)", name, err.text);
	for (int32_t r = 0; r < 3; r++) {
		snprintf(rank, sizeof rank, "%s/rank-%03d", out, r);
		is_i64((int64_t)folder_bytes(rank), (int64_t)bytes[r], "%s: rank %d is as large as predicted", name, r);
	}
	ok(moe_shard_write(model, &opts, &err) == MOE_EUSAGE && strstr(err.text, "--force"), "%s: not written over: %s",
	   name, err.text);
	err = (struct moe_err){0};
	ok(!moe_shard_verify(model, &opts, &err), "%s: verified (%s)", name, err.text);
	snprintf(rank, sizeof rank, "%s.back", name);
	opts.out = in_scratch(back, rank);
	ok(!moe_shard_merge(&(char *){out}, 1, &opts, &err), "%s: merged (%s)", name, err.text);
	is_i64(n_differing(ckpt, back), 0, "%s: every file is what it was", name);
	is_i64((int64_t)folder_bytes(back), (int64_t)folder_bytes(source), "%s: and no file is missing", name);
	check_damage(model, &plan, out);
	moe_plan_free(&plan);
	moe_model_free(model);
	moe_ckpt_close(ckpt);
}

/* The same tensors cut into several files. */
static void cut_source(const char *source, const char *to)
{
	struct moe_ckpt_out_opts opts = {.path = to, .shard_bytes = 3000000};
	struct moe_ckpt_out *out;
	struct moe_ckpt *ckpt;
	struct moe_err err = {0};
	enum moe_status status = moe_ckpt_open(&ckpt, source, NULL, &err);

	if (!ok(!status, "the sample is opened (%s)", err.text))
		return;
	opts.format = ckpt->format;
	opts.n_companions = ckpt->n_companions;
	opts.companions = ckpt->companions;
	status = moe_ckpt_out_open(&out, &opts, &err);
	for (size_t i = 0; i < ckpt->n_tensors && !status; i++)
		status = moe_ckpt_out_declare(out, ckpt->tensors[i].name, ckpt->tensors[i].codec, ckpt->tensors[i].dims,
		                              ckpt->tensors[i].n_dims, &err);
	if (!status)
		status = moe_ckpt_out_begin(out, &err);
	for (size_t i = 0; i < ckpt->n_tensors && !status; i++)
		status = moe_ckpt_out_write(out, ckpt->tensors[i].data, ckpt->tensors[i].n_bytes, &err);
	ok(!status && !moe_ckpt_out_commit(out, &err), "cut into files (%s)", err.text);
	moe_ckpt_close(ckpt);
}

int main(void)
{
	const char *top = getenv("MOE_TOP") ? getenv("MOE_TOP") : ".",
		   *tmp = getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp";
	char source[512], cut[512], command[400];
	struct moe_pool *pool;
	struct moe_err err = {0};

	snprintf(scratch, sizeof scratch, "%.200s/shard-test-XXXXXX", tmp);
	if (!ok(mkdtemp(scratch) && !moe_pool_new(&pool, 2, &err), "scratch"))
		return done();
	snprintf(source, sizeof source, "%s/share/models/tiny-v3", top);
	check_source(source, "one file", NULL);
	snprintf(command, sizeof command, "rm -rf '%s'/second", scratch);
	ok(!system(command), "tidy");
	cut_source(source, in_scratch(cut, "source"));
	check_source(cut, "several files", pool);
	moe_pool_free(pool);
	snprintf(command, sizeof command, "rm -rf '%s'", scratch);
	ok(!system(command), "tidy");
	return done();
}
