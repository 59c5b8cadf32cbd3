/* moe-route: the router alone. Text through a model up to its last router, a trace under another policy, or another
 * tool's log: always a trace comes out, or its decisions as text. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "eval/record.h"
#include "forward/forward.h"
#include "tool.h"
#include "trace/reroute.h"
#include "trace/text.h"

struct config {
	struct moe_opt_list prompts;
	bool ids, logits, margin, print, normalize, no_normalize;
	int64_t window, overlap;
	int32_t gates, chunk, top_k, groups, top_groups, group_score;
	double scale, eps, p_norm;
	const char *policy, *bias, *from, *model_config, *device;
	bool list_policies;
};

/* No value given: a number no option takes. */
enum { UNSET = -1 };

/* Words that the shell completes. */
static const char *policy_word(size_t i)
{
	const struct moe_policy *policy = moe_policy_at(i);
	return policy ? policy->name : NULL;
}

static const char *import_word(size_t i)
{
	const struct moe_import *format = moe_import_at(i);
	return format ? format->name : NULL;
}

static const struct moe_opt options[] = {
	MOE_OPT_GROUP("Output"),
	MOE_OPT_FLAG(0, "logits", struct config, logits, "keep the router's outputs of every token, for re-routing"),
	MOE_OPT_FLAG(0, "margin", struct config, margin, "keep how close each choice was"),
	MOE_OPT_FLAG(0, "print", struct config, print, "print the decisions as text instead of writing a trace"),
	MOE_OPT_ENUM(0, "gates", "f32|f16|8bit|none", struct config, gates, "how the trace stores gates [f32]"),
	MOE_OPT_GROUP("Text through a model"),
	MOE_OPT_LIST('p', "prompt", "TEXT", struct config, prompts,
	             "text given here instead of in files; may be repeated"),
	MOE_OPT_FLAG(0, "ids", struct config, ids,
	             "lines of token ids instead of text, one sequence each, taken as they are"),
	MOE_OPT_I64(0, "window", "N", struct config, window, 1, 0x1p61,
	            "tokens a text is cut into [512 or the model's maximum]"),
	MOE_OPT_I64(0, "overlap", "N", struct config, overlap, 0, 0x1p61, "tokens of context before each window [0]"),
	MOE_OPT_LISTED(0, "device", "NAME", moe_device_at, struct config, device, "where to compute: cpu [cpu]"),
	MOE_OPT_INT(0, "chunk", "N", struct config, chunk, 1, 1 << 20,
	            "tokens a pass; results do not depend on it [512]"),
	MOE_OPT_GROUP("A trace with logits, re-routed"),
	MOE_OPT_LISTED(0, "policy", "NAME", policy_word, struct config, policy,
	               "the policy to route by (--list-policies)"),
	MOE_OPT_INT('k', "experts-per-token", "N", struct config, top_k, 1, INT32_MAX,
	            "experts per token [as in the trace]"),
	MOE_OPT_INT(0, "groups", "N", struct config, groups, 1, INT32_MAX, "groups of experts [as in the trace]"),
	MOE_OPT_INT(0, "top-groups", "N", struct config, top_groups, 1, INT32_MAX, "groups kept [as in the trace]"),
	MOE_OPT_ENUM(0, "group-score", "max|top2", struct config, group_score,
	             "what a group counts: its best, or the sum of its two best [the policy's]"),
	MOE_OPT_F64(0, "scale", "X", struct config, scale, 0, 0, "factor on the weights [as in the trace]"),
	MOE_OPT_F64(0, "eps", "X", struct config, eps, 0, 1,
	            "sparsemixer: how near the best a score must come [0.01]"),
	MOE_OPT_F64(0, "p-norm", "P", struct config, p_norm, 0, 1000,
	            "dbrx: divide the weights by this norm; 0: do not [1]"),
	MOE_OPT_FLAG(0, "normalize", struct config, normalize, "divide the weights by their sum [as in the trace]"),
	MOE_OPT_FLAG(0, "no-normalize", struct config, no_normalize, "leave the weights as they are"),
	MOE_OPT_FILE(0, "bias", "FILE", struct config, bias,
	             "added to the scores when choosing: a table, or a model"),
	MOE_OPT_FLAG(0, "list-policies", struct config, list_policies, "list the policies and what they read"),
	MOE_OPT_GROUP("Another tool's log"),
	MOE_OPT_LISTED(0, "from", "FORMAT", import_word, struct config, from,
	               "import FILEs written by another tool (esft)"),
	MOE_OPT_FILE(0, "model-config", "FILE", struct config, model_config,
	             "config.json of the model that was logged"),
	MOE_OPT_END,
};

