#include "core/cpu.h"

#include <cpuid.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/* <asm/prctl.h> of older systems does not have these (Linux Documentation/arch/x86/xstate.rst). */
enum { REQ_XCOMP_PERM = 0x1023, XFEATURE_XTILEDATA = 18 };

/* XCR0 bits, Intel SDM vol. 1, 13.3. */
#define STATE_AVX    (UINT64_C(3) << 1)  /* SSE, upper halves of YMM */
#define STATE_AVX512 (UINT64_C(7) << 5)  /* masks, upper halves of ZMM0-15, ZMM16-31 */
#define STATE_AMX    (UINT64_C(3) << 17) /* tile configuration, tile data */

struct regs {
    unsigned eax, ebx, ecx, edx;
};

/* What cpu.c needs beyond tsr_cpu to explain a missing AMX. */
static struct {
    tsr_cpu cpu;
    int family, model;
    bool silicon_amx;
    char hypervisor[32]; /* "" on bare metal */
    uint64_t xstate, xcr0;
} host;

static tsr_amx_facts amx_facts;
static tsr_error amx_answer;
static pthread_once_t host_once = PTHREAD_ONCE_INIT, amx_once = PTHREAD_ONCE_INIT;

/* CPUID leaf and subleaf; zeros when the CPU does not have the leaf. */
static struct regs cpuid(unsigned leaf, unsigned subleaf) {
    struct regs r = {0, 0, 0, 0};
    if (!__get_cpuid_count(leaf, subleaf, &r.eax, &r.ebx, &r.ecx, &r.edx)) return (struct regs){0, 0, 0, 0};
    return r;
}

static bool bit(unsigned reg, int n) { return reg >> n & 1; }

/* Inline assembly, because the intrinsic wants the whole file compiled with -mxsave. */
static uint64_t read_xcr0(void) {
    unsigned lo, hi;
    __asm__ volatile("xgetbv" : "=a"(lo), "=d"(hi) : "c"(0));
    return (uint64_t)hi << 32 | lo;
}

static void read_brand(char out[64]) {
    struct regs r[3];
    for (unsigned k = 0; k < 3; k++) r[k] = cpuid(0x80000002u + k, 0);
    char text[sizeof r + 1] = {0};
    memcpy(text, r, sizeof r);
    const char *begin = text; /* some models pad with spaces in front */
    while (*begin == ' ') begin++;
    size_t n = strlen(begin);
    while (n && begin[n - 1] == ' ') n--;
    if (n)
        snprintf(out, 64, "%.*s", (int)n, begin);
    else
        snprintf(out, 64, "unknown x86-64 CPU");
}

/* Intel SDM vol. 2, CPUID leaf 1: display family and model. */
static void read_family(unsigned eax) {
    int family = eax >> 8 & 15, model = eax >> 4 & 15;
    if (family == 6 || family == 15) model |= (int)(eax >> 12 & 0xf0);
    if (family == 15) family += (int)(eax >> 20 & 0xff);
    host.family = family;
    host.model = model;
}

/* Every server model that has AMX units; numbers as in Linux arch/x86/include/asm/intel-family.h. */
static bool made_with_amx(int family, int model) {
    if (family == 19) return model == 0x01; /* Diamond Rapids */
    if (family != 6) return false;
    return model == 0x8f || model == 0xcf     /* Sapphire Rapids, Emerald Rapids */
           || model == 0xad || model == 0xae; /* Granite Rapids X and D */
}

static void read_hypervisor(void) {
    static const struct {
        const char *signature, *name;
    } known[] = {{"KVMKVMKVM", "KVM"},      {"Microsoft Hv", "Hyper-V"},  {"VMwareVMware", "VMware"},
                 {"XenVMMXenVMM", "Xen"},   {"TCGTCGTCGTCG", "QEMU TCG"}, {"VBoxVBoxVBox", "VirtualBox"},
                 {"bhyve bhyve ", "bhyve"}, {"ACRNACRNACRN", "ACRN"},     {" lrpepyh  vr", "Parallels"}};
    struct regs r;
    __cpuid(0x40000000, r.eax, r.ebx, r.ecx, r.edx); /* above the range that __get_cpuid_count accepts */
    char signature[13] = {0};
    memcpy(signature, &r.ebx, 4);
    memcpy(signature + 4, &r.ecx, 4);
    memcpy(signature + 8, &r.edx, 4);
    const char *name = "unknown";
    for (size_t k = 0; k < sizeof known / sizeof *known; k++)
        if (strcmp(signature, known[k].signature) == 0) name = known[k].name;
    snprintf(host.hypervisor, sizeof host.hypervisor, "%s", name);
}

