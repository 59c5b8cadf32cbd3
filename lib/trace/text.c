/* What `moe-route --print` shows. */
#include "trace/text.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/table.h"

void moe_trace_print_head(bool margin, struct moe_buf *buf)
{
	moe_buf_adds(buf, "source\tseq\tpos\ttoken\tlayer\tchoice\texpert\tweight");
	moe_buf_adds(buf, margin ? "\tmargin\n" : "\n");
}

/* A choice takes at most 4 tabs, 3 numbers of 11 bytes and 2 of 16. */
enum { N_LINE = 96 };

static char *put_number(char *p, int64_t value)
{
	char digits[20];
	int n = 0;
	uint64_t rest = value < 0 ? 0 - (uint64_t)value : (uint64_t)value;
	if (value < 0)
		*p++ = '-';
	do
		digits[n++] = (char)('0' + rest % 10);
	while (rest /= 10);
	while (n > 0)
		*p++ = digits[--n];
	return p;
}

/* 9 significant digits, at most 16 bytes; a NaN has no sign here. */
static int put_real(char *p, size_t cap, float value)
{
	return isnan(value) ? snprintf(p, cap, "nan") : snprintf(p, cap, "%.9g", value);
}

/* The choices of one token in one layer, each behind the same `start`. */
static void print_choices(const struct moe_routing *r, int64_t t, struct moe_str start, bool margin,
                          struct moe_buf *buf)
{
	char tail[32] = "\t";
	int n_tail = margin;
	if (margin && r->margins)
		n_tail += put_real(tail + 1, sizeof tail - 2, r->margins[t]);
	tail[n_tail++] = '\n';
	for (int32_t i = 0; i < r->top_k; i++) {
		int64_t at = t * r->top_k + i;
		if (r->ids[at] < 0)
			continue;
		char *line = moe_buf_room(buf, start.n + N_LINE), *p = line;
		if (!line)
			return;
		memcpy(p, start.p, start.n);
		p = put_number(p + start.n, r->layer);
		*p++ = '\t';
		p = put_number(p, i);
		*p++ = '\t';
		p = put_number(p, r->ids[at]);
		*p++ = '\t';
		if (r->weights)
			p += put_real(p, 24, r->weights[at]);
		memcpy(p, tail, (size_t)n_tail);
		buf->n += (size_t)(p - line) + (size_t)n_tail;
		buf->p[buf->n] = '\0';
	}
}

void moe_trace_print_run(const struct moe_trace_run *run, const struct moe_trace_header *header, bool margin,
                         struct moe_buf *buf)
{
	struct moe_buf start = {0};
	moe_table_quote(&start, run->source, strlen(run->source));
	moe_buf_addf(&start, "\t%lld\t", (long long)run->seq);
	size_t n_fixed = start.n;
	for (int64_t t = 0; t < run->n_tokens; t++) {
		start.n = n_fixed;
		moe_buf_addf(&start, "%lld\t%d\t", (long long)(run->pos + t), run->tokens[t]);
		for (int32_t l = 0; l < header->n_layers && !start.failed; l++)
			print_choices(&run->layers[l], t, (struct moe_str) { start.p, start.n }, margin, buf);
	}
	buf->failed |= start.failed;
	moe_buf_free(&start);
}