static const struct tool tool = {
	"moe-route",
	"[options] MODEL [TEXT...]\n[options] TRACE...\n--from FORMAT [--model-config FILE] [options] FILE...",
	"Route tokens to experts: through a model, from stored logits, or from a log.",
	options,
};

struct route {
	struct tool_ctx *ctx;
	const struct config *cfg;
	const char *command;
	struct moe_pool *pool;
	struct moe_setup setup;
	struct moe_sequences seqs;
	struct moe_session *session;
	struct moe_record *record;
	struct moe_record_header described;
	struct moe_bias bias;
	struct moe_reroute *reroute;
	struct moe_trace_header header; /* of what is written */
	struct moe_trace_out *trace;
	struct moe_out *out; /* --print */
	struct tool_progress progress;
};

static void print_json(const struct moe_trace_run *run, const struct moe_trace_header *header, bool margin,
                       struct moe_buf *buf)
{
	for (int64_t t = 0; t < run->n_tokens; t++)
		for (int32_t l = 0; l < header->n_layers; l++) {
			const struct moe_routing *r = &run->layers[l];
			for (int32_t c = 0; c < r->top_k; c++) {
				const int64_t i = t * r->top_k + c;
				if (r->ids[i] < 0)
					continue;
				moe_buf_adds(buf, "{\"source\":");
				moe_json_quote(buf, run->source, strlen(run->source));
				moe_buf_addf(buf,
				             ",\"seq\":%lld,\"pos\":%lld,\"token\":%d,\"layer\":%d,\"choice\":%d,"
				             "\"expert\":%d,\"weight\":",
				             (long long)run->seq, (long long)(run->pos + t), (int)run->tokens[t],
				             (int)r->layer, (int)c, (int)r->ids[i]);
				r->weights ? moe_buf_addf(buf, "%.9g", r->weights[i]) : moe_buf_adds(buf, "null");
				if (margin && r->margins && isfinite(r->margins[t]))
					moe_buf_addf(buf, ",\"margin\":%.9g", r->margins[t]);
				else if (margin)
					moe_buf_adds(buf, ",\"margin\":null");
				moe_buf_adds(buf, "}\n");
			}
		}
}

static enum moe_status print_run(struct route *route, const struct moe_trace_run *run, struct moe_err *err)
{
	struct moe_buf text = { 0 };
	if (route->ctx->common.json)
		print_json(run, &route->header, route->cfg->margin, &text);
	else
		moe_trace_print_run(run, &route->header, route->cfg->margin, &text);
	enum moe_status status = moe_buf_check(&text, err);
	if (!status && text.n)
		status = moe_out_write(route->out, text.p, text.n, err);
	moe_buf_free(&text);
	return status;
}

/* Where every run ends: in the trace, or as text. */
static enum moe_status deliver(void *arg, const struct moe_trace_run *run, struct moe_err *err)
{
	struct route *route = arg;
	return route->out ? print_run(route, run, err) : moe_trace_write(route->trace, run, err);
}

