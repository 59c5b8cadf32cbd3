/* A machine for the opcodes that torch.save writes (pickle protocol 2, and what protocols 3 to 5 write for the same):
 * a stack of values and a memo of some of them. A container keeps nothing but tuples, whose items the reduction of a
 * tensor needs; a tensor is listed when it is made and gets its name when it becomes a value of a dictionary. So no
 * value is ever walked, and no cycle or repetition can cost more than the bytes that describe it. */
#include "trace/pickle.h"

#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"

enum kind {
	MARK, NOTHING, NUMBER, TEXT, TUPLE, LIST, DICT, NAME, STORAGE, TENSOR,
	OTHER   /* a float, a truth value: whatever may lie in a container and is not asked for */
};

/* The names that torch writes, as "module name". */
enum name { REBUILD_V2, REBUILD_V3, ORDERED_DICT, STORAGE_TYPE, ELEMENT_TYPE };

struct value {
	enum kind kind;
	enum name name;                  /* NAME */
	const struct moe_codec *codec;   /* NAME: of the type, NULL of an untyped one; STORAGE */
	int64_t number;                  /* NUMBER; TENSOR: its index; STORAGE: its elements; TUPLE: its items */
	const char *text;                /* TEXT; STORAGE: its key */
	size_t n_text;
	const struct value *items;       /* TUPLE: [number] */
};

struct machine {
	const uint8_t *p, *end;
	const char *where;
	struct moe_arena *arena;
	struct value *stack, *memo;
	size_t n_stack, cap_stack, n_memo, cap_memo;
	size_t *marks;   /* [n_marks] where in the stack the marks lie, ascending; only their own items go first */
	size_t n_marks, cap_marks;
	struct moe_pickle_tensor *tensors;
	size_t n_tensors, cap_tensors;
	const uint8_t *start;
	struct moe_err *err;
};

static enum moe_status refuse(const struct machine *m, const char *what)
{
	return moe_err_set(m->err, MOE_EFORMAT, "%s: byte %zu of the pickle: %s", m->where, (size_t)(m->p - m->start),
	                   what);
}

static enum moe_status grow(const struct machine *m, void *array, size_t *cap, size_t n, size_t size)
{
	void **at = array;
	if (n < *cap)
		return MOE_OK;
	size_t more = *cap ? 2 * *cap : 16;
	void *grown = realloc(*at, more * size);
	if (!grown)
		return moe_err_nomem(m->err, more * size, m->where);
	*at = grown;
	*cap = more;
	return MOE_OK;
}

static enum moe_status push(struct machine *m, struct value value)
{
	enum moe_status status = grow(m, &m->stack, &m->cap_stack, m->n_stack, sizeof value);
	if (!status)
		m->stack[m->n_stack++] = value;
	return status;
}

static enum moe_status push_kind(struct machine *m, enum kind kind) { return push(m, (struct value) { .kind = kind }); }

static enum moe_status push_number(struct machine *m, int64_t number)
{
	return push(m, (struct value) { .kind = NUMBER, .number = number });
}

/* The n bytes that follow, or NULL. */
static const uint8_t *take(struct machine *m, uint64_t n)
{
	const uint8_t *p = m->p;
	if (n > (uint64_t)(m->end - p))
		return NULL;
	m->p += n;
	return p;
}

static enum moe_status mark(struct machine *m)
{
	enum moe_status status = grow(m, &m->marks, &m->cap_marks, m->n_marks, sizeof *m->marks);
	if (status)
		return status;
	m->marks[m->n_marks++] = m->n_stack;
	return push_kind(m, MARK);
}

/* How many values lie above the last mark, or in all. */
static size_t n_above(const struct machine *m)
{
	return m->n_marks ? m->n_stack - m->marks[m->n_marks - 1] - 1 : m->n_stack;
}

/* ---- the memo ---- */

