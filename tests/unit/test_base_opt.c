/* Option tables: every kind, every way to write them, every sentence. */
#include "base/opt.h"

#include "../tap.h"
#include "base/str.h"

struct config {
	bool json, normalize, bare;
	int32_t top_k, mode;
	int64_t seed, window;
	double scale;
	uint64_t shard;
	const char *output, *colour, *form;
	struct moe_opt_list types;
};

struct other {
	bool verbose;
	int32_t threads;
};

static const char *colour_at(size_t i)
{
	static const char *const colours[] = {"red", "green"};
	return i < 2 ? colours[i] : NULL;
}

static const struct moe_opt options[] = {
	MOE_OPT_GROUP("Routing"),
	MOE_OPT_INT('k', "top-k", "N", struct config, top_k, 1, 64, "experts per token [from the model], or as many as "
	            "the model was trained with when nothing is said at all"),
	{.kind = MOE_OPT_KIND_FLAG, .name = "normalize", .offset = offsetof(struct config, normalize),
	 .help = "gates sum to one [yes]", .negated = true},
	MOE_OPT_F64(0, "scale", "X", struct config, scale, 0, 100, "factor of all gates [1]"),
	MOE_OPT_ENUM(0, "mode", "auto|plain|none", struct config, mode, "how [auto]"),
	MOE_OPT_GROUP("Files"),
	MOE_OPT_FILE('o', "output", "FILE", struct config, output, "where to"),
	MOE_OPT_LISTED(0, "colour", "NAME", colour_at, struct config, colour, "of the plot"),
	MOE_OPT_BYTES(0, "shard-size", "BYTES", struct config, shard, "bytes of a shard"),
	MOE_OPT_I64(0, "seed", "N", struct config, seed, 0, 0x1p63, "of random numbers [0]"),
	{.kind = MOE_OPT_KIND_I64, .name = "window", .offset = offsetof(struct config, window), .min = 1,
	 .max = 0x1p61},
	MOE_OPT_LIST('t', "type", "T", struct config, types, "storage types"),
	MOE_OPT_FLAG(0, "json", struct config, json, "objects"),
	{.kind = MOE_OPT_KIND_STR, .name = "form", .offset = offsetof(struct config, form), .optional = true},
	{.kind = MOE_OPT_KIND_FLAG, .name = "bare", .offset = offsetof(struct config, bare)},
	MOE_OPT_END
};

static const struct moe_opt common[] = {
	MOE_OPT_FLAG('v', "verbose", struct other, verbose, "more words"),
	MOE_OPT_INT('j', "threads", "N", struct other, threads, 0, INT32_MAX, "threads [all]"),
	MOE_OPT_END
};

static const struct moe_opt *const tables[] = {options, common, NULL};

struct parsed {
	struct config cfg;
	struct other other;
	struct moe_err err;
	enum moe_status status;
	char *argv[24];
	int argc, first;
};

/* Words are separated by single spaces; "''" is an empty word. */
static void parse(struct parsed *p, const char *line)
{
	static char words[512], name[] = "tool";
	void *bases[] = {&p->cfg, &p->other};

	memset(p, 0, sizeof *p);
	p->cfg.normalize = true;
	snprintf(words, sizeof words, "%s", line);
	p->argv[p->argc++] = name;
	for (char *word = strtok(words, " "); word; word = strtok(NULL, " ")) {
		if (strcmp(word, "''") == 0)
			*word = '\0';
		p->argv[p->argc++] = word;
	}
	p->argv[p->argc] = NULL;
	p->status = moe_opt_parse(p->argc, p->argv, tables, bases, &p->first, &p->err);
}

static void finish(struct parsed *p)
{
	void *bases[] = {&p->cfg, &p->other};
	moe_opt_free(tables, bases);
	ok(p->cfg.types.n == 0 && !p->cfg.types.items, "lists are gone");
}

static void refused(const char *line, const char *sentence)
{
	struct parsed p;

	parse(&p, line);
	is_i64(p.status, MOE_EUSAGE, "'%s' is misuse", line);
	is_str(p.err.text, sentence, "and says so");
	finish(&p);
}

static void test_values(void)
{
	struct parsed p;

	parse(&p, "-k3 --scale=2.5 --mode plain -o - --shard-size 5G --seed 1234567890123 --json --no-normalize -vj 4");
	is_i64(p.status, MOE_OK, "all kinds are read");
	is_i64(p.cfg.top_k, 3, "-k3");
	is_close(p.cfg.scale, 2.5, 0, "--scale=2.5");
	is_i64(p.cfg.mode, 1, "--mode plain");
	is_str(p.cfg.output, "-", "-o -");
	is_i64((int64_t)p.cfg.shard, INT64_C(5) << 30, "--shard-size 5G");
	is_i64(p.cfg.seed, 1234567890123, "--seed");
	ok(p.cfg.json && p.other.verbose && !p.cfg.normalize, "flags, a negated one too");
	is_i64(p.other.threads, 4, "-vj 4");
	finish(&p);

	parse(&p, "--top-k 3 -k 7 --norm --sh=1kB --bare --bar");
	is_i64(p.status, MOE_OK, "prefixes, and hidden options");
	is_i64(p.cfg.top_k, 7, "the last one counts");
	is_i64((int64_t)p.cfg.shard, 1000, "a prefix with =");
	ok(p.cfg.bare, "a hidden option works");
	finish(&p);

	parse(&p, "x --form y");
	ok(!p.status && p.cfg.form && !*p.cfg.form && p.argc - p.first == 2,
	   "a value that may be missing is not taken");
	finish(&p);
	parse(&p, "x --form=y");
	is_str(p.cfg.form, "y", "unless it is joined to the name");
	finish(&p);

	parse(&p, "--type a -t b -tc --type=");
	is_i64(p.cfg.types.n, 4, "a list takes them all");
	is_str(p.cfg.types.items[0], "a", "in order");
	is_str(p.cfg.types.items[2], "c", "in every form");
	is_str(p.cfg.types.items[3], "", "an empty value is a value");
	finish(&p);
}