/* header: what the runs to come look like; its strings must outlive the output. */
static enum moe_status open_output(void *arg, const struct moe_trace_header *header, struct moe_err *err)
{
	struct route *route = arg;
	const struct config *cfg = route->cfg;
	const char *path = route->ctx->common.output ? route->ctx->common.output : "-";
	const unsigned flags = tool_out_flags(route->ctx);
	route->header = *header;
	route->header.command = route->command;
	route->header.version = MOE_VERSION;
	if (cfg->gates != UNSET && header->gates != MOE_GATES_NONE)
		route->header.gates = (enum moe_gate_type)cfg->gates;
	else if (cfg->gates != UNSET && cfg->gates != MOE_GATES_NONE)
		return moe_err_set(err, MOE_EUSAGE, "--gates %s: the input keeps no gates",
		                   moe_gate_type_name((enum moe_gate_type)cfg->gates));
	if (cfg->margin && !header->margins)
		return moe_err_set(err, MOE_EUSAGE,
		                   "--margin: the input keeps none; --policy computes them from stored logits");
	if (!cfg->print)
		return moe_trace_create(&route->trace, path, flags, &route->header, route->pool, route->ctx->watch,
		                        err);
	enum moe_status status = moe_out_open(&route->out, path, flags, route->ctx->watch, err);
	struct moe_buf head = { 0 };
	moe_trace_print_head(cfg->margin, &head);
	if (!status)
		status = moe_buf_check(&head, err);
	if (!status && !route->ctx->common.json)
		status = moe_out_write(route->out, head.p, head.n, err);
	moe_buf_free(&head);
	return status;
}

/* A bias of --bias: a table, or the correction biases of a model. */
static enum moe_status read_bias(struct route *route, int32_t n_experts, struct moe_err *err)
{
	char *path = NULL;
	if (moe_is_file(route->cfg->bias)) {
		uint8_t magic[4] = { 0 };
		FILE *f = fopen(route->cfg->bias, "rb");
		const bool gguf = f && fread(magic, 1, 4, f) == 4 && memcmp(magic, "GGUF", 4) == 0;
		if (f)
			fclose(f);
		if (!gguf)
			return moe_bias_read(&route->bias, route->cfg->bias, n_experts, err);
	}
	enum moe_status status = tool_model_path(route->ctx, route->cfg->bias, &path, err);
	if (!status)
		status = moe_setup_open(&route->setup, path, "cpu", route->pool, route->ctx->watch, err);
	if (!status)
		status = moe_setup_bias(&route->setup, &route->bias, err);
	if (!status && route->bias.n_experts != n_experts)
		status = moe_err_set(err, MOE_EUSAGE, "--bias %s: the model has %d experts a layer, the trace %d",
		                     route->cfg->bias, (int)route->bias.n_experts, (int)n_experts);
	free(path);
	return status;
}

/* An option that the policy does not read would be ignored in silence: refuse it. */
static enum moe_status check_reads(const struct config *cfg, const struct moe_policy *policy, struct moe_err *err)
{
	const struct {
		bool given;
		unsigned reads;
		const char *name;
	} wanted[] = {
		{ cfg->groups != UNSET, MOE_READS_GROUPS, "--groups" },
		{ cfg->top_groups != UNSET, MOE_READS_GROUPS, "--top-groups" },
		{ cfg->group_score != UNSET, MOE_READS_GROUP_SCORE, "--group-score" },
		{ !isnan(cfg->scale), MOE_READS_SCALE, "--scale" },
		{ cfg->normalize || cfg->no_normalize, MOE_READS_NORMALIZE, "--normalize" },
		{ cfg->bias != NULL, MOE_READS_BIAS, "--bias" },
		{ !isnan(cfg->eps), MOE_READS_EPS, "--eps" },
		{ !isnan(cfg->p_norm), MOE_READS_P_NORM, "--p-norm" },
	};
	for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++)
		if (wanted[i].given && !(policy->reads & wanted[i].reads))
			return moe_err_set(err, MOE_EUSAGE, "policy %s does not read %s", policy->name,
			                   wanted[i].name);
	return MOE_OK;
}

