/* tokenizer.h: text <-> tokens, built from a GGUF file's tokenizer.ggml.* metadata.
 *
 * Kinds (tokenizer.ggml.model): "gpt2" byte-level BPE with the pre-tokenizer named by tokenizer.ggml.pre (PCRE2),
 * "llama" SentencePiece BPE with scores and byte fallback, "t5" SentencePiece unigram (Viterbi), "bert" WordPiece.
 * A tokenizer is immutable and may be shared by threads. Everything in the file is checked: token arrays of wrong type
 * or length, ids out of range, unknown model or pre-tokenizer names are errors that say what is known.
 */
#ifndef TSR_TEXT_TOKENIZER_H
#define TSR_TEXT_TOKENIZER_H

#include "gguf/gguf.h"

typedef struct tsr_tokenizer tsr_tokenizer;

/* tokenizer.ggml.token_type values */
typedef enum tsr_token_kind {
    TSR_TOK_NORMAL = 1, TSR_TOK_UNKNOWN, TSR_TOK_CONTROL, TSR_TOK_USER_DEFINED, TSR_TOK_UNUSED, TSR_TOK_BYTE
} tsr_token_kind;

/* g must stay open as long as the tokenizer. */
tsr_tokenizer *tsr_tokenizer_open(const tsr_gguf *g, tsr_error *err);
void tsr_tokenizer_close(tsr_tokenizer *t);

int tsr_tokenizer_n_vocab(const tsr_tokenizer *t);
const char *tsr_tokenizer_describe(const tsr_tokenizer *t); /* "bpe (qwen2)", "spm", "unigram", "wordpiece" */

typedef struct tsr_special {
    tsr_token bos, eos, eot, eom, unk, sep, pad, cls, mask; /* TSR_TOKEN_NONE when absent */
    bool add_bos, add_eos, add_space_prefix;
} tsr_special;

const tsr_special *tsr_tokenizer_special(const tsr_tokenizer *t);
const char *tsr_tokenizer_text(const tsr_tokenizer *t, tsr_token id);     /* NUL-terminated vocabulary entry, or NULL */
tsr_token_kind tsr_tokenizer_kind(const tsr_tokenizer *t, tsr_token id);
tsr_token tsr_tokenizer_find(const tsr_tokenizer *t, const char *text);   /* exact vocabulary entry, or NONE */
/* End of generation: eos, eot, eom, and the entries that models use as such ("<|im_end|>", "<end_of_turn>", ...). */
bool tsr_tokenizer_is_end(const tsr_tokenizer *t, tsr_token id);

/* Flags: TSR_ADD_SPECIAL, TSR_PARSE_SPECIAL (tessera.h). text may hold any bytes, NUL and invalid UTF-8 included.
 * *out is malloc'ed (non-NULL even for n = 0). Time is O(n log n) for any input; n_bytes up to 1 GiB. */
tsr_code tsr_tokenizer_encode(const tsr_tokenizer *t, const char *text, size_t n_bytes, unsigned flags,
                              tsr_token **out, size_t *n_out, tsr_error *err);

/* Bytes of one token as they appear in the text (before any trimming of a leading space), appended to b.
 * Control tokens only with TSR_RENDER_SPECIAL. */
struct tsr_buf;
void tsr_tokenizer_piece(const tsr_tokenizer *t, tsr_token id, unsigned flags, struct tsr_buf *b);

/* Whole text: pieces joined, the leading space that SentencePiece added removed. Ids out of range are an error. */
tsr_code tsr_tokenizer_decode(const tsr_tokenizer *t, const tsr_token *tokens, size_t n, unsigned flags,
                              char **out, size_t *n_out, tsr_error *err);

/* Streaming: push() returns the bytes that are complete UTF-8 characters by now; bytes that can never become valid come
 * out as U+FFFD; finish() flushes. The result lives until the next call. */
typedef struct tsr_decoder tsr_decoder;
tsr_decoder *tsr_decoder_open(const tsr_tokenizer *t, unsigned flags, tsr_error *err);
const char *tsr_decoder_push(tsr_decoder *d, tsr_token id, size_t *n_bytes);
const char *tsr_decoder_finish(tsr_decoder *d, size_t *n_bytes);
void tsr_decoder_close(tsr_decoder *d);

#endif
