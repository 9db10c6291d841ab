/* placement.h: what holds and computes the tensors of a model. */
#ifndef CLI_PLACEMENT_H
#define CLI_PLACEMENT_H

#include "tessera.h"

#include <jansson.h>
#include <stdio.h>

/* A table of (format, buffer, layout, kernel, reason) with counts and sizes, the largest first. */
void show_placement(FILE *f, const tsr_model *model);
/* The same for each group of tensors that differ in nothing but the numbers in their names ("blk.*.attn_q.weight"), in the file's order. */
void show_buffers(FILE *f, const tsr_model *model);
json_t *buffers_json(const tsr_model *model);

#endif
