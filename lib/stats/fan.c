/* Following choices to the ranks that hold their experts. */
#include "stats/fan.h"

#include <string.h>

/* Copies of the experts of a layer; lies in scratch. */
struct copies {
	int32_t n_ranks;
	const int32_t *node;   /* [n_ranks] */
	int32_t *from;         /* [n_experts + 1] */
	int32_t *rank;         /* [from[n_experts]] */
	int64_t *seen_rank;    /* [n_ranks] 1 + the token that went there last */
	int64_t *seen_node;    /* [n_ranks] */
	int32_t *went;         /* [top_k] ranks of the token's choices; -1: no choice */
};

/* Copies of one layer are at most all of the plan's, or one of each expert. */
static size_t max_copies(const struct moe_stream_setup *setup)
{
	size_t n = (size_t)setup->params->plan->n_entries;

	return n > (size_t)setup->n_experts ? n : (size_t)setup->n_experts;
}

static size_t scratch_bytes(const struct moe_stream_setup *setup)
{
	return 2 * (size_t)setup->params->plan->n_ranks * sizeof(int64_t) +
	       ((size_t)setup->n_experts + 1 + max_copies(setup) + (size_t)setup->top_k) * sizeof(int32_t);
}

static void index_copies(const struct moe_stream_tokens *tokens, struct copies *c)
{
	const struct moe_stream_setup *setup = tokens->setup;
	const struct moe_plan *plan = setup->params->plan;
	const int32_t n = setup->n_experts;
	const struct moe_plan_entry *entries;
	int64_t n_entries;

	c->n_ranks = plan->n_ranks;
	c->node = setup->params->topology->node;
	c->seen_rank = tokens->scratch;
	c->seen_node = c->seen_rank + c->n_ranks;
	c->from = (int32_t *)(c->seen_node + c->n_ranks);
	c->rank = c->from + n + 1;
	c->went = c->rank + max_copies(setup);
	memset(c->seen_rank, 0, 2 * (size_t)c->n_ranks * sizeof *c->seen_rank);
	memset(c->from, 0, ((size_t)n + 1) * sizeof *c->from);
	entries = moe_plan_layer(plan, tokens->routing->layer, &n_entries);
	if (n_entries == 0) {
		/* A layer that the plan does not name is placed contiguously. */
		for (int32_t e = 0; e < n; e++) {
			c->from[e + 1] = e + 1;
			c->rank[e] = (int32_t)((((int64_t)e + 1) * c->n_ranks - 1) / n);
		}
		return;
	}
	for (int64_t i = 0; i < n_entries; i++)
		c->from[entries[i].expert + 1]++;
	for (int32_t e = 0; e < n; e++)
		c->from[e + 1] += c->from[e];
	for (int64_t i = n_entries; i-- > 0;)   /* from behind: each list ascends, and from[] ends where it began */
		c->rank[--c->from[entries[i].expert + 1]] = entries[i].rank;
	memmove(c->from, c->from + 1, (size_t)n * sizeof *c->from);
	c->from[n] = (int32_t)n_entries;
}

/* The copy that a choice goes to. */
static int32_t pick(const struct copies *c, int32_t expert, int32_t owner, int64_t turn)
{
	const int32_t *ranks = c->rank + c->from[expert];
	const int32_t n = c->from[expert + 1] - c->from[expert];
	int64_t n_near = 0;

	for (int32_t i = 0; i < n; i++) {
		if (ranks[i] == owner)
			return owner;
		n_near += c->node[ranks[i]] == c->node[owner];
	}
	turn %= n_near ? n_near : n;
	for (int32_t i = 0; i < n; i++)
		if ((n_near == 0 || c->node[ranks[i]] == c->node[owner]) && turn-- == 0)
			return ranks[i];
	return owner;   /* not reached: an expert has a copy */
}

/* Sends the token on its way: went[]. False where it chose nothing. */
static bool send(const struct moe_stream_tokens *tokens, struct copies *c, int64_t t, int32_t owner)
{
	const struct moe_routing *r = tokens->routing;
	bool any = false;

	for (int32_t k = 0; k < r->top_k; k++) {
		int32_t id = r->ids[t * r->top_k + k];

		c->went[k] = id < 0 ? -1 : pick(c, id, owner, tokens->run->seq + tokens->run->pos + t);
		any |= id >= 0;
	}
	return any;
}

