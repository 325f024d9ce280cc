// The LSTM over a whole sequence: the recurrence of all steps in one launch, the recurrent weights in registers. The
// equations, names and order of minigen/lstm.py. HIDDEN is H, a macro, at most 108; for more see lstm_step.cu.
//
// Mapping. A block is one row of the batch in one LSTM (blockIdx.x, blockIdx.y), and no block waits for
// another. Lane 8q + s of a warp works for gate q of the warp's units: 8 of them, unit s being its own, or 9 where
// H > 96, the ninth being everybody's. In the forward pass it holds column q of those units in Wh, every 8th pair of
// rows; in the backward pass the units' rows, every 32nd pair of columns. Partial sums meet by shuffles, so a unit's
// gates never leave its warp, and a step has one barrier: when the new h (backward: da) lies in shared memory.
// Budget. At most 12 warps of 9 * 14 weights per thread, under the 168 registers that 384 threads leave each other;
// shared memory: two rows of h, or of da (3.5 KiB at most). What a step reads is fetched two steps ahead.
// Floor (an estimate by arithmetic, H = 100): 40,000 multiply-adds a step, 128 at a time, are 312 clocks.

#define ALL 0xffffffffu
#define UNITS (HIDDEN > 96 ? 9 : 8)                       // of a warp
#define OWN (UNITS - 7)                                   // a lane finishes unit s, and with 9 units also the ninth
#define THREADS (32 * ((HIDDEN + UNITS - 1) / UNITS))
#define PAIRS ((HIDDEN + 15) / 16)                        // of rows in the forward pass, of columns in the backward

// From UNITS partial sums a lane to OWN totals over the 8 lanes of a group: total[0] of unit s, total[1] of the ninth.
__device__ __forceinline__ void gather(float *sum, float *total, int s) {
#pragma unroll
    for (int width = 4; width; width /= 2)
#pragma unroll
        for (int k = 0; k < width; ++k) {
            const float sent = s & width ? sum[k] : sum[k + width], kept = s & width ? sum[k + width] : sum[k];
            sum[k] = kept + __shfl_xor_sync(ALL, sent, width);
        }
    total[0] = sum[0];
    if (OWN == 2) {
        total[1] = sum[UNITS - 1];
#pragma unroll
        for (int width = 4; width; width /= 2) total[1] += __shfl_xor_sync(ALL, total[1], width);
    }
}

