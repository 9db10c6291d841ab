/* chat_input.h: messages typed, pasted or piped. */
#ifndef CLI_CHAT_INPUT_H
#define CLI_CHAT_INPUT_H

#include <stdbool.h>

typedef struct chat_input chat_input;

typedef enum input_result {
    INPUT_TEXT,
    INPUT_END,         /* Ctrl-D, or the end of the pipe */
    INPUT_INTERRUPTED, /* Ctrl-C: what was typed is dropped */
    INPUT_FAILED,      /* reported */
} input_result;

/* On a terminal: line editing, and a history kept in a file if keep_history. NULL when out of memory, reported. */
chat_input *chat_input_open(bool keep_history);
void chat_input_close(chat_input *in);

/* The next message: a line; lines joined by a backslash at their end; lines between two lines of """; or a paste of
 * several lines, as it is. With block, everything up to a line of """. *text is the caller's to free. */
input_result chat_input_read(chat_input *in, bool block, char **text);

#endif
