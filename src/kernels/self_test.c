#include "kernels/self_test.h"

#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <string.h>

/* More rows than a tile has, two panels, several blocks, and a last panel that is not full. */
enum { ROWS = 19, COLUMNS = 27, BLOCKS = 4, K = BLOCKS * TSR_BLOCK_K, TILES = 2, PANELS = 2 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static _Thread_local sigjmp_buf *refused; /* where a SIGILL of this thread leads, while it tests */
static struct sigaction before;

static void on_sigill(int sig, siginfo_t *info, void *context) {
    if (refused) siglongjmp(*refused, 1);
    /* another thread's: what would have happened. Returning runs the instruction again. */
    if (before.sa_flags & SA_SIGINFO) before.sa_sigaction(sig, info, context);
    else if (before.sa_handler != SIG_DFL && before.sa_handler != SIG_IGN) before.sa_handler(sig);
    else signal(sig, SIG_DFL);
}

/* Whether fn(ctx) ran to its end. */
static bool survives(void (*fn)(void *), void *ctx) {
    sigjmp_buf here;
    if (sigsetjmp(here, 1) != 0) {
        refused = NULL;
        return false;
    }
    refused = &here;
    fn(ctx);
    refused = NULL;
    return true;
}

typedef struct product {
    const tsr_kernels *kern;
    const tsr_wide *wide;
    tsr_packed w;
    float x[ROWS][K];
    float c[TILES][PANELS][16][TSR_PANEL] __attribute__((aligned(64)));
    uint8_t data[PANELS * (K * TSR_PANEL + 256)] __attribute__((aligned(64)));
    uint8_t a[TILES * (16 * K * 4 + 64)] __attribute__((aligned(64)));
    uint8_t b[PANELS * K * TSR_PANEL * 4] __attribute__((aligned(64)));
} product;

static float activation(int r, int k) { return (float)((r * 7 + k * 5) % 23 - 11) * 0.25f; }

/* Q8_0 weights, exact in bf16 and f16: codes of -60 .. 60 times d = 2^-6 or, where it and the products are denormal in f16 and must
 * count in full whatever MXCSR says, 2^-20. */
static float scale(int column) { return column % 2 ? 0x1p-20f : 0x1p-6f; }

static int code(int column, int k) { return (column * 11 + k * 3) % 121 - 60; }

static void fill(product *p) {
    enum { BLOCK = 34 };
    uint8_t rows[COLUMNS][BLOCKS][BLOCK];
    for (int n = 0; n < COLUMNS; n++)
        for (int b = 0; b < BLOCKS; b++) {
            const uint16_t d = tsr_f32_to_f16(scale(n));
            memcpy(rows[n][b], &d, sizeof d);
            for (int i = 0; i < TSR_BLOCK_K; i++) rows[n][b][2 + i] = (uint8_t)(int8_t)code(n, b * TSR_BLOCK_K + i);
        }
    tsr_packed_init(&p->w, TSR_Q8_0, COLUMNS, K);
    p->w.data = p->data;
    tsr_pack(&p->w, rows, sizeof rows[0], 0, PANELS);
    for (int r = 0; r < ROWS; r++)
        for (int k = 0; k < K; k++) p->x[r][k] = activation(r, k);
}

static void multiply(void *ctx) {
    product *p = ctx;
    const tsr_wide *wide = p->wide;
    const size_t block = (size_t)(16 * TSR_BLOCK_K * wide->elem_bytes), stride = BLOCKS * block + wide->row_tile_extra;
    tsr_wide_job job = {.w = &p->w, .panel = {0, 1}, .b = p->b, .a_stride = stride, .rows = ROWS, .c = &p->c[0][0][0][0]};
    if (p->kern->enter) p->kern->enter();
    wide->pack_rows(p->x[0], K, 16, K, p->a);
    wide->pack_rows(p->x[16], K, ROWS - 16, K, p->a + stride);
    for (job.block = 0; job.block < BLOCKS; job.block += job.blocks) { /* two runs: 3 blocks and 1 */
        job.blocks = job.block == 0 ? 3 : BLOCKS - job.block;
        job.a = p->a + (size_t)job.block * block;
        job.accumulate = job.block > 0;
        wide->strip[TSR_Q8_0](&job);
    }
    if (p->kern->leave) p->kern->leave();
}

static void leave(void *ctx) {
    const tsr_kernels *kern = ctx;
    if (kern->leave) kern->leave();
}

static tsr_code compare(const product *p, tsr_error *err) {
    for (int r = 0; r < ROWS; r++)
        for (int n = 0; n < COLUMNS; n++) {
            float want = 0.0f, got = p->c[r / 16][n / TSR_PANEL][r % 16][n % TSR_PANEL];
            for (int k = 0; k < K; k++) want += activation(r, k) * (float)code(n, k) * scale(n); /* exact: few bits, small sums */
            if (got != want)
                return tsr_fail(err, TSR_E_UNSUPPORTED, "the self-test of kernel %s gave %g in row %d, column %d where %g is right",
                                p->wide->name, (double)got, r, n, (double)want);
        }
    return TSR_OK;
}

/* One format of elements. */
static tsr_code test(product *p, const tsr_wide *wide, tsr_error *err) {
    p->wide = wide;
    memset(p->c, 0xff, sizeof p->c); /* NaN */
    if (survives(multiply, p)) return compare(p, err);
    survives(leave, (void *)(uintptr_t)p->kern); /* tiles may have been configured */
    return tsr_fail(err, TSR_E_UNSUPPORTED, "the CPU refused an instruction of kernel %s (SIGILL), though CPUID shows it", wide->name);
}

tsr_code tsr_kernels_self_test(const tsr_kernels *kern, tsr_error *err) {
    static product p; /* large for a small stack */
    const tsr_wide *first = kern->wide[TSR_Q8_0], *second = kern->wide[TSR_BF16];
    struct sigaction action = {.sa_sigaction = on_sigill, .sa_flags = SA_SIGINFO};
    sigset_t sigill, mask;
    sigemptyset(&action.sa_mask);
    sigemptyset(&sigill);
    sigaddset(&sigill, SIGILL);
    pthread_mutex_lock(&lock);
    unsigned mode = tsr_float_mode_enter(); /* a handler starts with the default one, and jumps out */
    p.kern = kern;
    fill(&p);
    pthread_sigmask(SIG_UNBLOCK, &sigill, &mask);
    sigaction(SIGILL, NULL, &before); /* known before the handler may run in another thread */
    sigaction(SIGILL, &action, NULL);
    tsr_code code = test(&p, first, err);
    if (code == TSR_OK && second != first && second->strip[TSR_Q8_0]) code = test(&p, second, err);
    sigaction(SIGILL, &before, NULL);
    pthread_sigmask(SIG_SETMASK, &mask, NULL);
    tsr_float_mode_restore(mode);
    pthread_mutex_unlock(&lock);
    return code;
}
