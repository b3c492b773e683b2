/* What the programs of the tests share. */
#ifndef CHECK_H
#define CHECK_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bert_edge.h"

/* Ends the program unless an expression has the value that is expected. */
#define EXPECT(expression, expected)                                                       \
    do {                                                                                   \
        long long found_ = (long long)(expression), expected_ = (long long)(expected);     \
        if (found_ != expected_) {                                                         \
            fprintf(stderr, "%s:%d: %s is %lld, expected %lld\n", __FILE__, __LINE__,      \
                    #expression, found_, expected_);                                       \
            exit(1);                                                                       \
        }                                                                                  \
    } while (0)

/* Ends the program unless a function succeeds. */
#define DO(call)                                                                           \
    do {                                                                                   \
        bert_status status_ = (call);                                                      \
        if (status_ != BERT_OK) {                                                          \
            fprintf(stderr, "%s:%d: %s: %s\n", __FILE__, __LINE__, #call,                  \
                    bert_message(status_));                                                \
            exit(1);                                                                       \
        }                                                                                  \
    } while (0)

/* The bytes of a file, to be freed. */
static inline void *read_file(const char *path, size_t *length) {
    FILE *file = fopen(path, "rb");
    EXPECT(file != NULL, 1);
    EXPECT(fseek(file, 0, SEEK_END), 0);
    long end = ftell(file);
    EXPECT(end > 0, 1);
    rewind(file);
    void *bytes = malloc((size_t)end);
    EXPECT(bytes != NULL, 1);
    EXPECT(fread(bytes, 1, (size_t)end, file), end);
    fclose(file);
    *length = (size_t)end;
    return bytes;
}

/* Aligned memory, to be freed. */
static inline void *scratch_of(size_t bytes) {
    size_t whole = (bytes + BERT_SCRATCH_ALIGN - 1) / BERT_SCRATCH_ALIGN * BERT_SCRATCH_ALIGN;
    void *scratch = aligned_alloc(BERT_SCRATCH_ALIGN, whole);
    EXPECT(scratch != NULL, 1);
    return scratch;
}

/* The bits of a number, so that a comparison is exact. */
static inline unsigned bits(float number) {
    unsigned found;
    memcpy(&found, &number, sizeof found);
    return found;
}

#endif
