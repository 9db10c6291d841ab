/* bench_plot.h: speed over context depth as a picture. */
#ifndef CLI_BENCH_PLOT_H
#define CLI_BENCH_PLOT_H

#include "cli/bench_report.h"

/* Draws the tests that only read a prompt or only generate: a line for each model, configuration and number of tokens. Returns an exit
 * status; failures have been reported. */
int bench_plot(const char *path, const test_result *tests, size_t n);

#endif
