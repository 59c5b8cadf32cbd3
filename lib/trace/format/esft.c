/* The expert logs of ESFT (expert-specialized fine-tuning; Wang, Chen, Dai and others, 2024, arXiv 2407.01906).
 *
 * A folder holds expert_weights_L.txt for every MoE layer L. A line is a sequence: n_tokens * top_k expert ids, an
 * empty field, then as many gates, all separated by tabs. The choices of a token are in no order; here they are put in
 * order of gate, which is the score of a softmax router, ties to the lower id. All layers are read line by line
 * together. */
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "trace/intake.h"

#define NAME "expert_weights_"

enum { DROPPED = -1 };   /* an id that cannot be */

/* One layer's file. */
struct log {
	char *path;
	FILE *file;
	int64_t n_lines;
	char *line;        /* of getline */
	size_t cap;
	int32_t *ids;      /* [room] of the current line */
	float *gates;
	int64_t n_choices, room;
};

/* The files of one folder: a log per MoE layer. */
struct set {
	char *folder;
	const char *label;
	struct log *logs;   /* [n_layers]; path NULL where none was named */
};

struct reader {
	struct moe_intake in;
	struct moe_routing *layers;   /* [n_layers] */
	int32_t *unknown;             /* [n_unknown] of -1: the tokens */
	int64_t n_unknown;
	struct set *sets;
	int n_sets;
	int64_t seq;
};

/* ---- numbers ---- */

/* Digits up to the next tab or the end of the line; *p is moved there. False where something else is. */
static bool take_id(char **p, int64_t *id)
{
	char *at = *p;
	int64_t value = 0;
	while (*at >= '0' && *at <= '9' && value < INT32_MAX)
		value = 10 * value + (*at++ - '0');
	bool good = at != *p && (*at == '\t' || *at == '\0');
	*p = at;
	*id = value;
	return good;
}

/* A decimal number as strtof reads it. Less than 2^24 units of 10^-n, n up to 10, are a quotient of two exact floats,
 * so that one division rounds right; other numbers are left to strtof. */
static bool take_gate(char **p, float *gate)
{
	static const float powers[] = { 1e0f, 1e1f, 1e2f, 1e3f, 1e4f, 1e5f, 1e6f, 1e7f, 1e8f, 1e9f, 1e10f };
	char *at = *p, *end;
	uint32_t units = 0;
	int n_places = 0, n_digits = 0;
	for (; *at >= '0' && *at <= '9' && units < (1u << 20); at++, n_digits++)
		units = 10 * units + (uint32_t)(*at - '0');
	if (*at == '.')
		for (at++; *at >= '0' && *at <= '9' && units < (1u << 20) && n_places < 10;
		     at++, n_digits++, n_places++)
			units = 10 * units + (uint32_t)(*at - '0');
	if ((*at == '\t' || *at == '\0') && n_digits > 0) {
		*gate = (float)units / powers[n_places];
		*p = at;
		return true;
	}
	at = *p + strspn(*p, "0123456789+-.eE");   /* no names, no hexadecimal */
	*gate = strtof(*p, &end);
	bool good = end != *p && end == at && (*end == '\t' || *end == '\0') && isfinite(*gate);
	*p = end;
	return good;
}

/* ---- lines ---- */

static enum moe_status fault(const struct log *log, int64_t field, const char *expected, const char *found,
                             struct moe_err *err)
{
	size_t n = strcspn(found, "\t");
	return moe_err_set(err, MOE_EFORMAT, "%s: line %lld, field %lld: expected %s, found '%.*s'", log->path,
	                   (long long)log->n_lines, (long long)field, expected, (int)(n < 60 ? n : 60), found);
}