/* Deterministic cache parameters: Intel leaf 4, AMD leaf 0x8000001d, same encoding. */
static void read_caches(tsr_cpu *c) {
    unsigned leaf = cpuid(4, 0).eax & 31 ? 4 : 0x8000001d;
    for (unsigned k = 0; k < 16; k++) {
        struct regs r = cpuid(leaf, k);
        unsigned type = r.eax & 31, level = r.eax >> 5 & 7; /* type 0: no more, 1: data, 2: instruction, 3: unified */
        if (type == 0) break;
        size_t ways = (r.ebx >> 22) + 1, partitions = (r.ebx >> 12 & 0x3ff) + 1, line = (r.ebx & 0xfff) + 1;
        size_t bytes = ways * partitions * line * ((size_t)r.ecx + 1);
        if (type == 2) continue;
        if (level == 1) c->l1d = bytes;
        if (level == 2) c->l2 = bytes;
        if (level == 3) c->l3 = bytes;
    }
}

static void list_features(tsr_cpu *c) {
    const struct {
        bool has;
        const char *name;
    } all[] = {{c->avx2, "avx2"},
               {c->fma, "fma"},
               {c->f16c, "f16c"},
               {c->avx_vnni, "avx_vnni"},
               {c->avx512f, "avx512f"},
               {c->avx512bw, "avx512bw"},
               {c->avx512vl, "avx512vl"},
               {c->avx512dq, "avx512dq"},
               {c->avx512cd, "avx512cd"},
               {c->avx512_vnni, "avx512_vnni"},
               {c->avx512_vbmi, "avx512vbmi"},
               {c->avx512_bf16, "avx512_bf16"},
               {c->avx512_fp16, "avx512_fp16"},
               {c->amx_tile && c->os_amx, "amx_tile"},
               {c->amx_int8 && c->os_amx, "amx_int8"},
               {c->amx_bf16 && c->os_amx, "amx_bf16"},
               {c->amx_fp16 && c->os_amx, "amx_fp16"}};
    size_t n = 0;
    for (size_t k = 0; k < sizeof all / sizeof *all; k++)
        if (all[k].has)
            n += (size_t)snprintf(c->features + n, sizeof c->features - n, "%s%s", n ? " " : "", all[k].name);
}

static void read_features(tsr_cpu *c) {
    struct regs r1 = cpuid(1, 0), r7 = cpuid(7, 0), r71 = {0, 0, 0, 0};
    if (r7.eax >= 1) r71 = cpuid(7, 1);
    if (bit(r1.ecx, 27)) host.xcr0 = read_xcr0(); /* OSXSAVE */
    struct regs rd = cpuid(0xd, 0);
    host.xstate = (uint64_t)rd.edx << 32 | rd.eax;
    c->os_avx = bit(r1.ecx, 28) && (host.xcr0 & STATE_AVX) == STATE_AVX;
    c->os_avx512 = c->os_avx && (host.xcr0 & STATE_AVX512) == STATE_AVX512;
    c->os_amx = (host.xcr0 & STATE_AMX) == STATE_AMX;

    c->fma = c->os_avx && bit(r1.ecx, 12);
    c->f16c = c->os_avx && bit(r1.ecx, 29);
    c->cpuid_avx2 = bit(r7.ebx, 5);
    c->cpuid_avx512f = bit(r7.ebx, 16);
    c->avx2 = c->os_avx && bit(r7.ebx, 5);
    c->avx_vnni = c->os_avx && bit(r71.eax, 4);
    c->avx512f = c->os_avx512 && bit(r7.ebx, 16);
    c->avx512dq = c->avx512f && bit(r7.ebx, 17);
    c->avx512cd = c->avx512f && bit(r7.ebx, 28);
    c->avx512bw = c->avx512f && bit(r7.ebx, 30);
    c->avx512vl = c->avx512f && bit(r7.ebx, 31);
    c->avx512_vbmi = c->avx512f && bit(r7.ecx, 1);
    c->avx512_vnni = c->avx512f && bit(r7.ecx, 11);
    c->avx512_bf16 = c->avx512f && bit(r71.eax, 5);
    c->avx512_fp16 = c->avx512f && bit(r7.edx, 23);
    c->amx_bf16 = bit(r7.edx, 22);
    c->amx_tile = bit(r7.edx, 24);
    c->amx_int8 = bit(r7.edx, 25);
    c->amx_fp16 = bit(r71.eax, 21);
}

