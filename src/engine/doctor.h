/* doctor.h: what a machine offers Tessera and what stands in the way. Facts are read once; what they mean is decided by a function of the facts
 * alone, so that tests can be any machine. */
#ifndef TSR_ENGINE_DOCTOR_H
#define TSR_ENGINE_DOCTOR_H

#include "core/cpu.h"
#include "core/system.h"
#include "core/topology.h"

typedef struct tsr_checkup {
    tsr_cpu cpu;
    tsr_amx_facts amx;
    tsr_error amx_answer;      /* TSR_OK: AMX works, self-test included; else why not */
    tsr_cpuset set;
    tsr_system system;
    tsr_topology topology;
    char cache_dir[512];       /* printable */
    tsr_error cache_answer;    /* TSR_OK: it can be written, or made; else why not */
    uint64_t cache_free;       /* bytes of its disk that this user may fill */
} tsr_checkup;

/* cache_dir: NULL for the usual one. */
void tsr_checkup_read(const char *root, const char *cache_dir, tsr_checkup *out);
/* The findings; NULL when out of memory. */
tsr_doctor *tsr_doctor_examine(const tsr_checkup *c, tsr_error *err);

#endif