/* The policy's parameters: what is given, else what the trace says. */
static enum moe_status open_reroute(struct route *route, const struct moe_trace_header *in,
                                    struct moe_trace_header *out, struct moe_err *err)
{
	const struct config *cfg = route->cfg;
	const struct moe_policy *policy = moe_policy_by_name(cfg->policy);
	if (!policy)
		return moe_err_set(err, MOE_EUSAGE, "policy '%s' is not known: see --list-policies", cfg->policy);
	if (!in->logits)
		return moe_err_set(err, MOE_EUSAGE,
		                   "--policy needs a trace with logits: moe-route --logits writes one");
	enum moe_status status = check_reads(cfg, policy, err);
	if (!status && cfg->bias)
		status = read_bias(route, in->n_experts, err);
	if (status)
		return status;
	const bool grouped = policy->reads & MOE_READS_GROUPS;
	const struct moe_policy_params params = {
		.n_experts = in->n_experts,
		.top_k = cfg->top_k == UNSET ? in->top_k : cfg->top_k,
		.n_groups = !grouped               ? 1
		            : cfg->groups != UNSET ? cfg->groups
		            : in->n_groups > 0     ? in->n_groups
		                                   : 1,
		.top_groups = !grouped                   ? 1
		              : cfg->top_groups != UNSET ? cfg->top_groups
		              : in->top_groups > 0       ? in->top_groups
		                                         : 1,
		.group_score = cfg->group_score == UNSET ? policy->group_score : cfg->group_score,
		.scale = !isnan(cfg->scale) ? cfg->scale : in->scale,
		.eps = isnan(cfg->eps) ? 0.01 : cfg->eps,
		.p_norm = isnan(cfg->p_norm) ? 1 : cfg->p_norm,
		.normalize = cfg->normalize || (in->normalize && !cfg->no_normalize),
	};
	for (int32_t l = 0; cfg->bias && l < in->n_layers; l++)
		if (!moe_bias_at(&route->bias, in->layers[l]))
			return moe_err_set(err, MOE_EUSAGE, "--bias %s: no bias for layer %d of the trace", cfg->bias,
			                   (int)in->layers[l]);
	if (!cfg->bias && (policy->reads & MOE_READS_BIAS) && strcmp(in->policy, policy->name) == 0)
		tool_note(route->ctx, "no --bias: the model's own choices were made with one, if it has one");
	*out = *in;
	out->policy = policy->name;
	out->scoring = policy->scoring;
	out->top_k = params.top_k;
	out->n_groups = params.n_groups;
	out->top_groups = params.top_groups;
	out->scale = params.scale;
	out->normalize = params.normalize;
	out->gates = MOE_GATES_F32;
	out->logits = cfg->logits;
	out->margins = cfg->margin;
	return moe_reroute_new(&route->reroute, policy, &params, cfg->bias ? &route->bias : NULL, cfg->margin,
	                       cfg->logits, route->pool, err);
}

/* One input trace. Sequences of later parts and files follow those before: *next_seq is the first free number. */
static enum moe_status copy_trace(struct route *route, const char *path, int64_t *next_seq,
                                  struct moe_trace_in **keep, struct moe_err *err)
{
	struct moe_trace_in *in = NULL;
	enum moe_status status = moe_trace_open(&in, path, route->pool, route->ctx->watch, err);
	if (status)
		return status;
	const struct moe_trace_header *head = moe_trace_head(in);
	const bool first = !*keep;
	if (first) {
		struct moe_trace_header out = *head;
		*keep = in; /* its header's strings live as long as the output */
		out.logits = out.logits && route->cfg->logits;
		out.margins = out.margins && route->cfg->margin;
		if (route->cfg->logits && !head->logits)
			status = moe_err_set(err, MOE_EUSAGE, "%s: --logits: the trace keeps none", path);
		if (!status && route->cfg->policy)
			status = open_reroute(route, head, &out, err);
		if (!status)
			status = open_output(route, &out, err);
	} else {
		status = moe_trace_agree(moe_trace_head(*keep), route->ctx->operands[0], head, path, err);
	}
	int64_t part = 0, base = first ? 0 : *next_seq;
	const struct moe_trace_run *run = NULL;
	while (!status && !(status = moe_trace_next(in, &run, err)) && run) {
		if (run->part != part) {
			part = run->part;
			base = *next_seq;
		}
		if ((route->reroute || route->header.logits) && !run->layers->logits)
			status =
			    moe_err_set(err, MOE_EFORMAT, "%s: a part keeps no logits, the first one does", path);
		else if (!route->reroute && route->header.gates != MOE_GATES_NONE && !run->layers->weights)
			status = moe_err_set(err, MOE_EFORMAT, "%s: a part keeps no gates, the first one does", path);
		else if (!route->reroute && route->header.margins && !run->layers->margins)
			status =
			    moe_err_set(err, MOE_EFORMAT, "%s: a part keeps no margins, the first one does", path);
		else if (route->reroute && (status = moe_reroute_run(route->reroute, run, head->n_layers, &run, err)))
			moe_err_set(err, status, "%s: %s", path, err->text);
		if (status)
			break;
		struct moe_trace_run out = *run;
		out.part = 0;
		out.seq += base;
		*next_seq = out.seq >= *next_seq ? out.seq + 1 : *next_seq;
		status = deliver(route, &out, err);
		tool_progress_add(&route->progress, run->n_tokens);
	}
	if (!first)
		moe_trace_close(in);
	return status;
}