static enum moe_status put(struct machine *m, uint64_t at)
{
	if (m->n_stack == 0 || m->stack[m->n_stack - 1].kind == MARK)
		return refuse(m, "there is nothing to remember");
	if (at > m->n_memo)
		return refuse(m, "a memory is numbered out of order");
	enum moe_status status = grow(m, &m->memo, &m->cap_memo, m->n_memo, sizeof *m->memo);
	if (status)
		return status;
	m->memo[at] = m->stack[m->n_stack - 1];
	m->n_memo += at == m->n_memo;
	return MOE_OK;
}

static enum moe_status get(struct machine *m, uint64_t at)
{
	return at < m->n_memo ? push(m, m->memo[at]) : refuse(m, "something is recalled that was not remembered");
}

/* ---- tuples, lists, dictionaries ---- */

/* The values above `from` become one tuple in the place of what lies from `keep` on. */
static enum moe_status tuple(struct machine *m, size_t keep, size_t from)
{
	const size_t n = m->n_stack - from;
	struct value *items = MOE_NEW(m->arena, struct value, n);
	if (!items)
		return moe_err_nomem(m->err, n * sizeof *items, m->where);
	if (n)
		memcpy(items, m->stack + from, n * sizeof *items);
	m->n_stack = keep;
	return push(m, (struct value) { .kind = TUPLE, .items = items, .number = (int64_t)n });
}

static enum moe_status tuple_of_mark(struct machine *m)
{
	if (m->n_marks == 0)
		return refuse(m, "a tuple has no beginning");
	const size_t at = m->marks[--m->n_marks];
	return tuple(m, at, at + 1);
}

static enum moe_status tuple_of(struct machine *m, size_t n)
{
	return n_above(m) < n ? refuse(m, "a tuple lacks items") : tuple(m, m->n_stack - n, m->n_stack - n);
}

/* Values above `from` join the container below them; of a dictionary they are keys and values in turn. */
static enum moe_status join(struct machine *m, size_t below, size_t from, enum kind kind)
{
	const size_t n = m->n_stack - from;
	if (below == 0 || m->stack[below - 1].kind != kind || (kind == DICT && n % 2))
		return refuse(m, "items join something that does not hold them");
	for (size_t i = from; kind == DICT && i < m->n_stack; i += 2) {
		const struct value *key = &m->stack[i], *value = key + 1;
		if (key->kind != TEXT || value->kind != TENSOR || *m->tensors[value->number].name)
			continue;
		if (memchr(key->text, 0, key->n_text))
			return refuse(m, "a name holds a NUL byte");
		const char *name = moe_arena_strndup(m->arena, key->text, key->n_text);
		if (!name)
			return moe_err_nomem(m->err, key->n_text, m->where);
		m->tensors[value->number].name = name;
	}
	m->n_stack = below;
	return MOE_OK;
}

static enum moe_status join_mark(struct machine *m, enum kind kind)
{
	if (m->n_marks == 0)
		return refuse(m, "items have no beginning");
	const size_t at = m->marks[--m->n_marks];
	return join(m, at, at + 1, kind);
}

static enum moe_status join_last(struct machine *m, size_t n, enum kind kind)
{
	return n_above(m) <= n ? refuse(m, "items are missing") : join(m, m->n_stack - n, m->n_stack - n, kind);
}

/* ---- names, storages, tensors ---- */

static const struct {
	const char *module, *name;
	enum name is;
	const char *codec;
} known[] = {
	{ "torch._utils", "_rebuild_tensor_v2", REBUILD_V2, NULL },
	{ "torch._utils", "_rebuild_tensor_v3", REBUILD_V3, NULL },
	{ "collections", "OrderedDict", ORDERED_DICT, NULL },
	{ "torch.storage", "UntypedStorage", STORAGE_TYPE, NULL },
	{ "torch", "ByteStorage", STORAGE_TYPE, "u8" },
	{ "torch", "CharStorage", STORAGE_TYPE, "i8" },
	{ "torch", "ShortStorage", STORAGE_TYPE, "i16" },
	{ "torch", "IntStorage", STORAGE_TYPE, "i32" },
	{ "torch", "LongStorage", STORAGE_TYPE, "i64" },
	{ "torch", "HalfStorage", STORAGE_TYPE, "f16" },
	{ "torch", "BFloat16Storage", STORAGE_TYPE, "bf16" },
	{ "torch", "FloatStorage", STORAGE_TYPE, "f32" },
	{ "torch", "DoubleStorage", STORAGE_TYPE, "f64" },
	{ "torch", "uint16", ELEMENT_TYPE, "u16" },
	{ "torch", "uint32", ELEMENT_TYPE, "u32" },
	{ "torch", "uint64", ELEMENT_TYPE, "u64" },
};

