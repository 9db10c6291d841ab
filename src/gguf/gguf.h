/* gguf.h: the GGUF file format, versions 2 and 3, little-endian: a bounds-checked reader over mmapped files
 * (single or split), and a writer. Source: the GGUF specification in the ggml project (docs/gguf.md).
 *
 * The file is hostile: everything is checked before it is used, nothing is allocated on the file's word alone,
 * and every error names the file and the key or tensor at fault. A tsr_gguf is immutable once open.
 */
#ifndef TSR_GGUF_GGUF_H
#define TSR_GGUF_GGUF_H

#include "core/error.h"
#include "quant/quant.h"

typedef enum tsr_gguf_vtype {
    TSR_GGUF_U8 = 0, TSR_GGUF_I8, TSR_GGUF_U16, TSR_GGUF_I16, TSR_GGUF_U32, TSR_GGUF_I32, TSR_GGUF_F32,
    TSR_GGUF_BOOL, TSR_GGUF_STRING, TSR_GGUF_ARRAY, TSR_GGUF_U64, TSR_GGUF_I64, TSR_GGUF_F64,
    TSR_GGUF_VTYPE_COUNT
} tsr_gguf_vtype;

/* Bytes inside the mapping (not NUL-terminated), or anything else the writer is given. */
typedef struct tsr_str { const char *s; size_t n; } tsr_str;

typedef struct tsr_gguf_kv {
    char *key;               /* NUL-terminated copy */
    tsr_gguf_vtype type;
    tsr_gguf_vtype elem;     /* arrays: element type (nested arrays are refused) */
    uint64_t n;              /* arrays: element count; else 1 */
    const void *data;        /* scalars and arrays of numbers: unaligned little-endian values in the mapping */
    tsr_str *strings;        /* STRING: 1 entry; ARRAY of STRING: n entries */
} tsr_gguf_kv;

typedef struct tsr_gguf_tensor {
    char *name;              /* NUL-terminated copy, unique over all splits */
    tsr_type type;
    int n_dims;              /* 1..4 */
    int64_t ne[4];           /* ne[0] contiguous; unused dimensions are 1; every one >= 1 */
    uint64_t n_elems, n_bytes;
    int file;                /* which split */
    uint64_t offset;         /* absolute, in that file */
    const void *data;        /* in the mapping */
} tsr_gguf_tensor;

typedef struct tsr_gguf_file {
    char *path;
    const uint8_t *base;     /* the mapping */
    size_t size;
    int fd;                  /* -1 when parsed from memory */
    int mapping;             /* id in core/mapping.h, -1 when none */
} tsr_gguf_file;

typedef struct tsr_gguf {
    uint32_t version, alignment;
    tsr_gguf_file *files;    /* [n_files] */
    int n_files;
    tsr_gguf_kv *kv;         /* [n_kv], of the first file, in file order */
    size_t n_kv;
    tsr_gguf_tensor *tensors; /* [n_tensors], in file order, splits one after the other */
    size_t n_tensors;
    void *index;             /* keys and tensor names in order, private */
} tsr_gguf;

/* Opens path; if it says split.count > 1, its siblings NAME-%05d-of-%05d.gguf too (path must be the first one;
 * any other is refused with the name of the first). */
tsr_gguf *tsr_gguf_open(const char *path, tsr_error *err);
/* Parses one non-split file image in memory that must outlive the result; tensors lie as aligned as data does. name is
 * used in messages. */
tsr_gguf *tsr_gguf_parse(const void *data, size_t n, const char *name, tsr_error *err);
void tsr_gguf_close(tsr_gguf *g);

#define TSR_GGUF_LABEL 320 /* bytes of a printable path in messages */
/* The path of file i as messages show it; every message of this room begins with it. Returns out. */
const char *tsr_gguf_label(const tsr_gguf *g, int i, char out[TSR_GGUF_LABEL]);

const tsr_gguf_kv *tsr_gguf_find(const tsr_gguf *g, const char *key);
const tsr_gguf_tensor *tsr_gguf_find_tensor(const tsr_gguf *g, const char *name);

