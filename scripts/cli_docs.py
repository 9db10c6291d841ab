#!/usr/bin/env python3
"""Make the man page and the shell completions from the option tables of the program itself.

    cli_docs.py BINARY [--check]

Writes man/tessera.1, completions/tessera.bash, completions/_tessera and completions/tessera.fish. With --check nothing
is written; the exit status says whether the files are what would be written. Python's standard library only.
"""
import argparse
import json
import pathlib
import re
import subprocess
import sys
import textwrap

ROOT = pathlib.Path(__file__).resolve().parent.parent
DATE = "November 24, 2026"  # of the man page: when the command line last changed in kind
GENERATED = "made by scripts/cli_docs.py from the program's option tables; do not edit"


def options_of(command):
    return [o for group in command["groups"] for o in group["options"]]


def is_model(option):
    return option.get("value") == "MODEL"


def is_file(option):
    return option.get("value") == "FILE"


def choices_of(option):
    return option["value"].split("|") if option["kind"] == "choice" else []


# ---------------------------------------------------------------------------------------------------------- man page

def roff(text):
    """Text that roff takes literally."""
    text = text.replace("\\", "\\e").replace("-", "\\-")
    return "\n".join("\\&" + line if line[:1] in ".'" else line for line in text.split("\n"))


def prose(text):
    """Filled text: a sentence begins on a line of its own (mdoc sets the space), lines are short."""
    sentences = re.split(r"(?<=[.!?]) (?=[A-Z/~-])", text)
    lines = [line for sentence in sentences for line in textwrap.wrap(sentence, 76, break_on_hyphens=False)]
    return roff("\n".join(lines))


def usage(command):
    operands = [f".Ar {macro_argument(command['operands'])}"] if command["operands"] else []
    return [f".Nm tessera Cm {command['name']}", ".Op Ar options"] + operands


def macro_argument(text):
    return '"' + roff(text).replace('"', '\\(dq') + '"'


def man_option(option):
    flags = [f"\\-{option['letter']}"] if "letter" in option else []
    flags.append(roff("--" + option["name"]))
    line = ".It " + " , ".join(f"Fl \\&{flag[2:]}" for flag in flags)
    if "value" in option:
        line += " Ar " + macro_argument(option["value"])
    text = option["help"] + (f" (default {option['default']})" if "default" in option else "")
    return [line, prose(text[0].upper() + text[1:] + ".")]


def man_page(tables):
    out = [f'.\\" {GENERATED}', f".Dd {DATE}", ".Dt TESSERA 1", ".Os", ".Sh NAME", ".Nm tessera",
           ".Nd run quantised language models on x86 CPUs", ".Sh SYNOPSIS"]
    for i, command in enumerate(tables["commands"]):
        out += ([".Pp"] if i else []) + usage(command)
    out += [".Sh DESCRIPTION", ".Nm", "runs language models stored as GGUF files, on the CPU.",
            prose("Answers and results go to standard output; messages, timings and progress go to standard error. "
                  "An option's value follows it as the next argument, or behind = for a long option."),
            ".Pp", "The commands are:"]
    for command in tables["commands"]:
        summary = command["summary"]
        out += [f".Ss {command['name']}", *usage(command), ".Pp", prose(summary[0].upper() + summary[1:] + ".")]
        if command["about"]:
            out.append(prose(command["about"]))
        for group in command["groups"]:
            if group["title"] == "General":
                continue
            out += [".Pp", roff(group["title"]) + ":", ".Bl -tag -width Ds -compact"]
            for option in group["options"]:
                out += man_option(option)
            out.append(".El")
        if command["name"] == "chat":
            out += [".Pp", "What can be typed inside a chat:", ".Bl -tag -width Ds -compact"]
            for c in tables["chat_commands"]:
                argument = f" Ar {macro_argument(c['argument'])}" if c["argument"] else ""
                out += [f".It Ic /{c['name']}{argument}", prose(c["help"][0].upper() + c["help"][1:] + ".")]
            out.append(".El")
    general = next(g for g in tables["commands"][0]["groups"] if g["title"] == "General")
    out += [".Ss Options of all commands", ".Bl -tag -width Ds -compact"]
    for option in general["options"]:
        out += man_option(option)
    out += [".El", ".Sh ENVIRONMENT", ".Bl -tag -width Ds",
            ".It Ev NO_COLOR", "When set and not empty, there are no colours unless asked for with",
            ".Fl \\&\\-color Cm always .",
            ".It Ev XDG_STATE_HOME", "Where the history of chats is kept; by default",
            ".Pa ~/.local/state .", ".El",
            ".Sh FILES", ".Bl -tag -width Ds", ".It Pa $XDG_STATE_HOME/tessera/history",
            "Lines typed in chats.", ".It Pa ~/.editrc", "Key bindings; see", ".Xr editrc 5 .", ".El",
            ".Sh EXIT STATUS", ".Bl -tag -width Ds -compact", ".It 0", "All went well.",
            ".It 1", "Something failed; a message says what.", ".It 2", "The command line makes no sense.",
            ".It 130", "Interrupted with Ctrl\\-C.", ".El", ".Sh EXAMPLES"]
    for command in tables["commands"]:
        out += [".Bd -literal -compact"] + [roff(line) for line in command["examples"].split("\n")] + [".Ed"]
    return "\n".join(out) + "\n"