static bool is_text(const char *text, size_t n, const char *word)
{
	return strlen(word) == n && memcmp(text, word, n) == 0;
}

static enum moe_status name(struct machine *m, const char *module, size_t n_module, const char *word, size_t n_word)
{
	for (size_t i = 0; i < sizeof known / sizeof *known; i++)
		if (is_text(module, n_module, known[i].module) && is_text(word, n_word, known[i].name))
			return push(m, (struct value) {
				.kind = NAME, .name = known[i].is,
				.codec = known[i].codec ? moe_codec_by_name(known[i].codec) : NULL,
			});
	return moe_err_set(m->err, MOE_EFORMAT,
	                   "%s: byte %zu of the pickle: expected tensors in plain containers, found '%.*s.%.*s'; "
	                   "nothing is executed here", m->where, (size_t)(m->p - m->start),
	                   (int)(n_module < 100 ? n_module : 100), module, (int)(n_word < 100 ? n_word : 100), word);
}

/* Two lines: module and name. */
static enum moe_status global(struct machine *m)
{
	const char *at[2];
	size_t n[2];
	for (int i = 0; i < 2; i++) {
		const uint8_t *end = memchr(m->p, '\n', (size_t)(m->end - m->p));
		if (!end)
			return refuse(m, "a name is cut short");
		at[i] = (const char *)m->p;
		n[i] = (size_t)(end - m->p);
		m->p = end + 1;
	}
	return name(m, at[0], n[0], at[1], n[1]);
}

/* Module and name are the two texts on the stack. */
static enum moe_status stack_global(struct machine *m)
{
	if (m->n_stack < 2 || m->stack[m->n_stack - 1].kind != TEXT || m->stack[m->n_stack - 2].kind != TEXT)
		return refuse(m, "a name is not made of two texts");
	m->n_stack -= 2;
	const struct value module = m->stack[m->n_stack], word = m->stack[m->n_stack + 1];
	return name(m, module.text, module.n_text, word.text, word.n_text);
}

/* ('storage', type, key, place, elements) */
static enum moe_status storage(struct machine *m)
{
	const struct value *top = m->n_stack ? &m->stack[m->n_stack - 1] : NULL;
	if (!top || top->kind != TUPLE || top->number != 5)
		return refuse(m, "expected a storage in five items");
	const struct value *v = top->items;
	if (v[0].kind != TEXT || !is_text(v[0].text, v[0].n_text, "storage") || v[1].kind != NAME ||
	    v[1].name != STORAGE_TYPE || v[2].kind != TEXT || v[2].n_text > 64 || memchr(v[2].text, 0, v[2].n_text) ||
	    v[3].kind != TEXT || v[4].kind != NUMBER || v[4].number < 0)
		return refuse(m, "expected a storage: its type, key, place and elements");
	const char *key = moe_arena_strndup(m->arena, v[2].text, v[2].n_text);
	if (!key)
		return moe_err_nomem(m->err, v[2].n_text, m->where);
	m->stack[m->n_stack - 1] =
		(struct value) { .kind = STORAGE, .codec = v[1].codec, .text = key, .number = v[4].number };
	return MOE_OK;
}

/* Sizes or strides: a tuple of numbers of at least 0. */
static bool read_sizes(const struct value *v, int64_t *out, int32_t *n_out)
{
	if (v->kind != TUPLE || v->number > MOE_MAX_DIMS)
		return false;
	*n_out = (int32_t)v->number;
	for (int32_t i = 0; i < *n_out; i++) {
		if (v->items[i].kind != NUMBER || v->items[i].number < 0)
			return false;
		out[i] = v->items[i].number;
	}
	return true;
}