/* Typed access. Integers convert between widths when the value fits; F32 takes F64 and integers. A wrong type or a
 * value out of range is TSR_E_FORMAT with the key's name. A missing key: with `def` semantics, *out is left alone
 * and TSR_OK is returned by _opt; plain getters fail. Values are in [min, max] or the call fails. */
tsr_code tsr_gguf_get_int(const tsr_gguf *g, const char *key, int64_t min, int64_t max, int64_t *out, tsr_error *err);
tsr_code tsr_gguf_opt_int(const tsr_gguf *g, const char *key, int64_t min, int64_t max, int64_t *out, tsr_error *err);
tsr_code tsr_gguf_opt_f32(const tsr_gguf *g, const char *key, float *out, tsr_error *err); /* finite only */
tsr_code tsr_gguf_opt_bool(const tsr_gguf *g, const char *key, bool *out, tsr_error *err);
tsr_code tsr_gguf_opt_str(const tsr_gguf *g, const char *key, tsr_str *out, tsr_error *err);
/* An array of strings / numbers. expect_n: required length, or 0 for any. Missing is TSR_OK with *out = NULL. */
tsr_code tsr_gguf_opt_array(const tsr_gguf *g, const char *key, tsr_gguf_vtype elem, uint64_t expect_n,
                            const tsr_gguf_kv **out, tsr_error *err);
/* Element i of an array (or the scalar itself, i = 0) as a number, bools as 0 and 1; the kv must be numeric. What is
 * none (strings, i >= n) is 0; _int cuts fractions, and what is beyond int64_t to the nearest that is not. */
double tsr_gguf_num(const tsr_gguf_kv *kv, uint64_t i);
int64_t tsr_gguf_int(const tsr_gguf_kv *kv, uint64_t i);

const char *tsr_gguf_vtype_name(tsr_gguf_vtype t); /* "u32", "str", ... */
/* The value as text into b (see core/buf.h): strings raw, arrays "[a, b, ...]" cut after max_items. */
struct tsr_buf;
void tsr_gguf_format(const tsr_gguf_kv *kv, size_t max_items, struct tsr_buf *b);

/* ------------------------------------------------------------------------------------------------- writer
 * Collects metadata and tensor descriptions, then writes header, directory and data in one pass to PATH.tmp.XXXXXX
 * beside the target, syncs, and renames. A target that exists is replaced only by a complete file. */
typedef struct tsr_gguf_writer tsr_gguf_writer;
/* alignment: a power of two from 8 to 2^24; 32 is usual. */
tsr_gguf_writer *tsr_gguf_writer_open(const char *path, uint32_t alignment, tsr_error *err);
/* Metadata. A key set twice keeps its first place and the last value. copy() takes any kv of a reader as it is, but
 * general.alignment is always what open() was told; split.* describe the source file and are the caller's to skip. */
tsr_code tsr_gguf_writer_copy(tsr_gguf_writer *w, const tsr_gguf_kv *kv, tsr_error *err);
tsr_code tsr_gguf_writer_u32(tsr_gguf_writer *w, const char *key, uint32_t value, tsr_error *err);
tsr_code tsr_gguf_writer_str(tsr_gguf_writer *w, const char *key, const char *value, tsr_error *err);
tsr_code tsr_gguf_writer_tensor(tsr_gguf_writer *w, const char *name, tsr_type type, int n_dims, const int64_t *ne,
                                tsr_error *err);
/* Writes header and directory; then exactly one data() call per tensor, in order, each with all of its bytes. */
tsr_code tsr_gguf_writer_begin(tsr_gguf_writer *w, tsr_error *err);
tsr_code tsr_gguf_writer_data(tsr_gguf_writer *w, const void *bytes, size_t n, tsr_error *err);
/* Syncs, renames, frees w. On failure, and from abort(), the temporary file is removed and w is freed. */
tsr_code tsr_gguf_writer_finish(tsr_gguf_writer *w, tsr_error *err);
void tsr_gguf_writer_abort(tsr_gguf_writer *w);

#endif