# -------------------------------------------------------------------------------------------------------------- bash

def bash(tables):
    commands = " ".join(c["name"] for c in tables["commands"])
    value_cases, option_cases = [], []
    for c in tables["commands"]:
        words = [w for o in options_of(c) for w in
                 ([f"-{o['letter']}"] if "letter" in o else []) + [f"--{o['name']}"]]
        option_cases.append(f"        {c['name']}) options=\"{' '.join(words)}\" ;;")
        for o in options_of(c):
            if o["kind"] == "flag":
                continue
            pattern = (f"{c['name']}:-{o['letter']}|" if "letter" in o else "") + f"{c['name']}:--{o['name']}"
            action = ("_tessera_files '*.gguf'" if is_model(o) else "_tessera_files '*'" if is_file(o) else
                      f"COMPREPLY=($(compgen -W '{' '.join(choices_of(o))}' -- \"$cur\"))" if choices_of(o) else "COMPREPLY=()")
            value_cases.append(f"        {pattern}) {action}; return ;;")
    return f"""# bash completion for tessera; {GENERATED}

# Files that match the pattern, and directories.
_tessera_files() {{
    local IFS=$'\\n'
    compopt -o filenames 2>/dev/null
    # shellcheck disable=SC2207
    COMPREPLY=($(compgen -d -- "$cur") $(compgen -f -X "!$1" -- "$cur" | while read -r f; do [ -d "$f" ] || echo "$f"; done))
}}

# shellcheck disable=SC2207
_tessera() {{
    local cur=${{COMP_WORDS[COMP_CWORD]}} prev=${{COMP_WORDS[COMP_CWORD - 1]}} command=${{COMP_WORDS[1]}} options=
    if [ "$COMP_CWORD" -eq 1 ]; then
        COMPREPLY=($(compgen -W '{commands} --help --version' -- "$cur"))
        return
    fi
    # "--opt=value" arrives as three words
    if [ "$cur" = "=" ]; then cur=; elif [ "$prev" = "=" ]; then prev=${{COMP_WORDS[COMP_CWORD - 2]}}; fi
    case $command:$prev in
{chr(10).join(value_cases)}
    esac
    case $command in
{chr(10).join(option_cases)}
    esac
    if [[ $cur == -* ]]; then
        COMPREPLY=($(compgen -W "$options" -- "$cur"))
        return
    fi
    case $command in
        help) COMPREPLY=($(compgen -W '{commands}' -- "$cur")) ;;
        info) _tessera_files '*.gguf' ;;
        quantize)
            _tessera_files '*.gguf'
            COMPREPLY+=($(compgen -W "$(tessera quantize --types 2>/dev/null | cut -d' ' -f1)" -- "$cur"))
            ;;
    esac
}}
complete -F _tessera tessera
"""


# --------------------------------------------------------------------------------------------------------------- zsh

def zsh_text(text):
    for char in "\\[]:":
        text = text.replace(char, "\\" + char)
    return text.replace("'", "'\\''")


