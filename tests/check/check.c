#include "check.h"

#include <immintrin.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

static int n_passed, n_failed;

/* ------------------------------------------------------------------------------------------ random numbers */

uint64_t check_random(check *c) { /* splitmix64 */
    uint64_t z = (c->state += 0x9e3779b97f4a7c15u);
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

double check_uniform(check *c) { return (double)(check_random(c) >> 11) * 0x1p-53; }

int64_t check_between(check *c, int64_t lo, int64_t hi) { return lo + (int64_t)(check_random(c) % (uint64_t)(hi - lo + 1)); }

static double normal(check *c) { /* Box and Muller */
    return sqrt(-2.0 * log(1.0 - check_uniform(c))) * cos(6.283185307179586 * check_uniform(c));
}

/* -------------------------------------------------------------------------------------------------- operands */

/* A block: [page-aligned start] header, pattern ... operand | unreadable page. */
typedef struct header {
    size_t mapped;  /* bytes of the mapping */
    uint8_t *start; /* of the operand */
} header;

enum { PATTERN = 0xa5 };

void *check_operand(check *c, int64_t n, size_t size) {
    size_t page = (size_t)sysconf(_SC_PAGESIZE), bytes = (size_t)n * size;
    size_t body = (sizeof(header) + 64 + bytes + page - 1) / page * page;
    if (c->n_operands == sizeof c->operands / sizeof *c->operands) {
        fprintf(stderr, "check: an entry has too many operands\n");
        exit(2);
    }
    uint8_t *base = mmap(NULL, body + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (base == MAP_FAILED || mprotect(base + body, page, PROT_NONE) != 0) {
        perror("check: mmap");
        exit(2);
    }
    memset(base, PATTERN, body);
    header *h = (header *)(void *)base;
    h->mapped = body + page;
    h->start = base + body - bytes;
    c->operands[c->n_operands++] = base;
    return h->start;
}

float *check_floats(check *c, int64_t n, check_fill fill) {
    float *x = check_operand(c, n, sizeof *x);
    for (int64_t i = 0; i < n; i++) {
        double v = normal(c);
        if (fill == CHECK_TINY) v *= 1e-30;
        if (fill == CHECK_HUGE) v *= 1e15;
        if (fill == CHECK_ZERO) v = 0.0;
        if (fill == CHECK_SPARSE) v = check_between(c, 0, 9) ? 0.0 : v * 1000.0;
        x[i] = (float)v;
    }
    return x;
}

void check_release(check *c) {
    for (size_t i = 0; i < c->n_operands; i++) {
        header *h = c->operands[i];
        for (uint8_t *p = (uint8_t *)(h + 1); p < h->start; p++)
            if (*p != PATTERN && !c->failed) {
                c->failed = true;
                snprintf(c->why, sizeof c->why, "wrote %td bytes before an operand", h->start - p);
            }
        munmap(h, h->mapped);
    }
    c->n_operands = 0;
}

/* ------------------------------------------------------------------------------------------------- comparing */

void check_near(check *c, double got, double want, double bound, const char *what, int64_t index) {
    c->n_compared++;
    if (isnan(want) && isnan(got)) return;
    double error = got == want ? 0.0 : fabs(got - want); /* equal infinities are equal */
    if (error > 0.0 && bound > 0.0 && error / bound > c->worst) c->worst = error / bound;
    if (error <= bound || c->failed) return;
    c->failed = true;
    snprintf(c->why, sizeof c->why, "%s [%lld]: got %.9g, want %.9g, bound %.3g", what, (long long)index, got, want, bound);
}

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

double check_time(void (*fn)(void *), void *ctx) {
    double best = INFINITY;
    fn(ctx);
    for (int run = 0; run < 15; run++) {
        double start = now(), elapsed;
        int calls = 0;
        do {
            fn(ctx);
            calls++;
            elapsed = now() - start;
        } while (elapsed < 0.002);
        if (elapsed / calls < best) best = elapsed / calls;
    }
    return best;
}

void check_report(check *c, const char *name, double seconds, double amount, const char *unit) {
    char rate[64] = "";
    if (c->bench && seconds > 0.0) snprintf(rate, sizeof rate, "  %8.2f G%s/s", amount / seconds * 1e-9, unit);
    if (c->n_compared == 0 && !c->failed) {
        c->failed = true;
        snprintf(c->why, sizeof c->why, "nothing was compared");
    }
    printf("%-34s %-16s %s  error/bound %.2f%s%s%s\n", name, c->tier_name, c->failed ? "FAILED" : "ok    ", c->worst,
           rate, c->failed ? "  " : "", c->failed ? c->why : "");
    if (c->failed) n_failed++;
    else n_passed++;
    c->failed = false;
    c->worst = 0.0;
    c->n_compared = 0;
}

bool check_selected(const check *c, const char *name) { return !c->filter || strstr(name, c->filter); }

/* ------------------------------------------------------------------------------------------------------ main */

static void usage(void) {
    puts("check: compares every kernel of every tier this CPU has with the result in double precision.\n"
         "  --bench        times them as well\n"
         "  --filter TEXT  only kernels whose name contains TEXT\n"
         "  --tier NAME    only this tier\n"
         "  --seed N       the random numbers (default: from the clock; printed)");
}

static void check_tier(check *c, tsr_tier tier) {
    c->state = c->seed;
    c->tier_name = tsr_tier_name(tier);
    if (tsr_tier_usable(tier)) {
        c->kern = tsr_kernels_get(tier);
        check_f32_kernels(c);
        check_grouped_kernels(c);
        check_attention_kernels(c);
        check_rows_kernels(c);
        check_dequantize_kernels(c);
        check_packed_kernels(c);
        check_pack_kernels(c);
        check_wide_kernels(c);
    } else if (tier == TSR_TIER_AVXVNNI && check_avxvnni_evex()) {
        printf("tier avxvnni: this CPU lacks it; its packed kernels run in the encoding of AVX-512 VNNI\n");
        c->kern = check_avxvnni_evex();
        c->tier_name = "avxvnni(EVEX)";
        check_packed_kernels(c);
    } else {
        printf("NOT CHECKED: tier %s, this CPU lacks it\n", tsr_tier_name(tier));
    }
}

int main(int argc, char **argv) {
    check c = {.seed = (uint64_t)time(NULL)};
    const char *only = NULL;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--bench") == 0) {
            c.bench = true;
        } else if (strcmp(argv[i], "--filter") == 0 && i + 1 < argc) {
            c.filter = argv[++i];
        } else if (strcmp(argv[i], "--tier") == 0 && i + 1 < argc && tsr_tier_find(argv[i + 1]) >= 0) {
            only = argv[++i];
        } else if (strcmp(argv[i], "--seed") == 0 && i + 1 < argc) {
            c.seed = strtoull(argv[++i], NULL, 0);
        } else {
            usage();
            return strcmp(argv[i], "--help") == 0 ? 0 : 2;
        }
    }
    _mm_setcsr(_mm_getcsr() | 0x8040); /* FTZ and DAZ, as in every thread that runs kernels */
    printf("seed %llu, %s\n", (unsigned long long)c.seed, tsr_cpu_get()->brand);
    for (int tier = 0; tier < TSR_TIER_COUNT; tier++)
        if (!only || tsr_tier_find(only) == tier) check_tier(&c, (tsr_tier)tier);
    c.state = c.seed;
    if (!only || tsr_tier_find(only) >= TSR_TIER_AMX) check_amx_emulated(&c);
    printf("%d passed, %d failed\n", n_passed, n_failed);
    return n_failed > 0 || n_passed == 0;
}
