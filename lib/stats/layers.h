/* Layers as people name them. */
#ifndef MOE_STATS_LAYERS_H
#define MOE_STATS_LAYERS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

/* Marks the rows of `layers` that a list as "3,5-9" names; NULL marks all. *marks: [n_layers], freed by the caller. */
MOE_MUST_USE enum moe_status moe_layers_mark(const int32_t *layers, int32_t n_layers, const char *text, bool **marks,
                                             struct moe_err *err);

#endif