// gates (L, T, B, 4H) hold x Wx and become the activated gates; h and c (L, T+1, B, H), row 0 the initial state; Wh
// (L, H, 4H), b (L, 4H). The grid is (B, L): L independent LSTMs.
extern "C" __global__ void __launch_bounds__(THREADS, 1)
lstm_forward(int T, float *gates, const float *Wh, const float *b, float *h, float *c) {
    constexpr int H = HIDDEN;
    __shared__ float2 h_shared[2][8 * PAIRS]; // h of the step before, and of this one
    const int B = gridDim.x, n = blockIdx.x, lane = threadIdx.x % 32, q = lane / 8, s = lane % 8;
    const int first = threadIdx.x / 32 * UNITS, l = blockIdx.y;
    // the row of (L, T, B), and l * B after it that of (L, T+1, B): numbers, since a pointer takes two registers
    int row = l * T * B + n;

    float2 w[UNITS][PAIRS];
#pragma unroll
    for (int u = 0; u < UNITS; ++u)
#pragma unroll
        for (int k = 0; k < PAIRS; ++k) {
            const int from = 2 * (s + 8 * k), j = first + u, at = (l * H + from) * 4 * H + q * H + j;
            w[u][k].x = from < H && j < H ? Wh[at] : 0;
            w[u][k].y = from + 1 < H && j < H ? Wh[at + 4 * H] : 0;
        }
    float bias[OWN], c_t[OWN], soon[OWN], later[OWN];
#pragma unroll
    for (int m = 0; m < OWN; ++m) {
        const int j = first + (m ? 8 : s);
        bias[m] = j < H ? b[(l * 4 + q) * H + j] : 0;
        c_t[m] = j < H ? c[(row + l * B) * H + j] : 0;
        soon[m] = j < H ? gates[(row * 4 + q) * H + j] : 0;
        later[m] = j < H && T > 1 ? gates[((row + B) * 4 + q) * H + j] : 0;
    }
    for (int k = threadIdx.x; k < 2 * 16 * PAIRS; k += THREADS) {
        const int j = k % (16 * PAIRS);
        ((float *)h_shared)[k] = k < H ? h[(row + l * B) * H + j] : 0;
    }
    __syncthreads();

    for (int t = 0; t < T; ++t, row += B) {
        float sum[UNITS], total[OWN];
#pragma unroll
        for (int u = 0; u < UNITS; ++u) sum[u] = 0;
#pragma unroll
        for (int k = 0; k < PAIRS; ++k) {
            const float2 h_t = h_shared[t % 2][s + 8 * k];
#pragma unroll
            for (int u = 0; u < UNITS; ++u) sum[u] += h_t.x * w[u][k].x + h_t.y * w[u][k].y;
        }
        gather(sum, total, s);
#pragma unroll
        for (int m = 0; m < OWN; ++m) {
            const int j = first + (m ? 8 : s);
            const int at = (row * 4 + q) * H + j, next = (row + (l + 1) * B) * H + j;
            const float a = soon[m] + bias[m] + total[m];
            soon[m] = later[m];
            if (j < H && t + 2 < T) later[m] = gates[at + 2 * B * 4 * H];
            // one tanh for all gates, so that no lane waits: sigmoid(a) = 0.5 tanh(0.5 a) + 0.5
            const float half = q < 3 ? 0.5f : 1.0f, activated = half * tanhf(half * a) + (1 - half);
            const float i = __shfl_sync(ALL, activated, s), f = __shfl_sync(ALL, activated, 8 + s);
            const float o = __shfl_sync(ALL, activated, 16 + s), g = __shfl_sync(ALL, activated, 24 + s);
            c_t[m] = f * c_t[m] + i * g;
            const float h_t = o * tanhf(c_t[m]);
            if (j < H && (m == 0 || s == 0)) {
                gates[at] = activated;
                if (q == 0) ((float *)h_shared[(t + 1) % 2])[j] = h_t;
                if (q == 1) h[next] = h_t;
                if (q == 2) c[next] = c_t[m];
            }
        }
        __syncthreads();
    }
}

