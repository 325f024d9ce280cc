// One step of an LSTM of any size, between its products: the equations, names and order of minigen/lstm.py.
//
// Mapping: a thread per unit and row of the batch. A few dozen registers, no shared memory. Floor (an estimate): the
// traffic, 15 numbers per thread in the forward pass and 14 in the backward pass; for a small batch the launches.

__device__ __forceinline__ float sigmoid(float x) { return 0.5f * tanhf(0.5f * x) + 0.5f; }

// a (B, 4H) holds x Wx and becomes the activated gates; a_h (B, 4H) is h[t] Wh; b (4H,); c (B, H) is c[t], next_h and
// next_c (B, H) are h[t + 1] and c[t + 1].
extern "C" __global__ void lstm_step_forward(int B, int H, float *a, const float *a_h, const float *b, const float *c,
                                             float *next_h, float *next_c) {
    const int k = blockIdx.x * blockDim.x + threadIdx.x, n = k / H, j = k % H;
    if (n >= B) return;
    float gate[4];
#pragma unroll
    for (int q = 0; q < 4; ++q) {
        const int at = n * 4 * H + q * H + j;
        const float x = a[at] + b[q * H + j] + a_h[at];
        a[at] = gate[q] = q < 3 ? sigmoid(x) : tanhf(x);
    }
    next_c[k] = gate[1] * c[k] + gate[0] * gate[3];
    next_h[k] = gate[2] * tanhf(next_c[k]);
}

// dh, dh_next (B, H), the gradients by h[t + 1] from the layer above and from step t + 1; gates (B, 4H), c, next_c as
// above -> da (B, 4H); dc_next (B, H) comes in as the gradient with respect to c[t + 1] and goes out as that to c[t].
extern "C" __global__ void lstm_step_backward(int B, int H, const float *dh, const float *dh_next, const float *gates,
                                              const float *c, const float *next_c, float *da, float *dc_next) {
    const int k = blockIdx.x * blockDim.x + threadIdx.x, n = k / H, j = k % H;
    if (n >= B) return;
    const float *gate = gates + n * 4 * H + j;
    const float i = gate[0], f = gate[H], o = gate[2 * H], g = gate[3 * H];
    // in the forward pass this was: h[t + 1] = o * tanh(c[t + 1]), read by the layer above and by step t + 1
    const float tanh_c = tanhf(next_c[k]), dh_t = dh[k] + dh_next[k], do_ = dh_t * tanh_c;
    const float dc = dc_next[k] + dh_t * o * (1 - tanh_c * tanh_c);
    // in the forward pass this was: c[t + 1] = f * c[t] + i * g
    const float di = dc * g, df = dc * c[k], dg = dc * i;
    dc_next[k] = dc * f;
    // in the forward pass this was: i, f, o = sigmoid(a), g = tanh(a)
    float *da_t = da + n * 4 * H + j;
    da_t[0] = di * i * (1 - i);
    da_t[H] = df * f * (1 - f);
    da_t[2 * H] = do_ * o * (1 - o);
    da_t[3 * H] = dg * (1 - g * g);
}
