/* buffer.h: buffer types, the seam between weights and whoever computes with them.
 *
 * A tensor of the model lives in one buffer; the buffer's type decides the layout of the bytes and which kernel works on
 * them. An operation asks the tensor's buffer type, never the format. New places for weights (packed layouts, devices)
 * are new buffer types; the forward pass does not change.
 */
#ifndef TSR_BUFFER_BUFFER_H
#define TSR_BUFFER_BUFFER_H

#include "buffer/digest.h"
#include "gguf/gguf.h"
#include "kernels/matmul.h"

/* What the model does with a tensor. */
typedef enum tsr_op {
    TSR_OP_MATMUL,         /* y = x W^T, W [n, k] */
    TSR_OP_MATMUL_EXPERTS, /* one of e matrices [n, k], chosen per token */
    TSR_OP_ROWS,           /* single rows are read: token embeddings */
    TSR_OP_ROWS_MATMUL,    /* both: token embeddings that are the output matrix too (tied) */
    TSR_OP_VECTOR          /* read as f32: norm weights, biases, rope factors */
} tsr_op;

typedef struct tsr_buffer_type tsr_buffer_type;

typedef struct tsr_buffer {
    uint8_t *base;  /* 64-byte aligned */
    size_t n, used; /* bytes there are, and those that tensors have taken */
    bool filled;    /* the tensors are there already (from a cache file): set_tensor finds its place, and writes nothing */
    size_t copy_stride; /* one copy on each NUMA node (placing.h), so far apart, together n bytes; 0: there is one */
    bool split;     /* matrices lie on NUMA nodes by rows (placing.h) */
    tsr_digest *source; /* where set_tensor puts the digest of the GGUF bytes (tsr_packed_source), or NULL: not wanted */
    bool mapped;    /* base lies in a file's mapping (core/mapping.h), */
    int mapping;    /* whose id this is */
} tsr_buffer;

/* A tensor as the forward pass sees it: [n_experts][n][k], k contiguous in the file's order. */
typedef struct tsr_weight {
    const char *name;              /* the GGUF tensor's; NULL: the model does not have this weight */
    tsr_type type;                 /* format in the file */
    int64_t k, n, n_experts;
    const tsr_buffer_type *buffer_type;
    const void *data;              /* in the buffer type's layout */
    size_t row_bytes;              /* host layout: bytes from row to row */
    tsr_packed packed;             /* packed layout: one expert's matrix; its data is NULL */
    const struct tsr_weight *parts; /* [n_experts] matrices of their own (files from before merged experts), else NULL */
    bool parts_differ;             /* in format or buffer type; else those of parts[0] stand here too */
    const char *reason;            /* why no faster buffer type took it, or "" */
} tsr_weight;

/* The rows that one expert's matrix multiplies. */
typedef struct tsr_expert_rows {
    int64_t expert;
    int64_t first, rows;           /* rows [first, first + rows) of x and y, rows >= 1 */
} tsr_expert_rows;

/* One weight of a product, and what becomes of its results: y (+)= x W^T + bias. */
typedef struct tsr_output {
    const tsr_weight *w;
    const float *bias;             /* [n], or NULL */
    float *y;                      /* [m, n], rows ldy apart */
    int64_t ldy;
    bool add;                      /* to what is in y, instead of overwriting it */
} tsr_output;

/* One product for all threads of a pool: every row of x with one weight or several of the same k; with experts, each row with the matrix of
 * its expert. Where the weights' buffers allow it, rows are normed and converted once for all outputs, in one run of the pool. */
typedef struct tsr_product {
    const tsr_kernels *kern;
    tsr_pool *pool;
    uint8_t *scratch;              /* tsr_product_scratch_bytes(largest k) for each thread, 64-byte aligned */
    size_t scratch_bytes;          /* of one thread */
    void *work;                    /* tsr_product_work_bytes(largest m, most experts, largest k), 64-byte aligned */
    tsr_rows x;                    /* rows of k, perhaps picked and normed on the way */
    int64_t m;
    tsr_output out[TSR_MAX_OUTPUTS];
    int n_out;
    /* Not NULL: two outputs of the same n, whose first y is (+)= gate(first, second). The second's y may be overwritten or not. */
    tsr_gate_fn gate;
    bool rows_alone;               /* each row of y bit for bit as if the others were not there; m, or those of an expert, <= TSR_ACT8_ALONE */
    /* [n_experts], each expert once, in rows' order, together rows 0 .. m - 1; NULL: weights are one matrix */
    const tsr_expert_rows *experts;
    int64_t n_experts;
} tsr_product;

