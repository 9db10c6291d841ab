/* interrupt.h: Ctrl-C. The first one asks running work to stop, the second leaves at once. */
#ifndef CLI_INTERRUPT_H
#define CLI_INTERRUPT_H

#include "tessera.h"

void interrupt_install(void);
bool interrupted(void);
void interrupt_clear(void);
/* Whether Ctrl-C ends a read() that waits for input. Off at first, so that a write() that waits for a slow reader is
 * not broken by it. */
void interrupt_breaks_input(bool on);
/* The session whose evaluation Ctrl-C cancels; NULL for none. */
void interrupt_watch(tsr_session *s);

#endif