static enum moe_status grow(struct log *log, struct moe_err *err)
{
	int64_t room = log->room ? 2 * log->room : 1024;
	int32_t *ids = realloc(log->ids, (size_t)room * sizeof *ids);
	if (ids)
		log->ids = ids;
	float *gates = realloc(log->gates, (size_t)room * sizeof *gates);
	if (gates)
		log->gates = gates;
	if (!ids || !gates)
		return moe_err_nomem(err, (size_t)room * 8, log->path);
	log->room = room;
	return MOE_OK;
}

/* The ids before the empty field; *p is left at the first gate. */
static enum moe_status take_ids(struct log *log, const struct moe_intake *in, char **p, struct moe_err *err)
{
	const struct moe_trace_header *h = &in->header;
	log->n_choices = 0;
	while (**p != '\t') {
		char *start = *p;
		int64_t id = 0;
		char range[64];
		if (!take_id(p, &id) || (id >= h->n_experts && !in->opts->lenient)) {
			snprintf(range, sizeof range, "an expert from 0 to %d", h->n_experts - 1);
			return fault(log, log->n_choices + 1, range, start, err);
		}
		if (log->n_choices == log->room) {
			enum moe_status status = grow(log, err);
			if (status)
				return status;
		}
		log->ids[log->n_choices++] = id < h->n_experts ? (int32_t)id : DROPPED;
		if (**p == '\0')
			return fault(log, log->n_choices + 1, "an empty field and then the gates",
			             "the end of the line", err);
		++*p;
	}
	++*p;
	if (log->n_choices == 0 || log->n_choices % h->top_k != 0)
		return moe_err_set(err, MOE_EFORMAT,
		                   "%s: line %lld: expected %d experts for every token, found %lld in all", log->path,
		                   (long long)log->n_lines, h->top_k, (long long)log->n_choices);
	return MOE_OK;
}

static enum moe_status take_gates(struct log *log, char *p, struct moe_err *err)
{
	for (int64_t i = 0; i < log->n_choices; i++) {
		char *start = p;
		int64_t field = log->n_choices + 2 + i;
		if (!take_gate(&p, &log->gates[i]))
			return fault(log, field, "a gate", start, err);
		bool last = i == log->n_choices - 1;
		if (last != (*p == '\0')) {
			char expected[64];
			snprintf(expected, sizeof expected, "as many gates as experts (%lld)",
			         (long long)log->n_choices);
			return fault(log, field, expected, last ? "more" : "the end of the line", err);
		}
		p++;
	}
	return MOE_OK;
}

/* Orders the choices of one token: larger gates first, ties to the lower id, those that are dropped last. A second one
 * of an expert is dropped too where that is allowed; otherwise false. */
static bool order(int32_t *ids, float *gates, int32_t top_k, bool lenient)
{
	for (int32_t i = 0; i < top_k; i++) {
		int32_t id = ids[i], at = i;
		for (int32_t j = 0; j < i && id != DROPPED; j++) {
			if (ids[j] != id)
				continue;
			if (!lenient)
				return false;
			id = DROPPED;
		}
		const float gate = id == DROPPED ? -INFINITY : gates[i];
		for (; at > 0 && (gates[at - 1] < gate || (gates[at - 1] == gate && ids[at - 1] > id)); at--) {
			ids[at] = ids[at - 1];
			gates[at] = gates[at - 1];
		}
		ids[at] = id;
		gates[at] = gate;
	}
	return true;
}

/* All choices of a line in order, and those that are dropped counted and without a gate. */
static enum moe_status settle(struct log *log, const struct moe_intake *in, struct moe_err *err)
{
	const int32_t top_k = in->header.top_k;
	for (int64_t i = 0; i < log->n_choices; i += top_k)
		if (!order(log->ids + i, log->gates + i, top_k, in->opts->lenient))
			return moe_err_set(err, MOE_EFORMAT,
			                   "%s: line %lld: an expert is there twice for token %lld (fields %lld "
			                   "to %lld)",
			                   log->path, (long long)log->n_lines, (long long)(i / top_k),
			                   (long long)i + 1, (long long)i + top_k);
	for (int64_t i = 0; i < log->n_choices; i++) {
		if (log->ids[i] != DROPPED)
			continue;
		log->gates[i] = 0;
		++*in->opts->n_dropped;
	}
	return MOE_OK;
}