static int32_t owner_of(const struct moe_stream_tokens *tokens, const struct copies *c)
{
	return (int32_t)(tokens->run->seq % c->n_ranks);
}

/* ---- how many ---- */

static size_t fan_bytes(const struct moe_stream_setup *setup)
{
	(void)setup;
	return sizeof(struct moe_fan);
}

static void count_token(struct moe_fan *s, struct copies *c, int32_t top_k, int32_t owner, int64_t mark)
{
	for (int32_t k = 0; k < top_k; k++) {
		int32_t to = c->went[k];
		bool far;

		if (to < 0)
			continue;
		far = c->node[to] != c->node[owner];
		if (c->seen_rank[to] != mark) {
			s->n_ranks++;
			s->dispatch[far] += to != owner;
		}
		if (c->seen_node[c->node[to]] != mark) {
			s->n_nodes++;
			s->n_far += far;
		}
		s->combine[far] += to != owner;
		c->seen_rank[to] = c->seen_node[c->node[to]] = mark;
	}
}

static enum moe_status add_fan(const struct moe_stream_tokens *tokens, void *state, void *open, struct moe_err *err)
{
	struct moe_fan *s = state;
	struct copies c;

	(void)open;
	(void)err;
	index_copies(tokens, &c);
	for (int64_t t = 0; t < tokens->routing->n_tokens; t++) {
		int32_t owner = owner_of(tokens, &c);

		if (!send(tokens, &c, t, owner))
			continue;
		s->n_tokens++;
		count_token(s, &c, tokens->routing->top_k, owner, t + 1);
	}
	return MOE_OK;
}

static enum moe_status merge_fan(const struct moe_stream_setup *setup, void *into, const void *from,
                                 struct moe_err *err)
{
	struct moe_fan *to = into;
	const struct moe_fan *s = from;

	(void)setup;
	(void)err;
	to->n_tokens += s->n_tokens;
	to->n_ranks += s->n_ranks;
	to->n_nodes += s->n_nodes;
	to->n_far += s->n_far;
	for (int i = 0; i < 2; i++) {
		to->dispatch[i] += s->dispatch[i];
		to->combine[i] += s->combine[i];
	}
	return MOE_OK;
}

const struct moe_stream moe_stream_fan = {
	.state = fan_bytes, .scratch = scratch_bytes, .add = add_fan, .merge = merge_fan,
};

/* ---- from where to where ---- */

static size_t traffic_bytes(const struct moe_stream_setup *setup)
{
	size_t n = (size_t)setup->params->plan->n_ranks;

	return 2 * n * n * sizeof(uint64_t);
}

static enum moe_status add_traffic(const struct moe_stream_tokens *tokens, void *state, void *open,
                                   struct moe_err *err)
{
	uint64_t *dispatch = state, *combine;
	struct copies c;

	(void)open;
	(void)err;
	index_copies(tokens, &c);
	combine = dispatch + (size_t)c.n_ranks * (size_t)c.n_ranks;
	for (int64_t t = 0; t < tokens->routing->n_tokens; t++) {
		size_t n = (size_t)c.n_ranks, owner = (size_t)owner_of(tokens, &c);

		if (!send(tokens, &c, t, (int32_t)owner))
			continue;
		for (int32_t k = 0; k < tokens->routing->top_k; k++) {
			if (c.went[k] < 0)
				continue;
			size_t to = (size_t)c.went[k];

			dispatch[owner * n + to] += c.seen_rank[to] != t + 1;
			combine[to * n + owner]++;
			c.seen_rank[to] = t + 1;
		}
	}
	return MOE_OK;
}

static enum moe_status merge_traffic(const struct moe_stream_setup *setup, void *into, const void *from,
                                     struct moe_err *err)
{
	const size_t n = traffic_bytes(setup) / sizeof(uint64_t);
	uint64_t *to = into;
	const uint64_t *s = from;

	(void)err;
	for (size_t i = 0; i < n; i++)
		to[i] += s[i];
	return MOE_OK;
}

const struct moe_stream moe_stream_traffic = {
	.state = traffic_bytes, .scratch = scratch_bytes, .add = add_traffic, .merge = merge_traffic,
};
