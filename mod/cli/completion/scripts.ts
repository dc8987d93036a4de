/**
 * The shells' side of completion. Each script hands the words on the command line, as they were typed, to
 * the program and takes its lines. No word is evaluated on the way: a half-typed `$(…)` is text.
 * They need nothing beyond the shell itself.
 */
import type { Program } from "../voice.ts";

export const SHELLS = ["bash", "zsh", "fish"] as const;
export type Shell = typeof SHELLS[number];

export function completionScript(shell: Shell, program: Program): string {
  return { bash, zsh, fish }[shell](program);
}

/** What to do with the script, for help. */
export function howToLoad(shell: Shell, program: Program): string {
  switch (shell) {
    case "bash":
      return `source <(${program} completion bash)`;
    case "zsh":
      return `source <(${program} completion zsh)`;
    case "fish":
      return `${program} completion fish | source`;
  }
}

/**
 * Readline splits at `=` and `:` too (COMP_WORDBREAKS), so those words are put together again, and what
 * stands before the part that readline replaces is cut from each candidate.
 */
function bash(program: Program): string {
  return `# Completion of ${program} for bash: source <(${program} completion bash)
_${program}() {
  local i line out cut cur=\${COMP_WORDS[COMP_CWORD]} words=()
  for ((i = 1; i <= COMP_CWORD; i++)); do
    if ((i > 1)) && [[ \${COMP_WORDS[i]} == [=:] || \${COMP_WORDS[i - 1]} == [=:] ]]; then
      words[\${#words[@]}-1]+=\${COMP_WORDS[i]}
    else
      words+=("\${COMP_WORDS[i]}")
    fi
  done
  [[ $cur == [=:] ]] && cur=
  cut=\${words[\${#words[@]}-1]}
  cut=\${cut%"$cur"}
  COMPREPLY=()
  out=$("\${COMP_WORDS[0]/#\\~\\//$HOME/}" __complete -- "\${words[@]}" 2>/dev/null) || return 0
  while IFS= read -r line; do
    if [[ $line == :files ]]; then
      compopt -o default 2>/dev/null
    elif [[ -n $line ]]; then
      line=\${line%%$'\\t'*}
      COMPREPLY+=("\${line#"$cut"}")
    fi
  done <<< "$out"
  return 0
}
complete -F _${program} ${program}
`;
}

function zsh(program: Program): string {
  return `#compdef ${program}
# Completion of ${program} for zsh: source <(${program} completion zsh), or a file _${program} in $fpath.
_${program}() {
  local line out word about
  local -a candidates
  out=$("\${words[1]/#\\~\\//$HOME/}" __complete -- "\${(@)words[2,CURRENT]}" 2>/dev/null) || return 1
  for line in "\${(@f)out}"; do
    if [[ $line == :files ]]; then
      compset -P '*='
      _files
      return
    elif [[ -n $line ]]; then
      word=\${line%%$'\\t'*}
      about=\${line#*$'\\t'}
      candidates+=("\${word//:/\\\\:}\${about:+:$about}")
    fi
  done
  (( $#candidates )) || return 1
  _describe '${program}' candidates
}
if [[ $funcstack[1] == _${program} ]]; then
  _${program} "$@"
elif (( $+functions[compdef] )); then
  compdef _${program} ${program}
fi
`;
}

function fish(program: Program): string {
  return `# Completion of ${program} for fish: ${program} completion fish | source
function __${program}_complete
  set -l words (commandline -opc)
  set -l cur (commandline -ct)
  set -l lines ($words[1] __complete -- $words[2..-1] "$cur" 2>/dev/null)
  or return 0
  for line in $lines
    if test "$line" = :files
      __fish_complete_path (string replace -r '^--[^=]*=' '' -- "$cur")
    else
      echo $line
    end
  end
end
complete -c ${program} -f -a '(__${program}_complete)'
`;
}
