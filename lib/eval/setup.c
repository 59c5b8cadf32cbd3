/* Opens what a run needs, in the order in which each part can complain about the one before. */
#include "eval/setup.h"

#include <stdlib.h>

enum moe_status moe_setup_tokenizer(struct moe_setup *setup, struct moe_err *err)
{
	if (setup->tokenizer)
		return MOE_OK;
	if (!moe_tokenizer_is_in(setup->ckpt))
		return moe_err_set(err, MOE_EFORMAT,
		                   "%s: no tokenizer.json, tiktoken.model or tokenizer keys of GGUF: text needs one "
		                   "of them (token ids can be given with --ids)",
		                   setup->ckpt->path);
	enum moe_status status = moe_tokenizer_open(&setup->tokenizer, setup->ckpt, err);
	if (!status && setup->model && moe_tokenizer_n_ids(setup->tokenizer) > setup->model->config.vocab_size)
		status = moe_err_set(err, MOE_EFORMAT,
		                     "%s: the tokenizer has ids up to %d, config.json a vocabulary of %d",
		                     setup->ckpt->path, (int)moe_tokenizer_n_ids(setup->tokenizer) - 1,
		                     (int)setup->model->config.vocab_size);
	return status;
}

enum moe_status moe_setup_open(struct moe_setup *setup, const char *path, const char *device, struct moe_pool *pool,
                               struct moe_watch *watch, struct moe_err *err)
{
	enum moe_status status = moe_device_open(&setup->device, device, pool, err);
	if (!status)
		status = moe_ckpt_open(&setup->ckpt, path, watch, err);
	if (!status)
		status = moe_model_bind(&setup->model, setup->ckpt, err);
	return status;
}

enum moe_status moe_setup_text(struct moe_setup *setup, const char *path, struct moe_watch *watch,
                               struct moe_err *err)
{
	/* A folder with a tokenizer needs no model beside it. */
	bool alone = false;
	static const char *const names[] = { "tokenizer.json", "tiktoken.model" };
	for (int i = 0; i < 2 && moe_is_dir(path); i++) {
		char *file = moe_path_join(path, names[i]);
		alone = alone || (file && moe_is_file(file));
		free(file);
	}
	if (alone)
		return moe_tokenizer_load(&setup->tokenizer, path, err);
	enum moe_status status = moe_ckpt_open(&setup->ckpt, path, watch, err);
	return status ? status : moe_setup_tokenizer(setup, err);
}

enum moe_status moe_setup_mtp(const struct moe_setup *setup, struct moe_err *err)
{
	if (setup->model->config.n_mtp_layers > 0)
		return MOE_OK;
	return moe_err_set(err, MOE_EUSAGE,
	                   "--mtp: %s has no multi-token-prediction layer, or one that family %s does not run",
	                   setup->ckpt->path, setup->model->config.family->name);
}

enum moe_status moe_setup_bias(const struct moe_setup *setup, struct moe_bias *bias, struct moe_err *err)
{
	const struct moe_config *config = &setup->model->config;
	const int32_t n_layers = config->n_layers + config->n_mtp_layers;
	const size_t n = (size_t)n_layers;
	*bias = (struct moe_bias){ .n_experts = config->n_experts };
	bias->layers = calloc(n + 1, sizeof *bias->layers);
	bias->values = calloc(n * (size_t)config->n_experts + 1, sizeof *bias->values);
	if (!bias->layers || !bias->values)
		return moe_err_nomem(err, n * (size_t)config->n_experts * sizeof *bias->values, "the biases");
	for (int32_t l = 0; l < n_layers; l++) {
		const struct moe_weight *w = &setup->model->layers[l].part[MOE_PART_ROUTER_BIAS];
		if (!w->data)
			continue;
		float *values = bias->values + (int64_t)bias->n_layers * config->n_experts;
		w->codec->decode(w->data, values, (size_t)config->n_experts);
		enum moe_status status = moe_bias_check(values, config->n_experts, l, setup->ckpt->path, err);
		if (status)
			return status;
		bias->layers[bias->n_layers++] = l;
	}
	if (bias->n_layers == 0)
		return moe_err_set(err, MOE_EFORMAT, "%s: the model has no correction biases", setup->ckpt->path);
	return MOE_OK;
}

void moe_setup_close(struct moe_setup *setup)
{
	moe_tokenizer_free(setup->tokenizer);
	moe_model_free(setup->model);
	moe_ckpt_close(setup->ckpt);
	moe_device_close(setup->device);
	*setup = (struct moe_setup){ 0 };
}
