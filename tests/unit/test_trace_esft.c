/* The importer of ESFT expert logs: every id and gate, also counted by awk; and what is wrong with such logs. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../tap.h"
#include "base/file.h"
#include "base/rng.h"
#include "trace/trace.h"

enum { N_LINES = 40, TOP_K = 3, N_EXPERTS = 9, MAX_TOKENS = 50, N_LAYERS = 2 };

static char dir[256];

/* A made-up log, in the order of the file. */
static int32_t ids[N_LAYERS][N_LINES][MAX_TOKENS][TOP_K];
static char gates[N_LAYERS][N_LINES][MAX_TOKENS][TOP_K][24];
static int n_tokens[N_LINES];

static const char *const odd_gates[] = {
	"1e-05",      "0.00000001234567",
	"16777217",   "0.1234567890123456789",
	"3.4e-39",    "0.000061035156250001",
	"123456.789", "16777216.5",
	"0",          "1.",
	".5",         "0.33333334326744079",
};

static void spill(const char *name, const char *text)
{
	char path[512];
	snprintf(path, sizeof path, "%s/%s", dir, name);
	FILE *f = fopen(path, "w");
	if (!f || fputs(text, f) < 0 || fclose(f))
		exit(1);
}

static void make_logs(void)
{
	uint64_t at = 0;
	for (int s = 0; s < N_LINES; s++)
		n_tokens[s] = 1 + (int)(moe_rng_u64(1, 1, (uint64_t)s) % MAX_TOKENS);
	for (int l = 0; l < N_LAYERS; l++) {
		char name[64];
		struct moe_buf text = {0};
		for (int s = 0; s < N_LINES; s++) {
			for (int t = 0; t < n_tokens[s]; t++) {
				int first = (int)(moe_rng_u64(2, 2, at++) % N_EXPERTS);
				for (int i = 0; i < TOP_K; i++) {
					ids[l][s][t][i] = (first + 2 * i) % N_EXPERTS;
					int units = (int)(moe_rng_u64(3, 3, at++) % 20);   /* so that there are ties */
					if (s == 0 && t < 12)
						snprintf(gates[l][s][t][i], 24, "%s", odd_gates[(t + i) % 12]);
					else
						snprintf(gates[l][s][t][i], 24, "0.%04d", units);
					moe_buf_addf(&text, "%d\t", ids[l][s][t][i]);
				}
			}
			for (int t = 0; t < n_tokens[s]; t++)
				for (int i = 0; i < TOP_K; i++)
					moe_buf_addf(&text, "\t%s", gates[l][s][t][i]);
			moe_buf_addc(&text, '\n');
		}
		snprintf(name, sizeof name, "log/expert_weights_%d.txt", l + 1);
		spill(name, text.p);
		moe_buf_free(&text);
	}
}

/* What comes out: checked against the log, and counted. */
struct seen {
	struct moe_trace_header header;
	int32_t layers[8];
	char family[32], source[64];
	int64_t n_begun, n_runs, n_bad, n_choices;
	int64_t counts[N_LAYERS][N_EXPERTS];
	int64_t stop_at;
};

static enum moe_status begin(void *arg, const struct moe_trace_header *header, struct moe_err *err)
{
	struct seen *seen = arg;
	seen->n_begun++;
	seen->header = *header;
	if (header->n_layers > 8)
		return moe_err_set(err, MOE_EFORMAT, "too many layers");
	memcpy(seen->layers, header->layers, (size_t)header->n_layers * 4);
	snprintf(seen->family, sizeof seen->family, "%s", header->family);
	return MOE_OK;
}

static enum moe_status check_run(void *arg, const struct moe_trace_run *run, struct moe_err *err)
{
	struct seen *seen = arg;
	if (seen->n_runs == seen->stop_at)
		return moe_err_set(err, MOE_ECHECK, "stopped");
	int64_t s = run->seq % N_LINES;
	snprintf(seen->source, sizeof seen->source, "%s", run->source);
	seen->n_bad += run->seq != seen->n_runs++ || run->pos != 0 || run->n_tokens != n_tokens[s];
	for (int l = 0; l < N_LAYERS; l++) {
		const struct moe_routing *r = &run->layers[l];
		seen->n_bad += r->layer != l + 1 || r->n_tokens != run->n_tokens || r->top_k != TOP_K || r->logits ||
		               r->margins;
		for (int64_t t = 0; t < run->n_tokens; t++) {
			seen->n_bad += run->tokens[t] != -1;
			for (int i = 0; i < TOP_K; i++) {
				int32_t id = r->ids[t * TOP_K + i], j = 0;
				float gate = r->weights[t * TOP_K + i];
				seen->counts[l][id]++;
				seen->n_choices++;
				while (j < TOP_K && ids[l][s][t][j] != id)
					j++;
				seen->n_bad += j == TOP_K || gate != strtof(gates[l][s][t][j], NULL);
				if (i > 0)
					seen->n_bad += gate > r->weights[t * TOP_K + i - 1] ||
					               (gate == r->weights[t * TOP_K + i - 1] &&
					                id < r->ids[t * TOP_K + i - 1]);
			}
		}
	}
	return MOE_OK;
}

