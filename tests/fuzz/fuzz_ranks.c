/* DeepSeek's inference layout from hostile bytes: two files of ranks and a config, divided by the first bytes. */
#include <sys/stat.h>

#include "fuzz.h"

#include "checkpoint/checkpoint.h"
#include "model/model.h"

static void put(const char *dir, const char *name, const uint8_t *data, size_t n)
{
	char path[128];
	FILE *file;

	snprintf(path, sizeof path, "%s/%s", dir, name);
	file = fopen(path, "wb");
	if (!file || fwrite(data, 1, n, file) != n || fclose(file))
		abort();
}

static void fuzz_one(const uint8_t *data, size_t n)
{
	static const char *const names[] = {"model0-mp2.safetensors", "model1-mp2.safetensors", "config.json"};
	const char *top = getenv("TMPDIR");
	struct moe_err err = {0};
	struct moe_config config = {0};
	struct moe_ckpt *ckpt;
	char dir[64], path[128], hash[33];
	size_t at = 4;

	if (n < at)
		return;
	snprintf(dir, sizeof dir, "%.40s/fuzz-ranks-XXXXXX", top ? top : "/tmp");
	if (!mkdtemp(dir))
		abort();
	for (int i = 0; i < 3; i++) {
		const size_t asked = i < 2 ? (size_t)data[2 * i] << 8 | data[2 * i + 1] : n;
		const size_t part = asked < n - at ? asked : n - at;

		put(dir, names[i], data + at, part);
		at += part;
	}
	if (!moe_ckpt_open(&ckpt, dir, NULL, &err)) {
		if (moe_ckpt_hash(ckpt, true, hash, &err) || moe_ckpt_check_replicas(ckpt, &err))
			err = (struct moe_err){0};
		if (!moe_config_of(&config, ckpt, &err) && moe_model_check(&config, ckpt, "config", &err))
			err = (struct moe_err){0};
		moe_config_free(&config);
		moe_ckpt_close(ckpt);
	}
	for (int i = 0; i < 3; i++) {
		snprintf(path, sizeof path, "%s/%s", dir, names[i]);
		unlink(path);
	}
	rmdir(dir);
}
