/* Asks a model about a text:  example MODEL TEXT
 *
 *   cc example.c -o example $(pkg-config --cflags --libs bert_edge)
 *
 * The library allocates nothing; here the model file and the scratch memory are on the heap. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <bert_edge.h>

/* Ends the program with what is wrong. */
static void check(const char *what, bert_status status) {
    if (status != BERT_OK) {
        fprintf(stderr, "%s: %s\n", what, bert_message(status));
        exit(1);
    }
}

static void *load(const char *path, size_t *length) {
    FILE *file = fopen(path, "rb");
    void *bytes = NULL;
    long end = -1;
    if (file != NULL && fseek(file, 0, SEEK_END) == 0) {
        end = ftell(file);
        rewind(file);
    }
    if (end > 0 && (bytes = malloc((size_t)end)) != NULL) {
        *length = fread(bytes, 1, (size_t)end, file);
    }
    if (bytes == NULL) {
        perror(path);
        exit(1);
    }
    fclose(file);
    return bytes;
}

static void labels(bert_session *session, const char *text) {
    bert_label best[3];
    bert_outcome outcome;
    check("bert_classify", bert_classify(session, text, strlen(text), best, 3, &outcome));
    for (size_t i = 0; i < outcome.count; i++) {
        printf("%.4f  %.*s\n", best[i].probability, (int)best[i].name.length, best[i].name.bytes);
    }
}

static void slots(bert_session *session, const char *text) {
    bert_slot found[8];
    bert_outcome outcome;
    bert_status status = bert_slots(session, text, strlen(text), NULL, found, 8, &outcome);
    /* Of many slots the first eight will do. */
    size_t count = status == BERT_ERROR_CAPACITY ? 8 : outcome.count;
    check("bert_slots", status == BERT_ERROR_CAPACITY ? BERT_OK : status);
    for (size_t i = 0; i < count; i++) {
        printf("%.*s: %.*s\n", (int)found[i].name.length, found[i].name.bytes,
               (int)(found[i].end - found[i].start), text + found[i].start);
    }
}

int main(int count, char **arguments) {
    if (count != 3) {
        fprintf(stderr, "usage: %s MODEL TEXT\n", arguments[0]);
        return 2;
    }
    size_t length = 0, least, fastest;
    void *file = load(arguments[1], &length);
    const char *text = arguments[2];

    bert_model model;
    bert_info info;
    check(arguments[1], bert_model_open(&model, file, length));
    check("bert_model_info", bert_model_info(&model, &info));
    check("bert_scratch_bytes", bert_scratch_bytes(&model, 0, &least, &fastest));

    /* Its size has to be a multiple of the alignment for aligned_alloc; both sizes are. */
    void *scratch = aligned_alloc(BERT_SCRATCH_ALIGN, fastest);
    bert_session session;
    check("bert_session_open", bert_session_open(&session, &model, scratch, fastest, 0));
    check("bert_self_test", bert_self_test(&session));

    if (info.head == BERT_HEAD_CLASSIFY || info.head == BERT_HEAD_JOINT) {
        labels(&session, text);
    }
    if (info.head == BERT_HEAD_TAG || info.head == BERT_HEAD_JOINT) {
        slots(&session, text);
    }
    if (info.head == BERT_HEAD_EMBED) {
        float *vector = malloc(info.hidden * sizeof *vector);
        bert_outcome outcome;
        check("bert_embed", bert_embed(&session, text, strlen(text), NULL, vector, info.hidden,
                                       &outcome));
        printf("%u numbers, the first is %.6f\n", info.hidden, (double)vector[0]);
        free(vector);
    }
    free(scratch);
    free(file);
    return 0;
}
