/* foreign.c: what a file that is not GGUF seems to be. People pass what they downloaded; say what it is. */
#include "gguf/internal.h"

#include <string.h>
#include <strings.h>

typedef struct signature {
    const char *bytes;
    size_t n;
    const char *verdict;
} signature;

#define CONVERT "convert it to GGUF first (convert_hf_to_gguf.py of llama.cpp), or download a .gguf file"
#define UNPACK  "unpack it first and open the .gguf file in it"

/* Sources: the formats' own documentation; ggml.h of 2023 for the magics before GGUF (32-bit, little-endian). */
static const signature signatures[] = {
    {"FUGG", 4, "a big-endian GGUF file; Tessera reads little-endian ones: get or convert the little-endian model"},
    {"lmgg", 4, "a GGML file from before GGUF (2023), which is no longer read; get the model as .gguf"},
    {"fmgg", 4, "a GGML file from before GGUF (2023), which is no longer read; get the model as .gguf"},
    {"tjgg", 4, "a GGML file from before GGUF (2023), which is no longer read; get the model as .gguf"},
    {"PK\3\4", 4, "looks like a PyTorch checkpoint or another zip archive; " CONVERT},
    {"\x80\2", 2, "looks like a Python pickle (an old PyTorch checkpoint); " CONVERT},
    {"version https://git-lfs", 23, "a Git LFS pointer, not the model itself; fetch the model with: git lfs pull"},
    {"\x1f\x8b", 2, "looks like a gzip file; " UNPACK},
    {"\xfd"
     "7zXZ",
     5, "looks like an xz file; " UNPACK},
    {"\x28\xb5\x2f\xfd", 4, "looks like a Zstandard file; " UNPACK},
    {"BZh", 3, "looks like a bzip2 file; " UNPACK},
    {"7z\xbc\xaf", 4, "looks like a 7-Zip file; " UNPACK},
    {"\x89HDF", 4, "looks like an HDF5 file (Keras?); " CONVERT},
    {"\x7f"
     "ELF",
     4, "a program or library, not a model; give the .gguf file"},
};

static bool is_html(const uint8_t *p, size_t n) {
    size_t i = 0;
    while (i < n && i < 64 && (p[i] == ' ' || p[i] == '\t' || p[i] == '\r' || p[i] == '\n')) i++;
    if (i == n || p[i] != '<') return false;
    static const char *const openings[] = {"<!doctype", "<html", "<head", "<body", "<?xml"};
    for (size_t k = 0; k < sizeof openings / sizeof *openings; k++) {
        size_t len = strlen(openings[k]);
        if (n - i >= len && strncasecmp((const char *)p + i, openings[k], len) == 0) return true;
    }
    return false;
}

/* safetensors: u64 length of a JSON header, then that JSON. */
static bool is_safetensors(const uint8_t *p, size_t n) {
    uint64_t header;
    if (n < 9) return false;
    memcpy(&header, p, sizeof header);
    return header < (UINT64_C(1) << 30) && p[8] == '{';
}

static bool is_all(const uint8_t *p, size_t n, uint8_t value) {
    for (size_t i = 0; i < n; i++)
        if (p[i] != value) return false;
    return true;
}

static bool is_text(const uint8_t *p, size_t n) {
    for (size_t i = 0; i < n; i++)
        if ((p[i] < 0x20 && p[i] != '\t' && p[i] != '\r' && p[i] != '\n') || p[i] == 0x7f) return false;
    return true;
}

static const char *verdict(const uint8_t *p, size_t n) {
    size_t head = n < 256 ? n : 256;
    if (n < 4 && memcmp(p, "GGUF", n) == 0) return "the file ends inside the magic bytes; download or copy it again";
    for (size_t i = 0; i < sizeof signatures / sizeof *signatures; i++)
        if (n >= signatures[i].n && memcmp(p, signatures[i].bytes, signatures[i].n) == 0) return signatures[i].verdict;
    if (is_safetensors(p, n)) return "looks like a safetensors file; " CONVERT;
    if (is_html(p, n)) return "looks like a web page: the download went wrong, or needs a login; download it again";
    if (is_all(p, head, 0)) return "its beginning is empty (zeros): an unfinished download; download it again";
    if (is_text(p, head)) return "looks like a text file; give the .gguf file of the model";
    return "give a model in GGUF format";
}

tsr_code tsr_gguf_refuse_foreign(const char *label, const uint8_t *p, size_t n, tsr_error *err) {
    if (n == 0) return tsr_fail(err, TSR_E_FORMAT, "%s: the file is empty", label);
    char start[48];
    tsr_printable((const char *)p, n < 8 ? n : 8, start, sizeof start);
    return tsr_fail(err, TSR_E_FORMAT, "%s: not a GGUF file: starts with '%s'; %s", label, start, verdict(p, n));
}
