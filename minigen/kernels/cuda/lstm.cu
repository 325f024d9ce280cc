// The LSTM over a whole sequence: the recurrence of all steps in one launch, the recurrent weights in registers. The
// equations, names and order of minigen/lstm.py. HIDDEN is H, a macro, at most 108; for more see lstm_step.cu.
//
// Mapping. A block is one row of the batch in one LSTM (blockIdx.x, blockIdx.y), and no block waits for
// another. Lane 8q + s of a warp works for gate q of the warp's 8 units, unit s being its own; where H > 96, warp w also
// has unit 96 + w, which all its lanes compute. In the forward pass a lane holds column q of those units in Wh, every 8th pair
// of rows; in the backward pass the units' rows, every 32nd pair of columns. Partial sums meet by shuffles, so a unit's
// gates never leave its warp, and a step has one barrier: when the new h (backward: da) lies in shared memory.
// Budget. At most 12 warps of 9 * 14 weights per thread, under the 168 registers that each of 384 threads can have;
// shared memory: two rows of h, or of da (3.5 KiB at most). What a step reads is fetched two steps before, for the ninth
// unit in the backward pass one.
// Floor (an estimate by arithmetic, H = 100): 40,000 multiply-adds a step, 128 at a time, are 312 clocks.

#define ALL 0xffffffffu
#define EXTRA (HIDDEN > 96)                               // whether warps have a ninth unit
#define UNITS (8 + EXTRA)                                 // of a warp
#define OWN (1 + EXTRA)                                   // that a lane finishes: unit s, and the ninth
#define THREADS (EXTRA ? 384 : 32 * ((HIDDEN + 7) / 8))
#define PAIRS ((HIDDEN + 15) / 16)                        // of rows in the forward pass, of columns in the backward
#define EACH(m) (int m = 0; m < OWN && (!m || extra); ++m)
#define UNIT(m) (m ? 96 + warp : 8 * warp + s)

// From the first 8 of a lane's partial sums the total of unit s over the 8 lanes of a group.
__device__ __forceinline__ float gather(float *sum, int s) {
#pragma unroll
    for (int width = 4; width; width /= 2)
#pragma unroll
        for (int k = 0; k < width; ++k) {
            const float sent = s & width ? sum[k] : sum[k + width], kept = s & width ? sum[k + width] : sum[k];
            sum[k] = kept + __shfl_xor_sync(ALL, sent, width);
        }
    return sum[0];
}

// The total of x over `lanes` lanes that lie side by side.
__device__ __forceinline__ float total_of(float x, int lanes) {
#pragma unroll
    for (int width = lanes / 2; width; width /= 2) x += __shfl_xor_sync(ALL, x, width);
    return x;
}

