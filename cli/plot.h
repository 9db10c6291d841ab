/* plot.h: line plots as SVG, for light and dark pages: panels one below the other that share the x axis, each with its own y axis from 0. */
#ifndef CLI_PLOT_H
#define CLI_PLOT_H

#include <stddef.h>
#include <stdio.h>

typedef struct plot_point {
    double x, y, spread; /* an error bar from y - spread to y + spread; 0: none */
} plot_point;

typedef struct plot_series {
    const char *name;
    const plot_point *points; /* [n], x ascending */
    size_t n;
} plot_series;

typedef struct plot_panel {
    const char *title; /* what y is */
    const plot_series *series;
    size_t n;
} plot_panel;

/* x and y are not negative, texts any UTF-8. What it writes is in f's buffer. */
void plot_write(FILE *f, const char *title, const char *x_title, const plot_panel *panels, size_t n);

/* The distance of ticks, 1, 2 or 5 times a power of ten, with at most `most` of them in (0, top]; top > 0. */
double plot_step(double top, int most);

#endif
