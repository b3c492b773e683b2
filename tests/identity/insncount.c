// A plugin for QEMU (TCG plugins, API 1): counts the instructions that run between the guest's
// functions measure_begin and measure_end. The counts are the same in every run.
//
//   cc -O2 -shared -fPIC -o insncount.so insncount.c
//   qemu-system-arm … -plugin ./insncount.so -d plugin -D counts.txt
//
// One line a region, in their order: `region 0 31630489`. QEMU's header is not packaged everywhere,
// so the few declarations that are needed stand here.
#include <inttypes.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

typedef uint64_t qemu_plugin_id_t;
typedef struct qemu_info_t qemu_info_t;
struct qemu_plugin_tb;
struct qemu_plugin_insn;
enum { QEMU_PLUGIN_CB_NO_REGS = 0 };
enum { QEMU_PLUGIN_INLINE_ADD_U64 = 0 };

extern void qemu_plugin_register_vcpu_tb_trans_cb(
    qemu_plugin_id_t, void (*)(qemu_plugin_id_t, struct qemu_plugin_tb *));
extern void qemu_plugin_register_vcpu_insn_exec_cb(
    struct qemu_plugin_insn *, void (*)(unsigned, void *), int, void *);
extern void qemu_plugin_register_vcpu_insn_exec_inline(
    struct qemu_plugin_insn *, int, void *, uint64_t);
extern size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *);
extern struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *, size_t);
extern const char *qemu_plugin_insn_symbol(const struct qemu_plugin_insn *);
extern uint64_t qemu_plugin_insn_vaddr(const struct qemu_plugin_insn *);
extern void qemu_plugin_outs(const char *);

#define EXPORTED __attribute__((visibility("default")))

EXPORTED int qemu_plugin_version = 1;

static uint64_t count, begun, begin_address, end_address;
static unsigned long regions;

static void on_begin(unsigned cpu, void *unused) {
    (void)cpu, (void)unused;
    begun = count;
}

static void on_end(unsigned cpu, void *unused) {
    (void)cpu, (void)unused;
    char line[64];
    snprintf(line, sizeof line, "region %lu %" PRIu64 "\n", regions++, count - begun);
    qemu_plugin_outs(line);
}

// Code is translated from a function's first instruction on, so that is the first address seen.
static int is_first_of(const char *name, const char *symbol, uint64_t address, uint64_t *first) {
    if (!symbol || strcmp(symbol, name) || (*first && *first != address))
        return 0;
    *first = address;
    return 1;
}

static void on_translation(qemu_plugin_id_t id, struct qemu_plugin_tb *block) {
    (void)id;
    size_t n = qemu_plugin_tb_n_insns(block);
    for (size_t i = 0; i < n; i++) {
        struct qemu_plugin_insn *insn = qemu_plugin_tb_get_insn(block, i);
        uint64_t address = qemu_plugin_insn_vaddr(insn);
        const char *symbol = qemu_plugin_insn_symbol(insn);
        qemu_plugin_register_vcpu_insn_exec_inline(insn, QEMU_PLUGIN_INLINE_ADD_U64, &count, 1);
        if (is_first_of("measure_begin", symbol, address, &begin_address))
            qemu_plugin_register_vcpu_insn_exec_cb(insn, on_begin, QEMU_PLUGIN_CB_NO_REGS, NULL);
        if (is_first_of("measure_end", symbol, address, &end_address))
            qemu_plugin_register_vcpu_insn_exec_cb(insn, on_end, QEMU_PLUGIN_CB_NO_REGS, NULL);
    }
}

EXPORTED int qemu_plugin_install(
    qemu_plugin_id_t id, const qemu_info_t *info, int argc, char **argv) {
    (void)info, (void)argc, (void)argv;
    qemu_plugin_register_vcpu_tb_trans_cb(id, on_translation);
    return 0;
}
