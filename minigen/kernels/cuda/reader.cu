// What the history reader reads: minigen/reader.py, its names and order. LAGS are the lags, a macro: 4,8,16,...
//
// read_forward    a thread per key of a row
// read_backward   a thread per lag of a row
//
// A few dozen registers, no shared memory. Floor (an estimate): the traffic, one read of x for every lag, out of cache.

constexpr int lags[] = {LAGS}, L = sizeof(lags) / sizeof(int);

// w (T, B, L), x (T+past, B, K), whose last T steps are inputs -> reading (T, B, K)
extern "C" __global__ void read_forward(int T, int B, int K, int past, const float *w, const float *x, float *reading) {
    const int at = blockIdx.x * blockDim.x + threadIdx.x, row = at / K, k = at % K;
    if (row >= T * B) return;
    float sum = 0;
#pragma unroll
    for (int l = 0; l < L; ++l) sum += w[row * L + l] * x[(row + (past + 1 - lags[l]) * B) * K + k];
    reading[at] = sum;
}

// dreading (T, B, K), x as above -> dw (T, B, L)
extern "C" __global__ void read_backward(int T, int B, int K, int past, const float *dreading, const float *x,
                                         float *dw) {
    const int at = blockIdx.x * blockDim.x + threadIdx.x, row = at / L;
    if (row >= T * B) return;
    const int lag = lags[at % L];
    float sum = 0;
    // in the forward pass this was: reading += w[l] * x[t + 1 - lag]
    for (int k = 0; k < K; ++k) sum += dreading[row * K + k] * x[(row + (past + 1 - lag) * B) * K + k];
    dw[at] = sum;
}
