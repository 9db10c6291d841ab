#include "cli/plot.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>

/* In pixels. */
enum { WIDTH = 760, LEFT = 76, RIGHT = 24, TOP = 44, PLOT = 220, TITLE = 24, LEGEND = 18, GAP = 34, BOTTOM = 52, CHARACTER = 7, SWATCH = 26 };
enum { COLORS = 6, MOST_TICKS = 6, TICK_ROOM = 48 };

/* Colours that differ for colour-blind eyes too (Okabe and Ito 2008), the dark ones lighter on dark pages. */
static const char style[] =
    "<style>\n"
    "text { font: 12px system-ui, sans-serif; fill: #222 } .title { font-size: 15px; font-weight: 600 } .panel { font-weight: 600 }\n"
    ".page { fill: #fff } .axis { stroke: #555; fill: none } .grid { stroke: #ddd; fill: none } .line { fill: none; stroke-width: 2 }\n"
    ".c0 { stroke: #0072b2; fill: #0072b2 } .c1 { stroke: #d55e00; fill: #d55e00 } .c2 { stroke: #009e73; fill: #009e73 }\n"
    ".c3 { stroke: #cc79a7; fill: #cc79a7 } .c4 { stroke: #b07800; fill: #b07800 } .c5 { stroke: #555; fill: #555 } .line { fill: none }\n"
    "@media (prefers-color-scheme: dark) {\n"
    "text { fill: #ddd } .page { fill: #16181c } .axis { stroke: #aaa } .grid { stroke: #3a3d44 }\n"
    ".c0 { stroke: #56b4e9; fill: #56b4e9 } .c1 { stroke: #ff8c42; fill: #ff8c42 } .c2 { stroke: #2ecc9a; fill: #2ecc9a }\n"
    ".c4 { stroke: #f0c030; fill: #f0c030 } .c5 { stroke: #bbb; fill: #bbb } .line { fill: none }\n"
    "}\n"
    "</style>\n";

double plot_step(double top, int most) {
    static const double steps[] = {1.0, 2.0, 5.0, 10.0};
    double unit = pow(10.0, floor(log10(top / most)));
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++)
        if (top / (unit * steps[i]) <= most + 1e-9) return unit * steps[i];
    return 20.0 * unit; /* rounding */
}

static void put_text(FILE *f, const char *text) {
    for (; *text; text++) {
        if (*text == '&') fputs("&amp;", f);
        else if (*text == '<') fputs("&lt;", f);
        else if (*text == '>') fputs("&gt;", f);
        else if ((unsigned char)*text >= ' ') fputc(*text, f);
    }
}

static void put_label(FILE *f, double x, double y, const char *anchor, const char *class, const char *text) {
    fprintf(f, "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"%s\" class=\"%s\">", x, y, anchor, class);
    put_text(f, text);
    fputs("</text>\n", f);
}

/* A panel on the page. */
typedef struct frame {
    double x_top, y_top;          /* values at the right and upper edge */
    double left, right, up, down; /* pixels */
} frame;

static double x_of(const frame *p, double x) { return p->left + x / p->x_top * (p->right - p->left); }
static double y_of(const frame *p, double y) { return p->down - y / p->y_top * (p->down - p->up); }

static double largest_x(const plot_panel *panels, size_t n) {
    double most = 0.0;
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < panels[i].n; k++)
            for (size_t j = 0; j < panels[i].series[k].n; j++) most = fmax(most, panels[i].series[k].points[j].x);
    return most > 0.0 ? most : 1.0;
}

static double largest_y(const plot_panel *p) {
    double most = 0.0;
    for (size_t k = 0; k < p->n; k++)
        for (size_t j = 0; j < p->series[k].n; j++) most = fmax(most, p->series[k].points[j].y + p->series[k].points[j].spread);
    return most > 0.0 ? most : 1.0;
}

/* Rows of the legend, and with f the legend itself, its first row at y. color: of the first series. */
static int legend(FILE *f, const plot_panel *p, double y, size_t color) {
    int rows = 1;
    double x = LEFT;
    for (size_t k = 0; k < p->n; k++) {
        double width = SWATCH + CHARACTER * (double)strlen(p->series[k].name) + 16;
        if (x > LEFT && x + width > WIDTH - RIGHT) {
            rows++;
            x = LEFT;
        }
        double line = y + LEGEND * (rows - 1);
        if (f) {
            fprintf(f, "<line x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\" class=\"line c%d\"/>\n", x, line - 4, x + 18, line - 4, (int)((color + k) % COLORS));
            put_label(f, x + SWATCH, line, "start", "legend", p->series[k].name);
        }
        x += width;
    }
    return rows;
}

