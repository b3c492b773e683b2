/* One model, several threads: `threads MODEL TEXT…`. Each thread has a session of its own and must get
 * what one session alone gets; then all want the same session, which one has at a time. */
#include <pthread.h>

#include "check.h"

enum { THREADS = 4, ROUNDS = 25, TEXTS = 16 };

static bert_model model;
static char **texts;
static size_t count;
static bert_label expected[TEXTS];
static bert_session shared;

static int same(const bert_label *a, const bert_label *b) {
    return a->label == b->label && bits(a->probability) == bits(b->probability);
}

static void *own_session(void *scratch) {
    size_t least;
    DO(bert_scratch_bytes(&model, 0, &least, NULL));
    bert_session session;
    DO(bert_session_open(&session, &model, scratch, least, 0));
    for (int round = 0; round < ROUNDS; round++) {
        for (size_t i = 0; i < count; i++) {
            bert_label label;
            bert_outcome outcome;
            DO(bert_classify(&session, texts[i], strlen(texts[i]), &label, 1, &outcome));
            EXPECT(same(&label, &expected[i]), 1);
        }
    }
    return NULL;
}

static void *shared_session(void *answered) {
    for (int round = 0; round < ROUNDS; round++) {
        for (size_t i = 0; i < count; i++) {
            bert_label label;
            bert_outcome outcome;
            bert_status status =
                bert_classify(&shared, texts[i], strlen(texts[i]), &label, 1, &outcome);
            if (status == BERT_OK) {
                EXPECT(same(&label, &expected[i]), 1);
                ++*(size_t *)answered;
            } else {
                EXPECT(status, BERT_ERROR_BUSY);
            }
        }
    }
    return NULL;
}

int main(int arguments, char **argument) {
    EXPECT(arguments > 2 && arguments - 2 <= TEXTS, 1);
    texts = argument + 2;
    count = (size_t)arguments - 2;
    size_t length, least;
    void *file = read_file(argument[1], &length);
    DO(bert_model_open(&model, file, length));
    DO(bert_scratch_bytes(&model, 0, &least, NULL));
    void *scratch[THREADS + 1];
    for (int i = 0; i <= THREADS; i++) {
        scratch[i] = scratch_of(least);
    }
    DO(bert_session_open(&shared, &model, scratch[THREADS], least, 0));
    for (size_t i = 0; i < count; i++) {
        bert_outcome outcome;
        DO(bert_classify(&shared, texts[i], strlen(texts[i]), &expected[i], 1, &outcome));
    }
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++) {
        EXPECT(pthread_create(&threads[i], NULL, own_session, scratch[i]), 0);
    }
    for (int i = 0; i < THREADS; i++) {
        EXPECT(pthread_join(threads[i], NULL), 0);
    }
#ifdef SHARE
    size_t answered[THREADS] = {0}, all = 0;
    for (int i = 0; i < THREADS; i++) {
        EXPECT(pthread_create(&threads[i], NULL, shared_session, &answered[i]), 0);
    }
    for (int i = 0; i < THREADS; i++) {
        EXPECT(pthread_join(threads[i], NULL), 0);
        all += answered[i];
    }
    EXPECT(all > 0, 1);
#else
    (void)shared_session;
#endif
    for (int i = 0; i <= THREADS; i++) {
        free(scratch[i]);
    }
    free(file);
    return 0;
}