/* What each tier needs of the CPU; AMX also needs permission. A set of tiers is a sum of bits. */
#define ONLY(tier) (1u << (tier))
#define FROM(tier) (~0u << (tier))
static const struct need {
    const char *name;
    size_t offset; /* of the bool in tsr_cpu */
    unsigned tiers;
} needs[] = {
    {"avx2", offsetof(tsr_cpu, avx2), FROM(TSR_TIER_AVX2)},
    {"fma", offsetof(tsr_cpu, fma), FROM(TSR_TIER_AVX2)},
    {"f16c", offsetof(tsr_cpu, f16c), FROM(TSR_TIER_AVX2)},
    {"avx_vnni", offsetof(tsr_cpu, avx_vnni), ONLY(TSR_TIER_AVXVNNI)},
    {"avx512f", offsetof(tsr_cpu, avx512f), FROM(TSR_TIER_AVX512)},
    {"avx512bw", offsetof(tsr_cpu, avx512bw), FROM(TSR_TIER_AVX512)},
    {"avx512vl", offsetof(tsr_cpu, avx512vl), FROM(TSR_TIER_AVX512)},
    {"avx512dq", offsetof(tsr_cpu, avx512dq), FROM(TSR_TIER_AVX512)},
    {"avx512cd", offsetof(tsr_cpu, avx512cd), FROM(TSR_TIER_AVX512)},
    {"avx512_vnni", offsetof(tsr_cpu, avx512_vnni), FROM(TSR_TIER_AVX512)},
    {"avx512_bf16", offsetof(tsr_cpu, avx512_bf16), FROM(TSR_TIER_AVX512BF16)},
    {"amx_tile", offsetof(tsr_cpu, amx_tile), FROM(TSR_TIER_AMX)},
    {"amx_int8", offsetof(tsr_cpu, amx_int8), FROM(TSR_TIER_AMX)},
    {"amx_bf16", offsetof(tsr_cpu, amx_bf16), FROM(TSR_TIER_AMX)},
    {"the state of tiles", offsetof(tsr_cpu, os_amx), FROM(TSR_TIER_AMX)},
    {"amx_fp16", offsetof(tsr_cpu, amx_fp16), FROM(TSR_TIER_AMXFP16)},
    {"avx512_fp16", offsetof(tsr_cpu, avx512_fp16), FROM(TSR_TIER_AMXFP16)},
};

void tsr_tier_lacks(const tsr_cpu *c, tsr_tier tier, char *out, size_t cap) {
    size_t n = 0;
    out[0] = '\0';
    for (size_t k = 0; k < sizeof needs / sizeof *needs && n < cap; k++)
        if (needs[k].tiers & ONLY(tier) && !*((const bool *)c + needs[k].offset))
            n += (size_t)snprintf(out + n, cap - n, "%s%s", n ? ", " : "", needs[k].name);
}

static bool has_tier(const tsr_cpu *c, tsr_tier tier) {
    char lacks[256];
    tsr_tier_lacks(c, tier, lacks, sizeof lacks);
    return lacks[0] == '\0';
}

static void detect(void) {
    tsr_cpu *c = &host.cpu;
    struct regs r1 = cpuid(1, 0);
    read_brand(c->brand);
    read_family(r1.eax);
    struct regs vendor = cpuid(0, 0);
    host.silicon_amx = vendor.ebx == signature_INTEL_ebx && made_with_amx(host.family, host.model);
    if (bit(r1.ecx, 31)) read_hypervisor();
    read_features(c);
    read_caches(c);
    list_features(c);
    for (int tier = 0; tier < TSR_TIER_AMX; tier++)
        if (has_tier(c, (tsr_tier)tier)) c->tier = (tsr_tier)tier;
}

const tsr_cpu *tsr_cpu_get(void) {
    pthread_once(&host_once, detect);
    return &host.cpu;
}

static const char *const tier_names[TSR_TIER_COUNT] = {"scalar", "avx2", "avxvnni", "avx512", "avx512bf16", "amx", "amxfp16"};

const char *tsr_tier_name(tsr_tier tier) { return (unsigned)tier < TSR_TIER_COUNT ? tier_names[tier] : "unknown"; }

int tsr_tier_find(const char *name) {
    for (int k = 0; k < TSR_TIER_COUNT; k++)
        if (strcmp(name, tier_names[k]) == 0) return k;
    return -1;
}

bool tsr_tier_in_cpu(tsr_tier tier) { return has_tier(tsr_cpu_get(), tier); }

bool tsr_tier_usable(tsr_tier tier) {
    return tsr_tier_in_cpu(tier) && (tier < TSR_TIER_AMX || tsr_cpu_amx_request(NULL) == TSR_OK);
}

/* ------------------------------------------------------------------------------------------------------- AMX */

