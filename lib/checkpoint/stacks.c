/* Experts that a newer writer stacked, seen one by one, as the models that call their network `mlp` are published.
 *
 *   PREFIX.mlp.experts.gate_up_proj [E, 2 I, d]   ->  PREFIX.mlp.experts.{e}.gate_proj.weight [I, d], the first I rows
 *                                                     PREFIX.mlp.experts.{e}.up_proj.weight [I, d], the others
 *   PREFIX.mlp.experts.down_proj [E, d, I]        ->  PREFIX.mlp.experts.{e}.down_proj.weight [d, I]
 *
 * transformers 5 holds experts so, and its first versions saved them so. Each piece lies in one part of the file, so
 * nothing is copied. Shapes tell these stacks from those that are published under the same names with inputs first
 * ([E, d, 2 I] and [E, I, d], gpt-oss): no sizes fit both. */
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "checkpoint/format.h"

#define EXPERTS ".mlp.experts."

/* A stack's two tensors; NULL where there is none. */
struct pair {
	const struct moe_tensor *gate_up, *down;
};

/* How long the name is up to "mlp.experts." and with it; 0: it is not that of such a stack. */
static size_t prefix_of(const char *name)
{
	const char *found = strstr(name, EXPERTS);
	const char *last = found ? found + strlen(EXPERTS) : NULL;

	return last && (!strcmp(last, "gate_up_proj") || !strcmp(last, "down_proj")) ? (size_t)(last - name) : 0;
}

static bool is_plain(const struct moe_tensor *t)
{
	return t && t->n_dims == 3 && t->codec->is_float && !t->codec->scaled && t->codec->block_elems == 1 &&
	       t->n_bytes > 0;
}

/* Both tensors of the stack that t belongs to, if they are one. */
static struct pair pair_of(const struct moe_ckpt *ckpt, const struct moe_tensor *t, struct moe_buf *name)
{
	const size_t n = prefix_of(t->name);
	struct pair pair = {0};

	if (n == 0)
		return pair;
	name->n = 0;
	moe_buf_add(name, t->name, n);
	moe_buf_adds(name, "gate_up_proj");
	pair.gate_up = name->failed ? NULL : moe_ckpt_find(ckpt, name->p);
	name->n = 0;
	moe_buf_add(name, t->name, n);
	moe_buf_adds(name, "down_proj");
	pair.down = name->failed ? NULL : moe_ckpt_find(ckpt, name->p);
	if (is_plain(pair.gate_up) && is_plain(pair.down) && pair.gate_up->dims[0] == pair.down->dims[0] &&
	    pair.gate_up->dims[0] <= INT32_MAX && pair.gate_up->dims[1] % 2 == 0 &&
	    pair.gate_up->dims[1] / 2 == pair.down->dims[2] && pair.gate_up->dims[2] == pair.down->dims[1])
		return pair;
	return (struct pair){0};
}

/* Of expert e the half h that is called `part`, or (NULL) all, as a tensor of its own. */
static enum moe_status add_piece(struct moe_ckpt *ckpt, const struct moe_tensor *stack, int64_t e, int64_t h,
                                 const char *part, struct moe_tensor *out, struct moe_buf *name, struct moe_err *err)
{
	const int64_t n_parts = part ? 2 : 1;

	*out = moe_tensor_slice(stack, e);
	out->dims[0] /= n_parts;
	out->n_bytes /= (size_t)n_parts;
	out->offset += (uint64_t)h * out->n_bytes;
	if (out->data)
		out->data += (size_t)h * out->n_bytes;
	name->n = 0;
	moe_buf_add(name, stack->name, prefix_of(stack->name));
	moe_buf_addf(name, "%lld.%s_proj.weight", (long long)e, part ? part : "down");
	enum moe_status st = moe_buf_check(name, err);
	if (st)
		return st;
	out->name = moe_arena_strndup(&ckpt->arena, name->p, name->n);
	return out->name ? MOE_OK : moe_err_nomem(err, name->n, "a tensor's name");
}

static enum moe_status add_pieces(struct moe_ckpt *ckpt, const struct moe_tensor *t, bool halves,
                                  struct moe_tensor *out, struct moe_buf *name, struct moe_err *err)
{
	enum moe_status st = MOE_OK;

	for (int64_t e = 0; e < t->dims[0] && !st; e++) {
		st = add_piece(ckpt, t, e, 0, halves ? "gate" : NULL, out++, name, err);
		if (!st && halves)
			st = add_piece(ckpt, t, e, 1, "up", out++, name, err);
	}
	return st;
}

enum moe_status moe_ckpt_unstack(struct moe_ckpt *ckpt, struct moe_err *err)
{
	struct moe_buf name = {0};
	struct moe_tensor *tensors;
	size_t n = 0, n_stacks = 0, at = 0;
	enum moe_status st = MOE_OK;

