// Conditional voices, and the union of what they play: minigen/voices.py and minigen/union.py, their names and
// order. OUTCOMES is K+1, a macro: the keys and the pause, outcome K. N = T B rows.
//
// voice_forward    one voice, all rows: head, softmax, restricted draw, the keys played so far, and what they add to the next gates
// union_forward    P, the pause cell Q and the factors (1 - P), of all voices
// union_backward   both forms, with or without the pause cell
//
// The union is no part of voice_forward: voices at once have it too, and it is one pass over p. Where nothing
// is stated: a few dozen registers and no shared memory.

#define ALL 0xffffffffu
#define ROWS 64     // of a block of voice_forward
#define THREADS 256 // of the same
#define K (OUTCOMES - 1)

// h (N, H), W (H, K+1), b (K+1,), u (V, N) uniforms or known (V, N) outcomes, allowed (N, K+1) or null. Voice v of what
// all share is written: p (V, N, K+1), notes (V, N), fresh (V, N), the note, or K where it was played before; of played
// (N, V, K) v is read and v+1 written. The next voice's part of gates (N, V, columns) gets the row of table
// (K, V, columns), out of its Wx, of every key played.
// Mapping: each of the first ROWS threads has a row, its logits in registers; then, after the barrier, each warp has a
// row at a time, along the columns. Budget: K+1 registers and two or three dozen, no shared memory.
// Floor (an estimate): the traffic, at K = 12 and H = 40 about 0.35 KB per row, and 1.3 KB more where something was played.
extern "C" __global__ void __launch_bounds__(THREADS)
voice_forward(int N, int V, int v, int H, float temperature, const float *h, const float *W, const float *b,
              const float *u, const long long *known, const bool *allowed, float *p, long long *notes, int *fresh,
              float *played, int columns, const float *table, float *gates) {
    const int next = v + 1;
    const int first = blockIdx.x * ROWS, n = first + threadIdx.x;
    if (threadIdx.x < ROWS && n < N) {
        float z[OUTCOMES];
#pragma unroll
        for (int k = 0; k < OUTCOMES; ++k) z[k] = 0;
        for (int j = 0; j < H; ++j) {
            const float h_j = h[n * H + j];
#pragma unroll
            for (int k = 0; k < OUTCOMES; ++k) z[k] += h_j * W[j * OUTCOMES + k];
        }
#pragma unroll
        for (int k = 0; k < OUTCOMES; ++k) z[k] = (z[k] + b[k]) / temperature;

        int note = known ? (int)known[v * N + n] : 0;
        if (!known) { // softmax(z) restricted to `allowed`, by inverse CDF in outcome order
            const bool *open = allowed ? allowed + (size_t)n * OUTCOMES : nullptr;
            float best = -3.4028235e38f, mass = 0, cdf = 0;
#pragma unroll
            for (int k = 0; k < OUTCOMES; ++k)
                if (!open || open[k]) best = fmaxf(best, z[k]);
#pragma unroll
            for (int k = 0; k < OUTCOMES; ++k)
                if (!open || open[k]) mass += expf(z[k] - best);
            const float target = fminf(u[v * N + n], 0.99999994f) * mass; // a u rounded to 1 would draw what has no mass
#pragma unroll
            for (int k = 0; k < OUTCOMES; ++k) {
                if (!open || open[k]) cdf += expf(z[k] - best);
                note += cdf <= target;
            }
        }
        const float *before = played + ((size_t)n * V + v) * K;
        notes[v * N + n] = note;
        fresh[v * N + n] = note < K && before[note] == 0 ? note : K;
#pragma unroll
        for (int k = 0; k < K && next < V; ++k) played[((size_t)n * V + next) * K + k] = k == note ? 1 : before[k];

        float top = z[0], total = 0;
#pragma unroll
        for (int k = 1; k < OUTCOMES; ++k) top = fmaxf(top, z[k]);
#pragma unroll
        for (int k = 0; k < OUTCOMES; ++k) total += z[k] = expf(z[k] - top);
#pragma unroll
        for (int k = 0; k < OUTCOMES; ++k) p[((size_t)v * N + n) * OUTCOMES + k] = z[k] / total;
    }
    if (next == V) return;
    __syncthreads(); // fresh is read by the whole block

    for (int row = first + threadIdx.x / 32; row < first + ROWS && row < N; row += THREADS / 32) {
        const int lane = threadIdx.x % 32, own = lane <= v ? fresh[lane * N + row] : K; // lane w has voice w's
        for (int w = 0; w <= v; ++w) {
            const unsigned key = __shfl_sync(ALL, own, w);
            if (key >= K) continue;
            for (int j = lane; j < columns; j += 32)
                gates[((size_t)row * V + next) * columns + j] += table[(key * V + next) * columns + j];
        }
    }
}

// Mapping: a thread per cell of a row, the pause among them. p (V, N, K+1) -> cells (N, C), C being K, or K+1 with the
// pause cell last; factors (V, N, K). Floor: the traffic, 2 V numbers per cell.
extern "C" __global__ void union_forward(int N, int V, int C, const float *p, float *cells, float *factors) {
    const int at = blockIdx.x * blockDim.x + threadIdx.x, n = at / OUTCOMES, k = at % OUTCOMES;
    if (n >= N || k >= C) return;
    float P = 0, Q = 1;
    for (int v = 0; v < V; ++v) {
        const float p_v = p[((size_t)v * N + n) * OUTCOMES + k];
        if (k < K) {
            factors[((size_t)v * N + n) * K + k] = 1 - P;
            P += (1 - P) * p_v;
        } else
            Q *= p_v;
    }
    cells[(size_t)n * C + k] = k < K ? P : Q;
}

// Mapping: a thread per outcome of a row. dcells (N, C) -> dp (V, N, K+1); nothing is divided. Floor: as above.
extern "C" __global__ void union_backward(int N, int V, int C, bool stop_gradient, const float *dcells, const float *p,
                                          const float *factors, float *dp) {
    const int at = blockIdx.x * blockDim.x + threadIdx.x, n = at / OUTCOMES, k = at % OUTCOMES;
    if (n >= N) return;
    const float dcell = k < C ? dcells[(size_t)n * C + k] : 0;
    float prefix = 1, suffix = 1;
    for (int v = 0; v < V; ++v) {
        const size_t own = ((size_t)v * N + n) * OUTCOMES + k;
        if (k < K && stop_gradient)
            // in the forward pass this was: P += factors[v] * p[v], the factors taken as constants
            dp[own] = dcell * factors[((size_t)v * N + n) * K + k];
        else {
            // in the forward pass this was: Q = prod_v p_v[pause], and 1 - P = prod_v (1 - p_v)
            dp[own] = dcell * prefix;
            prefix *= k < K ? 1 - p[own] : p[own];
        }
    }
    if (k < K && stop_gradient) return;
    for (int v = V - 1; v >= 0; --v) {
        const size_t own = ((size_t)v * N + n) * OUTCOMES + k;
        dp[own] *= suffix;
        suffix *= k < K ? 1 - p[own] : p[own];
    }
}
