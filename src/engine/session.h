/* session.h: what speculation needs of a session beyond tessera.h. */
#ifndef TSR_ENGINE_SESSION_H
#define TSR_ENGINE_SESSION_H

#include "tessera.h"

enum { TSR_VERIFY_MAX = 8 }; /* tokens of tsr_session_verify */

/* As tsr_session_eval of 1 to TSR_VERIFY_MAX tokens with TSR_LOGITS_ALL, but every row of logits, and what the cache remembers, is bit for
 * bit what one token after the other would give. Counts as one generated token. */
tsr_code tsr_session_verify(tsr_session *s, const tsr_token *tokens, size_t n, tsr_error *err);
/* How many tokens it takes: fewer where a batch holds fewer. */
size_t tsr_session_verify_most(const tsr_session *s);
/* One of its tokens more turned out to be generated. */
void tsr_session_count_accepted(tsr_session *s);
/* Rows of logits there are. */
size_t tsr_session_n_logits(const tsr_session *s);

#endif