	for (size_t i = 0; i < ckpt->n_tensors; i++) {
		const struct moe_tensor *t = &ckpt->tensors[i];
		const struct pair pair = pair_of(ckpt, t, &name);
		const size_t pieces = !pair.down ? 1 : (size_t)t->dims[0] * (t == pair.gate_up ? 2 : 1);

		n_stacks += pair.down != NULL;
		if (__builtin_add_overflow(n, pieces, &n))
			n = SIZE_MAX;
	}
	if (n_stacks == 0) {
		moe_buf_free(&name);
		return MOE_OK;
	}
	tensors = reallocarray(NULL, n, sizeof *tensors);
	if (!tensors)
		st = moe_err_nomem(err, n, "the experts of stacks");
	for (size_t i = 0; i < ckpt->n_tensors && !st; i++) {
		const struct moe_tensor *t = &ckpt->tensors[i];
		const struct pair pair = pair_of(ckpt, t, &name);
		const bool halves = t == pair.gate_up;

		if (pair.down)
			st = add_pieces(ckpt, t, halves, tensors + at, &name, err);
		else
			tensors[at] = *t;
		at += !pair.down ? 1 : (size_t)t->dims[0] * (halves ? 2 : 1);
	}
	moe_buf_free(&name);
	if (st) {
		free(tensors);
		return st;
	}
	free(ckpt->tensors);
	ckpt->tensors = tensors;
	ckpt->n_tensors = n;
	return MOE_OK;
}

/* ---- GGUF ---- */

#define MERGED ".ffn_gate_up_exps.weight"

/* Is it gate over up for every expert in one tensor, [E, 2 I, d], as newer files may have them? */
static bool is_merged(const struct moe_tensor *t)
{
	const size_t n = strlen(t->name), m = strlen(MERGED);

	return n > m && !strcmp(t->name + n - m, MERGED) && t->n_dims == 3 && t->dims[1] % 2 == 0 && t->n_bytes > 0 &&
	       t->dims[0] <= INT32_MAX;
}

/* Half h of every expert as a stack in parts, called PREFIX.ffn_`part`_exps.weight. */
static enum moe_status add_half(struct moe_ckpt *ckpt, const struct moe_tensor *t, int h, struct moe_tensor *out,
                                struct moe_buf *name, struct moe_err *err)
{
	const int32_t n = (int32_t)t->dims[0];
	const size_t half = t->n_bytes / (size_t)n / 2;
	struct moe_weight *parts = MOE_NEW(&ckpt->arena, struct moe_weight, n);
	struct moe_parted *parted = MOE_NEW(&ckpt->arena, struct moe_parted, 1);

	if (!parts || !parted)
		return moe_err_nomem(err, (size_t)n * sizeof *parts, "the experts of stacks");
	name->n = 0;
	moe_buf_addf(name, "%.*s.ffn_%s_exps.weight", (int)(strlen(t->name) - strlen(MERGED)), t->name,
	             h ? "up" : "gate");
	*out = *t;
	out->dims[1] /= 2;
	out->n_bytes /= 2;
	out->data = NULL;
	for (int32_t e = 0; e < n; e++)
		parts[e] = (struct moe_weight){ .codec = t->codec, .rows = out->dims[1], .cols = out->dims[2],
		                                .data = t->data + (2 * (size_t)e + (size_t)h) * half };
	*parted = (struct moe_parted){ .n = n, .parts = parts };
	out->parted = parted;
	enum moe_status st = moe_buf_check(name, err);
	if (st)
		return st;
	out->name = moe_arena_strndup(&ckpt->arena, name->p, name->n);
	return out->name ? MOE_OK : moe_err_nomem(err, name->n, "a tensor's name");
}

enum moe_status moe_ckpt_unmerge(struct moe_ckpt *ckpt, struct moe_err *err)
{
	struct moe_buf name = {0};
	struct moe_tensor *tensors;
	size_t n = ckpt->n_tensors, at = 0;
	enum moe_status st = MOE_OK;

	for (size_t i = 0; i < ckpt->n_tensors; i++)
		n += is_merged(&ckpt->tensors[i]);
	if (n == ckpt->n_tensors)
		return MOE_OK;
	tensors = reallocarray(NULL, n, sizeof *tensors);
	if (!tensors)
		return moe_err_nomem(err, n * sizeof *tensors, "the experts of stacks");
	for (size_t i = 0; i < ckpt->n_tensors && !st; i++) {
		const struct moe_tensor *t = &ckpt->tensors[i];

		if (!is_merged(t)) {
			tensors[at++] = *t;
			continue;
		}
		st = add_half(ckpt, t, 0, &tensors[at++], &name, err);
		if (!st)
			st = add_half(ckpt, t, 1, &tensors[at++], &name, err);
	}
	moe_buf_free(&name);
	if (st) {
		free(tensors);
		return st;
	}
	free(ckpt->tensors);
	ckpt->tensors = tensors;
	ckpt->n_tensors = n;
	return MOE_OK;
}