static enum moe_status route_traces(struct route *route, struct moe_err *err)
{
	struct moe_trace_in *first = NULL;
	int64_t next_seq = 0;
	enum moe_status status = MOE_OK;
	tool_progress_start(&route->progress, route->ctx, "tokens", 0, TOOL_TOKENS);
	for (int i = 0; i < route->ctx->n_operands && !status; i++)
		status = copy_trace(route, route->ctx->operands[i], &next_seq, &first, err);
	tool_progress_finish(&route->progress);
	if (!status && route->trace) {
		status = moe_trace_commit(route->trace, err);
		route->trace = NULL;
	}
	moe_trace_close(first);
	return status;
}

static enum moe_status import_log(struct route *route, struct moe_err *err)
{
	const struct moe_import_sink sink = { route, open_output, deliver };
	for (size_t i = 0; moe_import_at(i); i++)
		if (strcmp(moe_import_at(i)->name, route->cfg->from) == 0)
			return moe_import_at(i)->run(route->ctx->operands, route->ctx->n_operands,
			                             route->cfg->model_config, &sink, err);
	struct moe_buf names = { 0 };
	for (size_t i = 0; moe_import_at(i); i++)
		moe_buf_addf(&names, "%s%s", i ? ", " : "", moe_import_at(i)->name);
	enum moe_status status =
	    moe_err_set(err, MOE_EUSAGE, "--from %s: expected one of: %s", route->cfg->from, names.p ? names.p : "");
	moe_buf_free(&names);
	return status;
}

static enum moe_status on_routing(void *arg, const struct moe_routing *routing, int64_t pos, struct moe_err *err)
{
	struct route *route = arg;
	return moe_record_routing(route->record, routing, pos, err);
}