// gates (T, B, L, 4H) hold x Wx and become the activated gates; h0, c0 (L, B, H), Wh (L, H, 4H), b (L, 4H) -> h and c
// (L, T+1, B, H), row 0 the initial state. The grid is (B, n): n independent LSTMs, from the `first` of L on.
extern "C" __global__ void __launch_bounds__(THREADS, 1)
lstm_forward(int T, int L, int first, float *gates, const float *Wh, const float *b, const float *h0, const float *c0,
             float *h, float *c) {
    constexpr int H = HIDDEN;
    __shared__ float2 h_shared[2][8 * PAIRS]; // h of the step before, and of this one
    const int B = gridDim.x, lane = threadIdx.x % 32, q = lane / 8, s = lane % 8, l = first + blockIdx.y;
    const int warp = __shfl_sync(ALL, threadIdx.x / 32, 0); // the same for all lanes, which the compiler then knows
    const bool extra = EXTRA && 96 + warp < H;
    // cells are counted, since a pointer takes two registers: of gates, and of h and c
    const int step = B * L * 4 * H;
    int gate = ((blockIdx.x * L + l) * 4 + q) * H, cell = (l * (T + 1) * B + blockIdx.x) * H;

    float2 w[UNITS][PAIRS];
#pragma unroll
    for (int u = 0; u < UNITS; ++u)
#pragma unroll
        for (int k = 0; k < PAIRS; ++k) {
            const int j = u < 8 ? 8 * warp + u : 96 + warp, from = 2 * (s + 8 * k), at = (l * H + from) * 4 * H + q * H + j;
            w[u][k].x = from < H && j < H ? Wh[at] : 0;
            w[u][k].y = from + 1 < H && j < H ? Wh[at + 4 * H] : 0;
        }
    float bias[OWN], c_t[OWN], soon[OWN], later[OWN];
#pragma unroll
    for EACH(m) {
        const int j = UNIT(m);
        bias[m] = j < H ? b[(l * 4 + q) * H + j] : 0;
        c_t[m] = j < H ? c0[(l * B + blockIdx.x) * H + j] : 0;
        soon[m] = j < H ? gates[gate + j] : 0;
        later[m] = j < H && T > 1 ? gates[gate + step + j] : 0;
        if (j < H && q == 0 && (m == 0 || s == 0)) c[cell + j] = c_t[m];
    }
    for (int k = threadIdx.x; k < 2 * 16 * PAIRS; k += THREADS) {
        const float h_0 = k < H ? h0[(l * B + blockIdx.x) * H + k] : 0;
        ((float *)h_shared)[k] = h_0;
        if (k < H) h[cell + k] = h_0;
    }
    __syncthreads();

    for (int t = 0; t < T; ++t) {
        float sum[8] = {}, total[OWN], a[OWN];
#pragma unroll
        for EACH(m) {
            const int j = UNIT(m);
            a[m] = soon[m] + bias[m], soon[m] = later[m];
            if (j < H && t + 2 < T) later[m] = gates[gate + 2 * step + j];
        }
#pragma unroll
        for (int k = 0; k < PAIRS; ++k) {
            const float2 h_t = h_shared[t % 2][s + 8 * k];
#pragma unroll
            for (int u = 0; u < 8; ++u) sum[u] = fmaf(h_t.y, w[u][k].y, fmaf(h_t.x, w[u][k].x, sum[u]));
        }
        total[0] = gather(sum, s);
        if (extra) {
            float ninth = 0;
#pragma unroll
            for (int k = 0; k < PAIRS; ++k) {
                const float2 h_t = h_shared[t % 2][s + 8 * k];
                ninth = fmaf(h_t.y, w[UNITS - 1][k].y, fmaf(h_t.x, w[UNITS - 1][k].x, ninth));
            }
            total[OWN - 1] = total_of(ninth, 8);
        }
        cell += B * H;
#pragma unroll
        for EACH(m) {
            const int j = UNIT(m);
            // one tanh for all gates, so that no lane waits: sigmoid(a) = 0.5 tanh(0.5 a) + 0.5
            const float half = q < 3 ? 0.5f : 1.0f, activated = half * tanhf(half * (a[m] + total[m])) + (1 - half);
            const float i = __shfl_sync(ALL, activated, s), f = __shfl_sync(ALL, activated, 8 + s);
            const float o = __shfl_sync(ALL, activated, 16 + s), g = __shfl_sync(ALL, activated, 24 + s);
            c_t[m] = f * c_t[m] + i * g;
            const float h_t = o * tanhf(c_t[m]);
            if (j < H && (m == 0 || s == 0)) {
                gates[gate + j] = activated;
                if (q == 0) ((float *)h_shared[(t + 1) % 2])[j] = h_t;
                if (q == 1) h[cell + j] = h_t;
                if (q == 2) c[cell + j] = c_t[m];
            }
        }
        gate += step;
        __syncthreads();
    }
}

