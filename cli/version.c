/* tessera version: the program and the machine it would compute on. */
#include "cli/commands.h"
#include "cli/io.h"
#include "cli/term.h"
#include "tessera.h"

typedef struct version_settings {
    general_settings general;
    bool json;
} version_settings;

static const option own_options[] = {
    {"json", 0, OPTION_FLAG, NULL, offsetof(version_settings, json), 0, 0, "print JSON"},
    {0},
};

static const option_group groups[] = {{"Version", own_options, 0}, {"General", general_options, 0}, {0}};

static void set_defaults(void *settings) { (void)settings; }

static int run(void *settings, const operands *rest) {
    (void)rest;
    tsr_machine m;
    tsr_machine_get(&m);
    if (((version_settings *)settings)->json)
        return out_json(json_pack("{ss ss ss ss si si sf si sb ss ss}", "version", tsr_version(), "cpu", m.cpu, "tier",
                                  m.tier, "features", m.features, "logical_cpus", m.n_logical, "physical_cores",
                                  m.n_physical, "cgroup_cpus", m.cgroup_cpus, "default_threads", m.n_threads_default,
                                  "amx_usable", m.amx_usable, "amx_reason", m.amx_reason,
                                  "topology", m.topology));
    printf("tessera %s\n", tsr_version());
    printf("cpu       %s (%d logical, %d physical; %d threads by default)\n", m.cpu, m.n_logical, m.n_physical,
           m.n_threads_default);
    if (m.cgroup_cpus > 0) printf("quota     %.2f CPUs (cgroup)\n", m.cgroup_cpus);
    if (*m.topology) printf("machine   %s\n", m.topology);
    printf("tier      %s\n", m.tier);
    printf("features  %s\n", m.features);
    printf("amx       %s%s%s\n", m.amx_usable ? "usable" : "not usable", *m.amx_reason ? ": " : "", m.amx_reason);
    return EXIT_FINE;
}

const command version_command = {
    .name = "version",
    .summary = "show the version and what this machine can do",
    .operands = "",
    .about = "",
    .examples = "tessera version\ntessera version --json",
    .groups = groups,
    .settings_size = sizeof(version_settings),
    .set_defaults = set_defaults,
    .run = run,
};
