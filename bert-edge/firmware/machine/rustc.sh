#!/bin/sh
# Cargo's `rustc-wrapper` of a firmware: compiles the crate with the panic handler without what RUSTFLAGS
# say of the processor. `core` was compiled without, too, and the compiler drops what a panic says only
# where its handler has the features of `core`; else each panic keeps its text and its place, some 6 KB.
name=
previous=
for argument; do
    [ "$previous" = --crate-name ] && name=$argument
    previous=$argument
done
if [ "$name" = bert_machine ]; then
    for argument; do
        shift
        case $argument in
        -Ctarget-cpu=* | -Ctarget-feature=*) ;;
        *) set -- "$@" "$argument" ;;
        esac
    done
fi
exec "$@"
