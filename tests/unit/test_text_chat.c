/* Chat forms: the text that transformers makes of each form's template, and templates known by their hash alone. */
#include <stdlib.h>
#include <string.h>

#include "../tap.h"
#include "base/file.h"
#include "base/json.h"
#include "text/chat.h"

static char folder[4096];

/* A tokenizer with every token that a form needs, but for `without`, and <s> as BOS. */
static struct moe_tokenizer *make_tokenizer(const char *template, const char *without)
{
	json_t *added = json_array(), *seen = json_object(), *root, *config;
	struct moe_tokenizer *tok = NULL;
	struct moe_err err = {0};
	char *text, *config_text;

	json_array_append_new(added, json_pack("{s:i, s:s, s:b}", "id", 1, "content", "<s>", "special", 1));
	for (size_t i = 0; moe_chat_form_at(i); i++) {
		const struct moe_chat_form *form = moe_chat_form_at(i);
		for (int k = 0; k < 12; k++) {
			const char *token = k < 8 ? form->tokens[k] : form->stops[k - 8];
			if (!token || strcmp(token, without) == 0 || json_object_get(seen, token))
				continue;
			json_object_set_new(seen, token, json_true());
			json_array_append_new(added, json_pack("{s:i, s:s, s:b}", "id", 1 + (int)json_array_size(added),
			                                       "content", token, "special", 1));
		}
	}
	root = json_pack("{s:{s:s, s:{s:i}, s:[]}, s:o}", "model", "type", "BPE", "vocab", "a", 0, "merges",
	                 "added_tokens", added);
	config = json_pack("{s:s, s:s?}", "bos_token", "<s>", "chat_template", template);
	text = json_dumps(root, 0);
	config_text = json_dumps(config, 0);
	if (moe_tokenizer_parse(&tok, text, strlen(text), config_text, strlen(config_text), "t.json", &err))
		ok(false, "%s", err.text);
	free(text);
	free(config_text);
	json_decref(root);
	json_decref(config);
	json_decref(seen);
	return tok;
}

static bool check_case(const struct moe_tokenizer *tok, const json_t *line)
{
	const char *name = json_string_value(json_object_get(line, "form"));
	const json_t *user = json_object_get(line, "user"), *want = json_object_get(line, "text");
	const char *system = json_string_value(json_object_get(line, "system"));
	const struct moe_chat_form *form;
	struct moe_buf text = {0};
	struct moe_err err = {0};
	enum moe_status status = moe_chat_choose(&form, tok, name, &err);
	bool good;

	if (!status)
		status = moe_chat_write(form, tok, system, (struct moe_str){json_string_value(user),
		                        json_string_length(user)}, &text, &err);
	if (json_is_null(want))
		good = status == MOE_EUSAGE && strstr(err.text, "has no turn of a system");
	else
		good = !status && text.n == json_string_length(want) &&
		       memcmp(text.p, json_string_value(want), text.n) == 0;
	if (!good)
		printf("# %s: expected '%s', found '%s' %s\n", name, json_string_value(want), text.p ? text.p : "",
		       err.text);
	moe_buf_free(&text);
	return good;
}

static void test_cases(void)
{
	struct moe_tokenizer *tok = make_tokenizer(NULL, "");
	struct moe_buf file = {0};
	struct moe_err err = {0};
	struct moe_str rest, line;
	char path[4200];
	size_t n = 0, n_good = 0, n_forms = 0;

	snprintf(path, sizeof path, "%s/cases.jsonl", folder);
	if (!ok(tok && !moe_read_all(path, 0, &file, &err), "%s is there: %s", path, err.text))
		return;
	rest = (struct moe_str){file.p, file.n};
	while (moe_str_next(&rest, '\n', &line)) {
		json_t *value = NULL;
		if (!moe_json_parse(&value, line.p, line.n, path, &err))
			n_good += check_case(tok, value);
		json_decref(value);
		n++;
	}
	while (moe_chat_form_at(n_forms))
		n_forms++;
	ok(n == 16 * n_forms && n_good == n, "%zu of %zu texts agree, 16 for each of %zu forms", n_good, n, n_forms);
	moe_buf_free(&file);
	moe_tokenizer_free(tok);
}

