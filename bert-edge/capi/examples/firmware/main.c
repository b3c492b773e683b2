/* A Cortex-M4F that answers a text, without an operating system, a heap or a C library. How to compile it
 * is in docs/deploy-c.md.
 *
 * `model.bert`, in the folder where the compiler runs, becomes part of the program and is read where it
 * lies, in flash. SCRATCH_BYTES is the scratch memory that `bert-edge inspect model.bert` prints. */
#include <stdalign.h>

#include "bert_edge.h"
#include "board.h"

#ifndef SCRATCH_BYTES
#define SCRATCH_BYTES (64 * 1024)
#endif
#ifndef TEXT
#define TEXT "dim the lights in the kitchen to ten percent"
#endif

__asm__(".section .rodata.model, \"a\"\n"
        ".balign 16\n"
        ".global model_start\n"
        "model_start: .incbin \"model.bert\"\n"
        ".global model_end\n"
        "model_end:\n"
        ".previous\n");
extern const unsigned char model_start[], model_end[];

static bert_model model;
static bert_session session;
static alignas(BERT_SCRATCH_ALIGN) unsigned char scratch[SCRATCH_BYTES];

static void check(bert_status status) {
    if (status != BERT_OK) {
        board_print(bert_message(status), (size_t)-1);
        board_print("\n", 1);
        board_exit(1);
    }
}

static void print_named(bert_text name, float probability) {
    board_print(name.bytes, name.length);
    board_print(" ", 1);
    board_print_number((uint32_t)(probability * 1000.0f));
}

int main(void) {
    static const char text[] = TEXT;
    bert_label label;
    bert_slot slots[8];
    bert_outcome outcome;

    check(bert_model_open(&model, model_start, (size_t)(model_end - model_start)));
    check(bert_session_open(&session, &model, scratch, sizeof scratch, 0));
    check(bert_self_test(&session));
    check(bert_slots(&session, text, sizeof text - 1, &label, slots, 8, &outcome));

    /* Probabilities in thousandths. */
    print_named(label.name, label.probability);
    board_print("\n", 1);
    for (size_t i = 0; i < outcome.count; i++) {
        print_named(slots[i].name, slots[i].probability);
        board_print(" ", 1);
        board_print(text + slots[i].start, slots[i].end - slots[i].start);
        board_print("\n", 1);
    }
    board_print("stack ", 6);
    board_print_number(board_stack_used());
    board_print("\n", 1);
    return 0;
}
