/* The best packing there is, of few places. */
#ifndef MOE_PLACEMENT_EXACT_H
#define MOE_PLACEMENT_EXACT_H

#include <stdint.h>

#include "base/err.h"

/* Numbers of copies and places that make the fullest bin as light as it can be; time grows steeply with the places.
 * bins [n_bins][capacity] as of moe_pack_fill; *peak: load of the fullest. */
MOE_MUST_USE enum moe_status moe_exact_bins(const double *load, int32_t n, int32_t n_bins, int32_t capacity,
                                            int32_t *bins, double *peak, struct moe_err *err);

#endif
