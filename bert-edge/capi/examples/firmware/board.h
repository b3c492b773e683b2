/* What the machine offers: here QEMU's, by the debugger's door (semihosting); on a board of yours a UART. */
#ifndef BOARD_H
#define BOARD_H

#include <stddef.h>
#include <stdint.h>

/* Prints so many bytes; (size_t)-1 stands for those before a zero byte. */
void board_print(const char *text, size_t length);

/* Prints a number. */
void board_print_number(uint32_t number);

/* Bytes of the stack that were used so far. */
uint32_t board_stack_used(void);

/* Ends the program. */
void board_exit(int code) __attribute__((noreturn));

#endif