static const struct moe_import *esft(void)
{
	for (size_t i = 0; moe_import_at(i); i++)
		if (strcmp(moe_import_at(i)->name, "esft") == 0)
			return moe_import_at(i);
	return NULL;
}

/* Imports operands below dir. */
static enum moe_status import(struct seen *seen, const char *a, const char *b, bool with_config, struct moe_err *err)
{
	char paths[2][512], config[512];
	char *files[2] = { paths[0], paths[1] };
	*seen = (struct seen) { .stop_at = -1 };
	*err = (struct moe_err) {0};
	snprintf(paths[0], sizeof paths[0], "%s/%s", dir, a);
	snprintf(paths[1], sizeof paths[1], "%s/%s", dir, b ? b : "");
	snprintf(config, sizeof config, "%s/config.json", dir);
	struct moe_import_sink sink = { seen, begin, check_run };
	int64_t n_dropped = 0;
	const struct moe_import_opts opts = { .config_path = with_config ? config : NULL, .layer = -1,
		                              .n_dropped = &n_dropped };
	return esft()->run(files, b ? 2 : 1, &opts, &sink, err);
}

static void test_good(void)
{
	struct seen seen;
	struct moe_err err;
	int64_t all = 0;
	for (int s = 0; s < N_LINES; s++)
		all += n_tokens[s] * TOP_K * N_LAYERS;
	is_i64(import(&seen, "log", NULL, true, &err), MOE_OK, "a folder is imported%s", err.text);
	ok(seen.n_begun == 1 && seen.header.n_layers == 2 && seen.layers[0] == 1 && seen.layers[1] == 2 &&
	   seen.header.n_experts == N_EXPERTS && seen.header.top_k == TOP_K && seen.header.n_model_layers == 3 &&
	   seen.header.scale == 1 && !seen.header.normalize, "the header follows the configuration");
	is_str(seen.family, "deepseek_v2", "and names the family");
	is_str(seen.source, "log", "the source is the folder");
	is_i64(seen.n_runs, N_LINES, "a run per line");
	is_i64(seen.n_bad, 0, "ids, gates and their order are right");
	is_i64(seen.n_choices, all, "all of them");
	int64_t n_same = 0;
	for (int l = 0; l < N_LAYERS; l++) {
		char command[1000];
		snprintf(command, sizeof command,
		         "awk -F'\\t' '{ for (i = 1; $i != \"\"; i++) c[$i]++ } END { for (e = 0; e < %d; e++) "
		         "print c[e] + 0 }' '%s/log/expert_weights_%d.txt'",
		         N_EXPERTS, dir, l + 1);
		FILE *f = popen(command, "r");
		for (int e = 0; f && e < N_EXPERTS; e++) {
			long long count = -1;
			n_same += fscanf(f, "%lld", &count) == 1 && count == seen.counts[l][e];
		}
		if (f)
			pclose(f);
	}
	is_i64(n_same, N_LAYERS * N_EXPERTS, "awk counts the same in the text");
	is_i64(import(&seen, "log/expert_weights_2.txt", "log/expert_weights_1.txt", true, &err), MOE_OK,
	       "so are files%s", err.text);
	ok(seen.n_runs == N_LINES && seen.n_bad == 0 && strcmp(seen.source, "log") == 0, "in any order");
	is_i64(import(&seen, "log/./", "copy", true, &err), MOE_OK, "and two folders%s", err.text);
	ok(seen.n_runs == 2 * N_LINES && seen.n_bad == 0 && strcmp(seen.source, "copy") == 0, "one after the other");
}

static void expect(const char *a, const char *b, bool with_config, enum moe_status status, const char *part)
{
	struct seen seen;
	struct moe_err err;
	is_i64(import(&seen, a, b, with_config, &err), status, "refused: %s", err.text);
	is_like(err.text, part, "  and told");
}

/* A folder whose two layers hold these texts. */
static void expect_text(const char *one, const char *two, const char *part)
{
	spill("bad/expert_weights_1.txt", one);
	spill("bad/expert_weights_2.txt", two);
	expect("bad", NULL, true, MOE_EFORMAT, part);
}