/* What the model is fed, and the session that ends at its last router. */
static enum moe_status prepare_model(struct route *route, struct moe_err *err)
{
	const struct config *cfg = route->cfg;
	const struct moe_tokenizer *tok = cfg->ids ? NULL : route->setup.tokenizer;
	const struct moe_config *config = &route->setup.model->config;
	const int64_t most = config->max_positions;
	const struct moe_inputs inputs = {
		.tokenizer = tok,
		.encoder = config->n_encoder_layers > 0,
		.n_vocab = config->vocab_size,
		.windows = { cfg->window              ? cfg->window
		             : most > 0 && most < 512 ? most
		                                      : 512,
		             cfg->overlap, tok && moe_tokenizer_add_bos(tok) ? moe_tokenizer_bos_id(tok) : -1 },
		.prompts = cfg->prompts.items,
		.n_prompts = cfg->prompts.n,
		.files = route->ctx->operands + 1,
		.n_files = route->ctx->n_operands - 1,
	};
	enum moe_status status = moe_sequences_read(&route->seqs, &inputs, err);
	if (!status)
		status = moe_record_describe(&route->described, &route->setup, route->ctx->operands[0],
		                             route->command, err);
	if (status)
		return status;
	const int64_t longest = moe_sequences_longest(&route->seqs);
	const int64_t encoder = moe_sequences_longest_encoder(&route->seqs);
	const int32_t chunk = longest < cfg->chunk ? (int32_t)(longest > 0 ? longest : 1) : cfg->chunk;
	const struct moe_session_opts opts = { .n_ctx = longest,
		                               .n_encoder_ctx = encoder,
		                               .chunk = chunk,
		                               .routers_only = true,
		                               .margins = cfg->margin,
		                               .hooks = { .arg = route, .routing = on_routing } };
	const struct moe_record_sink sink = { route, deliver };
	if (route->ctx->common.dry_run) {
		char text[24];
		printf("buffers\t%s\nsequences\t%lld\ntokens\t%lld\n",
		       moe_format_bytes(text, (double)moe_session_bytes(config, &opts)), (long long)route->seqs.n,
		       (long long)moe_sequences_all_tokens(&route->seqs));
		tool_would_write(route->ctx->common.output, -1);
		return MOE_OK;
	}
	struct moe_trace_header *header = &route->described.header;
	header->logits = cfg->logits;
	header->margins = cfg->margin;
	status = moe_record_new(&route->record, config, config->router.top_k,
	                        encoder > chunk ? (int32_t)encoder : chunk, cfg->logits, cfg->margin, &sink, err);
	if (!status)
		status = moe_session_open(&route->session, route->setup.model, route->setup.device, &opts, err);
	return status ? status : open_output(route, header, err);
}

static enum moe_status route_text(struct route *route, struct moe_err *err)
{
	char *path = NULL;
	enum moe_status status = tool_model_path(route->ctx, route->ctx->operands[0], &path, err);
	if (!status)
		status = moe_setup_open(&route->setup, path, route->cfg->device, route->pool, route->ctx->watch, err);
	free(path);
	if (!status && !route->cfg->ids)
		status = moe_setup_tokenizer(&route->setup, err);
	if (!status)
		status = prepare_model(route, err);
	if (status || route->ctx->common.dry_run)
		return status;
	tool_progress_start(&route->progress, route->ctx, "tokens", moe_sequences_all_tokens(&route->seqs),
	                    TOOL_TOKENS);
	for (int64_t i = 0; i < route->seqs.n && !status; i++) {
		const struct moe_sequence *seq = &route->seqs.items[i];
		status = moe_record_start(route->record, route->session, seq, i, err);
		if (!status)
			status = moe_session_feed(route->session, seq->tokens, seq->n_tokens, false, MOE_LOGITS_NONE,
			                          err);
		status = moe_sequences_blame(&route->seqs, i, route->setup.ckpt->path, status, err);
		tool_progress_add(&route->progress, seq->n_encoder + seq->n_tokens);
	}
	tool_progress_finish(&route->progress);
	return status;
}

static enum moe_status commit(struct route *route, struct moe_err *err)
{
	enum moe_status status = MOE_OK;
	if (route->trace)
		status = moe_trace_commit(route->trace, err);
	route->trace = NULL;
	if (!status && route->out)
		status = moe_out_commit(route->out, err);
	route->out = status ? route->out : NULL;
	return status;
}

static void route_close(struct route *route)
{
	if (route->trace)
		moe_trace_abort(route->trace);
	moe_out_abort(route->out);
	moe_session_close(route->session);
	moe_record_free(route->record);
	moe_record_header_free(&route->described);
	moe_reroute_free(route->reroute);
	moe_bias_free(&route->bias);
	moe_sequences_free(&route->seqs);
	moe_setup_close(&route->setup);
}

static void list_policies(void)
{
	for (size_t i = 0; moe_policy_at(i); i++) {
		const struct moe_policy *p = moe_policy_at(i);
		printf("%s\t%s\t%s\n", p->name, p->help, p->source);
	}
}

