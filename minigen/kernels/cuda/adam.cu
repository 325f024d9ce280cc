// Adam with every gradient component clipped to [-1, 1], in one pass over the flat vector: minigen/adam.py. A thread a
// weight, a dozen registers or two, no shared memory. Floor: the traffic, 28 bytes a weight.

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
