// Between the products, and Adam: minigen/linear.py, minigen/decoder.py and minigen/adam.py, their names and order.
//
// softmax_forward, softmax_backward          a thread per row
// masked_loss_forward, masked_loss_backward  a thread per key
// adam                                       a thread per weight
//
// Registers: a few dozen. Shared memory: a number a warp, where a block sums its losses; the sums of the blocks are
// added by CuPy. Floor of each: the traffic of its arrays.

#define ALL 0xffffffffu
#define THREADS 256 // of a block that sums

// The sum of x over the block, for every thread of it.
__device__ __forceinline__ float block_sum(float x) {
    __shared__ float part[THREADS / 32];
#pragma unroll
    for (int width = 16; width; width /= 2) x += __shfl_xor_sync(ALL, x, width);
    if (threadIdx.x % 32 == 0) part[threadIdx.x / 32] = x;
    __syncthreads();
    float sum = 0;
#pragma unroll
    for (int w = 0; w < THREADS / 32; ++w) sum += part[w];
    return sum;
}

// z (N, C) -> p (N, C)
extern "C" __global__ void softmax_forward(int N, int C, const float *z, float *p) {
    const int n = blockIdx.x * blockDim.x + threadIdx.x;
    if (n >= N) return;
    z += (size_t)n * C, p += (size_t)n * C;
    float top = z[0], total = 0;
    for (int k = 1; k < C; ++k) top = fmaxf(top, z[k]);
    for (int k = 0; k < C; ++k) total += p[k] = expf(z[k] - top);
    for (int k = 0; k < C; ++k) p[k] /= total;
}

// dp, p (N, C) -> dz (N, C)
extern "C" __global__ void softmax_backward(int N, int C, const float *dp, const float *p, float *dz) {
    const int n = blockIdx.x * blockDim.x + threadIdx.x;
    if (n >= N) return;
    dp += (size_t)n * C, p += (size_t)n * C, dz += (size_t)n * C;
    float along = 0;
    for (int k = 0; k < C; ++k) along += dp[k] * p[k];
    for (int k = 0; k < C; ++k) dz[k] = p[k] * (dp[k] - along);
}

// z, keys (N, 88), open (N, C), C = 12 classes or 88 keys, mask (N,) -> p (N, 88), nats (blocks,), to be added
extern "C" __global__ void __launch_bounds__(THREADS)
masked_loss_forward(int N, int C, const float *z, const float *keys, const float *open, const bool *mask, float *p,
                    float *nats) {
    const int at = blockIdx.x * THREADS + threadIdx.x, n = at / 88, k = at % 88;
    float own = 0;
    if (n < N) {
        const float a = z[at];
        const bool allowed = open[n * C + k % C] > 0;
        p[at] = allowed ? 0.5f * tanhf(0.5f * a) + 0.5f : 0;
        if (allowed && mask[n]) own = fmaxf(a, 0) + log1pf(expf(-fabsf(a))) - keys[at] * a;
    }
    const float sum = block_sum(own);
    if (threadIdx.x == 0) nats[blockIdx.x] = sum;
}

// p, keys (N, 88), open (N, C), mask (N,), cells () -> dz (N, 88)
extern "C" __global__ void masked_loss_backward(int N, int C, const float *p, const float *keys, const float *open,
                                                const bool *mask, const float *cells, float *dz) {
    const int at = blockIdx.x * blockDim.x + threadIdx.x, n = at / 88, k = at % 88;
    if (n >= N) return;
    const bool allowed = open[n * C + k % C] > 0 && mask[n];
    // in the forward pass this was: softplus(z) - keys * z
    dz[at] = allowed ? (p[at] - keys[at]) / cells[0] : 0;
}

// Every gradient component is clipped to [-1, 1]. Floor: 28 bytes a weight.
// flat, grad, m, v (N,) -> new_flat, new_m, new_v (N,); where finite () is false, what was there before. first and
// second are 1 - b1^n and 1 - b2^n; rest1 and rest2 are 1 - b1 and 1 - b2, made in float64: here they lose digits.
extern "C" __global__ void adam(int N, const float *flat, const float *grad, const float *m, const float *v, float rate,
                                float first, float second, float b1, float rest1, float b2, float rest2, float epsilon,
                                const bool *finite, float *new_flat, float *new_m, float *new_v) {
    const int k = blockIdx.x * blockDim.x + threadIdx.x;
    if (k >= N) return;
    const bool kept = finite && !*finite;
    const float g = grad[k] > 1 ? 1 : grad[k] < -1 ? -1 : grad[k]; // NaN stays so
    const float m_k = b1 * m[k] + rest1 * g;
    const float v_k = b2 * v[k] + rest2 * g * g;
    new_m[k] = kept ? m[k] : m_k;
    new_v[k] = kept ? v[k] : v_k;
    new_flat[k] = kept ? flat[k] : flat[k] - rate * (m_k / first) / (sqrtf(v_k / second) + epsilon);
}