/* Text and ids belong to models, policies to traces: NULL, or what does not go together. */
static const char *contradiction(const struct tool_ctx *ctx, const struct config *cfg, bool traces)
{
	const bool of_model = cfg->prompts.n || cfg->ids || cfg->window || cfg->overlap;
	const bool of_policy = cfg->top_k != UNSET || cfg->groups != UNSET || cfg->top_groups != UNSET ||
	                       cfg->group_score != UNSET || !isnan(cfg->scale) ||
	                       !isnan(cfg->eps) || !isnan(cfg->p_norm) || cfg->normalize ||
	                       cfg->no_normalize || cfg->bias;
	if (ctx->n_operands < 1)
		return "no MODEL, TRACE or FILE given";
	if (cfg->normalize && cfg->no_normalize)
		return "--normalize and --no-normalize exclude each other";
	if (cfg->from && (cfg->policy || of_policy || of_model || cfg->logits || cfg->margin))
		return "--from imports decisions as they are: it goes with --model-config, --gates, --print and -o";
	if (cfg->model_config && !cfg->from)
		return "--model-config goes with --from";
	if (traces && of_model)
		return "a trace holds its tokens: -p, --ids, --window and --overlap go with a model";
	if (!traces && !cfg->from && (cfg->policy || of_policy))
		return "--policy and its parameters re-route traces: write one with --logits first";
	if (of_policy && !cfg->policy)
		return "-k, --groups, --top-groups, --group-score, --scale, --normalize, --eps, --p-norm and --bias "
		       "are parameters of "
		       "--policy NAME";
	if (ctx->common.json && !cfg->print)
		return "--json goes with --print: a trace has one format";
	return NULL;
}

/* A trace may be replaced by what becomes of it; other inputs may not, and refusals come before any work. */
static enum moe_status check_files(struct tool_ctx *ctx, const struct config *cfg, bool traces, struct moe_err *err)
{
	const char *const output = ctx->common.output;
	enum moe_status status = moe_watch_add_input(ctx->watch, cfg->bias, err);
	if (!status)
		status = moe_watch_add_input(ctx->watch, cfg->model_config, err);
	return status ? status : tool_files(ctx, traces ? ctx->n_operands : 0, &output, 1, err);
}

int main(int argc, char **argv)
{
	struct config cfg = { .gates = UNSET,
		              .top_k = UNSET,
		              .groups = UNSET,
		              .top_groups = UNSET,
		              .group_score = UNSET,
		              .scale = NAN,
		              .eps = NAN,
		              .p_norm = NAN,
		              .device = "cpu",
		              .chunk = 512 };
	struct tool_ctx ctx;
	struct moe_err err = { 0 };
	struct moe_arena arena = { 0 };
	const char *command = moe_command_line(&arena, argc, argv);
	tool_start(argc, argv, &tool, &cfg, &ctx);
	if (cfg.list_policies) {
		list_policies();
		moe_arena_free(&arena);
		return tool_end(&ctx);
	}
	const bool traces = !cfg.from && ctx.n_operands > 0 &&
	                    (strcmp(ctx.operands[0], "-") == 0 || moe_trace_probe(ctx.operands[0]));
	const char *problem = contradiction(&ctx, &cfg, traces);
	if (problem) {
		moe_arena_free(&arena);
		return tool_misuse(&ctx, "%s", problem);
	}
	struct route route = { .ctx = &ctx, .cfg = &cfg, .command = command ? command : "" };
	enum moe_status status = check_files(&ctx, &cfg, traces, &err);
	if (!status)
		status = tool_pool(&ctx, &route.pool, &err);
	if (!status && ctx.common.dry_run && (cfg.from || traces))
		tool_would_write(ctx.common.output, -1);
	else if (!status)
		status = cfg.from ? import_log(&route, &err)
		         : traces ? route_traces(&route, &err)
		                  : route_text(&route, &err);
	if (!status)
		status = commit(&route, &err);
	route_close(&route);
	moe_arena_free(&arena);
	return status ? tool_fail(&ctx, &err) : tool_end(&ctx);
}
