# SPDX-License-Identifier: MIT
# fish completion for warm(1); installed as vendor_completions.d/warm.fish

function __warm_templates
    warm ls --json 2>/dev/null | string match -rg '^\s*"name":\s*"(.*)",$'
end

function __warm_pids
    warm ps 2>/dev/null | string match -rg '^ *(\d+) '
end

# no word yet that could be the program: 1 is the command, what follows are options
function __warm_before_program
    set -l words (commandline -opc)
    test (count $words) -ge 2; and contains -- $words[2] run build explain; or return 1
    set -l skip 0
    for word in $words[3..-1]
        if test $skip = 1
            set skip 0
        else if contains -- $word --name --ready --out; or test $word = --pool -a $words[2] = build
            set skip 1
        else if not string match -q -- '-*' $word; or test $word = --
            return 1
        end
    end
end

function __warm_program
    set -l words (commandline -opc)
    test (count $words) -ge 2; and contains -- $words[2] run build explain; and not __warm_before_program
end

complete -c warm -n __fish_use_subcommand -f
complete -c warm -n __fish_use_subcommand -l help -d 'Show help'
complete -c warm -n __fish_use_subcommand -l version -d 'Show the version'
complete -c warm -n __fish_use_subcommand -a run -d 'Run a program, warm if a template serves'
complete -c warm -n __fish_use_subcommand -a build -d 'Build a template and wait until it is ready'
complete -c warm -n __fish_use_subcommand -a load -d 'Make a template of an image'
complete -c warm -n __fish_use_subcommand -a launch -d 'Launch a clone of a template by its name'
complete -c warm -n __fish_use_subcommand -a attach -d 'Come to the terminal of a clone'
complete -c warm -n __fish_use_subcommand -a logs -d 'Print what a clone printed to its terminal'
complete -c warm -n __fish_use_subcommand -a ls -d 'List the templates'
complete -c warm -n __fish_use_subcommand -a ps -d 'List the clones that run'
complete -c warm -n __fish_use_subcommand -a rm -d 'Remove templates'
complete -c warm -n __fish_use_subcommand -a inspect -d 'Show all about one template, clone or image'
complete -c warm -n __fish_use_subcommand -a restore -d 'Make the process that an image is of'
complete -c warm -n __fish_use_subcommand -a stats -d 'Show what warmd has done since it started'
complete -c warm -n __fish_use_subcommand -a explain -d 'Say what a launch would do, or did, and why'
complete -c warm -n __fish_use_subcommand -a doctor -d 'Check what this host offers to warm'
complete -c warm -n __fish_use_subcommand -a stop -d 'End warmd and drop all templates'
complete -c warm -n __fish_use_subcommand -a help -d 'Show the help of a command'

complete -c warm -n __warm_before_program -l name -x -a '(__warm_templates)' -d 'Name of the template'
complete -c warm -n __warm_before_program -l ready -x -a 'auto main import call delay= idle' -d 'Readiness point'
complete -c warm -n __warm_before_program -l help -d 'Show help'
complete -c warm -n __warm_before_program -f -a '(__fish_complete_command)'
complete -c warm -n __warm_program -a '(__fish_complete_subcommand --fcs-skip=2)'
complete -c warm -n '__warm_before_program; and __fish_seen_subcommand_from run' -l pool -d 'Have warmd launch a clone made ahead'
complete -c warm -n '__warm_before_program; and __fish_seen_subcommand_from build' -l pool -x -d 'Clones to be kept parked'
complete -c warm -n '__warm_before_program; and __fish_seen_subcommand_from run' -l strict -d 'Fail rather than run cold'
complete -c warm -n '__warm_before_program; and __fish_seen_subcommand_from run' -l cold -d 'Run cold and build nothing'
complete -c warm -n '__warm_before_program; and __fish_seen_subcommand_from run' -s v -d 'Say why it ran warm or cold'
complete -c warm -n '__warm_before_program; and __fish_seen_subcommand_from build' -l rebuild -d 'Even if a template serves'
complete -c warm -n '__warm_before_program; and __fish_seen_subcommand_from build' -l out -x -a '(__fish_complete_directories)' -d 'Write it as an image'
complete -c warm -n '__warm_before_program; and __fish_seen_subcommand_from build explain' -l json -d 'As JSON'

complete -c warm -n '__fish_seen_subcommand_from load; and not __warm_program' -f -a '(__fish_complete_directories)' -d 'Image'
complete -c warm -n '__fish_seen_subcommand_from load; and not __warm_program' -l name -x -a '(__warm_templates)' -d 'Name of the template'
complete -c warm -n '__fish_seen_subcommand_from load ls ps rm inspect stats doctor stop; and not __warm_program' -f -l json -d 'As JSON'
complete -c warm -n '__fish_seen_subcommand_from rm; and not __warm_program' -l all -d 'All templates'
complete -c warm -n '__fish_seen_subcommand_from inspect doctor; and not __warm_program' -s v -d 'In full'
complete -c warm -n '__fish_seen_subcommand_from rm inspect launch; and not __warm_program' -f -a '(__warm_templates)'
complete -c warm -n '__fish_seen_subcommand_from inspect; and not __warm_program' -f -a '(__warm_pids)'
complete -c warm -n '__fish_seen_subcommand_from inspect restore; and not __warm_program' -f -a '(__fish_complete_directories)' -d 'Image'
complete -c warm -n '__fish_seen_subcommand_from restore; and not __warm_program' -s d -l detach -d 'Leave it running'
complete -c warm -n '__fish_seen_subcommand_from restore; and not __warm_program' -l pidfile -r -d 'Write the PID there'
complete -c warm -n '__fish_seen_subcommand_from restore; and not __warm_program' -l verify -d 'Read all pages before'
complete -c warm -n '__fish_seen_subcommand_from restore; and not __warm_program' -l no-verify -d 'Read what the program touches'
complete -c warm -n '__fish_seen_subcommand_from restore; and not __warm_program' -l new-pids -d 'With a new PID'
complete -c warm -n '__fish_seen_subcommand_from ps; and not __warm_program' -s a -l all -d 'Parked clones and skeletons too'
complete -c warm -n '__fish_seen_subcommand_from stats; and not __warm_program' -l prometheus -d 'As Prometheus\' text'
complete -c warm -n '__fish_seen_subcommand_from launch; and not __warm_program' -l env -x -d 'Set a variable'
complete -c warm -n '__fish_seen_subcommand_from launch; and not __warm_program' -s d -l detach -d 'Leave it running'
complete -c warm -n '__fish_seen_subcommand_from launch; and not __warm_program' -s v -d 'Say how it was launched, or why it ran cold'
complete -c warm -n '__fish_seen_subcommand_from launch; and not __warm_program' -l cgroup -x -a '(__fish_complete_directories)' -d 'Start in this control group'
complete -c warm -n '__fish_seen_subcommand_from launch attach; and not __warm_program' -l detach-keys -x -d 'What leaves it running'
complete -c warm -n '__fish_seen_subcommand_from attach logs; and not __warm_program' -f -a '(__warm_pids)'
complete -c warm -n '__fish_seen_subcommand_from attach; and not __warm_program' -l view -d 'Only look on'
complete -c warm -n '__fish_seen_subcommand_from attach; and not __warm_program' -l steal -d 'A process that is no clone'
complete -c warm -n '__fish_seen_subcommand_from logs; and not __warm_program' -s f -l follow -d 'Go on until it ends'
