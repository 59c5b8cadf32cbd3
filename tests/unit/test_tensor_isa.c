/* Storage types as every instruction set encodes and decodes them: the same bits, on numbers of all kinds. */
#include "../tap.h"

#include <float.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/rng.h"
#include "tensor/kquant.h"
#include "tensor/subblocks.h"
#include "tensor/tensor.h"

enum { N = 256 * 96 };

/* Kinds of blocks, drawn in turn: as weights are, with outliers, whole numbers (ties), steps, constants, zeros, near
 * the smallest and the largest numbers, and what is no number. */
static void draw(float *x, uint64_t seed)
{
	for (size_t i = 0; i < N; i++) {
		const size_t block = i / 256;
		const double u = moe_rng_f64(seed, 1, i), v = moe_rng_f64(seed, 2, i);
		const double normal = sqrt(-2 * log(1 - u)) * cos(6.283185307179586 * v);

		switch (block % 12) {
		case 0: case 1: case 2: x[i] = (float)(0.02 * normal); break;
		case 3: x[i] = (float)(0.02 * normal * (u < 0.05 ? 30 : 1)); break;
		case 4: x[i] = (float)(int)(16 * normal); break;
		case 5: x[i] = (float)((int)(u * 16) - 8) * 0.125f; break;
		case 6: x[i] = i / 16 % 2 ? 0 : (float)(int)(block % 5) - 2; break;
		case 7: x[i] = (float)(normal * 1e-40); break;
		case 8: x[i] = (float)(normal * 1e37); break;
		case 9: x[i] = i % 37 ? (float)normal : -0.0f; break;
		case 10: x[i] = (float)fabs(normal) * (block % 24 < 12 ? 1 : -1); break;
		default: x[i] = (float)normal;
		}
		if (block % 12 == 11 && i % 71 == 0)
			x[i] = i % 3 == 0 ? NAN : i % 3 == 1 ? INFINITY : -FLT_MAX;
	}
}

static bool same_block(const struct moe_kquant *a, const struct moe_kquant *b, int n_sub)
{
	return a->d == b->d && a->d_min == b->d_min && memcmp(a->scale, b->scale, (size_t)n_sub) == 0 &&
	       memcmp(a->min, b->min, (size_t)n_sub) == 0 && memcmp(a->code, b->code, sizeof a->code) == 0;
}

static void check_search(const float *x)
{
	static const struct {
		int n_sub, codes, levels;
		bool symmetric;
	} kinds[] = {
		{16, 3, 15, false}, {8, 15, 63, false}, {8, 31, 63, false}, {16, 4, 32, true}, {16, 32, 128, true},
	};

	for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++) {
		int64_t n_different = 0;

		for (size_t i = 0; i < N; i += MOE_KQUANT_BLOCK) {
			struct moe_kquant a, b;

			if (kinds[k].symmetric) {
				moe_kquant_symmetric(x + i, kinds[k].n_sub, kinds[k].codes, kinds[k].levels, &a);
				moe_subblocks_symmetric(x + i, kinds[k].n_sub, kinds[k].codes, kinds[k].levels, &b);
			} else {
				moe_kquant_affine(x + i, kinds[k].n_sub, kinds[k].codes, kinds[k].levels, &a);
				moe_subblocks_affine(x + i, kinds[k].n_sub, kinds[k].codes, kinds[k].levels, &b);
			}
			n_different += !same_block(&a, &b, kinds[k].n_sub);
		}
		is_i64(n_different, 0, "a sub-block alone and eight at once: %d of %d codes, %s", kinds[k].n_sub,
		       kinds[k].codes, kinds[k].symmetric ? "symmetric" : "affine");
	}
}

static void check_codec(size_t c, const float *x)
{
	const struct moe_codec *best = moe_codec_at(c), *plain;
	const size_t n_bytes = N / best->block_elems * best->block_bytes;
	uint8_t *a = calloc(n_bytes, 1), *b = calloc(n_bytes, 1);
	float *back_a = calloc(N, sizeof *back_a), *back_b = calloc(N, sizeof *back_b);

	setenv("MOE_CPU", "generic", 1);
	plain = moe_codec_at(c);
	unsetenv("MOE_CPU");
	is_str(best->name, plain->name, "the same place in every table");
	if (best->encode) {
		best->encode(x, a, N);
		plain->encode(x, b, N);
		ok(memcmp(a, b, n_bytes) == 0, "%s: the same codes", best->name);
	}
	for (size_t i = 0; i < n_bytes; i++)
		a[i] = (uint8_t)moe_rng_u64(3, c, i);
	best->decode(a, back_a, N);
	plain->decode(a, back_b, N);
	int64_t n_different = 0;
	for (size_t i = 0; i < N; i++)
		n_different += moe_f32_bits(back_a[i]) != moe_f32_bits(back_b[i]) &&
		               !(isnan(back_a[i]) && isnan(back_b[i]));
	is_i64(n_different, 0, "%s: the same numbers of random bytes", best->name);
	free(a);
	free(b);
	free(back_a);
	free(back_b);
}

int main(void)
{
	float *x = malloc(N * sizeof *x);

	if (!x)
		return 1;
	for (uint64_t seed = 1; seed <= 3; seed++) {
		draw(x, seed);
		check_search(x);
	}
	for (size_t c = 0; moe_codec_at(c); c++)
		check_codec(c, x);
	free(x);
	return done();
}
