/* Comparing what a model wrote with accepted answers, as the SQuAD evaluation does. */
#ifndef MOE_EVAL_ANSWER_H
#define MOE_EVAL_ANSWER_H

#include <stdbool.h>

#include "base/str.h"

/* How well a text meets an answer. */
struct moe_match {
	bool literal;   /* the same bytes, blanks and line ends at both ends aside */
	bool exact;     /* the same normal forms */
	double f1;      /* of their words */
};

/* Appends the normal form: lower case; ASCII punctuation taken out; the words a, an, the taken out; words joined by
 * single spaces. */
void moe_answer_normalize(struct moe_str text, struct moe_buf *out);

/* f1 = 2 p r / (p + r), p and r the share of words of the text and of the answer that are in both, each counted as
 * often as it stands; where either has no words 1 if both have none, else 0. MOE_ENOMEM aside it cannot fail. */
MOE_MUST_USE enum moe_status moe_answer_match(struct moe_str text, struct moe_str answer, struct moe_match *out,
                                              struct moe_err *err);
/* The best of each over two. */
struct moe_match moe_match_best(struct moe_match a, struct moe_match b);

#endif
