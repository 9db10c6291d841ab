/* doctor.c: what the facts mean. A problem is what makes Tessera slower or smaller than this machine could run it and can be changed; a fact with
 * advice but no problem is worth knowing. */
#include "engine/doctor.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_FINDINGS = 160, MOST_SHOWN_NODES = 16 };
static const double GIB = 1 << 30;

typedef struct finding {
    const char *section;
    char name[40], text[1200], problem[1200], advice[600];
    double number;
} finding;

struct tsr_doctor {
    finding items[MOST_FINDINGS];
    size_t n;
};

/* ------------------------------------------------------------------------------------------------ writing down */

static finding *add(tsr_doctor *d, const char *section, const char *name, double number) {
    finding *f = &d->items[d->n < MOST_FINDINGS ? d->n++ : MOST_FINDINGS - 1];
    *f = (finding){.section = section, .number = number};
    snprintf(f->name, sizeof f->name, "%s", name);
    return f;
}

static void fact(tsr_doctor *d, const char *section, const char *name, const char *fmt, ...) __attribute__((format(printf, 4, 5)));
static void count(tsr_doctor *d, const char *section, const char *name, double number, const char *fmt, ...) __attribute__((format(printf, 5, 6)));
static void problem(tsr_doctor *d, const char *advice, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

static void fact(tsr_doctor *d, const char *section, const char *name, const char *fmt, ...) {
    va_list args;
    va_start(args, fmt);
    finding *f = add(d, section, name, NAN);
    vsnprintf(f->text, sizeof f->text, fmt, args);
    va_end(args);
}

/* A fact that is a number; fmt is for people. */
static void count(tsr_doctor *d, const char *section, const char *name, double number, const char *fmt, ...) {
    va_list args;
    va_start(args, fmt);
    finding *f = add(d, section, name, number);
    vsnprintf(f->text, sizeof f->text, fmt, args);
    va_end(args);
}

static void bytes(tsr_doctor *d, const char *section, const char *name, uint64_t n) {
    if (n == TSR_UNLIMITED) fact(d, section, name, "unlimited");
    else if (n < 1 << 20) count(d, section, name, (double)n, "%llu KiB", (unsigned long long)n >> 10);
    else if ((double)n < GIB) count(d, section, name, (double)n, "%.1f MiB", (double)n / (1 << 20));
    else count(d, section, name, (double)n, "%.1f GiB", (double)n / GIB);
}

/* Advice on the last fact. */
static void advise(tsr_doctor *d, const char *advice) { snprintf(d->items[d->n - 1].advice, sizeof d->items[0].advice, "%s", advice); }

/* What is wrong with the last fact. */
static void problem(tsr_doctor *d, const char *advice, const char *fmt, ...) {
    va_list args;
    va_start(args, fmt);
    vsnprintf(d->items[d->n - 1].problem, sizeof d->items[0].problem, fmt, args);
    va_end(args);
    advise(d, advice);
}

/* ------------------------------------------------------------------------------------------------------- the CPU */

static void examine_cpu(const tsr_checkup *c, tsr_doctor *d) {
    const tsr_cpu *cpu = &c->cpu;
    fact(d, "cpu", "model", "%s, family %d model %d", cpu->brand, c->amx.family, c->amx.model);
    fact(d, "cpu", "hypervisor", "%s", c->amx.hypervisor ? c->amx.hypervisor : "none");
    fact(d, "cpu", "features", "%s", *cpu->features ? cpu->features : "none that kernels use");
    if (!cpu->cpuid_avx2)
        problem(d, c->amx.hypervisor ? "give the guest the CPU model of its host" : "use a CPU made since 2013 (Intel) or 2015 (AMD)",
                "there is no AVX2: only the scalar kernels run, which are many times slower");
    if (cpu->l1d) bytes(d, "cpu", "l1d", cpu->l1d); /* hypervisors may not tell */
    if (cpu->l2) bytes(d, "cpu", "l2", cpu->l2);
    if (cpu->l3) bytes(d, "cpu", "l3", cpu->l3);
    fact(d, "cpu", "xcr0", "0x%llx: states %s%s%s%s enabled by the system", (unsigned long long)c->amx.xcr0, "x87 sse", cpu->os_avx ? " avx" : "",
         cpu->os_avx512 ? " avx512" : "", cpu->os_amx ? " amx" : "");
    const char *advice = c->amx.hypervisor ? "the hypervisor must offer the guest these states of XCR0; boot the guest without noxsave"
                                           : "boot Linux without noxsave and clearcpuid=";
    if (cpu->cpuid_avx2 && !cpu->os_avx) problem(d, advice, "CPUID shows AVX2, but XCR0 does not enable its registers: only the scalar kernels run");
    else if (cpu->cpuid_avx512f && !cpu->os_avx512)
        problem(d, advice, "CPUID shows AVX-512, but XCR0 does not enable its registers: kernels of tier avx2 run instead");
    if (*c->system.governor) {
        fact(d, "cpu", "governor", "%s (%s)", c->system.governor, c->system.driver);
        /* intel_pstate and amd-pstate in active mode call a governor powersave that goes up to full speed */
        if (strcmp(c->system.governor, "powersave") == 0 && !strstr(c->system.driver, "pstate"))
            problem(d, "sudo cpupower frequency-set -g performance (or schedutil)", "the clock is held at its lowest by the governor powersave");
    }
}

/* "what is wrong; what to do", as tsr_amx_verdict writes it. */
static void split(const char *message, char *what, size_t cap, const char **advice) {
    const char *semicolon = strchr(message, ';');
    snprintf(what, cap, "%.*s", semicolon ? (int)(semicolon - message) : (int)strlen(message), message);
    *advice = semicolon ? semicolon + 1 + strspn(semicolon + 1, " ") : "see doc/amx.md";
}

static void examine_amx(const tsr_checkup *c, tsr_doctor *d) {
    const tsr_cpu *cpu = &c->cpu;
    char what[1200];
    const char *advice;
    fact(d, "amx", "cpuid", "amx_tile %s, amx_int8 %s, amx_bf16 %s, amx_fp16 %s", cpu->amx_tile ? "yes" : "no", cpu->amx_int8 ? "yes" : "no",
         cpu->amx_bf16 ? "yes" : "no", cpu->amx_fp16 ? "yes" : "no");
    fact(d, "amx", "silicon", "%s", c->amx.silicon ? "this CPU model is made with AMX" : "this CPU model is not known to have AMX");
    fact(d, "amx", "state", "%s", cpu->os_amx ? "enabled in XCR0" : "not enabled in XCR0");
    fact(d, "amx", "permission", "%s",
         !cpu->amx_tile || !cpu->os_amx ? "not asked for" : c->amx.prctl_errno ? strerror(c->amx.prctl_errno) : "granted by the kernel");
    split(c->amx_answer.message, what, sizeof what, &advice);
    fact(d, "amx", "usable", "%s%s", c->amx_answer.code == TSR_OK ? "yes, tested" : "no: ", c->amx_answer.code == TSR_OK ? "" : what);
    if (c->amx_answer.code == TSR_OK) return;
    /* a CPU without AMX is as it should be; one that has it, or should, is not */
    if (c->amx.silicon || cpu->amx_tile) problem(d, advice, "%s", what);
    else if (c->amx.hypervisor) advise(d, advice);
}

static void examine_tiers(const tsr_checkup *c, tsr_doctor *d) {
    for (int tier = 0; tier < TSR_TIER_COUNT; tier++) {
        char lacks[256];
        tsr_tier_lacks(&c->cpu, (tsr_tier)tier, lacks, sizeof lacks);
        bool blocked = tier >= TSR_TIER_AMX && c->amx_answer.code != TSR_OK;
        if (*lacks) fact(d, "tiers", tsr_tier_name((tsr_tier)tier), "no: lacks %s", lacks);
        else fact(d, "tiers", tsr_tier_name((tsr_tier)tier), "%s", blocked ? "no: see amx" : "usable");
    }
}

/* -------------------------------------------------------------------------------------------------------- memory */

static void examine_memory(const tsr_checkup *c, tsr_doctor *d) {
    const tsr_system *s = &c->system;
    uint64_t left = s->group_left < s->available ? s->group_left : s->available;
    if (s->total) bytes(d, "memory", "total", s->total);
    bytes(d, "memory", "cgroup_limit", s->group_limit);
    if (s->total) {
        bytes(d, "memory", "available", left);
        if ((double)left < GIB)
            problem(d, s->group_left < s->available ? "raise the memory limit of the container or cgroup (memory.max)" : "end what else uses memory",
                    "less than 1 GiB of memory is available, %.0f MiB", (double)left / (1 << 20));
        bytes(d, "memory", "swap_used", s->swap_total - s->swap_free);
    }
    if (*s->thp) {
        fact(d, "huge pages", "transparent", "%s", s->thp);
        if (strcmp(s->thp, "never") == 0)
            problem(d, "echo madvise | sudo tee /sys/kernel/mm/transparent_hugepage/enabled",
                    "transparent huge pages are switched off: reading weights costs many more address translations");
        fact(d, "huge pages", "defrag", "%s", *s->thp_defrag ? s->thp_defrag : "unknown");
    }
    if (s->huge_size) {
        bytes(d, "huge pages", "size", s->huge_size);
        count(d, "huge pages", "reserved", (double)s->huge_total, "%llu, %llu of them free", (unsigned long long)s->huge_total, (unsigned long long)s->huge_free);
    }
}

static void examine_nodes(const tsr_checkup *c, tsr_doctor *d) {
    const tsr_system *s = &c->system;
    if (s->n_nodes == 0) return;
    count(d, "numa", "nodes", s->n_nodes, "%d", s->n_nodes);
    if (s->n_nodes > 1)
        advise(d, "weights lie on the node of the thread that packs them; --numa interleave spreads them over all "
                  "nodes' memory, local puts rows beside threads, and mirror, where each node has memory for all of "
                  "them, a copy on each");
    for (int i = 0; i < s->n_nodes; i++) {
        const tsr_node *node = &s->nodes[i];
        char name[40];
        snprintf(name, sizeof name, "node%d", node->id);
        count(d, "numa", name, (double)node->total, "%.1f GiB, %.1f free; CPUs %s", (double)node->total / GIB, (double)node->free / GIB,
              *node->cpus ? node->cpus : "none");
    }
    if (*s->mems_allowed) fact(d, "numa", "allowed", "memory of nodes %s", s->mems_allowed);
    if (s->n_nodes > 1) fact(d, "numa", "balancing", "%s", s->numa_balancing ? "the kernel moves pages after threads" : "off");
}

static void examine_topology(const tsr_checkup *c, tsr_doctor *d) {
    const tsr_topology *t = &c->topology;
    char text[160];
    fact(d, "topology", "source", "%s%s", *t->source ? t->source : "none: built without hwloc", t->made_up ? ", which describes another machine" : "");
    if (!*t->source) return;
    fact(d, "topology", "machine", "%s", tsr_topology_text(t, text, sizeof text));
    if (t->l3_bytes) bytes(d, "topology", "l3_each", t->l3_bytes);
    for (int i = 0; i < t->n_nodes && t->n_nodes > 1 && t->n_nodes <= MOST_SHOWN_NODES; i++) {
        const tsr_node *node = &t->nodes[i];
        char name[40], row[200] = "";
        int at = 0;
        for (int j = 0; j < t->n_nodes && t->distance[i][j]; j++) at += snprintf(row + at, sizeof row - (size_t)at, " %d", t->distance[i][j]);
        snprintf(name, sizeof name, "node%d", node->id);
        fact(d, "topology", name, "%.1f GiB, CPUs %s%s%s", (double)node->total / GIB, *node->cpus ? node->cpus : "none", at ? "; distances" : "", row);
    }
}

/* ------------------------------------------------------------------------------------------------------- threads */

static void examine_threads(const tsr_checkup *c, tsr_doctor *d) {
    const tsr_cpuset *set = &c->set;
    const tsr_system *s = &c->system;
    if (*s->online) fact(d, "threads", "online", "CPUs %s", s->online);
    count(d, "threads", "cpus", set->n_logical, "%d for this process", set->n_logical);
    count(d, "threads", "cores", set->n_physical, "%d%s", set->n_physical, set->n_logical > set->n_physical ? ", with SMT" : "");
    if (set->quota > 0) count(d, "threads", "quota", set->quota, "%.2f CPUs (cgroup)", set->quota);
    else fact(d, "threads", "quota", "none");
    if (set->quota > 0 && set->quota < set->n_logical && ceil(set->quota) - set->quota > 0.01)
        problem(d, "give the container or cgroup a whole number of CPUs (cpu.max, --cpus)",
                "the quota is no whole number of CPUs: of %d threads one is stopped again and again, and all others wait for it", (int)ceil(set->quota));
    count(d, "threads", "default", set->n_default, "%d", set->n_default);
    if (s->load >= 0) {
        count(d, "threads", "load", s->load, "%.2f threads wanted to run in the last minute", s->load);
        if (s->load > 0.5 * set->n_logical)
            problem(d, "end it, or leave it its CPUs with --threads: threads that take turns wait for each other",
                    "other work keeps the CPUs busy: a load of %.1f on %d CPUs", s->load, set->n_logical);
    }
    if (s->steal >= 0) {
        count(d, "threads", "steal", s->steal, "%.1f %% of the time since boot", 100 * s->steal);
        if (s->steal > 0.05)
            problem(d, "ask for CPUs of your own (dedicated, pinned) from whoever runs the hypervisor", "the hypervisor gave %.0f %% of the CPU time to others", 100 * s->steal);
    }
}

/* -------------------------------------------------------------------------------------------- limits, the disk */

static void examine_process(const tsr_checkup *c, tsr_doctor *d) {
    const tsr_system *s = &c->system;
    if (*s->kernel) fact(d, "system", "kernel", "Linux %s", s->kernel);
    fact(d, "system", "container", "%s", *s->container ? s->container : "no signs of one");
    fact(d, "system", "seccomp", "%s", s->seccomp ? "system calls are filtered" : "no filter");
    bytes(d, "limits", "locked_memory", s->memlock);
    if (s->memlock != TSR_UNLIMITED) advise(d, "--mlock needs as much as the weights take: ulimit -l, or memlock in /etc/security/limits.conf");
    bytes(d, "limits", "address_space", s->address_space);
    if (s->address_space != TSR_UNLIMITED)
        problem(d, "ulimit -v unlimited", "the address space is limited: models are mapped, and need as much of it as they are large, twice while they are packed");
    bytes(d, "limits", "data", s->data);
    if (s->data != TSR_UNLIMITED) problem(d, "ulimit -d unlimited", "the memory that the process may ask for is limited: packed weights count");
}

static void examine_disk(const tsr_checkup *c, tsr_doctor *d) {
    fact(d, "disk", "cache", "%s", *c->cache_dir ? c->cache_dir : "nowhere");
    if (c->cache_answer.code != TSR_OK) {
        problem(d, "make it yours and writable for you alone, or name another directory in XDG_CACHE_HOME",
                "the directory for what is kept between starts cannot be used: %.400s", c->cache_answer.message);
        return;
    }
    bytes(d, "disk", "free", c->cache_free);
    if ((double)c->cache_free < GIB) problem(d, "make room, or name a directory of another disk in XDG_CACHE_HOME", "less than 1 GiB of disk is left there");
}

/* ------------------------------------------------------------------------------------------------ the public side */

tsr_doctor *tsr_doctor_examine(const tsr_checkup *c, tsr_error *err) {
    tsr_doctor *d = calloc(1, sizeof *d);
    if (!d) {
        tsr_fail(err, TSR_E_NOMEM, "out of memory");
        return NULL;
    }
    examine_process(c, d);
    examine_cpu(c, d);
    examine_amx(c, d);
    examine_tiers(c, d);
    examine_threads(c, d);
    examine_memory(c, d);
    examine_nodes(c, d);
    examine_topology(c, d);
    examine_disk(c, d);
    return d;
}

tsr_doctor *tsr_doctor_open(const char *cache_dir, tsr_error *err) {
    tsr_checkup *c = malloc(sizeof *c);
    if (!c) {
        tsr_fail(err, TSR_E_NOMEM, "out of memory");
        return NULL;
    }
    tsr_checkup_read("", cache_dir, c);
    tsr_doctor *d = tsr_doctor_examine(c, err);
    free(c);
    return d;
}

void tsr_doctor_close(tsr_doctor *d) { free(d); }

bool tsr_doctor_finding(const tsr_doctor *d, size_t i, tsr_finding *out) {
    if (i >= d->n) return false;
    const finding *f = &d->items[i];
    *out = (tsr_finding){f->section, f->name, f->text, f->number, f->problem, f->advice};
    return true;
}