/* The next line of one layer into its arrays, or *at_end. */
static enum moe_status read_line(struct log *log, const struct moe_intake *in, bool *at_end, struct moe_err *err)
{
	errno = 0;
	ssize_t n = getline(&log->line, &log->cap, log->file);
	*at_end = n < 0;
	if (n < 0)
		return ferror(log->file) || !feof(log->file) ? moe_err_sys(err, "%s: cannot read", log->path) : MOE_OK;
	log->n_lines++;
	if (strlen(log->line) != (size_t)n)
		return moe_err_set(err, MOE_EFORMAT, "%s: line %lld: expected text, found a NUL byte", log->path,
		                   (long long)log->n_lines);
	if (n > 0 && log->line[n - 1] == '\n')
		log->line[n - 1] = '\0';
	char *p = log->line;
	enum moe_status status = take_ids(log, in, &p, err);
	if (!status)
		status = take_gates(log, p, err);
	return status ? status : settle(log, in, err);
}

/* Room for n tokens of -1. */
static enum moe_status fit_unknown(struct reader *reader, int64_t n, struct moe_err *err)
{
	if (n <= reader->n_unknown)
		return MOE_OK;
	int32_t *unknown = realloc(reader->unknown, (size_t)(2 * n) * sizeof *unknown);
	if (!unknown)
		return moe_err_nomem(err, (size_t)(2 * n) * sizeof *unknown, "token ids");
	for (int64_t i = 0; i < 2 * n; i++)
		unknown[i] = -1;
	reader->unknown = unknown;
	reader->n_unknown = 2 * n;
	return MOE_OK;
}

/* One sequence of a set, or *at_end. */
static enum moe_status read_sequence(struct reader *reader, struct set *set, bool *at_end, struct moe_err *err)
{
	const struct moe_trace_header *h = &reader->in.header;
	struct log *first = &set->logs[0];
	for (int32_t l = 0; l < h->n_layers; l++) {
		struct log *log = &set->logs[l];
		bool ended = false;
		enum moe_status status = read_line(log, &reader->in, &ended, err);
		if (status)
			return status;
		if (l > 0 && ended != *at_end)
			return moe_err_set(err, MOE_EFORMAT, "%s: has %lld lines, but %s has more",
			                   (ended ? log : first)->path, (long long)(ended ? log : first)->n_lines,
			                   (ended ? first : log)->path);
		*at_end = ended;
		if (!ended && log->n_choices != first->n_choices)
			return moe_err_set(err, MOE_EFORMAT, "%s: line %lld: has %lld tokens, but %lld in %s",
			                   log->path, (long long)log->n_lines, (long long)(log->n_choices / h->top_k),
			                   (long long)(first->n_choices / h->top_k), first->path);
		reader->layers[l] = (struct moe_routing) {
			.layer = h->layers[l], .n_experts = h->n_experts, .top_k = h->top_k,
			.n_tokens = log->n_choices / h->top_k, .ids = log->ids, .weights = log->gates,
		};
	}
	if (*at_end)
		return MOE_OK;
	struct moe_trace_run run = {
		.seq = reader->seq++,
		.source = set->label,
		.n_tokens = first->n_choices / h->top_k,
		.layers = reader->layers,
	};
	enum moe_status status = fit_unknown(reader, run.n_tokens, err);
	run.tokens = reader->unknown;
	return status ? status : reader->in.sink->run(reader->in.sink->arg, &run, err);
}

/* ---- files ---- */