/* CPUID does not show AMX: who took it away? */
static tsr_code verdict_no_cpuid(const tsr_amx_facts *f, tsr_error *err) {
    if (f->silicon && f->hypervisor)
        return tsr_fail(
            err, TSR_E_UNSUPPORTED,
            "AMX is hidden by the hypervisor (%s): this CPU (%s, family %d model %d) is made with it, but the "
            "virtual CPU lacks it (CPUID 7.0 EDX bit 24 is 0); give the guest amx-tile, amx-int8 and "
            "amx-bf16, for example by passing the host's CPU model through",
            f->hypervisor, f->brand, f->family, f->model);
    if (f->silicon)
        return tsr_fail(
            err, TSR_E_UNSUPPORTED,
            "AMX is switched off by the firmware: this CPU (%s, family %d model %d) is made with it, but CPUID "
            "lacks it (7.0 EDX bit 24 is 0); look for AMX in the firmware's setup",
            f->brand, f->family, f->model);
    if (f->hypervisor)
        return tsr_fail(err, TSR_E_UNSUPPORTED,
                        "the CPU lacks AMX (%s, family %d model %d, as the hypervisor %s presents it); if the host has "
                        "AMX, pass its CPU model through",
                        f->brand, f->family, f->model, f->hypervisor);
    return tsr_fail(err, TSR_E_UNSUPPORTED,
                    "the CPU lacks AMX (%s, family %d model %d); Intel Xeon has it since the 4th generation (Sapphire "
                    "Rapids)",
                    f->brand, f->family, f->model);
}

/* CPUID and XCR0 are fine, the kernel refused the permission. */
static tsr_code verdict_refused(int error, tsr_error *err) {
    const char *advice;
    switch (error) {
    case EPERM:
    case EACCES: advice = "a seccomp filter (container, sandbox) forbids arch_prctl; allow it"; break;
    case ENOSPC:
        advice = "an alternate signal stack is too small for tile data (8 KiB more per frame); enlarge it";
        break;
    case EINVAL:
    case ENOSYS:
    case EOPNOTSUPP: advice = "Linux 5.16 or later is needed, booted without options that disable AMX"; break;
    default: advice = "see the kernel's log";
    }
    return tsr_fail(err, TSR_E_UNSUPPORTED, "the kernel refused AMX tile data to this process: arch_prctl: %s; %s",
                    strerror(error), advice);
}

tsr_code tsr_amx_verdict(const tsr_amx_facts *f, tsr_error *err) {
    if (!f->cpuid) return verdict_no_cpuid(f, err);
    if ((f->xstate & STATE_AMX) != STATE_AMX)
        return tsr_fail(
            err, TSR_E_UNSUPPORTED,
            "AMX is unusable: CPUID shows the instructions but not the tile state (leaf 0xd is 0x%llx without "
            "bits 17 and 18); %s%s must offer XTILECFG and XTILEDATA",
            (unsigned long long)f->xstate, f->hypervisor ? "the hypervisor " : "the firmware",
            f->hypervisor ? f->hypervisor : "");
    if ((f->xcr0 & STATE_AMX) != STATE_AMX)
        return tsr_fail(
            err, TSR_E_UNSUPPORTED,
            "AMX is not enabled by the kernel (XCR0 is 0x%llx without bits 17 and 18); Linux 5.16 or later is "
            "needed, booted without noxsave or clearcpuid=",
            (unsigned long long)f->xcr0);
    if (f->prctl_errno) return verdict_refused(f->prctl_errno, err);
    return TSR_OK;
}

static void request_amx(void) {
    const tsr_cpu *c = tsr_cpu_get();
    amx_facts = (tsr_amx_facts){.brand = c->brand,
                           .family = host.family,
                           .model = host.model,
                           .cpuid = c->amx_tile,
                           .silicon = host.silicon_amx,
                           .hypervisor = host.hypervisor[0] ? host.hypervisor : NULL,
                           .xstate = host.xstate,
                           .xcr0 = host.xcr0};
    if (c->amx_tile && c->os_amx && syscall(SYS_arch_prctl, REQ_XCOMP_PERM, XFEATURE_XTILEDATA) != 0)
        amx_facts.prctl_errno = errno;
    tsr_amx_verdict(&amx_facts, &amx_answer);
}

tsr_code tsr_cpu_amx_request(tsr_error *err) {
    pthread_once(&amx_once, request_amx);
    if (amx_answer.code == TSR_OK) return TSR_OK;
    return tsr_fail(err, amx_answer.code, "%s", amx_answer.message);
}

const tsr_amx_facts *tsr_cpu_amx_facts(void) {
    pthread_once(&amx_once, request_amx);
    return &amx_facts;
}
