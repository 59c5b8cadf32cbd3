/* JSON as text: shortest decimals, where jansson would print 1e-06 as 9.9999999999999995e-07. */
#include "base/json.h"
#include "convert/json_text.h"

static void new_line(struct moe_buf *buf, int level)
{
	moe_buf_addc(buf, '\n');
	for (int i = 0; i < level; i++)
		moe_buf_adds(buf, "  ");
}

static void object(struct moe_buf *buf, const json_t *value, int level)
{
	const char *key;
	size_t n_key;
	json_t *item;
	bool first = true;

	json_object_keylen_foreach((json_t *)value, key, n_key, item) {
		if (!first)
			moe_buf_addc(buf, ',');
		first = false;
		new_line(buf, level + 1);
		moe_json_quote(buf, key, n_key);
		moe_buf_adds(buf, ": ");
		moe_json_text(buf, item, level + 1);
	}
	if (!first)
		new_line(buf, level);
}

void moe_json_text(struct moe_buf *buf, const json_t *value, int level)
{
	switch (json_typeof(value)) {
	case JSON_OBJECT:
		moe_buf_addc(buf, '{');
		object(buf, value, level);
		moe_buf_addc(buf, '}');
		break;
	case JSON_ARRAY:
		moe_buf_addc(buf, '[');
		for (size_t i = 0; i < json_array_size(value); i++) {
			if (i)
				moe_buf_addc(buf, ',');
			new_line(buf, level + 1);
			moe_json_text(buf, json_array_get(value, i), level + 1);
		}
		if (json_array_size(value))
			new_line(buf, level);
		moe_buf_addc(buf, ']');
		break;
	case JSON_STRING:
		moe_json_quote(buf, json_string_value(value), json_string_length(value));
		break;
	case JSON_INTEGER:
		moe_buf_addf(buf, "%lld", (long long)json_integer_value(value));
		break;
	case JSON_REAL: {
		const size_t begin = buf->n;
		moe_buf_add_f64(buf, json_real_value(value));
		for (size_t i = begin; !buf->failed && i < buf->n; i++)
			if (buf->p[i] == '.' || buf->p[i] == 'e')
				return;
		moe_buf_adds(buf, ".0");
		break;
	}
	case JSON_TRUE:
		moe_buf_adds(buf, "true");
		break;
	case JSON_FALSE:
		moe_buf_adds(buf, "false");
		break;
	case JSON_NULL:
		moe_buf_adds(buf, "null");
		break;
	}
}