/* The layer in a file's name, or -1. */
static int32_t layer_of(const char *name)
{
	int64_t layer = 0;
	size_t n = strlen(NAME), end = strlen(name);
	if (strncmp(name, NAME, n) != 0 || end < n + 5 || strcmp(name + end - 4, ".txt") != 0)
		return -1;
	return moe_parse_i64((struct moe_str) { name + n, end - 4 - n }, &layer) && layer >= 0 && layer <= INT32_MAX ?
	       (int32_t)layer : -1;
}

/* The name of a folder, also of "." and "a/b/"; in the arena, NULL when out of memory. */
static const char *label_of(struct moe_arena *arena, const char *folder)
{
	char real[PATH_MAX];
	size_t n = strlen(folder);
	while (n > 1 && folder[n - 1] == '/')
		n--;
	const char *copy = moe_arena_strndup(arena, folder, n);
	if (!copy)
		return NULL;
	const char *base = moe_path_base(copy);
	if ((strcmp(base, ".") == 0 || strcmp(base, "..") == 0) && realpath(copy, real))
		base = moe_path_base(real);
	return moe_arena_strndup(arena, base, strlen(base));
}

/* The set of a folder, new if it is the first from there. */
static enum moe_status find_set(struct reader *reader, const char *folder, struct set **out, struct moe_err *err)
{
	for (int i = 0; i < reader->n_sets; i++) {
		if (strcmp(reader->sets[i].folder, folder) == 0) {
			*out = &reader->sets[i];
			return MOE_OK;
		}
	}
	struct set *set = &reader->sets[reader->n_sets];
	set->folder = moe_arena_strndup(&reader->in.arena, folder, strlen(folder));
	set->label = label_of(&reader->in.arena, folder);
	set->logs = MOE_NEW(&reader->in.arena, struct log, (size_t)reader->in.n_moe);
	if (!set->folder || !set->label || !set->logs)
		return moe_err_nomem(err, (size_t)reader->in.n_moe * sizeof *set->logs, "expert logs");
	reader->n_sets++;
	*out = set;
	return MOE_OK;
}

static enum moe_status add_file(struct reader *reader, const char *path, struct moe_err *err)
{
	const char *base = moe_path_base(path);
	int32_t layer = layer_of(base), at = 0;
	if (layer < 0)
		return moe_err_set(err, MOE_EUSAGE, "%s: expected a folder or a file called " NAME "LAYER.txt", path);
	while (at < reader->in.n_moe && reader->in.moe_layers[at] != layer)
		at++;
	if (at == reader->in.n_moe)
		return moe_err_set(err, MOE_EFORMAT,
		                   "%s: layer %d has no experts in %s, whose %d MoE layers are %d to %d", path, layer,
		                   reader->in.opts->config_path, reader->in.n_moe, reader->in.moe_layers[0],
		                   reader->in.moe_layers[reader->in.n_moe - 1]);
	const char *folder = base == path ? "." : moe_arena_strndup(&reader->in.arena, path, (size_t)(base - path));
	struct set *set = NULL;
	enum moe_status status = folder ? find_set(reader, folder, &set, err) : moe_err_nomem(err, strlen(path), path);
	if (status)
		return status;
	if (set->logs[at].path)
		return moe_err_set(err, MOE_EUSAGE, "%s: layer %d is already read from %s", path, layer,
		                   set->logs[at].path);
	set->logs[at].path = moe_arena_strndup(&reader->in.arena, path, strlen(path));
	return set->logs[at].path ? MOE_OK : moe_err_nomem(err, strlen(path), path);
}

static enum moe_status add_folder(struct reader *reader, const char *path, struct moe_err *err)
{
	DIR *dir = opendir(path);
	if (!dir)
		return moe_err_sys(err, "%s: cannot open", path);
	enum moe_status status = MOE_OK;
	bool any = false;
	for (struct dirent *entry; !status && (entry = readdir(dir));) {
		if (layer_of(entry->d_name) < 0)
			continue;
		any = true;
		char *file = moe_path_join(path, entry->d_name);
		status = file ? add_file(reader, file, err) : moe_err_nomem(err, strlen(path), path);
		free(file);
	}
	closedir(dir);
	if (!status && !any)
		status = moe_err_set(err, MOE_EFORMAT, "%s: expected files called " NAME "LAYER.txt, found none", path);
	return status;
}