static const char *chosen(const char *template)
{
	struct moe_tokenizer *tok = make_tokenizer(template, "");
	const struct moe_chat_form *form = NULL;
	struct moe_err err = {0};
	const enum moe_status status = tok ? moe_chat_choose(&form, tok, "", &err) : MOE_EIO;

	if (status)
		is_like(err.text, "t.json: its chat template (", "an unknown template is refused with a sentence");
	moe_tokenizer_free(tok);
	return form ? form->name : "none";
}

static void test_templates(void)
{
	for (size_t i = 0; moe_chat_form_at(i); i++) {
		const char *name = moe_chat_form_at(i)->name;
		struct moe_buf text = {0};
		struct moe_err err = {0};
		char path[4200];

		snprintf(path, sizeof path, "%s/%s.jinja", folder, name);
		if (!ok(!moe_read_all(path, 0, &text, &err), "%s: %s", path, err.text))
			continue;
		is_str(chosen(text.p), name, "%s is known", path);
		text.p[text.n - 1] = '\0';
		is_str(chosen(text.p), name, "also without its last line feed");
		*strchr(text.p, 'm') = 'n';
		is_str(chosen(text.p), "none", "and not with another letter");
		moe_buf_free(&text);
	}
}

static void test_wrong(void)
{
	struct moe_tokenizer *tok = make_tokenizer(NULL, "<|im_end|>");
	const struct moe_chat_form *form = NULL;
	struct moe_ids ids = {0};
	struct moe_buf text = {0};
	struct moe_err err = {0};
	static const char lists[] = "{\"chat_template\":[{\"name\":\"tools\",\"template\":\"x\"}]}";
	static const char json[] = "{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[]}}";

	ok(moe_chat_choose(&form, tok, "", &err) == MOE_EFORMAT && !form, "no template, no form");
	is_like(err.text, "no chat template is beside it: --chat=NAME chooses a form, one of chatml, ",
	        "with a sentence");
	ok(moe_chat_choose(&form, tok, "tea", &err) == MOE_EUSAGE, "no form of that name");
	is_like(err.text, "--chat: 'tea' is not one of chatml, ", "with a sentence");
	ok(!moe_chat_choose(&form, tok, "chatml", &err), "a form by name");
	ok(moe_chat_write(form, tok, NULL, moe_str_of("x"), &text, &err) == MOE_EFORMAT, "a token is not there");
	is_like(err.text, "the chat form chatml needs the token '<|im_end|>', which is not there", "with a sentence");
	ok(moe_chat_stops(form, tok, &ids, &err) == MOE_EFORMAT && ids.n == 0, "nor can it end a text");
	moe_tokenizer_free(tok);
	ok(moe_tokenizer_parse(&tok, json, strlen(json), lists, strlen(lists), "t.json", &err) == MOE_EFORMAT,
	   "a list without a default is refused");
	is_like(err.text, "chat_template: expected a template or a list with one named default", "with a sentence");
	if (ok(!moe_tokenizer_parse(&tok, json, strlen(json), NULL, 0, "t.json", &err), "no BOS") &&
	    !moe_chat_choose(&form, tok, "deepseek_v1", &err)) {
		ok(moe_chat_write(form, tok, NULL, moe_str_of("x"), &text, &err) == MOE_EFORMAT,
		   "a form begins with it");
		is_like(err.text, "deepseek_v1 begins with BOS, which the tokenizer does not have", "with a sentence");
	}
	moe_tokenizer_free(tok);
	moe_buf_free(&text);
	moe_ids_free(&ids);
}

int main(void)
{
	snprintf(folder, sizeof folder, "%s/tests/golden/chat", getenv("MOE_TOP") ? getenv("MOE_TOP") : ".");
	test_cases();
	test_templates();
	test_wrong();
	return done();
}
