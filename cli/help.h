/* help.h: help texts, made from the option tables. */
#ifndef CLI_HELP_H
#define CLI_HELP_H

#include "cli/args.h"

void help_overview(const command *const *commands);
/* Usage, options with their defaults, examples. */
void help_command(const command *cmd);
/* Every table as JSON, for the man page, the completions and the test that holds them to the tables. */
int help_options_json(const command *const *commands);

#endif
