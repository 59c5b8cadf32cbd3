/* The loop of generation. */
#include "eval/generate.h"

#include <string.h>

#include "base/json.h"
#include "base/rng.h"

const char *moe_stop_name(enum moe_stop stop)
{
	static const char *const names[] = { "length", "eos", "context", "text" };
	return names[stop];
}

void moe_generated_print(const struct moe_generated *made, const struct moe_sequence *prompt,
                         const struct moe_buf *ids, bool with_text, struct moe_buf *text)
{
	struct moe_buf line = { 0 };
	moe_buf_adds(&line, "{\"source\":");
	moe_json_quote(&line, prompt->source, strlen(prompt->source));
	moe_buf_addf(&line, ",\"prompt_tokens\":%lld,\"tokens\":%lld,\"stop\":\"%s\"", (long long)prompt->n_tokens,
	             (long long)made->n_tokens, moe_stop_name(made->stop));
	if (with_text) {
		moe_buf_adds(&line, ",\"text\":");
		moe_json_quote(&line, text->p ? text->p : "", text->n);
	}
	moe_buf_addf(&line, ",\"ids\":[%s]}\n", ids->p ? ids->p : "");
	text->n = 0;
	moe_buf_add(text, line.p, line.n);
	text->failed |= line.failed;
	moe_buf_free(&line);
}

size_t moe_stops_find(const struct moe_stops *stops, const char *text, size_t n, size_t searched)
{
	size_t first = n;
	for (int i = 0; i < stops->n; i++) {
		const size_t m = strlen(stops->texts[i]), from = searched > m - 1 ? searched - (m - 1) : 0;
		const char *at = from < n ? memmem(text + from, n - from, stops->texts[i], m) : NULL;
		if (at && (size_t)(at - text) < first)
			first = (size_t)(at - text);
	}
	return first;
}

size_t moe_stops_safe(const struct moe_stops *stops, const char *text, size_t n)
{
	size_t held = 0;
	for (int i = 0; i < stops->n; i++) {
		size_t m = strlen(stops->texts[i]) - 1;
		for (m = m < n ? m : n; m > held; m--)
			if (memcmp(text + n - m, stops->texts[i], m) == 0)
				held = m;
	}
	return n - held;
}

uint64_t moe_generate_stream(const char *item, int32_t sample)
{
	uint64_t stream = moe_rng_mix((uint64_t)sample);
	for (; *item; item++)
		stream = moe_rng_mix(stream ^ (unsigned char)*item);
	return stream | 1;
}

static bool is_end(const struct moe_generate *g, int32_t id)
{
	for (int32_t i = 0; i < g->config->n_eos; i++)
		if (g->config->eos_ids[i] == id)
			return true;
	for (size_t i = 0; i < g->n_end_ids; i++)
		if (g->end_ids[i] == id)
			return true;
	return false;
}

static enum moe_status feed(const struct moe_generate *g, const int32_t *tokens, int64_t n, bool generated,
                            struct moe_err *err)
{
	if (g->record)
		moe_record_tokens(g->record, moe_session_pos(g->session), tokens);
	return moe_session_feed(g->session, tokens, n, generated, MOE_LOGITS_LAST, err);
}

enum moe_status moe_generate_run(const struct moe_generate *g, const struct moe_sequence *prompt, int64_t seq,
                                 struct moe_generated *out, struct moe_err *err)
{
	*out = (struct moe_generated){ .stop = MOE_STOP_LENGTH };
	if (prompt->n_tokens == 0)
		return moe_err_set(err, MOE_EUSAGE, "%s: sequence %lld is empty: there is nothing to continue",
		                   prompt->source, (long long)seq);
	enum moe_status status = g->replay ? moe_replay_begin(g->replay, prompt, err) : MOE_OK;
	if (!status)
		status = moe_record_go_on(g->record, g->session, prompt, seq, g->before, prompt->n_tokens - 1, err);
	const int64_t kept = moe_session_pos(g->session);
	const uint64_t stream = g->stream ? g->stream : (uint64_t)seq;
	bool ends = false;
	if (!status)
		status = feed(g, prompt->tokens + kept, prompt->n_tokens - kept, false, err);
	while (!status && out->n_tokens < g->n_max) {
		const int64_t pos = moe_session_pos(g->session);
		int32_t id;
		status = moe_sample(&g->sampling, moe_session_logits(g->session), g->config->vocab_size, stream,
		                    (uint64_t)pos, &id, err);
		if (status)
			break;
		if (!g->ignore_eos && is_end(g, id)) {
			out->stop = MOE_STOP_EOS;
			break;
		}
		out->n_tokens++;
		status = g->token(g->arg, id, &ends, err);
		if (ends)
			out->stop = MOE_STOP_TEXT;
		if (status || ends || out->n_tokens == g->n_max)
			break;
		if (pos == g->n_ctx) {
			out->stop = MOE_STOP_CONTEXT;
			break;
		}
		status = feed(g, &id, 1, true, err);
	}
	return status ? status : moe_record_finish(g->record, err);
}