static void test_operands(void)
{
	struct parsed p;

	parse(&p, "x -k 2 y --json - -v -- -z --json");
	is_i64(p.status, MOE_OK, "options and operands mix");
	is_i64(p.argc - p.first, 5, "five operands");
	is_str(p.argv[p.first], "x", "first");
	is_str(p.argv[p.first + 1], "y", "second");
	is_str(p.argv[p.first + 2], "-", "a dash is an operand");
	is_str(p.argv[p.first + 3], "-z", "behind -- everything is");
	is_str(p.argv[p.first + 4], "--json", "to the end");
	is_str(p.argv[1], "-k", "options come first");
	is_i64(p.cfg.top_k, 2, "and are read");
	finish(&p);

	parse(&p, "");
	is_i64(p.first, 1, "nothing at all is fine");
	finish(&p);
}

static void test_sentences(void)
{
	refused("--top-k x", "option --top-k: 'x' is not a whole number");
	refused("--top-k 1.5", "option --top-k: '1.5' is not a whole number");
	refused("--top x", "option --top-k: 'x' is not a whole number");
	refused("-k 0", "option -k: 0 is out of range 1..64");
	refused("-k 65", "option -k: 65 is out of range 1..64");
	refused("-k 99999999999", "option -k: 99999999999 is out of range 1..64");
	refused("-k ''", "option -k: '' is not a whole number");
	refused("-j -1", "option -j: -1 is less than 0");
	refused("-j -99999999999999999999", "option -j: -99999999999999999999 is less than 0");
	refused("-j 2147483648", "option -j: 2147483648 is out of range 0..2147483647");
	refused("--seed 9223372036854775808",
	        "option --seed: 9223372036854775808 is out of range 0..9223372036854775807");
	refused("--window 0", "option --window: 0 is less than 1");
	refused("--window 9223372036854775807",
	        "option --window: 9223372036854775807 is out of range 1..2305843009213693952");
	refused("--scale nan", "option --scale: 'nan' is not a number");
	refused("--scale 101", "option --scale: 101 is out of range 0..100");
	refused("--shard-size 5X", "option --shard-size: '5X' is not a number of bytes (such as 512, 64K or 5G)");
	refused("--mode loud", "option --mode: 'loud' is not one of auto, plain, none");
	refused("--jsom", "unknown option '--jsom'; did you mean '--json'?");
	refused("--no-normalise", "unknown option '--no-normalise'; did you mean '--no-normalize'?");
	refused("--xyzzy", "unknown option '--xyzzy'");
	refused("--xx", "unknown option '--xx'");
	refused("-x", "unknown option '-x'");
	refused("-vx", "unknown option '-x'");
	refused("--s 3", "option '--s' could be '--scale' or '--shard-size'");
	refused("--output", "option '--output' needs a value");
	refused("-o", "option '-o' needs a value");
	refused("--json=yes", "option '--json' takes no value");
}

static char *printed(void (*print)(const struct moe_opt *const *, FILE *))
{
	char *text = NULL;
	size_t n = 0;
	FILE *f = open_memstream(&text, &n);

	print(tables, f);
	fclose(f);
	return text;
}

static void print_all_words(const struct moe_opt *const *from, FILE *to)
{
	static const char *const names[] = {"colour", "mode", "json", "no-such-option"};

	for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
		fprintf(to, "%s:\n", names[i]);
		moe_opt_words(from, names[i], to);
	}
}

static void test_texts(void)
{
	char *usage = printed(moe_opt_usage), *lines = printed(moe_opt_complete), *words = printed(print_all_words);
	struct moe_str rest = moe_str_of(usage), line;
	size_t widest = 0;

	is_like(usage, "Routing:\n  -k, --top-k N             experts per token", "letters, names, values, help");
	is_like(usage, "      --[no-]normalize      gates", "negated");
	is_like(usage, "\nFiles:\n", "headings");
	ok(!strstr(usage, "bare"), "hidden options stay hidden");
	while (moe_str_next(&rest, '\n', &line))
		widest = line.n > widest ? line.n : widest;
	ok(widest <= 79 && widest > 60, "wrapped at 79 columns, %zu used", widest);
	is_like(lines, "o\toutput\tFILE\tfile\t-\twhere to\n", "a line for completion");
	is_like(lines, "-\tmode\tauto|plain|none\tvalue\tauto plain none\thow [auto]\n", "its words");
	is_like(lines, "-\tno-normalize\t-\tflag\t-\t", "the negated form");
	is_like(lines, "-\tcolour\tNAME\task\t-\tof the plot\n", "words that the program lists");
	is_str(words, "colour:\nred\ngreen\nmode:\nauto\nplain\nnone\njson:\nno-such-option:\n", "words of options");
	free(usage);
	free(lines);
	free(words);
}

int main(void)
{
	test_values();
	test_operands();
	test_sentences();
	test_texts();
	return done();
}
