/* bench_shapes.h: lists of matrix shapes: files, and those of bench/shapes by name. */
#ifndef CLI_BENCH_SHAPES_H
#define CLI_BENCH_SHAPES_H

#include <stddef.h>
#include <stdint.h>

typedef struct bench_shape {
    char model[32], name[32]; /* the list's name and the line's */
    int64_t n, k;
    int n_experts, n_used; /* 0, 0: one matrix */
} bench_shape;

typedef struct bench_shapes {
    bench_shape *items;
    size_t n;
} bench_shapes;

typedef struct builtin_shapes {
    const char *name, *text; /* NULL ends the list */
} builtin_shapes;

/* The files of bench/shapes, put into the program by cli/CMakeLists.txt. */
extern const builtin_shapes builtin_shape_lists[];

/* Appends the shapes of a built-in list, or of a file: lines `name N K [experts used]`, # begins a comment. Returns an exit status;
 * failures have been reported. */
int shapes_add(bench_shapes *s, const char *name_or_file);
void shapes_free(bench_shapes *s);

#endif