static void put_y_axis(FILE *f, const frame *p) {
    char text[32];
    double step = plot_step(p->y_top, MOST_TICKS);
    for (int i = 0; step * i <= p->y_top * (1 + 1e-9); i++) {
        double y = y_of(p, step * i);
        fprintf(f, "<line x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\" class=\"%s\"/>\n", p->left, y, p->right, y, i ? "grid" : "axis");
        snprintf(text, sizeof text, "%.6g", step * i);
        put_label(f, p->left - 8, y + 4, "end", "tick", text);
    }
    fprintf(f, "<line x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\" class=\"axis\"/>\n", p->left, p->up, p->left, p->down);
}

static void put_x_tick(FILE *f, const frame *p, double value) {
    char text[32];
    snprintf(text, sizeof text, "%.6g", value);
    fprintf(f, "<line x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\" class=\"axis\"/>\n", x_of(p, value), p->down, x_of(p, value), p->down + 5);
    put_label(f, x_of(p, value), p->down + 19, "middle", "tick", text);
}

/* Ticks where the first series has points, as far as there is room: depths are rarely round in tens. */
static void put_x_axis(FILE *f, const frame *p, const plot_series *s) {
    double last = -INFINITY;
    for (size_t i = 0; i < s->n; i++) {
        double x = x_of(p, s->points[i].x);
        bool crowds_the_end = i + 1 < s->n && x_of(p, s->points[s->n - 1].x) - x < TICK_ROOM;
        if (x - last < TICK_ROOM || crowds_the_end) continue;
        put_x_tick(f, p, s->points[i].x);
        last = x;
    }
}

static void put_series(FILE *f, const frame *p, const plot_series *s, int color) {
    fprintf(f, "<polyline class=\"line c%d\" points=\"", color);
    for (size_t i = 0; i < s->n; i++) fprintf(f, "%s%.1f,%.1f", i ? " " : "", x_of(p, s->points[i].x), y_of(p, s->points[i].y));
    fputs("\"/>\n", f);
    for (size_t i = 0; i < s->n; i++) {
        double x = x_of(p, s->points[i].x), y = y_of(p, s->points[i].y);
        double low = y_of(p, fmax(0.0, s->points[i].y - s->points[i].spread)), high = y_of(p, s->points[i].y + s->points[i].spread);
        if (s->points[i].spread > 0.0)
            fprintf(f, "<path class=\"line c%d\" d=\"M%.1f %.1fV%.1fM%.1f %.1fh8M%.1f %.1fh8\"/>\n", color, x, low, high, x - 4, low, x - 4, high);
        fprintf(f, "<circle class=\"c%d\" cx=\"%.1f\" cy=\"%.1f\" r=\"3\"/>\n", color, x, y);
    }
}

void plot_write(FILE *f, const char *title, const char *x_title, const plot_panel *panels, size_t n) {
    int height = TOP + BOTTOM - GAP;
    for (size_t i = 0; i < n; i++) height += TITLE + LEGEND * legend(NULL, &panels[i], 0, 0) + PLOT + GAP;
    fprintf(f, "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" viewBox=\"0 0 %d %d\">\n%s", WIDTH, height, WIDTH, height, style);
    fprintf(f, "<rect class=\"page\" width=\"%d\" height=\"%d\"/>\n", WIDTH, height);
    put_label(f, LEFT, 26, "start", "title", title);
    size_t color = 0;
    frame p = {.x_top = largest_x(panels, n) * 1.03, .left = LEFT, .right = WIDTH - RIGHT, .down = TOP - GAP};
    for (size_t i = 0; i < n; i++) {
        double at = p.down + GAP;
        put_label(f, LEFT, at + 12, "start", "panel", panels[i].title);
        p.up = at + TITLE + LEGEND * legend(f, &panels[i], at + TITLE + 8, color);
        p.down = p.up + PLOT;
        p.y_top = largest_y(&panels[i]) * 1.06;
        put_y_axis(f, &p);
        if (panels[i].n) put_x_axis(f, &p, &panels[i].series[0]);
        for (size_t k = 0; k < panels[i].n; k++) put_series(f, &p, &panels[i].series[k], (int)(color++ % COLORS));
    }
    put_label(f, (p.left + p.right) / 2, p.down + 40, "middle", "axis-title", x_title);
    fputs("</svg>\n", f);
}
