/* chat.h: a conversation, and what the chat's commands do to it. */
#ifndef CLI_CHAT_H
#define CLI_CHAT_H

#include "cli/engine.h"
#include "cli/generate.h"
#include "cli/sampling_options.h"

#include <jansson.h>

typedef struct chat_options {
    const char *system, *template_file;
    bool no_history, verbose;
} chat_options;

typedef struct chat_settings {
    general_settings general;
    model_options model;
    session_options session;
    sampling_options sampling;
    generate_options generate;
    chat_options own;
} chat_settings;

typedef struct chat {
    chat_settings *settings; /* /set changes them */
    engine e;
    json_t *messages; /* array of {"role", "content"}; a system message can only be the first */
    char *template_text;
    uint64_t seed; /* of the first answer; each later one adds 1, so that a repeated question can be answered anew */
    unsigned n_answers;
    answer last; /* for /stats */
    double last_seconds;
    bool multi; /* the next message is a block */
    bool leave;
} chat;

/* The system message, or NULL. */
const char *chat_system(const chat *c);
/* Replaces (or, with NULL or "", removes) it. */
void chat_set_system(chat *c, const char *text);
void chat_add(chat *c, const char *role, const char *text, size_t n);
/* Forgets the last question and all that came after it. False when there is none. */
bool chat_undo(chat *c);
/* Answers the last question: streams to stdout and adds the answer. Returns an exit status; after a failure, or Ctrl-C
 * before the first token, the conversation is without the question. */
int chat_answer(chat *c);

/* Does what a line that begins with '/' says. */
int chat_command_line(chat *c, const char *line);
/* The commands there are: [{"name", "argument", "help"}]. */
json_t *chat_commands_json(void);

#endif