// dh (L, T, B, H), gates and c as the forward pass left them -> da (L, T, B, 4H), db (L, B, 4H) per row of the batch,
// dh_next (L, B, H); dc_next (L, B, H) comes in as the gradient with respect to c[-1] and goes out as that with respect to c[0].
extern "C" __global__ void __launch_bounds__(THREADS, 1)
lstm_backward(int T, const float *dh, const float *gates, const float *c, const float *Wh, float *da, float *db,
              float *dh_next, float *dc_next) {
    constexpr int H = HIDDEN;
    __shared__ float2 da_shared[2][32 * PAIRS]; // da of this step, and of the one after it
    const int B = gridDim.x, n = blockIdx.x, lane = threadIdx.x % 32, q = lane / 8, s = lane % 8;
    const int first = threadIdx.x / 32 * UNITS, l = blockIdx.y, own_row = l * B + n;
    int row = (l * T + T - 1) * B + n; // as in the forward pass

    float2 w[UNITS][PAIRS];
#pragma unroll
    for (int u = 0; u < UNITS; ++u)
#pragma unroll
        for (int k = 0; k < PAIRS; ++k) {
            const int column = 2 * (lane + 32 * k), j = first + u;
            w[u][k].x = column < 4 * H && j < H ? Wh[(l * H + j) * 4 * H + column] : 0;
            w[u][k].y = column + 1 < 4 * H && j < H ? Wh[(l * H + j) * 4 * H + column + 1] : 0;
        }
    // what steps t and t-1 read: the lane's own gate, dh and the c before the step; c_t is the c after step t
    float total[OWN], dc[OWN], db_own[OWN], c_t[OWN], gate[2][OWN], d[2][OWN], c_before[2][OWN];
#pragma unroll
    for (int m = 0; m < OWN; ++m) {
        const int j = first + (m ? 8 : s);
        total[m] = db_own[m] = 0;
        dc[m] = j < H ? dc_next[own_row * H + j] : 0;
        c_t[m] = j < H ? c[(row + (l + 1) * B) * H + j] : 0;
#pragma unroll
        for (int back = 0; back < 2; ++back) {
            const int then = row - back * B;
            const bool there = j < H && back < T;
            gate[back][m] = there ? gates[(then * 4 + q) * H + j] : 0;
            d[back][m] = there ? dh[then * H + j] : 0;
            c_before[back][m] = there ? c[(then + l * B) * H + j] : 0;
        }
    }
    for (int k = threadIdx.x; k < 2 * 64 * PAIRS; k += THREADS) ((float *)da_shared)[k] = 0;
    __syncthreads();

    for (int t = T - 1; t >= 0; --t, row -= B) {
#pragma unroll
        for (int m = 0; m < OWN; ++m) {
            const int j = first + (m ? 8 : s);
            const float i = __shfl_sync(ALL, gate[0][m], s), f = __shfl_sync(ALL, gate[0][m], 8 + s);
            const float o = __shfl_sync(ALL, gate[0][m], 16 + s), g = __shfl_sync(ALL, gate[0][m], 24 + s);
            // in the forward pass this was: h[t + 1] = o * tanh(c[t + 1]), read by the layer above and by step t + 1
            const float tanh_c = tanhf(c_t[m]), dh_t = d[0][m] + total[m], do_ = dh_t * tanh_c;
            dc[m] += dh_t * o * (1 - tanh_c * tanh_c);
            // in the forward pass this was: c[t + 1] = f * c[t] + i * g;  i, f, o = sigmoid(a), g = tanh(a)
            const float di = dc[m] * g, df = dc[m] * c_before[0][m], dg = dc[m] * i;
            const float da_own = q == 0   ? di * i * (1 - i)
                                 : q == 1 ? df * f * (1 - f)
                                 : q == 2 ? do_ * o * (1 - o)
                                          : dg * (1 - g * g);
            dc[m] *= f;
            db_own[m] += da_own;
            if (j < H && (m == 0 || s == 0)) {
                ((float *)da_shared[t % 2])[q * H + j] = da_own;
                da[(row * 4 + q) * H + j] = da_own;
            }
            c_t[m] = c_before[0][m];
            gate[0][m] = gate[1][m], d[0][m] = d[1][m], c_before[0][m] = c_before[1][m];
            if (j < H && t > 1) {
                const int then = row - 2 * B;
                gate[1][m] = gates[(then * 4 + q) * H + j];
                d[1][m] = dh[then * H + j];
                c_before[1][m] = c[(then + l * B) * H + j];
            }
        }
        __syncthreads();
        // in the forward pass this was: a += h[t] @ Wh
        float sum[UNITS];
#pragma unroll
        for (int u = 0; u < UNITS; ++u) sum[u] = 0;
#pragma unroll
        for (int k = 0; k < PAIRS; ++k) {
            const float2 da_t = da_shared[t % 2][lane + 32 * k];
#pragma unroll
            for (int u = 0; u < UNITS; ++u) sum[u] += da_t.x * w[u][k].x + da_t.y * w[u][k].y;
        }
        gather(sum, total, s);
#pragma unroll
        for (int m = 0; m < OWN; ++m) {
            total[m] += __shfl_xor_sync(ALL, total[m], 8);
            total[m] += __shfl_xor_sync(ALL, total[m], 16);
        }
    }
#pragma unroll
    for (int m = 0; m < OWN; ++m) {
        const int j = first + (m ? 8 : s);
        if (j < H && (m == 0 || s == 0)) {
            db[(own_row * 4 + q) * H + j] = db_own[m];
            if (q == 0) dh_next[own_row * H + j] = total[m], dc_next[own_row * H + j] = dc[m];
        }
    }
}