/* (storage, offset, sizes, strides, requires_grad, hooks), and of the third form a type behind them. */
static enum moe_status tensor(struct machine *m, const struct value *args, bool typed)
{
	const struct value *v = args->items;
	struct moe_pickle_tensor t = { .name = "" };
	int32_t n_strides = 0;
	if (args->number < (typed ? 7 : 6) || args->number > 8 || v[0].kind != STORAGE || v[1].kind != NUMBER ||
	    v[1].number < 0 || !read_sizes(&v[2], t.dims, &t.n_dims) || !read_sizes(&v[3], t.strides, &n_strides) ||
	    n_strides != t.n_dims)
		return refuse(m, "expected a tensor: its storage, offset, sizes and strides");
	if (typed && (v[6].kind != NAME || v[6].name != ELEMENT_TYPE))
		return refuse(m, "expected the type of a tensor's elements");
	t.codec = typed ? v[6].codec : v[0].codec;
	if (!t.codec || (typed && v[0].codec))
		return refuse(m, "the type of a tensor's elements is not known");
	t.storage = v[0].text;
	t.offset = v[1].number;
	enum moe_status status = grow(m, &m->tensors, &m->cap_tensors, m->n_tensors, sizeof t);
	if (status)
		return status;
	m->tensors[m->n_tensors] = t;
	return push(m, (struct value) { .kind = TENSOR, .number = (int64_t)m->n_tensors++ });
}

/* A name applied to a tuple: only what torch writes for tensors and their containers. */
static enum moe_status reduce(struct machine *m)
{
	if (m->n_stack < 2 || m->stack[m->n_stack - 1].kind != TUPLE || m->stack[m->n_stack - 2].kind != NAME)
		return refuse(m, "expected a name and a tuple");
	m->n_stack -= 2;
	const struct value what = m->stack[m->n_stack], args = m->stack[m->n_stack + 1];
	switch (what.name) {
	case REBUILD_V2: return tensor(m, &args, false);
	case REBUILD_V3: return tensor(m, &args, true);
	case ORDERED_DICT:
		return args.number == 0 ? push_kind(m, DICT) : refuse(m, "expected an empty dictionary");
	default: return refuse(m, "a type is called as a function");
	}
}

/* ---- opcodes ---- */

static enum moe_status text(struct machine *m, int n_length)
{
	const uint8_t *p = take(m, (uint64_t)n_length);
	const uint64_t n = !p ? 0 : n_length == 1 ? *p : n_length == 4 ? moe_load_u32(p) : moe_load_u64(p);
	const uint8_t *bytes = p ? take(m, n) : NULL;
	if (!bytes)
		return refuse(m, "a text is cut short");
	return push(m, (struct value) { .kind = TEXT, .text = (const char *)bytes, .n_text = (size_t)n });
}

/* A number of n bytes, little endian, two's complement; of LONG1 with its length before it. */
static enum moe_status number(struct machine *m, uint64_t n, bool is_signed)
{
	const uint8_t *p = n <= 8 ? take(m, n) : NULL;
	uint64_t value = 0;
	if (!p)
		return refuse(m, n > 8 ? "a number of more than 64 bits" : "a number is cut short");
	for (uint64_t i = n; i > 0; i--)
		value = value << 8 | p[i - 1];
	if (is_signed && n > 0 && n < 8 && p[n - 1] & 0x80)
		value |= ~UINT64_C(0) << 8 * n;
	return push_number(m, (int64_t)value);
}

static enum moe_status index_of(struct machine *m, int n, enum moe_status (*then)(struct machine *, uint64_t))
{
	const uint8_t *p = take(m, (uint64_t)n);
	return p ? then(m, n == 1 ? *p : moe_load_u32(p)) : refuse(m, "it is cut short");
}