static enum moe_status read_set(struct reader *reader, struct set *set, struct moe_err *err)
{
	for (int32_t l = 0; l < reader->in.n_moe; l++) {
		struct log *log = &set->logs[l];
		if (!log->path)
			return moe_err_set(err, MOE_EFORMAT,
			                   "%s: expected " NAME "%d.txt (%s has %d MoE layers), found none",
			                   set->folder, reader->in.moe_layers[l], reader->in.opts->config_path,
			                   reader->in.n_moe);
		log->file = fopen(log->path, "re");
		if (!log->file)
			return moe_err_sys(err, "%s: cannot open", log->path);
	}
	bool at_end = false;
	enum moe_status status = MOE_OK;
	while (!status && !at_end)
		status = read_sequence(reader, set, &at_end, err);
	if (!status && set->logs[0].n_lines == 0)
		status = moe_err_set(err, MOE_EFORMAT, "%s: expected a line per sequence, found nothing",
		                     set->logs[0].path);
	return status;
}

static void close_set(struct set *set, int32_t n_layers)
{
	for (int32_t l = 0; set->logs && l < n_layers; l++) {
		struct log *log = &set->logs[l];
		if (log->file)
			fclose(log->file);
		free(log->line);
		free(log->ids);
		free(log->gates);
		*log = (struct log) { .path = log->path };
	}
}

/* What the model's configuration says about the trace. */
static enum moe_status read_config(struct reader *reader, const struct moe_import_opts *opts,
                                   const struct moe_import_sink *sink, struct moe_err *err)
{
	struct moe_intake *in = &reader->in;
	if (!opts->config_path)
		return moe_err_set(err, MOE_EUSAGE,
		                   "expert logs do not tell which layers have experts: name the model's config.json by "
		                   "--model-config");
	enum moe_status status = moe_intake_open(in, opts, sink, "expert logs", err);
	if (status)
		return status;
	reader->layers = MOE_NEW(&in->arena, struct moe_routing, (size_t)in->n_moe);
	if (!reader->layers)
		return moe_err_nomem(err, (size_t)in->n_moe * sizeof *reader->layers, "layers");
	return MOE_OK;
}

static enum moe_status run(char *const *files, int n_files, const struct moe_import_opts *opts,
                           const struct moe_import_sink *sink, struct moe_err *err)
{
	if (n_files < 1)
		return moe_err_set(err, MOE_EUSAGE, "expected a folder with " NAME "LAYER.txt files, or such files");
	struct reader reader = {0};
	struct moe_intake *in = &reader.in;
	enum moe_status status = read_config(&reader, opts, sink, err);
	reader.sets = calloc((size_t)n_files, sizeof *reader.sets);
	if (!status && !reader.sets)
		status = moe_err_nomem(err, (size_t)n_files * sizeof *reader.sets, "expert logs");
	for (int i = 0; !status && i < n_files; i++) {
		if (moe_is_dir(files[i]))
			status = add_folder(&reader, files[i], err);
		else
			status = add_file(&reader, files[i], err);
	}
	if (!status)
		status = moe_intake_begin(in, in->moe_layers, in->n_moe, in->header.top_k, true, false,
		                          opts->config_path, err);
	for (int i = 0; !status && i < reader.n_sets; i++)
		status = read_set(&reader, &reader.sets[i], err);
	for (int i = 0; i < reader.n_sets; i++)
		close_set(&reader.sets[i], in->n_moe);
	free(reader.sets);
	free(reader.unknown);
	moe_intake_close(in);
	return status;
}

const struct moe_import moe_import_esft = {
	.name = "esft",
	.help = "ESFT expert logs: folders of expert_weights_LAYER.txt; needs --model-config",
	.run = run,
};
