/* Encoders that are told what numbers matter: without weights nothing changes, equal weights of any size are the same,
 * and with weights the weighted error is less than without. */
#include <math.h>

#include "../tap.h"
#include "base/rng.h"
#include "tensor/tensor.h"

enum { N = 256 * 64 };

/* About normal: the sum of twelve. */
static float normal(uint64_t i)
{
	float sum = -6;
	for (uint64_t k = 0; k < 12; k++)
		sum += (float)(moe_rng_u64(7, i, k) >> 40) * 0x1p-24f;
	return sum;
}

static double error_of(const struct moe_codec *codec, const uint8_t *bytes, const float *x, const float *w)
{
	static float back[N];   /* no test runs beside another */
	double sum = 0;

	codec->decode(bytes, back, N);
	for (size_t i = 0; i < N; i++)
		sum += (double)w[i] * ((double)back[i] - x[i]) * ((double)back[i] - x[i]);
	return sum;
}

static void check(const struct moe_codec *codec, const float *x, const float *w)
{
	const size_t n_bytes = N / codec->block_elems * codec->block_bytes;
	uint8_t *plain = malloc(n_bytes), *other = malloc(n_bytes);
	float *same = malloc(N * sizeof *same), *odd = malloc(N * sizeof *odd);

	codec->encode(x, plain, N);
	codec->encode_weighted(x, NULL, other, N);
	ok(!memcmp(plain, other, n_bytes), "%s: no weights, the same bytes", codec->name);
	const double without = error_of(codec, plain, x, w);
	codec->encode_weighted(x, w, other, N);
	const double with = error_of(codec, other, x, w);
	ok(with < without && with > 0, "%s: %.4f of the weighted error without weights", codec->name, with / without);
	memcpy(plain, other, n_bytes);
	for (size_t i = 0; i < N; i++)
		same[i] = 0x1p20f * w[i];
	codec->encode_weighted(x, same, other, N);
	ok(!memcmp(plain, other, n_bytes), "%s: the size of all weights does not matter", codec->name);
	for (size_t i = 0; i < N; i++)
		same[i] = 1;
	codec->encode(x, plain, N);
	codec->encode_weighted(x, same, other, N);
	const double flat = error_of(codec, other, x, same), usual = error_of(codec, plain, x, same);
	ok(flat <= 1.001 * usual, "%s: equal weights, %.4f of the error without", codec->name, flat / usual);

	/* what is no number stays in its block */
	memcpy(odd, x, N * sizeof *odd);
	odd[300] = NAN;
	codec->encode_weighted(odd, w, other, N);
	codec->decode(other, odd, N);
	ok(isnan(odd[300]) && isfinite(odd[0]) && isfinite(odd[1024]), "%s: NaN stays in its block", codec->name);
	memset(odd, 0, N * sizeof *odd);
	codec->encode_weighted(odd, w, other, N);
	ok(error_of(codec, other, odd, w) == 0, "%s: zeros", codec->name);
	for (size_t i = 0; i < N; i++)
		odd[i] = (i % 3 ? 1.0f : -1.0f) * (i % 5 ? 1e-30f : 3e4f);
	codec->encode_weighted(odd, w, other, N);
	ok(isfinite(error_of(codec, other, odd, w)), "%s: very small and large numbers side by side", codec->name);
	free(plain);
	free(other);
	free(same);
	free(odd);
}

int main(void)
{
	float *x = malloc(N * sizeof *x), *w = malloc(N * sizeof *w);
	int n = 0;

	for (size_t i = 0; i < N; i++) {
		const float z = normal(2 * i);
		x[i] = 0.02f * normal(2 * i + 1);
		w[i] = 1e-3f + z * z * z * z;   /* some columns matter much more than others */
	}
	for (size_t i = 0; moe_codec_at(i); i++)
		if (moe_codec_at(i)->encode_weighted) {
			check(moe_codec_at(i), x, w);
			n++;
		}
	ok(n == 11, "%d types have a choice to make", n);
	free(x);
	free(w);
	return done();
}