static enum moe_status skip_then(struct machine *m, uint64_t n, int kind)
{
	if (!take(m, n))
		return refuse(m, "it is cut short");
	return kind < 0 ? MOE_OK : push_kind(m, (enum kind)kind);
}

static enum moe_status step(struct machine *m, uint8_t op)
{
	const uint8_t *p;
	switch (op) {
	case 0x80: return skip_then(m, 1, -1);          /* PROTO */
	case 0x95: return skip_then(m, 8, -1);          /* FRAME: its length */
	case '(': return mark(m);
	case 'N': return push_kind(m, NOTHING);
	case 0x88: case 0x89: return push_kind(m, OTHER);   /* NEWTRUE, NEWFALSE */
	case 'G': return skip_then(m, 8, OTHER);        /* BINFLOAT */
	case 'J': return number(m, 4, true);            /* BININT */
	case 'K': return number(m, 1, false);           /* BININT1 */
	case 'M': return number(m, 2, false);           /* BININT2 */
	case 0x8a:                                      /* LONG1 */
		p = take(m, 1);
		return p ? number(m, *p, true) : refuse(m, "it is cut short");
	case 'X': return text(m, 4);                    /* BINUNICODE */
	case 0x8c: return text(m, 1);                   /* SHORT_BINUNICODE */
	case 0x8d: return text(m, 8);                   /* BINUNICODE8 */
	case ']': return push_kind(m, LIST);
	case '}': return push_kind(m, DICT);
	case ')': return tuple(m, m->n_stack, m->n_stack);
	case 't': return tuple_of_mark(m);
	case 0x85: return tuple_of(m, 1);
	case 0x86: return tuple_of(m, 2);
	case 0x87: return tuple_of(m, 3);
	case 'a': return join_last(m, 1, LIST);         /* APPEND */
	case 'e': return join_mark(m, LIST);            /* APPENDS */
	case 's': return join_last(m, 2, DICT);         /* SETITEM */
	case 'u': return join_mark(m, DICT);            /* SETITEMS */
	case 'q': return index_of(m, 1, put);           /* BINPUT */
	case 'r': return index_of(m, 4, put);           /* LONG_BINPUT */
	case 0x94: return put(m, m->n_memo);            /* MEMOIZE */
	case 'h': return index_of(m, 1, get);           /* BINGET */
	case 'j': return index_of(m, 4, get);           /* LONG_BINGET */
	case 'c': return global(m);
	case 0x93: return stack_global(m);
	case 'Q': return storage(m);                    /* BINPERSID */
	case 'R': return reduce(m);
	default:
		return moe_err_set(m->err, MOE_EFORMAT,
		                   "%s: byte %zu of the pickle: opcode 0x%02x is none that tensors in plain "
		                   "containers need; nothing is executed here", m->where,
		                   (size_t)(m->p - m->start) - 1, op);
	}
}

enum moe_status moe_pickle_read(struct moe_pickle_tensor **out, size_t *n_out, struct moe_arena *arena,
                                const uint8_t *data, size_t n, const char *where, struct moe_err *err)
{
	struct machine m = { .p = data, .start = data, .end = data + n, .where = where, .arena = arena, .err = err };
	enum moe_status status = MOE_OK;
	bool stopped = false;
	while (!status && !stopped) {
		if (m.p == m.end)
			status = refuse(&m, "it is cut short");
		else if (*m.p == '.')
			stopped = true;
		else
			status = step(&m, *m.p++);
	}
	if (!status && (m.n_stack != 1 || m.p + 1 != m.end))
		status = refuse(&m, "expected one value and nothing behind it");
	if (!status) {
		*out = MOE_NEW(arena, struct moe_pickle_tensor, m.n_tensors);
		*n_out = m.n_tensors;
		if (!*out)
			status = moe_err_nomem(err, m.n_tensors * sizeof **out, where);
		else if (m.n_tensors)
			memcpy(*out, m.tensors, m.n_tensors * sizeof **out);
	}
	free(m.stack);
	free(m.memo);
	free(m.marks);
	free(m.tensors);
	return status;
}
