/* What chance alone does to loads: C choices, each of one of E experts, all alike and independent. The largest count is
 * that of E binomials with mean C/E, taken as independent; in truth they sum up to C, and a token chooses no expert
 * twice, both of which make it a little smaller. */
#ifndef MOE_STATS_NOISE_H
#define MOE_STATS_NOISE_H

/* MaxVio of such loads: its mean, and the value that a part q of all samples stays within. NaN for C = 0. */
double moe_noise_mean(double n_choices, int n_experts);
double moe_noise_quantile(double n_choices, int n_experts, double q);

#endif
