/* From reset to main, and the board's functions. */
#include "board.h"

/* Places that the linker script names. */
extern uint32_t data_source[], data_start[], data_end[], bss_start[], bss_end[];
extern uint32_t stack_start[], stack_end[];

enum { SYS_OPEN = 0x01, SYS_WRITE = 0x05, SYS_EXIT_EXTENDED = 0x20 };
enum { OPEN_TO_WRITE = 4, APPLICATION_EXIT = 0x20026 };

static const uint32_t PAINT = 0xC5C5C5C5;

int main(void);

static uint32_t call_host(uint32_t operation, const void *argument) {
    register uint32_t r0 __asm__("r0") = operation;
    register const void *r1 __asm__("r1") = argument;
    __asm__ volatile("bkpt 0xAB" : "+r"(r0) : "r"(r1) : "memory");
    return r0;
}

void board_print(const char *text, size_t length) {
    /* The host's standard output. */
    static const char console[] = ":tt";
    static uint32_t handle;
    if (handle == 0) {
        const uint32_t open[3] = {(uint32_t)console, OPEN_TO_WRITE, sizeof console - 1};
        handle = call_host(SYS_OPEN, open);
    }
    size_t count = 0;
    while (length == (size_t)-1 ? text[count] != 0 : count < length) {
        count++;
    }
    const uint32_t write[3] = {handle, (uint32_t)text, count};
    call_host(SYS_WRITE, write);
}

void board_print_number(uint32_t number) {
    char digits[10];
    size_t first = sizeof digits;
    do {
        digits[--first] = (char)('0' + number % 10);
        number /= 10;
    } while (number != 0);
    board_print(&digits[first], sizeof digits - first);
}

uint32_t board_stack_used(void) {
    const uint32_t *word = stack_start;
    while (word < stack_end && *word == PAINT) {
        word++;
    }
    return (uint32_t)(stack_end - word) * sizeof *word;
}

void board_exit(int code) {
    const uint32_t block[2] = {APPLICATION_EXIT, (uint32_t)code};
    call_host(SYS_EXIT_EXTENDED, block);
    for (;;) {
    }
}

void reset(void);
void reset(void) {
    /* The FPU, before anything uses it: CPACR, full access to coprocessors 10 and 11. */
    *(volatile uint32_t *)0xE000ED88 |= 0xFu << 20;
    __asm__ volatile("dsb\n isb");
    for (uint32_t *to = data_start, *from = data_source; to < data_end;) {
        *to++ = *from++;
    }
    for (uint32_t *to = bss_start; to < bss_end;) {
        *to++ = 0;
    }
    uint32_t *here = __builtin_frame_address(0);
    for (uint32_t *to = stack_start; to < here - 16;) {
        *to++ = PAINT;
    }
    board_exit(main());
}

/* Where a processor goes that cannot go on; the library's panic ends here too. */
static void fault(void) {
    board_print("fault\n", 6);
    board_exit(3);
}

/* The processor reads the first sixteen words of memory: stack, reset, NMI and the faults. */
union vector {
    uint32_t *stack;
    void (*handler)(void);
};
__attribute__((section(".vectors"), used)) static const union vector VECTORS[16] = {
    {.stack = stack_end}, {.handler = reset}, {.handler = fault}, {.handler = fault},
    {.handler = fault},   {.handler = fault}, {.handler = fault},
};
