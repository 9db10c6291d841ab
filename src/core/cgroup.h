/* cgroup.h: the cgroups that limit this process: its own and every one above it. A parent's limit binds its children, so the tightest counts.
 * Sources: cgroup-v2.rst, cgroup v1 documentation, cgroup_namespaces(7), proc_pid_mountinfo(5). */
#ifndef TSR_CORE_CGROUP_H
#define TSR_CORE_CGROUP_H

#include "core/buf.h"

typedef void (*tsr_cgroup_fn)(void *ctx, const char *dir, bool v2);

/* Calls visit with the directory of each that has the controller ("cpu", "memory"). root: as for tsr_cpuset_read. */
void tsr_cgroup_walk(const char *root, const char *controller, tsr_cgroup_fn visit, void *ctx);
/* The number that a file of the directory begins with, 0 when there is none ("max"); *text holds the file. */
double tsr_cgroup_number(const char *dir, const char *file, tsr_buf *text);

#endif
