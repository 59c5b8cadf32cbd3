/* Multiple choice by log-likelihood: which choice the model finds likeliest after its context. */
#ifndef MOE_EVAL_CHOICES_H
#define MOE_EVAL_CHOICES_H

#include "eval/items.h"
#include "eval/result.h"

/* What one choice got. */
struct moe_choice_score {
	double logprob;               /* nats, over its tokens */
	int64_t n_tokens, n_bytes;    /* bytes: of the choice as the table has it */
};

/* Best by the sum, by the mean over tokens, by the mean over bytes. */
enum moe_choice_rule { MOE_CHOICE_PLAIN, MOE_CHOICE_PER_TOKEN, MOE_CHOICE_PER_BYTE, MOE_CHOICE_N_RULES };
/* Of n; the first of equals. */
int64_t moe_choice_best(const struct moe_choice_score *scores, int64_t n, enum moe_choice_rule rule);

/* The row of an item: choices are numbered from 1, `best` under each rule, whether that is the correct one, and lists
 * over the choices. */
#define MOE_CHOICES_COLUMNS \
	"item\tchoices\tcorrect\tbest\tbest_token\tbest_byte\tplain\tper_token\tper_byte\tlogprobs\ttokens\tbytes"
enum { MOE_CHOICES_N_COLUMNS = 12 };
MOE_MUST_USE enum moe_status moe_choices_row(struct moe_result *result, const struct moe_item *item,
                                             const struct moe_choice_score *scores, struct moe_err *err);
/* The last row, of n_items items: accuracies. */
MOE_MUST_USE enum moe_status moe_choices_total(struct moe_result *result, int64_t n_items, struct moe_err *err);

#endif