struct tsr_buffer_type {
    const char *name;                                                   /* "host" */
    /* NULL when this type can hold the tensor for op and kern can compute it there, else the reason why not (static text). */
    const char *(*refuses)(const tsr_gguf_tensor *t, tsr_op op, const tsr_kernels *kern);
    /* Bytes that the tensor takes in a buffer of this type, a multiple of 64; 0 when it stays where the file is mapped. */
    size_t (*size)(const tsr_gguf_tensor *t);
    /* Memory for tensors of n bytes together; NULL in types whose size() is always 0, like free. */
    tsr_code (*alloc)(tsr_buffer *b, size_t n, tsr_error *err);
    void (*free)(tsr_buffer *b);
    /* Appends the tensor's GGUF bytes to the buffer in this type's layout, on all threads of pool, and fills w->data. The host types,
     * which only copy or point, take a NULL pool. */
    tsr_code (*set_tensor)(tsr_buffer *b, const tsr_gguf_tensor *t, tsr_weight *w, tsr_pool *pool, tsr_error *err);
    /* The exact inverse: the tensor's GGUF bytes into out[n_bytes]. */
    void (*get_tensor)(const tsr_weight *w, void *out, size_t n_bytes);
    /* Row `row` as f32 into out[k]. */
    void (*row)(const tsr_weight *w, const tsr_kernels *kern, int64_t row, float *out);
    const char *(*layout)(const tsr_weight *w);                         /* "gguf" */
    const char *(*kernel)(const tsr_weight *w, const tsr_kernels *kern, tsr_op op, int64_t m); /* for m rows; "-": op multiplies nothing */
    /* Can it compute p, of whose outputs it holds all weights, at once? NULL: it takes one output alone, and rows as they are in x. */
    bool (*fuses)(const tsr_product *p);
    void (*multiply)(const tsr_product *p);
};

/* What types that hold tensors themselves share: memory (alloc, free), and taking the next n bytes of it (NULL and an error that names
 * the tensor when they are not there). */
tsr_code tsr_buffer_alloc(tsr_buffer *b, size_t n, tsr_error *err);
void tsr_buffer_free(tsr_buffer *b);
/* How far from base on tensors and their copies reach. */
size_t tsr_buffer_reach(const tsr_buffer *b);
uint8_t *tsr_buffer_take(tsr_buffer *b, size_t n, const char *tensor, tsr_error *err);

/* GGUF blocks as the file has them: mapped... */
extern const tsr_buffer_type tsr_buffer_host_mapped;
/* ...or copied into memory (--no-mmap). */
extern const tsr_buffer_type tsr_buffer_host_copied;

/* Weights in the order of the packed kernels (kernels/packed.h). */
extern const tsr_buffer_type tsr_buffer_packed;
/* The tensor's GGUF bytes as they are digested: each matrix by the rows that are packed at a time, so that one reading
 * serves both. */
tsr_digest_item tsr_packed_source(const tsr_gguf_tensor *t);
/* Its share of tsr_product_work_bytes. */
bool tsr_packed_product_work_bytes(int64_t max_m, int64_t max_experts, int64_t max_k, size_t *out);

/* The GGUF bytes of a host weight's matrix, or the panels of a packed one's; expert 0 of plain matrices. */
const uint8_t *tsr_weight_matrix(const tsr_weight *w, int64_t expert, size_t matrix_bytes);

/* Appends an output to p: y[m, n] = x W^T + bias, rows of y one after the other. */
void tsr_product_output(tsr_product *p, const tsr_weight *w, const float *bias, float *y);

/* Computes p with the kernels of the buffer types that hold its weights: at once where they allow it, else output by output. */
void tsr_product_run(const tsr_product *p);

/* Memory that a product of any buffer types needs: shared, and for each thread. False when it does not fit a size_t.
 * max_experts: 1 for plain matrices. */
bool tsr_product_work_bytes(int64_t max_m, int64_t max_experts, int64_t max_k, size_t *out);
size_t tsr_product_scratch_bytes(int64_t max_k);

#endif
