/* Single choices, as lines of text name them in any order, become sequences. */
#ifndef MOE_TRACE_CHOICES_H
#define MOE_TRACE_CHOICES_H

#include "trace/intake.h"

/* Of the tokens and layers of a sequence, choices stand in the order in which they were added, best first. */
struct moe_choice {
	int64_t seq, pos, line;
	int64_t expert;
	int32_t layer, token;   /* token: its id, -1 unknown */
	float weight;
	uint32_t source;        /* of moe_choices_source */
};

/* All that was read so far; held in memory. Zero-initialise; moe_choices_free frees. */
struct moe_choices {
	struct moe_choice *rows;   /* [n] */
	size_t n, cap;
	const char **sources;      /* [n_sources] in the intake's arena */
	const char **paths;        /* of the file that each source was met in */
	uint32_t n_sources, cap_sources;
	bool weights;              /* every choice has one; set by the reader */
	int64_t first_seq;         /* of the current file: its sequences are numbered on from here */
	int64_t end_seq;           /* behind the largest so far */
};

void moe_choices_free(struct moe_choices *c);
/* A new file follows: sequence 0 of it is the one behind all before. */
void moe_choices_file(struct moe_choices *c);
/* The index of a label; that of the last call if it is the same. */
MOE_MUST_USE enum moe_status moe_choices_source(struct moe_choices *c, struct moe_intake *in, const char *path,
                                                const char *label, size_t n, uint32_t *out, struct moe_err *err);
/* A copy, with the sequence as the file numbers it. Sequence, position and token are checked; `where` begins the
 * sentence. */
MOE_MUST_USE enum moe_status moe_choices_add(struct moe_choices *c, const struct moe_choice *row, const char *where,
                                             struct moe_err *err);
/* Sorts, checks, and delivers the header and all sequences. `what` names the files, where they are empty. */
MOE_MUST_USE enum moe_status moe_choices_deliver(struct moe_choices *c, struct moe_intake *in, const char *what,
                                                 struct moe_err *err);

/* The whole of an importer of such files: read_file adds the choices of one. `kind` is what the files are called where
 * the command line does not fit them. */
MOE_MUST_USE enum moe_status moe_choices_run(char *const *files, int n_files, const struct moe_import_opts *opts,
                                             const struct moe_import_sink *sink, const char *kind,
                                             enum moe_status (*read_file)(struct moe_intake *in,
                                                                          struct moe_choices *all, const char *path,
                                                                          struct moe_err *err),
                                             struct moe_err *err);

#endif
