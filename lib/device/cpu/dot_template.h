/* The body of every member whose compiler can be told to vectorise: included once per member, with
 * DOT(name) giving the function's name and DOT_TARGET its target attribute. Lane order: dot.h. */

typedef float DOT(v8) __attribute__((vector_size(32), aligned(4), may_alias));

DOT_TARGET static inline float DOT(fold)(const DOT(v8) * acc)
{
	const DOT(v8) a = *acc;
	return ((a[0] + a[4]) + (a[2] + a[6])) + ((a[1] + a[5]) + (a[3] + a[7]));
}

/* n_r rows by n_t tokens, each at most 2 and 4: known when inlined, so that the sums stay in registers. */
DOT_TARGET static inline __attribute__((always_inline)) void DOT(block)(const float *w, int64_t ldw, const float *x,
                                                                        int64_t ldx, int64_t k, float *y, int64_t ldy,
                                                                        const int n_r, const int n_t)
{
	DOT(v8) acc[2][4];
	for (int r = 0; r < n_r; r++)
		for (int t = 0; t < n_t; t++)
			acc[r][t] = (DOT(v8)){ 0 };
	int64_t i = 0;
	for (; i + 8 <= k; i += 8) {
		for (int r = 0; r < n_r; r++) {
			const DOT(v8) wv = *(const DOT(v8) *)(w + r * ldw + i);
			for (int t = 0; t < n_t; t++)
				acc[r][t] += wv * *(const DOT(v8) *)(x + t * ldx + i);
		}
	}
	for (int r = 0; r < n_r; r++) {
		for (int t = 0; t < n_t; t++) {
			DOT(v8) a = acc[r][t];
			for (int64_t j = i; j < k; j++)
				a[j - i] += w[r * ldw + j] * x[t * ldx + j];
			y[t * ldy + r] = DOT(fold)(&a);
		}
	}
}

DOT_TARGET static void DOT(tile)(const float *w, int64_t n_rows, int64_t ldw, const float *x, int64_t n_tokens,
                                 int64_t ldx, int64_t k, float *y, int64_t ldy)
{
	int64_t r = 0;
	for (; r + 2 <= n_rows; r += 2) {
		int64_t t = 0;
		for (; t + 4 <= n_tokens; t += 4)
			DOT(block)(w + r * ldw, ldw, x + t * ldx, ldx, k, y + t * ldy + r, ldy, 2, 4);
		for (; t < n_tokens; t++)
			DOT(block)(w + r * ldw, ldw, x + t * ldx, ldx, k, y + t * ldy + r, ldy, 2, 1);
	}
	for (; r < n_rows; r++)
		for (int64_t t = 0; t < n_tokens; t++)
			DOT(block)(w + r * ldw, ldw, x + t * ldx, ldx, k, y + t * ldy + r, ldy, 1, 1);
}

DOT_TARGET static void DOT(axpy)(float a, const float *restrict x, int64_t n, float *restrict y)
{
	for (int64_t i = 0; i < n; i++)
		y[i] += a * x[i];
}