def zsh_option(o):
    names = ([f"-{o['letter']}"] if "letter" in o else []) + [f"--{o['name']}"]
    repeatable = "*" if o["kind"] == "texts" else ""
    value = ""
    if o["kind"] != "flag":
        action = ('_files -g "*.gguf"' if is_model(o) else "_files" if is_file(o) else
                  f"({' '.join(choices_of(o))})" if choices_of(o) else "")
        value = f":{zsh_text(o['value'])}:{action}"
    excluded = "" if repeatable or len(names) == 1 else f"({' '.join(names)})"
    braces = "{" + ",".join(names) + "}" if len(names) > 1 else names[0]
    if len(names) > 1:
        return f"'{repeatable}{excluded}'{braces}'[{zsh_text(o['help'])}]{value}'"
    return f"'{repeatable}{braces}[{zsh_text(o['help'])}]{value}'"


def zsh(tables):
    commands = "\n".join(f"        '{c['name']}:{zsh_text(c['summary'])}'" for c in tables["commands"])
    cases = []
    for c in tables["commands"]:
        specs = [zsh_option(o) for o in options_of(c)]
        specs += {"info": ["'1:MODEL:_files -g \"*.gguf\"'"], "help": ["'1:COMMAND:_tessera_commands'"],
                  "quantize": ["'1:IN:_files -g \"*.gguf\"'", "'2:OUT:_files'",
                               "'3:TYPE:(${(f)\"$(tessera quantize --types 2>/dev/null | cut -d\" \" -f1)\"})'"]}.get(c["name"], [])
        body = " \\\n                ".join(specs)
        cases.append(f"        {c['name']})\n            _arguments -s \\\n                {body}\n            ;;")
    return f"""#compdef tessera
# zsh completion for tessera; {GENERATED}

_tessera_commands() {{
    local -a commands
    commands=(
{commands}
    )
    _describe 'command' commands
}}

_tessera() {{
    if (( CURRENT == 2 )); then
        _tessera_commands
        return
    fi
    local command=$words[2]
    shift words
    (( CURRENT-- ))
    case $command in
{chr(10).join(cases)}
    esac
}}

_tessera "$@"
"""


# -------------------------------------------------------------------------------------------------------------- fish

# __fish_complete_suffix only prefers the suffix: take what has it, and directories
FISH_MODELS = r"""'(__fish_complete_suffix .gguf | string match -r "^[^\t]*(?:\.gguf|/)(?:\t.*)?\$")'"""


def fish_text(text):
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def fish(tables):
    out = [f"# fish completion for tessera; {GENERATED}", "complete -c tessera -f"]
    for c in tables["commands"]:
        out.append(f"complete -c tessera -n __fish_use_subcommand -a {c['name']} -d {fish_text(c['summary'])}")
    for c in tables["commands"]:
        seen = f"'__fish_seen_subcommand_from {c['name']}'"
        for o in options_of(c):
            line = f"complete -c tessera -n {seen} -l {o['name']}"
            if "letter" in o:
                line += f" -s {o['letter']}"
            if is_model(o):
                line += f" -x -a {FISH_MODELS}"
            elif is_file(o):
                line += " -r -F"
            elif choices_of(o):
                line += f" -x -a '{' '.join(choices_of(o))}'"
            elif o["kind"] != "flag":
                line += " -x"
            out.append(line + f" -d {fish_text(o['help'])}")
    names = " ".join(c["name"] for c in tables["commands"])
    out += [f"complete -c tessera -n '__fish_seen_subcommand_from help' -a '{names}'",
            f"complete -c tessera -n '__fish_seen_subcommand_from info' -a {FISH_MODELS}",
            f"complete -c tessera -n '__fish_seen_subcommand_from quantize' -a {FISH_MODELS}",
            "complete -c tessera -n '__fish_seen_subcommand_from quantize' "
            "-a '(tessera quantize --types 2>/dev/null | string replace -r \" .*\" \"\")'"]
    return "\n".join(out) + "\n"


FILES = {"man/tessera.1": man_page, "completions/tessera.bash": bash, "completions/_tessera": zsh,
         "completions/tessera.fish": fish}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("binary")
    parser.add_argument("--check", action="store_true")
    args = parser.parse_args()
    dump = subprocess.run([args.binary, "help", "--options-json"], check=True, capture_output=True).stdout
    tables = json.loads(dump)
    stale = []
    for name, make in FILES.items():
        path, text = ROOT / name, make(tables)
        if path.exists() and path.read_text() == text:
            continue
        stale.append(name)
        if not args.check:
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
    if args.check and stale:
        sys.exit(f"cli_docs: not what the option tables say: {', '.join(stale)}; run scripts/cli_docs.py {args.binary}")


if __name__ == "__main__":
    main()
