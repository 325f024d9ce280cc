"""The CUDA kernels, for CuPy arrays in float32; each is compiled when first launched."""
