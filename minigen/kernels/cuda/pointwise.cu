// Between the products: minigen/linear.py and minigen/decoder.py, their names and order.
//
// softmax_forward, softmax_backward          a thread per row
// masked_loss_forward, masked_loss_backward  a thread per key
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
