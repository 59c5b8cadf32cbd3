/* The table of pre-tokenizers by name. Patterns as the tokenizer.json of the families has them. */
#include "text/pre.h"

#include <string.h>

#include "text/source.h"

#define TAIL "|\\s+(?!\\S)|\\s+"
#define WORDS "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|"
#define MARKS "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+" TAIL
/* o200k: words in either case with an English ending. */
#define UPPER "\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}"
#define LOWER "\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}"
#define ENDING "(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
#define CASED(upper, lower) \
	"[^\\r\\n\\p{L}\\p{N}]?" upper "*" lower "+" ENDING "|" \
	"[^\\r\\n\\p{L}\\p{N}]?" upper "+" lower "*" ENDING "|\\p{N}{1,3}"
#define O200K \
	CASED("[" UPPER "]", "[" LOWER "]") "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+" TAIL
#define NOT_HAN "&&[^\\p{Han}]]"

/* Letters with case, as deepseek-llm lists them. */
#define CASED_LETTERS \
	"A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯͰ-ͳͶͷͻ-ͽͿΆΈ-ΊΌΎ-ΡΣ-ϵϷ-ҁҊ-ԯԱ-ՖႠ-ჅᎠ-Ᏽᏸ-ᏽᲐ-ᲺᲽ-Ჿᴀ-ᴫᵫ-ᵷᵹ-ᶚḀ-ἕἘ-Ἕἠ-ὅὈ-Ὅ" \
	"ὐ-ὗὙὛὝὟ-ώᾀ-ᾴᾶ-ᾼιῂ-ῄῆ-ῌῐ-ΐῖ-Ίῠ-Ῥῲ-ῴῶ-ῼℂℇℊ-ℓℕℙ-ℝℤΩℨK-ℭℯ-ℴℹℼ-ℿⅅ-ⅉⅎↃↄⰀ-ⱻⱾ-ⳤⳫ-ⳮⳲⳳꙀ-ꙭꚀ-ꚛꜢ-ꝯꝱ-ꞇ" \
	"Ꞌ-ꞎꭰ-ꮿﬀ-ﬆﬓ-ﬗＡ-Ｚａ-ｚ𐐀-𐑏𐒰-𐓓𐓘-𐓻𐲀-𐲲𐳀-𐳲𑢠-𑣟𞤀-𞥃"

static const struct moe_pre pres[] = {
	{.name = "deepseek-v3",
	 .splits = {"\\p{N}{1,3}", "[一-龥぀-ゟ゠-ヿ]+",
	            "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\r\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+|"
	            " ?[\\p{P}\\p{S}]+[\r\n]*|\\s*[\r\n]+" TAIL}},
	{.name = "deepseek-llm",
	 .splits = {"[\r\n]", "\\s?[" CASED_LETTERS "]+", "\\s?[!-/:-~！-／：-～‘-‟　-。]+", "\\s+$",
	            "[一-龥ࠀ-一가-퟿]+"},
	 .digits = true},
	{.name = "qwen2", .splits = {WORDS "\\p{N}" MARKS}, .nfc = true},
	{.name = "llama-bpe", .splits = {WORDS "\\p{N}{1,3}" MARKS}, .ignore_merges = true, .add_bos = true},
	{.name = "gpt-4o", .splits = {O200K}, .ignore_merges = true},
	{.name = "llama4", .splits = {O200K}, .ignore_merges = true, .add_bos = true},
	{.name = "glm4", .splits = {WORDS "\\p{N}{1,3}" MARKS}},
	{.name = "chatglm-bpe", .splits = {WORDS "\\p{N}{1,3}" MARKS}},
	{.name = "kimi-k2",
	 .splits = {"[\\p{Han}]+|" CASED("[" UPPER NOT_HAN, "[" LOWER NOT_HAN) MARKS},
	 .ignore_merges = true},
	{.name = "olmo", .nfc = true, .gpt2 = true},
	{.name = "gpt-2", .gpt2 = true},
};

