/* Runs of a trace as lines of text. */
#ifndef MOE_TRACE_TEXT_H
#define MOE_TRACE_TEXT_H

#include <stdbool.h>

#include "base/str.h"
#include "trace/trace.h"

/* Appends the header line: source seq pos token layer choice expert weight, then margin if asked. */
void moe_trace_print_head(bool margin, struct moe_buf *buf);

/* Appends a line per choice, by token, layer, choice. Choices that were not made (id -1) give none. Weights and margins
 * have 9 significant digits; a field is empty where the trace does not keep them. */
void moe_trace_print_run(const struct moe_trace_run *run, const struct moe_trace_header *header, bool margin,
                         struct moe_buf *buf);

#endif
