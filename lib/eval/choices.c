/* Rules and rows of multiple choice. */
#include "eval/choices.h"

#include <string.h>

enum { CHOICES = 1, CORRECT, BEST, HIT = BEST + MOE_CHOICE_N_RULES };
enum { LOGPROBS = HIT + MOE_CHOICE_N_RULES, TOKENS, BYTES };

static double value_of(const struct moe_choice_score *score, enum moe_choice_rule rule)
{
	const int64_t divisors[] = { 1, score->n_tokens, score->n_bytes };
	return score->logprob / (double)divisors[rule];
}

int64_t moe_choice_best(const struct moe_choice_score *scores, int64_t n, enum moe_choice_rule rule)
{
	int64_t best = 0;
	for (int64_t i = 1; i < n; i++)
		if (value_of(&scores[i], rule) > value_of(&scores[best], rule))
			best = i;
	return best;
}

enum moe_status moe_choices_row(struct moe_result *result, const struct moe_item *item,
                                const struct moe_choice_score *scores, struct moe_err *err)
{
	struct moe_buf logprobs = { 0 }, tokens = { 0 }, bytes = { 0 };
	struct moe_field fields[MOE_CHOICES_N_COLUMNS] = { moe_field_text(item->name, strlen(item->name)),
		                                         moe_field_int(item->n), moe_field_int(item->correct + 1) };
	for (int64_t i = 0; i < item->n; i++) {
		moe_buf_addf(&logprobs, i ? ",%.6f" : "%.6f", scores[i].logprob);
		moe_buf_addf(&tokens, i ? ",%lld" : "%lld", (long long)scores[i].n_tokens);
		moe_buf_addf(&bytes, i ? ",%lld" : "%lld", (long long)scores[i].n_bytes);
	}
	for (int rule = 0; rule < MOE_CHOICE_N_RULES; rule++) {
		const int64_t best = moe_choice_best(scores, item->n, (enum moe_choice_rule)rule);
		fields[BEST + rule] = moe_field_int(best + 1);
		fields[HIT + rule] = moe_field_int(best == item->correct);
	}
	fields[LOGPROBS] = moe_field_list(&logprobs);
	fields[TOKENS] = moe_field_list(&tokens);
	fields[BYTES] = moe_field_list(&bytes);
	enum moe_status status = moe_buf_check(&logprobs, err);
	if (!status)
		status = moe_buf_check(&tokens, err);
	if (!status)
		status = moe_buf_check(&bytes, err);
	if (!status)
		status = moe_result_row(result, fields, err);
	moe_buf_free(&logprobs);
	moe_buf_free(&tokens);
	moe_buf_free(&bytes);
	return status;
}

enum moe_status moe_choices_total(struct moe_result *result, int64_t n_items, struct moe_err *err)
{
	struct moe_field fields[MOE_CHOICES_N_COLUMNS] = { moe_field_text("total", 5) };
	fields[CHOICES] = moe_field_int((int64_t)moe_result_sum(result, CHOICES));
	for (int rule = 0; rule < MOE_CHOICE_N_RULES; rule++)
		fields[HIT + rule] = moe_field_real(moe_result_sum(result, HIT + rule) / (double)n_items);
	return moe_result_last(result, fields, err);
}