static void test_bad(void)
{
	const char *good = "0\t1\t2\t\t.5\t.25\t.25\n";
	expect("log", NULL, false, MOE_EUSAGE, "--model-config");
	expect("config.json", NULL, true, MOE_EUSAGE, "expected a folder or a file called expert_weights_LAYER.txt");
	expect("log/expert_weights_1.txt", NULL, true, MOE_EFORMAT, "expected expert_weights_2.txt");
	expect("log", "log/expert_weights_1.txt", true, MOE_EUSAGE, "layer 1 is already read from");
	expect("empty", NULL, true, MOE_EFORMAT, "expected files called");
	expect("nowhere/expert_weights_1.txt", "nowhere/expert_weights_2.txt", true, MOE_EIO, "cannot open");
	spill("far/expert_weights_3.txt", good);
	expect("far", NULL, true, MOE_EFORMAT, "layer 3 has no experts in");
	expect_text("", "", "expected a line per sequence");
	expect_text("0\t1\t9\t\t.5\t.25\t.25\n", good,
	            "expert_weights_1.txt: line 1, field 3: expected an expert from 0 to 8, found '9'");
	expect_text("0\t1\t99999999999999999999\t\t.5\t.25\t.25\n", good, "field 3: expected an expert");
	expect_text("0\t-1\t2\t\t.5\t.25\t.25\n", good, "field 2: expected an expert from 0 to 8, found '-1'");
	expect_text("0\t1\t2x\t\t.5\t.25\t.25\n", good, "found '2x'");
	expect_text("0\t1\t1\t\t.5\t.25\t.25\n", good, "an expert is there twice for token 0");
	expect_text("0\t1\t\t.5\t.25\n", good, "expected 3 experts for every token, found 2 in all");
	expect_text("0\t1\t2\n", good, "field 4: expected an empty field and then the gates");
	expect_text("\n", good, "line 1, field 1");
	expect_text("0\t1\t2\t\t.5\t.25\n", good,
	            "field 6: expected as many gates as experts (3), found 'the end of the line'");
	expect_text("0\t1\t2\t\t.5\t.25\t.25\t.25\n", good,
	            "field 7: expected as many gates as experts (3), found 'more'");
	expect_text("0\t1\t2\t\t.5\t.25\t0x1p-2\n", good, "field 7: expected a gate, found '0x1p-2'");
	expect_text("0\t1\t2\t\t.5\tnan\t.25\n", good, "field 6: expected a gate, found 'nan'");
	expect_text("0\t1\t2\t\t.5\t1e99\t.25\n", good, "field 6: expected a gate, found '1e99'");
	expect_text("0\t1\t2\t\t.5\t\t.25\n", good, "field 6: expected a gate, found ''");
	expect_text(good, "0\t1\t2\t\t.5\t.25\t.25\n0\t1\t2\t\t.5\t.25\t.25\n", "has 1 lines, but");
	expect_text(good, "0\t1\t2\t3\t4\t5\t\t.5\t.25\t.25\t1\t1\t1\n", "line 1: has 2 tokens, but 1 in");
	spill("config.json", "{\"architectures\":[\"DeepseekV2ForCausalLM\"],\"num_hidden_layers\":1000000000}");
	expect("log", NULL, true, MOE_EFORMAT, "config.json");
}

static void test_sink(void)
{
	struct seen seen;
	struct moe_err err = {0};
	char path[512], config[512], *files[] = { path };
	snprintf(path, sizeof path, "%s/log", dir);
	snprintf(config, sizeof config, "%s/config.json", dir);
	seen = (struct seen) { .stop_at = 7 };
	struct moe_import_sink sink = { &seen, begin, check_run };
	int64_t n_dropped = 0;
	const struct moe_import_opts opts = { .config_path = config, .layer = -1, .n_dropped = &n_dropped };
	ok(esft()->run(files, 1, &opts, &sink, &err) == MOE_ECHECK && seen.n_runs == 7,
	   "it stops where the receiver fails");
	is_str(err.text, "stopped", "with its words");
}

int main(void)
{
	const char *tmp = getenv("TMPDIR");
	char command[1000];
	snprintf(dir, sizeof dir, "%.200s/test_esft.XXXXXX", tmp ? tmp : "/tmp");
	if (!mkdtemp(dir) || !esft())
		return 1;
	snprintf(command, sizeof command, "cd '%s' && mkdir log bad far empty", dir);
	if (system(command) != 0)
		return 1;
	make_logs();
	snprintf(command, sizeof command, "cp -r '%s/log' '%s/copy' && echo '{}' >'%s/copy/summary.json'", dir, dir,
	         dir);
	if (system(command) != 0)
		return 1;
	spill("config.json",
	      "{\"architectures\":[\"DeepseekV2ForCausalLM\"],\"model_type\":\"deepseek_v2\",\"vocab_size\":100,"
	      "\"hidden_size\":64,"
	      "\"num_hidden_layers\":3,\"intermediate_size\":64,\"moe_intermediate_size\":32,\"num_attention_heads\":2,"
	      "\"num_key_value_heads\":2,\"q_lora_rank\":null,\"kv_lora_rank\":32,\"qk_nope_head_dim\":32,\"qk_rope_"
	      "head_dim\":16,"
	      "\"v_head_dim\":32,\"n_routed_experts\":9,\"n_shared_experts\":1,\"num_experts_per_tok\":3,"
	      "\"first_k_dense_replace\":1,\"scoring_func\":\"softmax\",\"topk_method\":\"greedy\",\"n_group\":1,"
	      "\"topk_group\":1,"
	      "\"norm_topk_prob\":false,\"routed_scaling_factor\":1.0,\"rope_theta\":10000,\"max_position_embeddings\":"
	      "4096,"
	      "\"rms_norm_eps\":1e-06,\"bos_token_id\":0,\"eos_token_id\":1,\"hidden_act\":\"silu\",\"moe_layer_freq\":"
	      "1}");
	test_good();
	test_sink();
	test_bad();
	snprintf(command, sizeof command, "rm -r '%s'", dir);
	ok(system(command) == 0, "cleaned up");
	return done();
}
