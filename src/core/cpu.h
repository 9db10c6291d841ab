/* cpu.h: what this CPU and this process may use: ISA features (CPUID and XCR0), AMX permission, affinity, cgroup quota.
 * Detected once, thread-safe. Sources: Intel SDM vol. 1 ch. 13-18 and vol. 2 CPUID; Linux Documentation/arch/x86/xstate.rst
 * (ARCH_REQ_XCOMP_PERM); cgroup-v2.rst cpu.max, cgroup v1 cpu.cfs_quota_us. */
#ifndef TSR_CORE_CPU_H
#define TSR_CORE_CPU_H

#include "core/error.h"

/* Kernel tiers, the better later. Each includes those before it, but that CPUs with AVX-512 may lack AVX-VNNI (whose instructions AVX-512
 * VNNI has too). */
typedef enum tsr_tier {
    TSR_TIER_SCALAR = 0,
    TSR_TIER_AVX2,       /* avx2 fma f16c */
    TSR_TIER_AVXVNNI,    /* + avx_vnni */
    TSR_TIER_AVX512,     /* avx512 f bw vl dq cd vnni */
    TSR_TIER_AVX512BF16, /* + avx512_bf16 */
    TSR_TIER_AMX,        /* + amx_tile amx_int8 amx_bf16, and the kernel's permission (tsr_cpu_amx_request) */
    TSR_TIER_AMXFP16,    /* + amx_fp16, avx512_fp16 */
    TSR_TIER_COUNT
} tsr_tier;

typedef struct tsr_cpu {
    char brand[64];
    tsr_tier tier;                   /* best tier below AMX */
    bool avx2, fma, f16c, avx_vnni;  /* usable: in CPUID, and the state they need is enabled */
    bool avx512f, avx512bw, avx512vl, avx512dq, avx512cd; /* usable */
    bool avx512_vnni, avx512_vbmi, avx512_bf16, avx512_fp16; /* usable */
    bool amx_tile, amx_int8, amx_bf16, amx_fp16; /* CPUID alone: tsr_cpu_amx_request() says whether they may be used */
    bool cpuid_avx2, cpuid_avx512f;  /* CPUID alone */
    bool os_avx, os_avx512, os_amx;  /* XCR0 enables the state */
    char features[512];              /* the above that are true and whose state is enabled, lscpu's spelling */
    size_t l1d, l2, l3;              /* data cache bytes seen by one core, 0 unknown */
} tsr_cpu;

const tsr_cpu *tsr_cpu_get(void);
const char *tsr_tier_name(tsr_tier tier); /* "scalar", "avx2", "avxvnni", "avx512", "avx512bf16", "amx", "amxfp16" */
int tsr_tier_find(const char *name);      /* -1 unknown */
/* Whether the CPU has a tier's instructions and the system enables their state; AMX also needs permission. Asks for nothing. */
bool tsr_tier_in_cpu(tsr_tier tier);
/* What of that c lacks for the tier: "avx512_bf16, amx_tile", or "". */
void tsr_tier_lacks(const tsr_cpu *c, tsr_tier tier, char *out, size_t cap);
/* Whether kernels of a tier may run here: the CPU has its instructions and, for AMX, the kernel has granted the tiles. */
bool tsr_tier_usable(tsr_tier tier);

/* Asks the kernel for tile data once per process (call before threads start) and caches the answer.
 * Returns TSR_OK, or TSR_E_UNSUPPORTED with the true reason: CPU lacks it / hypervisor or kernel masks it (XCR0) /
 * kernel refused the permission (errno). */
tsr_code tsr_cpu_amx_request(tsr_error *err);

/* What decides whether AMX may be used, layer by layer; filled by tsr_cpu_amx_request, or by a test. */
typedef struct tsr_amx_facts {
    const char *brand;       /* brand string */
    int family, model;       /* display family and model */
    bool cpuid;              /* CPUID.7.0:EDX[24] amx_tile */
    bool silicon;            /* this family and model is made with AMX */
    const char *hypervisor;  /* its name ("KVM"), or NULL on bare metal */
    uint64_t xstate;         /* CPUID.0xD.0:EDX:EAX, the states XCR0 could enable */
    uint64_t xcr0;           /* the states the operating system did enable */
    int prctl_errno;         /* errno of arch_prctl(ARCH_REQ_XCOMP_PERM), 0 = granted */
} tsr_amx_facts;

/* Of this machine; asks for tiles as tsr_cpu_amx_request does. */
const tsr_amx_facts *tsr_cpu_amx_facts(void);
/* Pure: TSR_OK, or the first layer that blocks AMX and what to do about it. */
tsr_code tsr_amx_verdict(const tsr_amx_facts *facts, tsr_error *err);

typedef struct tsr_cpuset {
    int n_logical;       /* CPUs in the affinity mask */
    int n_physical;      /* distinct physical cores among them, at most 1024 */
    double quota;        /* CPUs granted by the tightest cgroup on the path to the root, 0 = unlimited */
    int n_default;       /* max(1, min(n_physical, ceil(quota))) */
    int first_cpus[1024]; /* first n_physical entries: one logical CPU per physical core, to pin threads to */
} tsr_cpuset;

/* root: "" for the real system, or a directory that holds proc/ and sys/ trees (tests; the affinity mask then comes
 * from proc/self/status). What cannot be read counts as absent: no topology, every CPU is a core; no cgroup, no quota. */
void tsr_cpuset_read(const char *root, tsr_cpuset *out);
/* How many threads can run at a time: min(n_logical, ceil(quota)). */
int tsr_cpuset_usable(const tsr_cpuset *set);
/* How many threads to run for a user who asked for so many: n_default for 0, and never more than can run at a time. More would only
 * take turns, and each turn is waited for by all others (doc/threads.md). */
int tsr_cpuset_threads(const tsr_cpuset *set, int asked);

#endif
