/* vocab.h: the insides of a tokenizer, shared by the files of src/text that implement one kind each. */
#ifndef TSR_TEXT_VOCAB_H
#define TSR_TEXT_VOCAB_H

#include "core/buf.h"
#include "text/tokenizer.h"
#include "text/tokenizer/trie.h"

/* Longest vocabulary entry taken, in bytes. Real ones stay below about 1100 (512 spaces in byte-level spelling);
 * the bound keeps every prefix search, and so the whole encoder, linear in the text for hostile vocabularies too. */
#define TSR_MAX_ENTRY 4096
/* Longest text, in bytes: positions are kept in 32 bits. */
#define TSR_MAX_TEXT ((size_t)1 << 30)

typedef enum tsr_tokenizer_model {
    TSR_MODEL_BPE,
    TSR_MODEL_SPM,
    TSR_MODEL_UNIGRAM,
    TSR_MODEL_WORDPIECE
} tsr_tokenizer_model;

/* Per token, beside its kind. */
enum { TSR_TOKF_END = 1, TSR_TOKF_RSTRIP = 2, TSR_TOKF_LSTRIP = 4 };

/* Growable token list. Out of memory is sticky, as in tsr_buf. */
typedef struct tsr_ids {
    tsr_token *data;
    size_t n, cap;
    bool oom;
} tsr_ids;
void tsr_ids_push(tsr_ids *ids, tsr_token id);

typedef struct tsr_vocab_slot {
    uint32_t tag, id;
} tsr_vocab_slot; /* id UINT32_MAX: empty */

typedef struct tsr_bpe tsr_bpe; /* bpe.c */

/* A SentencePiece normaliser (normalize.c). */
typedef struct tsr_normalizer {
    const uint8_t *nodes; /* [n_nodes] unaligned little-endian 32-bit units of the double array, or NULL */
    uint32_t n_nodes;
    const char *replacements; /* NUL-terminated strings, offsets are the double array's values */
    size_t n_replacements;
    bool add_space_prefix, remove_extra_whitespaces;
    bool keep_invalid; /* bytes that are not UTF-8 stay (byte fallback can spell them), else U+FFFD */
} tsr_normalizer;

struct tsr_tokenizer {
    tsr_tokenizer_model model;
    char describe[48];
    int n_vocab;
    char *texts;           /* all entries, each with a NUL after it */
    size_t *offset;        /* [n_vocab + 1] of each entry in texts */
    float *scores;         /* [n_vocab], NULL for models without */
    uint8_t *kinds;        /* [n_vocab] tsr_token_kind */
    uint8_t *flags;        /* [n_vocab] TSR_TOKF_* */
    size_t max_entry;      /* longest entry, bytes */
    tsr_vocab_slot *slots; /* [slot_mask + 1] text -> id */
    uint32_t slot_mask;
    uint64_t hash_seed; /* random per tokenizer: a file cannot aim for collisions */
    tsr_special special;
    tsr_token byte_ids[256]; /* the token that spells one byte, or NONE */
    bool byte_fallback;      /* SPM, unigram: byte_ids is complete */
    tsr_trie added;          /* CONTROL, UNKNOWN and USER_DEFINED entries, as the text spells them */
    tsr_bpe *bpe;
    tsr_normalizer normalizer;     /* SPM, unigram */
    tsr_trie pieces;               /* unigram, wordpiece: what may be matched */
    float unknown_score;           /* unigram */
    bool lowercase, strip_accents; /* wordpiece */
};

static inline const char *tsr_vocab_text(const tsr_tokenizer *t, tsr_token id, size_t *n) {
    *n = t->offset[id + 1] - t->offset[id] - 1;
    return t->texts + t->offset[id];
}

/* vocab.c. The lowest id with exactly that text, or NONE. */
tsr_token tsr_vocab_find(const tsr_tokenizer *t, const char *text, size_t n);
/* Reads tokens, token types and scores and builds the hash. */
tsr_code tsr_vocab_load(tsr_tokenizer *t, const tsr_gguf *g, tsr_error *err);
/* 64 well-mixed bits. */
uint64_t tsr_vocab_mix(uint64_t x);

/* special.c: ids, flags, ends of generation, and the trie of added entries. */
tsr_code tsr_special_load(tsr_tokenizer *t, const tsr_gguf *g, tsr_error *err);

/* One file a kind: load builds what encoding needs; encode appends the tokens of a text without added entries.
 * first, last: the text begins / ends where the whole text does (or next to a control token). */
typedef struct tsr_fragment {
    const char *s;
    size_t n;
    bool first, last;
} tsr_fragment;

tsr_code tsr_bpe_load(tsr_tokenizer *t, const tsr_gguf *g, tsr_error *err);
void tsr_bpe_free(tsr_bpe *b);
bool tsr_bpe_adds_bos(const tsr_bpe *b); /* what the pre-tokenizer's models do when the file does not say */
tsr_code tsr_bpe_encode(const tsr_tokenizer *t, tsr_fragment f, tsr_ids *out, tsr_error *err);
/* The bytes that an entry in byte-level spelling stands for, appended to b. */
void tsr_bpe_spell(const char *text, size_t n, tsr_buf *b);

tsr_code tsr_spm_load(tsr_tokenizer *t, const tsr_gguf *g, tsr_error *err);
tsr_code tsr_spm_encode(const tsr_tokenizer *t, tsr_fragment f, tsr_ids *out, tsr_error *err);

tsr_code tsr_unigram_load(tsr_tokenizer *t, const tsr_gguf *g, tsr_error *err);
tsr_code tsr_unigram_encode(const tsr_tokenizer *t, tsr_fragment f, tsr_ids *out, tsr_error *err);

tsr_code tsr_wordpiece_load(tsr_tokenizer *t, const tsr_gguf *g, tsr_error *err);
tsr_code tsr_wordpiece_encode(const tsr_tokenizer *t, tsr_fragment f, tsr_ids *out, tsr_error *err);

/* normalize.c. Reads the charsmap and the whitespace flags. */
tsr_code tsr_normalizer_load(tsr_tokenizer *t, const tsr_gguf *g, tsr_error *err);
/* Appends f normalised, spaces as U+2581, to out. */
tsr_code tsr_normalize(const tsr_normalizer *z, tsr_fragment f, tsr_buf *out, tsr_error *err);

#endif