const struct moe_pre *moe_pre_at(size_t i)
{
	return i < sizeof pres / sizeof *pres ? &pres[i] : NULL;
}

const struct moe_pre *moe_pre_by_name(const char *name)
{
	for (size_t i = 0; i < sizeof pres / sizeof *pres; i++) {
		if (strcmp(pres[i].name, name) == 0)
			return &pres[i];
	}
	return NULL;
}

/* A line break may stand in a pattern as itself or as an escape. */
static char next_char(const char **p)
{
	char c = *(*p)++;

	if (c != '\\' || (**p != 'r' && **p != 'n'))
		return c;
	return *(*p)++ == 'r' ? '\r' : '\n';
}

static bool same_pattern(const char *a, const char *b)
{
	while (*a && *b) {
		/* A backslash that escapes another does not begin an escape of its own. */
		if (a[0] == '\\' && a[1] == '\\') {
			if (b[0] != '\\' || b[1] != '\\')
				return false;
			a += 2;
			b += 2;
		} else if (next_char(&a) != next_char(&b)) {
			return false;
		}
	}
	return *a == *b;
}

const struct moe_pre *moe_pre_by_splits(const char *const *splits, size_t n)
{
	for (size_t i = 0; i < sizeof pres / sizeof *pres; i++) {
		size_t k = 0;

		while (k < n && k < MOE_PRE_SPLITS && pres[i].splits[k] && same_pattern(pres[i].splits[k], splits[k]))
			k++;
		if (n > 0 && k == n && (k == MOE_PRE_SPLITS || !pres[i].splits[k]))
			return &pres[i];
	}
	return NULL;
}

enum moe_status moe_stage_take(struct moe_stage *stage, enum moe_stage_kind kind, json_t *obj, const char *where,
                               struct moe_err *err)
{
	enum moe_status status = obj ? moe_stage_new(stage, kind, obj, where, err)
	                             : moe_err_nomem(err, 0, "a tokenizer");

	json_decref(obj);
	return status;
}

/* A list of pre-tokenizers that ends with ByteLevel; NULL when out of memory. */
static json_t *make_steps(const struct moe_pre *pre)
{
	json_t *steps = json_array();
	bool good = steps;

	for (int i = 0; i < MOE_PRE_SPLITS && pre->splits[i] && good; i++)
		good = !json_array_append_new(steps, json_pack("{s:s, s:{s:s}, s:s}", "type", "Split", "pattern",
		                                               "Regex", pre->splits[i], "behavior", "Isolated"));
	if (good && pre->digits)
		good = !json_array_append_new(steps, json_pack("{s:s, s:b}", "type", "Digits", "individual_digits", 1));
	if (good)
		good = !json_array_append_new(steps, json_pack("{s:s, s:b, s:b}", "type", "ByteLevel",
		                                               "add_prefix_space", 0, "use_regex", pre->gpt2));
	if (good)
		return steps;
	json_decref(steps);
	return NULL;
}

enum moe_status moe_tokenizer_byte_level(struct moe_tokenizer *tok, const struct moe_pre *pre, struct moe_err *err)
{
	json_t *steps = make_steps(pre);
	enum moe_status status = steps ? MOE_OK : moe_err_nomem(err, 0, "a tokenizer");

	if (!status && pre->nfc)
		status = moe_stage_take(&tok->normalizer, MOE_STAGE_NORMALIZER, json_pack("{s:s}", "type", "NFC"),
		                        tok->name, err);
	if (!status)
		status = moe_stage_take(&tok->pretokenizer, MOE_STAGE_PRETOKENIZER,
		                        json_pack("{s:s, s:O}", "type", "Sequence", "pretokenizers", steps), tok->name,
		                        err);
	if (!status)
		status = moe_stage_take(&tok->decoder, MOE_STAGE_DECODER, json_pack("{s:s}", "type", "ByteLevel"),
		                        tok->name, err);
	json_decref(steps);
	return status;
}
