/* commands.h: the subcommands, one a file. */
#ifndef CLI_COMMANDS_H
#define CLI_COMMANDS_H

#include "cli/args.h"

extern const command run_command, chat_command, info_command, tokenize_command, detokenize_command, eval_command,
    quantize_command, bench_command, cache_command, doctor_command, version_command, help_topic_command;

#endif
