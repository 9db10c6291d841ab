/* machine.c: what this machine offers, as the public API tells it. */
#include "core/cpu.h"
#include "core/topology.h"
#include "engine/tier.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

/* Texts are handed out as pointers, so they are kept for the life of the process. */
static tsr_error amx;
static char topology[160];
static tsr_tier tier;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void ask(void) {
    tsr_topology *t = malloc(sizeof *t);
    if (t) {
        tsr_topology_read(t);
        tsr_topology_text(t, topology, sizeof topology);
    }
    free(t);
    char note[TSR_TIER_NOTE];
    tier = tsr_cpu_get()->tier;
    tsr_tier_best_amx(tsr_tier_this_machine(), &tier, note, &amx);
}

void tsr_machine_get(tsr_machine *out) {
    const tsr_cpu *cpu = tsr_cpu_get();
    tsr_cpuset set;
    tsr_cpuset_read("", &set);
    pthread_once(&once, ask);
    memset(out, 0, sizeof *out);
    memcpy(out->cpu, cpu->brand, sizeof out->cpu);
    out->tier = tsr_tier_name(tier);
    out->features = cpu->features;
    out->n_logical = set.n_logical;
    out->n_physical = set.n_physical;
    out->cgroup_cpus = set.quota;
    out->n_threads_default = set.n_default;
    out->amx_usable = amx.code == TSR_OK;
    out->amx_reason = amx.message;
    out->topology = topology;
}