// dh (L, T, B, H), dc_last (L, B, H) or null on c[-1], gates and c as the forward pass left them -> da (T, B, L, 4H),
// db (L, B, 4H) per row of the batch, dh0 and dc0 (L, B, H).
extern "C" __global__ void __launch_bounds__(THREADS, 1)
lstm_backward(int T, int L, const float *dh, const float *dc_last, const float *gates, const float *c, const float *Wh,
              float *da, float *db, float *dh0, float *dc0) {
    constexpr int H = HIDDEN;
    __shared__ float2 da_shared[2][32 * PAIRS]; // da of this step, and of the one after it
    const int B = gridDim.x, lane = threadIdx.x % 32, q = lane / 8, s = lane % 8, l = blockIdx.y;
    const int warp = __shfl_sync(ALL, threadIdx.x / 32, 0);
    const bool extra = EXTRA && 96 + warp < H;
    const int step = B * L * 4 * H, own_row = l * B + blockIdx.x;
    // of gates and da; and of dh, of which c, with a row more per LSTM, is l * B * H further
    int gate = (T - 1) * step + ((blockIdx.x * L + l) * 4 + q) * H, cell = ((l * T + T - 1) * B + blockIdx.x) * H;
    const int of_c = l * B * H;

    float2 w[UNITS][PAIRS];
#pragma unroll
    for (int u = 0; u < UNITS; ++u)
#pragma unroll
        for (int k = 0; k < PAIRS; ++k) {
            const int j = u < 8 ? 8 * warp + u : 96 + warp, column = 2 * (lane + 32 * k), at = (l * H + j) * 4 * H + column;
            w[u][k].x = column < 4 * H && j < H ? Wh[at] : 0;
            w[u][k].y = column + 1 < 4 * H && j < H ? Wh[at + 1] : 0;
        }
    // what steps t and t-1 read: the lane's own gate, dh and the c before the step; c_t is the c after step t
    float total[OWN], dc[OWN], db_own[OWN], c_t[OWN], own[2][OWN], d[2][OWN], c_before[2][OWN];
#pragma unroll
    for EACH(m) {
        const int j = UNIT(m);
        total[m] = db_own[m] = 0;
        dc[m] = dc_last && j < H ? dc_last[own_row * H + j] : 0;
        c_t[m] = j < H ? c[cell + of_c + B * H + j] : 0;
#pragma unroll
        for (int back = 0; back < 2; ++back) {
            const bool there = j < H && back < T;
            own[back][m] = there ? gates[gate - back * step + j] : 0;
            d[back][m] = there ? dh[cell - back * B * H + j] : 0;
            c_before[back][m] = there ? c[cell - back * B * H + of_c + j] : 0;
        }
    }
    for (int k = threadIdx.x; k < 2 * 64 * PAIRS; k += THREADS) ((float *)da_shared)[k] = 0;
    __syncthreads();

    for (int t = T - 1; t >= 0; --t) {
#pragma unroll
        for EACH(m) {
            const int j = UNIT(m);
            const float own_t = own[0][m], c_0 = c_before[0][m], dh_t = d[0][m] + total[m];
            const int distance = m ? 1 : 2; // steps; the ninth unit has no registers for two
            if (distance == 2) own[0][m] = own[1][m], d[0][m] = d[1][m], c_before[0][m] = c_before[1][m];
            if (j < H && t >= distance) {
                own[distance - 1][m] = gates[gate - distance * step + j];
                d[distance - 1][m] = dh[cell - distance * B * H + j];
                c_before[distance - 1][m] = c[cell - distance * B * H + of_c + j];
            }
            const float i = __shfl_sync(ALL, own_t, s), f = __shfl_sync(ALL, own_t, 8 + s);
            const float o = __shfl_sync(ALL, own_t, 16 + s), g = __shfl_sync(ALL, own_t, 24 + s);
            // in the forward pass this was: h[t + 1] = o * tanh(c[t + 1]), read by the layer above and by step t + 1
            const float tanh_c = tanhf(c_t[m]);
            dc[m] += dh_t * o * (1 - tanh_c * tanh_c);
            // in the forward pass this was: c[t + 1] = f * c[t] + i * g;  i, f, o = sigmoid(a), g = tanh(a)
            const float along = q == 2 ? dh_t : dc[m], times = q == 0 ? g : q == 1 ? c_0 : q == 2 ? tanh_c : i;
            const float da_own = along * times * (q < 3 ? own_t * (1 - own_t) : 1 - own_t * own_t);
            dc[m] *= f;
            db_own[m] += da_own;
            c_t[m] = c_0;
            if (j < H && (m == 0 || s == 0)) {
                ((float *)da_shared[t % 2])[q * H + j] = da_own;
                da[gate + j] = da_own;
            }
        }
        gate -= step, cell -= B * H;
        __syncthreads();
        // in the forward pass this was: a += h[t] @ Wh
        float sum[8] = {};
#pragma unroll
        for (int k = 0; k < PAIRS; ++k) {
            const float2 da_t = da_shared[t % 2][lane + 32 * k];
#pragma unroll
            for (int u = 0; u < 8; ++u) sum[u] = fmaf(da_t.y, w[u][k].y, fmaf(da_t.x, w[u][k].x, sum[u]));
        }
        total[0] = gather(sum, s);
        total[0] += __shfl_xor_sync(ALL, total[0], 8);
        total[0] += __shfl_xor_sync(ALL, total[0], 16);
        if (extra) {
            float ninth = 0;
#pragma unroll
            for (int k = 0; k < PAIRS; ++k) {
                const float2 da_t = da_shared[t % 2][lane + 32 * k];
                ninth = fmaf(da_t.y, w[UNITS - 1][k].y, fmaf(da_t.x, w[UNITS - 1][k].x, ninth));
            }
            total[OWN - 1] = total_of(ninth, 32);
        }
    }
#pragma unroll
    for EACH(m) {
        const int j = UNIT(m);
        if (j < H && (m == 0 || s == 0)) {
            db[(own_row * 4 + q) * H + j] = db_own[m];
            if (q == 0) dh0[own_row * H + j] = total[m], dc0[own_row * H + j] = dc[m];
        }
    }
}
