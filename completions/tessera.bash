# bash completion for tessera; made by scripts/cli_docs.py from the program's option tables; do not edit

# Files that match the pattern, and directories.
_tessera_files() {
    local IFS=$'\n'
    compopt -o filenames 2>/dev/null
    # shellcheck disable=SC2207
    COMPREPLY=($(compgen -d -- "$cur") $(compgen -f -X "!$1" -- "$cur" | while read -r f; do [ -d "$f" ] || echo "$f"; done))
}

# shellcheck disable=SC2207
_tessera() {
    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]} command=${COMP_WORDS[1]} options=
    if [ "$COMP_CWORD" -eq 1 ]; then
        COMPREPLY=($(compgen -W 'run chat info tokenize detokenize eval quantize bench cache doctor version help --help --version' -- "$cur"))
        return
    fi
    # "--opt=value" arrives as three words
    if [ "$cur" = "=" ]; then cur=; elif [ "$prev" = "=" ]; then prev=${COMP_WORDS[COMP_CWORD - 2]}; fi
    case $command:$prev in
        run:-m|run:--model) _tessera_files '*.gguf'; return ;;
        run:-p|run:--prompt) COMPREPLY=(); return ;;
        run:-f|run:--file) _tessera_files '*'; return ;;
        run:-n|run:--predict) COMPREPLY=(); return ;;
        run:--lookup-max) COMPREPLY=(); return ;;
        run:--stop) COMPREPLY=(); return ;;
        run:--system) COMPREPLY=(); return ;;
        run:--chat-template) _tessera_files '*'; return ;;
        run:-c|run:--ctx) COMPREPLY=(); return ;;
        run:-t|run:--threads) COMPREPLY=(); return ;;
        run:--threads-batch) COMPREPLY=(); return ;;
        run:--tb) COMPREPLY=(); return ;;
        run:--kv) COMPREPLY=($(compgen -W 'f16 f32 bf16 q8_0' -- "$cur")); return ;;
        run:--kv-k) COMPREPLY=($(compgen -W 'same f16 f32 bf16 q8_0' -- "$cur")); return ;;
        run:--kv-v) COMPREPLY=($(compgen -W 'same f16 f32 bf16 q8_0' -- "$cur")); return ;;
        run:--cpu-tier) COMPREPLY=(); return ;;
        run:--amx) COMPREPLY=($(compgen -W 'auto on off' -- "$cur")); return ;;
        run:--tensor-buffer) COMPREPLY=(); return ;;
        run:--numa) COMPREPLY=($(compgen -W 'none interleave local mirror' -- "$cur")); return ;;
        run:--huge-pages) COMPREPLY=($(compgen -W 'auto on off' -- "$cur")); return ;;
        run:--cache-dir) COMPREPLY=(); return ;;
        run:--cache-limit) COMPREPLY=(); return ;;
        run:-s|run:--seed) COMPREPLY=(); return ;;
        run:--temp) COMPREPLY=(); return ;;
        run:--top-k) COMPREPLY=(); return ;;
        run:--top-p) COMPREPLY=(); return ;;
        run:--min-p) COMPREPLY=(); return ;;
        run:--typical) COMPREPLY=(); return ;;
        run:--repeat-penalty) COMPREPLY=(); return ;;
        run:--repeat-last-n) COMPREPLY=(); return ;;
        run:--presence-penalty) COMPREPLY=(); return ;;
        run:--frequency-penalty) COMPREPLY=(); return ;;
        run:--dry-multiplier) COMPREPLY=(); return ;;
        run:--dry-base) COMPREPLY=(); return ;;
        run:--dry-allowed-length) COMPREPLY=(); return ;;
        run:--dry-last-n) COMPREPLY=(); return ;;
        run:--dry-breaker) COMPREPLY=(); return ;;
        run:--mirostat) COMPREPLY=($(compgen -W 'off 2' -- "$cur")); return ;;
        run:--mirostat-tau) COMPREPLY=(); return ;;
        run:--mirostat-eta) COMPREPLY=(); return ;;
        run:--logit-bias) COMPREPLY=(); return ;;
        run:--color) COMPREPLY=($(compgen -W 'auto always never' -- "$cur")); return ;;
        chat:-m|chat:--model) _tessera_files '*.gguf'; return ;;
        chat:--system) COMPREPLY=(); return ;;
        chat:--chat-template) _tessera_files '*'; return ;;
        chat:-n|chat:--predict) COMPREPLY=(); return ;;
        chat:--lookup-max) COMPREPLY=(); return ;;
        chat:--stop) COMPREPLY=(); return ;;
        chat:-c|chat:--ctx) COMPREPLY=(); return ;;
        chat:-t|chat:--threads) COMPREPLY=(); return ;;
        chat:--threads-batch) COMPREPLY=(); return ;;
        chat:--tb) COMPREPLY=(); return ;;
        chat:--kv) COMPREPLY=($(compgen -W 'f16 f32 bf16 q8_0' -- "$cur")); return ;;
        chat:--kv-k) COMPREPLY=($(compgen -W 'same f16 f32 bf16 q8_0' -- "$cur")); return ;;
        chat:--kv-v) COMPREPLY=($(compgen -W 'same f16 f32 bf16 q8_0' -- "$cur")); return ;;
        chat:--cpu-tier) COMPREPLY=(); return ;;
        chat:--amx) COMPREPLY=($(compgen -W 'auto on off' -- "$cur")); return ;;
        chat:--tensor-buffer) COMPREPLY=(); return ;;
        chat:--numa) COMPREPLY=($(compgen -W 'none interleave local mirror' -- "$cur")); return ;;
        chat:--huge-pages) COMPREPLY=($(compgen -W 'auto on off' -- "$cur")); return ;;
        chat:--cache-dir) COMPREPLY=(); return ;;
        chat:--cache-limit) COMPREPLY=(); return ;;
        chat:-s|chat:--seed) COMPREPLY=(); return ;;
        chat:--temp) COMPREPLY=(); return ;;
        chat:--top-k) COMPREPLY=(); return ;;
        chat:--top-p) COMPREPLY=(); return ;;
        chat:--min-p) COMPREPLY=(); return ;;
        chat:--typical) COMPREPLY=(); return ;;
        chat:--repeat-penalty) COMPREPLY=(); return ;;
        chat:--repeat-last-n) COMPREPLY=(); return ;;
        chat:--presence-penalty) COMPREPLY=(); return ;;
        chat:--frequency-penalty) COMPREPLY=(); return ;;
        chat:--dry-multiplier) COMPREPLY=(); return ;;
        chat:--dry-base) COMPREPLY=(); return ;;
        chat:--dry-allowed-length) COMPREPLY=(); return ;;
        chat:--dry-last-n) COMPREPLY=(); return ;;
        chat:--dry-breaker) COMPREPLY=(); return ;;
        chat:--mirostat) COMPREPLY=($(compgen -W 'off 2' -- "$cur")); return ;;
        chat:--mirostat-tau) COMPREPLY=(); return ;;
        chat:--mirostat-eta) COMPREPLY=(); return ;;
        chat:--logit-bias) COMPREPLY=(); return ;;
        chat:--color) COMPREPLY=($(compgen -W 'auto always never' -- "$cur")); return ;;
        info:-m|info:--model) _tessera_files '*.gguf'; return ;;
        info:--cpu-tier) COMPREPLY=(); return ;;
        info:--amx) COMPREPLY=($(compgen -W 'auto on off' -- "$cur")); return ;;
        info:--tensor-buffer) COMPREPLY=(); return ;;
        info:--numa) COMPREPLY=($(compgen -W 'none interleave local mirror' -- "$cur")); return ;;
        info:--huge-pages) COMPREPLY=($(compgen -W 'auto on off' -- "$cur")); return ;;
        info:--cache-dir) COMPREPLY=(); return ;;
        info:--cache-limit) COMPREPLY=(); return ;;
        info:--color) COMPREPLY=($(compgen -W 'auto always never' -- "$cur")); return ;;
        tokenize:-m|tokenize:--model) _tessera_files '*.gguf'; return ;;
        tokenize:-p|tokenize:--prompt) COMPREPLY=(); return ;;
        tokenize:-f|tokenize:--file) _tessera_files '*'; return ;;
        tokenize:--color) COMPREPLY=($(compgen -W 'auto always never' -- "$cur")); return ;;
        detokenize:-m|detokenize:--model) _tessera_files '*.gguf'; return ;;
        detokenize:-p|detokenize:--prompt) COMPREPLY=(); return ;;
        detokenize:-f|detokenize:--file) _tessera_files '*'; return ;;
        detokenize:--color) COMPREPLY=($(compgen -W 'auto always never' -- "$cur")); return ;;
        eval:-m|eval:--model) _tessera_files '*.gguf'; return ;;
        eval:-p|eval:--prompt) COMPREPLY=(); return ;;
        eval:-f|eval:--file) _tessera_files '*'; return ;;
        eval:--json) _tessera_files '*'; return ;;
        eval:--top) COMPREPLY=(); return ;;
        eval:--greedy) COMPREPLY=(); return ;;
        eval:-c|eval:--ctx) COMPREPLY=(); return ;;
        eval:-t|eval:--threads) COMPREPLY=(); return ;;
        eval:--threads-batch) COMPREPLY=(); return ;;
        eval:--tb) COMPREPLY=(); return ;;
        eval:--kv) COMPREPLY=($(compgen -W 'f16 f32 bf16 q8_0' -- "$cur")); return ;;
        eval:--kv-k) COMPREPLY=($(compgen -W 'same f16 f32 bf16 q8_0' -- "$cur")); return ;;
        eval:--kv-v) COMPREPLY=($(compgen -W 'same f16 f32 bf16 q8_0' -- "$cur")); return ;;
        eval:--cpu-tier) COMPREPLY=(); return ;;
        eval:--amx) COMPREPLY=($(compgen -W 'auto on off' -- "$cur")); return ;;
        eval:--tensor-buffer) COMPREPLY=(); return ;;
        eval:--numa) COMPREPLY=($(compgen -W 'none interleave local mirror' -- "$cur")); return ;;
        eval:--huge-pages) COMPREPLY=($(compgen -W 'auto on off' -- "$cur")); return ;;
        eval:--cache-dir) COMPREPLY=(); return ;;
        eval:--cache-limit) COMPREPLY=(); return ;;
        eval:--color) COMPREPLY=($(compgen -W 'auto always never' -- "$cur")); return ;;
        quantize:-t|quantize:--threads) COMPREPLY=(); return ;;
        quantize:--color) COMPREPLY=($(compgen -W 'auto always never' -- "$cur")); return ;;
        bench:-m|bench:--model) _tessera_files '*.gguf'; return ;;
        bench:-p|bench:--n-prompt) COMPREPLY=(); return ;;
        bench:-n|bench:--n-gen) COMPREPLY=(); return ;;
        bench:--pg) COMPREPLY=(); return ;;
        bench:-d|bench:--n-depth) COMPREPLY=(); return ;;
        bench:-b|bench:--batch-size) COMPREPLY=(); return ;;
        bench:--ub) COMPREPLY=(); return ;;
        bench:--ctk) COMPREPLY=(); return ;;
        bench:--ctv) COMPREPLY=(); return ;;
        bench:--npl) COMPREPLY=(); return ;;
        bench:--plot) _tessera_files '*'; return ;;
        bench:--op) COMPREPLY=(); return ;;
        bench:--shapes) _tessera_files '*'; return ;;
        bench:--types) COMPREPLY=(); return ;;
        bench:-M|bench:--rows) COMPREPLY=(); return ;;
        bench:--max-memory) COMPREPLY=(); return ;;
        bench:-t|bench:--threads) COMPREPLY=(); return ;;
        bench:--tb) COMPREPLY=(); return ;;
        bench:--cpu-tier) COMPREPLY=(); return ;;
        bench:--amx) COMPREPLY=($(compgen -W 'auto on off' -- "$cur")); return ;;
        bench:-r|bench:--reps) COMPREPLY=(); return ;;
        bench:-o|bench:--format) COMPREPLY=($(compgen -W 'md csv json' -- "$cur")); return ;;
        bench:--output) _tessera_files '*'; return ;;
        bench:--color) COMPREPLY=($(compgen -W 'auto always never' -- "$cur")); return ;;
        cache:--cache-dir) COMPREPLY=(); return ;;
        cache:--color) COMPREPLY=($(compgen -W 'auto always never' -- "$cur")); return ;;
        doctor:--cache-dir) COMPREPLY=(); return ;;
        doctor:--color) COMPREPLY=($(compgen -W 'auto always never' -- "$cur")); return ;;
        version:--color) COMPREPLY=($(compgen -W 'auto always never' -- "$cur")); return ;;
        help:--color) COMPREPLY=($(compgen -W 'auto always never' -- "$cur")); return ;;
    esac
    case $command in
        run) options="-m --model -p --prompt -f --file -n --predict --lookup --lookup-max --stop --system --chat-template --raw --json -v --verbose -c --ctx -t --threads --threads-batch --tb --kv --kv-k --kv-v --cpu-tier --amx --no-mmap --no-packed --tensor-buffer --numa --mlock --huge-pages --cache-dir --cache-limit --no-cache -s --seed --temp --top-k --top-p --min-p --typical --repeat-penalty --repeat-last-n --presence-penalty --frequency-penalty --dry-multiplier --dry-base --dry-allowed-length --dry-last-n --dry-breaker --mirostat --mirostat-tau --mirostat-eta --logit-bias --ignore-eos --color -h --help" ;;
        chat) options="-m --model --system --chat-template --no-history -v --verbose -n --predict --lookup --lookup-max --stop -c --ctx -t --threads --threads-batch --tb --kv --kv-k --kv-v --cpu-tier --amx --no-mmap --no-packed --tensor-buffer --numa --mlock --huge-pages --cache-dir --cache-limit --no-cache -s --seed --temp --top-k --top-p --min-p --typical --repeat-penalty --repeat-last-n --presence-penalty --frequency-penalty --dry-multiplier --dry-base --dry-allowed-length --dry-last-n --dry-breaker --mirostat --mirostat-tau --mirostat-eta --logit-bias --ignore-eos --color -h --help" ;;
        info) options="-m --model --buffers --tensors --metadata --json --cpu-tier --amx --no-mmap --no-packed --tensor-buffer --numa --mlock --huge-pages --cache-dir --cache-limit --no-cache --color -h --help" ;;
        tokenize) options="-m --model -p --prompt -f --file --no-special --no-parse-special --pieces --count --json --color -h --help" ;;
        detokenize) options="-m --model -p --prompt -f --file --no-special --json --color -h --help" ;;
        eval) options="-m --model -p --prompt -f --file --json --top --greedy -v --verbose -c --ctx -t --threads --threads-batch --tb --kv --kv-k --kv-v --cpu-tier --amx --no-mmap --no-packed --tensor-buffer --numa --mlock --huge-pages --cache-dir --cache-limit --no-cache --color -h --help" ;;
        quantize) options="--pure --allow-requantize -t --threads --types -v --verbose --color -h --help" ;;
        bench) options="-m --model -p --n-prompt -n --n-gen --pg -d --n-depth -b --batch-size --ub --ctk --ctv --npl --no-packed --no-warmup --profile --plot --op --shapes --types -M --rows --host --max-memory --list -t --threads --tb --cpu-tier --amx -r --reps -o --format --output --color -h --help" ;;
        cache) options="--cache-dir --all --json --color -h --help" ;;
        doctor) options="--json --quick --cache-dir --color -h --help" ;;
        version) options="--json --color -h --help" ;;
        help) options="--options-json --color -h --help" ;;
    esac
    if [[ $cur == -* ]]; then
        COMPREPLY=($(compgen -W "$options" -- "$cur"))
        return
    fi
    case $command in
        help) COMPREPLY=($(compgen -W 'run chat info tokenize detokenize eval quantize bench cache doctor version help' -- "$cur")) ;;
        info) _tessera_files '*.gguf' ;;
        quantize)
            _tessera_files '*.gguf'
            COMPREPLY+=($(compgen -W "$(tessera quantize --types 2>/dev/null | cut -d' ' -f1)" -- "$cur"))
            ;;
    esac
}
complete -F _tessera tessera
