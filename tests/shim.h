// Enough of CUDA for g++ to run a kernel on the CPU: the blocks one after the other, the threads of a block as fibers,
// each of which runs until it has to wait for others, in a chosen order of the warps (and of the lanes in them):
//   0 ascending   1 descending   2 round-robin   3 and more: at random, the number being the seed
// Shared memory is NaN when a block begins. What can never go on is told from what is slow: DEADLOCK is returned.
#include <cmath>
#include <csetjmp>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <ucontext.h>
#include <utility>

#define __global__
#define __device__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __shared__ static __attribute__((section("shared_memory")))
struct dim3 { unsigned x, y, z; };
struct float2 { float x, y; };
static dim3 threadIdx, blockIdx, blockDim, gridDim;
using std::isfinite;

namespace shim {
const int MOST = 1024, STACK = 32 * 1024, DEADLOCK = 1;
enum Place { READY, AT_SHUFFLE, AT_BARRIER, DONE };
struct Fiber { Place place; bool begun; int shuffles; jmp_buf here; ucontext_t start; };
static Fiber fibers[MOST];
static char *stacks;
static unsigned slots[MOST / 32][2][32]; // what lanes offer: two rounds, since a lane may be one ahead of another
static jmp_buf scheduler;
static ucontext_t back;
static int self, threads;
static void (*body)(void **);
static void **arguments;
extern "C" char __start_shared_memory[] __attribute__((weak)), __stop_shared_memory[] __attribute__((weak));

// Wait at `place` until everybody in [from, to) has come there: who has left the kernel never will.
static void wait(Place place, int from, int to) {
    fibers[self].place = place;
    bool all = true;
    for (int k = from; k < to; ++k) all = all && fibers[k].place == place;
    for (int k = from; all && k < to; ++k) fibers[k].place = READY;
    if (!all && !_setjmp(fibers[self].here)) _longjmp(scheduler, 1);
}

static void enter() {
    body(arguments);
    fibers[self].place = DONE;
    _longjmp(scheduler, 1);
}

static void go_on(volatile int thread) {
    Fiber &fiber = fibers[thread];
    if (_setjmp(scheduler)) return;
    self = thread;
    threadIdx = {(unsigned)thread, 0, 0};
    if (fiber.begun) _longjmp(fiber.here, 1);
    fiber.begun = true;
    getcontext(&fiber.start);
    fiber.start.uc_stack.ss_sp = stacks + (size_t)thread * STACK;
    fiber.start.uc_stack.ss_size = STACK;
    makecontext(&fiber.start, enter, 0);
    swapcontext(&back, &fiber.start);
}

static bool ready(int warp) {
    for (int k = 32 * warp; k < 32 * warp + 32 && k < threads; ++k)
        if (fibers[k].place == READY) return true;
    return false;
}

static int run_block(int order, unsigned &seed) {
    const int warps = (threads + 31) / 32;
    for (int k = 0; k < threads; ++k) fibers[k].place = READY, fibers[k].begun = false, fibers[k].shuffles = 0;
    if (__start_shared_memory) memset(__start_shared_memory, 0xff, __stop_shared_memory - __start_shared_memory);
    for (int turn = 0;; ++turn) {
        seed = seed * 1664525u + 1013904223u;
        const int begin = order < 2 ? 0 : order == 2 ? turn % warps : (seed >> 8) % warps;
        int warp = -1;
        for (int k = 0; k < warps && warp < 0; ++k) {
            const int next = order == 1 ? warps - 1 - k : (begin + k) % warps;
            if (ready(next)) warp = next;
        }
        if (warp < 0) break;
        const bool backwards = order == 1 || (order > 2 && seed >> 31);
        for (int k = 0; k < 32; ++k) {
            const int thread = 32 * warp + (backwards ? 31 - k : k);
            if (thread < threads && fibers[thread].place == READY) go_on(thread);
        }
    }
    for (int k = 0; k < threads; ++k)
        if (fibers[k].place != DONE) return DEADLOCK;
    return 0;
}

static int launch(void (*kernel)(void **), const unsigned *grid, const unsigned *block, void **args, int order) {
    if (!stacks) stacks = (char *)malloc((size_t)MOST * STACK);
    body = kernel, arguments = args, threads = block[0];
    gridDim = {grid[0], grid[1], grid[2]}, blockDim = {block[0], 1, 1};
    unsigned seed = order;
    for (unsigned k = 0; k < grid[0] * grid[1]; ++k) {
        blockIdx = {k % grid[0], k / grid[0], 0};
        if (int failed = run_block(order, seed)) return failed;
    }
    return 0;
}

// kernel(args[0], args[1], ...), each read as what the kernel takes; and how many bytes each of them has.
template <class... A, size_t... k> void spread(void (*kernel)(A...), void **args, std::index_sequence<k...>) {
    kernel(*(A *)args[k]...);
}
template <class... A> void call(void (*kernel)(A...), void **args) {
    spread(kernel, args, std::index_sequence_for<A...>());
}
template <class... A> int sizes(void (*)(A...), int *out) {
    for (int size : {(int)sizeof(A)...}) *out++ = size;
    return sizeof...(A);
}
} // namespace shim

template <class X> X __shfl_sync(unsigned, X x, int lane) { // of the whole warp, whatever the mask
    const int warp = shim::self / 32, round = shim::fibers[shim::self].shuffles++ % 2;
    memcpy(&shim::slots[warp][round][shim::self % 32], &x, 4);
    shim::wait(shim::AT_SHUFFLE, 32 * warp, 32 * warp + 32);
    memcpy(&x, &shim::slots[warp][round][lane % 32], 4);
    return x;
}
template <class X> X __shfl_xor_sync(unsigned mask, X x, int width) {
    return __shfl_sync(mask, x, (threadIdx.x % 32) ^ width);
}
static void __syncthreads() { shim::wait(shim::AT_BARRIER, 0, shim::threads); }
